"""A Thing's life: which state follows which, what each allows, and that every step is kept, told and receipted."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.port import Event
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.errors import Conflict, Invalid
from gridspine.things.lifecycle import MAX_STEPS, STATES, Lifecycle, Step, advance, plain
from gridspine.things.lifecycle_book import Lifecycles
from gridspine.things.model import parse_model
from gridspine.things.point import PointTable
from gridspine.things.resolve import OUT_OF_SERVICE
from gridspine.things.standing import Standing, Standings
from gridspine.things.thing import Thing

METER = "https://example.org/models/meter"
MODEL = {
    "@type": "tm:ThingModel", "id": METER, "title": "Meter",
    "properties": {
        "activePower": {"gs:readingType": {"unit": "W", "flow": "net"}},
        "voltage": {"gs:readingType": {"unit": "V"}},
    },
}  # fmt: skip
ORDER = ("described", "provisioned", "commissioned")


def step(to, why="because", at_us=1, **more):
    return Step(at_us, to, "ann", why, **more)


def lived(*states):
    life = Lifecycle("urn:x:m", "org", "announced")
    for state in states:
        life = advance(life, step(state))
    return life


def test_a_life_in_its_usual_order():
    life = lived(*ORDER, "suspended", "quarantined", "commissioned", "retired")
    assert [one.to for one in life.steps] == [*ORDER, "suspended", "quarantined", "commissioned", "retired"]
    assert life.state == "retired"
    for state in STATES:
        with pytest.raises(Conflict):
            advance(life, step(state))


def test_what_does_not_follow_is_refused_in_words():
    with pytest.raises(Conflict, match="announced: after that comes described, retired, not commissioned"):
        lived("commissioned")
    with pytest.raises(Conflict, match="already"):
        lived("described", "described")
    with pytest.raises(Conflict, match="it goes on as that"):
        lived("described", "suspended", "commissioned")
    with pytest.raises(Conflict, match="resumed"):
        _ = lived("described").resumed


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (step("described", why=" "), "why"), (step("described", why="x" * 2001), "why"),
        (Step(1, "described", "", "w"), "by"), (step("described", evidence=("",)), "evidence"),
        (step("described", evidence=("e",) * 21), "evidence"),
    ],
)  # fmt: skip
def test_a_step_says_who_why_and_upon_what(bad, word):
    with pytest.raises(Invalid, match=word):
        advance(lived(), bad)


@given(st.lists(st.sampled_from(STATES), max_size=30))
def test_whatever_is_asked_a_life_stays_one(states):
    """Retired is for good, a pause goes back to where it began, and nobody is commissioned without being described."""
    life = Lifecycle("urn:x:m", "org", "announced")
    described = False
    for state in states:
        try:
            after = advance(life, step(state))
        except Conflict:
            continue
        assert life.state != "retired"
        described = described or state == "described"
        assert described or state == "retired"
        if after.paused:
            assert after.before in {"described", "provisioned", "commissioned"}
            assert advance(after, step(after.resumed)).state == after.before
        life = after


def test_many_steps_are_bounded_and_say_so():
    life = plain("urn:x:m", "org", 0)
    for _ in range(MAX_STEPS):
        life = advance(advance(life, step("suspended")), step("commissioned"))
    assert len(life.steps) == MAX_STEPS
    assert life.omitted == MAX_STEPS + 1
    assert life.steps[0].why.startswith("registered"), "the beginning stays"


class Kept:
    """Two bound Things, and the book of lives on a real registry and log."""

    def __init__(self, path: Path, commissioning="on-registration") -> None:
        self.clock = VirtualClock()
        self.log = SqliteEventLog(path / "log", [Topic("events", control=True), Topic("ledger", control=True)])
        self.registry = SqlRegistry(sqlite_url(path / "registry.db"), self.clock, self.log)
        self.points = PointTable()
        model = parse_model(MODEL)
        self.points.add_model(model)
        names = tuple(point.name for point in model.points)
        units = tuple(point.reading_type.unit for point in model.points)
        self.things = [Thing(f"urn:x:{n}", "org", "T", METER, first=n * 10, points=names) for n in (0, 1)]
        for thing in self.things:
            self.points.bind(PointBinding(thing.first, thing.id, "org", METER, names, units, 0))
        self.book = Lifecycles(self.registry, Standings(self.points), self.clock, commissioning)
        self.book.load()

    def told(self, topic):
        return [msgspec.json.decode(one.body, type=Event) for one in self.log.read(topic, 0, 0)]

    def close(self):
        self.registry.close()
        self.log.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.close()


async def test_a_step_is_kept_told_and_for_the_ledger(kept, tmp_path):
    thing = kept.things[0]
    assert (await kept.book.of(thing)).state == "commissioned"
    await kept.book.move(thing, "suspended", by="ann", why="works on the line", evidence=["urn:x:order"])
    life = await kept.book.of(thing)
    assert (life.state, life.before) == ("suspended", "commissioned")
    (event,) = kept.told("events")
    assert kept.told("ledger") == [event]
    assert (event.type, event.subject, event.actor, event.id) == (
        "thing.suspended",
        thing.id,
        "ann",
        life.steps[1].event,
    )
    assert event.data["why"] == "works on the line"
    assert event.data["evidence"] == ["urn:x:order"]
    with pytest.raises(Conflict):
        await kept.book.move(thing, "suspended", by="ann", why="again")
    assert len(kept.told("events")) == 1, "what was refused is not told"
    await kept.book.resume(thing, by="bob", why="done")
    assert [event.type for event in kept.told("ledger")] == ["thing.suspended", "thing.resumed"]
    with pytest.raises(Conflict, match="only what is suspended"):
        await kept.book.resume(thing, by="bob", why="once more")


async def test_how_things_stand_comes_back_after_a_restart(kept, tmp_path):
    first, second = kept.things
    await kept.book.move(first, "retired", by="ann", why="scrapped")
    await kept.book.move(second, "suspended", by="ann", why="works")
    await kept.book.resume(second, by="ann", why="done")
    again = Lifecycles(kept.registry, Standings(kept.points), kept.clock)
    again.load()
    assert again.standings.state(first.id) == "retired"
    assert again.standings.state(second.id) == "commissioned"
    assert kept.registry.read(lambda tx: tx.count(Standing)) == 1, "nothing is kept of what is plainly commissioned"
    assert again.standings.counts() == {"retired": 1}
    assert (again.standings.shut, again.standings.paused) == (1, 1)


async def test_what_each_state_allows(kept):
    thing, standings = kept.things[0], kept.book.standings
    number = np.array([kept.points.thing_number(thing.id)])
    names = [f"{thing.id}/activePower", f"{kept.things[1].id}/activePower", "urn:x:none/p"]

    def point():
        return standings.admit(kept.points.resolve(names, ["", "", ""], "org"), names, "org").point.tolist()

    usual = point()
    for state, kept_, controlled, commands, safety, test in (
        ("suspended", True, False, False, True, False),
        ("quarantined", True, False, False, True, False),
        ("described", True, False, False, True, True),
        ("provisioned", True, False, False, True, True),
        ("commissioned", True, True, True, True, True),
        ("retired", False, False, False, False, False),
    ):
        await kept.book.move(thing, state, by="ann", why="because")
        if state == "retired":
            kept.points.retire([int(number[0])])  # as the directory does
        assert (point() == usual) is kept_, state
        assert standings.controllable(number).tolist() == [controlled], state
        assert (standings.refuses(thing.id) == "") is commands, state
        assert (standings.refuses(thing.id, safety=True) == "") is safety, state
        assert (standings.refuses(thing.id, test=True) == "") is test, state
    assert point() == [OUT_OF_SERVICE, *usual[1:]], "the other Thing's readings go on"
    assert standings.refuses("urn:x:none") == ""


async def test_registration_begins_a_life_where_commissioning_is_required(tmp_path):
    kept = Kept(tmp_path, "required")
    first, second = kept.things
    kept.book.expect(second.id, [step("announced", why="said hello"), step("described", why="taken in")])
    kept.registry.transact(lambda tx: kept.book.born(tx, kept.things, "ann"))
    kept.book.taken_up(kept.things)
    assert kept.book.standings.state(first.id) == kept.book.standings.state(second.id) == "described"
    life = await kept.book.of(second)
    assert [(one.to, one.why) for one in life.steps] == [("announced", "said hello"), ("described", "taken in")]
    assert kept.book.gate(first.id).startswith("the Thing is described")
    kept.book.test_until(first.id, kept.clock.now_us() + 1_000_000)
    assert kept.book.gate(first.id) == ""
    assert [event.type for event in kept.told("ledger")] == ["thing.described", "thing.announced", "thing.described"]
    await kept.book.move(first, "commissioned", by="ann", why="looked at it", evidence=["report"])
    assert kept.book.standings.refuses(first.id) == ""
    kept.close()


async def test_a_life_ends_with_its_retirement_and_may_begin_again(kept):
    thing = kept.things[0]
    kept.book.part(thing.id, "sold for scrap", ["urn:x:photo"])
    kept.registry.transact(lambda tx: kept.book.gone(tx, thing, "ann", "sold for scrap"))
    kept.book.taken_up([msgspec.structs.replace(thing, retired_us=kept.clock.now_us())])
    assert kept.book.gate(thing.id) == "the Thing is retired: it takes no commands"
    (event,) = kept.told("ledger")
    assert (event.type, event.data["why"], event.data["evidence"]) == (
        "thing.retired",
        "sold for scrap",
        ["urn:x:photo"],
    )
    assert kept.told("events") == [], "the directory tells that itself"
    again = msgspec.structs.replace(thing, version=3)
    kept.registry.transact(lambda tx: kept.book.born(tx, [again], "bob"))
    kept.book.taken_up([again])
    assert kept.book.gate(thing.id) == ""
    assert [one.to for one in (await kept.book.of(again)).steps] == ["commissioned", "retired", "commissioned"]
