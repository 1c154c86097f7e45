"""What a server's programs become, as it lists them, no more, and again; and as clocks are set."""

import asyncio
import time

import msgspec
import pytest
from csip_utility import METER
from hosted_node import hosting

from gridspine.adapters.ieee2030_5.client.answer import due
from gridspine.adapters.ieee2030_5.client.carried import Carrier
from gridspine.adapters.ieee2030_5.client.der_control import CANCELLED, SeenControl, SeenProgram
from gridspine.adapters.ieee2030_5.client.end_device import Upstream
from gridspine.adapters.ieee2030_5.client.follower import Follower
from gridspine.adapters.ieee2030_5.client.record import Book, Record
from gridspine.apps.node import retired_programmes
from gridspine.energy.control import Control
from gridspine.energy.control_port import controls_of
from gridspine.energy.programme import Programme
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, drawn, spans
from gridspine.energy.site import Site
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import NotFound, Overloaded
from gridspine.kernel.time import US

DAY_S = 86_400
LIMIT = Control(export_limit_w=500.0)


class Followed:
    """One EndDevice that is followed, without a wire; ``told`` is what was answered, by mRID."""

    def __init__(self, port, site, store):
        self.site, self.store = site, store
        self.port, self.clock, self.record, self.told = port, VirtualClock(time.time_ns() // 1000), Record(), {}
        self.carrier = Carrier(port, self.clock, "urn:example:link", Upstream("grid", site=site.id))
        self.start_us = self.clock.now_us()

    def control(self, mrid="A1", *, begin_s=-5, lasts_s=600, **more):
        begin_us = self.start_us + begin_s * US
        return SeenControl(mrid, "", 1, 0, begin_us, begin_us + lasts_s * US, 0.0, 0.0, LIMIT, **more)

    async def look(self, *controls, programs=("01",), offset_us=0):
        """Carry programs that list ``controls``, and answer."""
        seen = [SeenProgram(mrid, "", 3, Control(), controls) for mrid in programs]
        self.record = await self.carrier.carry(self.record, seen, offset_us)
        listed = {mrid: {} for mrid in self.record.programs}
        listed |= {one.mrid: {control.mrid: control for control in one.controls} for one in seen}
        for program, mrid, control, stands in list(self.carrier.standings(self.record, listed)):
            said = tuple(due(control.told, stands, self.clock.now_us()))
            self.told[mrid] = (*self.told.get(mrid, ()), *said)
            one = self.record.programs[program]
            after = msgspec.structs.replace(control, told=(*control.told, *said))
            one = msgspec.structs.replace(one, controls={**one.controls, mrid: after})
            self.record = msgspec.structs.replace(self.record, programs={**self.record.programs, program: one})

    @property
    def enrolled(self):
        """The programme and the enrolment of the one program that is followed."""
        (one,) = self.record.programs.values()
        return one.programme, one.enrolment

    def events(self):
        """Return the programme's events that stand, the newest first."""
        return [one for one in self.port.programmes.events(self.enrolled[0]) if not one.cancelled_us]


@pytest.fixture
async def followed(tmp_path):
    async with hosting(tmp_path / "data") as (world, context):
        id_, _ = world.client("northside-networks", "operator", "owner")
        password = await asyncio.to_thread(world.node.identity.new_device_password, id_)
        port = controls_of(context).of(await context.authorise(id_, password))
        await world.thing("urn:example:meter", METER)
        site = await port.sites.register(Site(id="", organisation="", title="S", things=("urn:example:meter",)))
        yield Followed(port, site, context.store)


async def test_a_control_that_is_listed_again_is_carried_out_again_and_not_told_of_twice(followed) -> None:
    await followed.look(followed.control())
    (before,) = followed.events()
    await followed.look()
    assert followed.events() == []
    await followed.look(followed.control())
    (again,) = followed.events()
    assert again.id != before.id
    assert again.intervals == before.intervals
    await followed.look(followed.control())
    assert followed.events() == [again], "once"
    assert followed.told == {"A1": (1, 2, 6)}


async def test_a_control_that_chance_moves_lasts_as_long_as_it_was_asked_to(followed) -> None:
    one = followed.control(lasts_s=600)._replace(randomise_start_s=240.0, randomise_duration_s=60.0)
    await followed.look(one)
    (made,) = followed.events()
    lasted = {end - begin for at in range(50) for begin, end, _ in spans(made, drawn(made, str(at)))}
    assert 300 * US <= min(lasted) < max(lasted) <= 360 * US


async def test_what_ran_its_course_and_is_listed_no_more_was_completed(followed) -> None:
    await followed.look(followed.control(lasts_s=60), followed.control("A2", begin_s=300))
    await followed.clock.advance(120)
    await followed.look()
    assert followed.told == {"A1": (1, 2, 3), "A2": (1, 6)}


async def test_what_was_listed_no_more_in_time_was_cancelled_though_it_is_answered_when_it_is_over(followed) -> None:
    await followed.look(followed.control(lasts_s=60))
    before = followed.record
    await followed.look()
    followed.record = before  # the node stopped before it was kept
    await followed.clock.advance(120)
    await followed.look()
    assert followed.told["A1"][-1] == 6


async def test_what_its_owner_opted_out_of_was_not_completed(followed) -> None:
    first, second = followed.control(lasts_s=60), followed.control("A2", begin_s=30, lasts_s=60)
    await followed.look(first, second)
    for one in followed.events():
        await followed.port.enrolments.opt_out(*followed.enrolled, event=one.id)
    await followed.look(first, second)
    await followed.clock.advance(120)
    await followed.look(first)
    assert followed.told == {"A1": (1, 2, 4, 8), "A2": (1, 4, 10)}


async def test_a_program_that_is_listed_again_is_followed_again(followed) -> None:
    await followed.look(followed.control())
    first, _ = followed.enrolled
    await followed.look(programs=())
    assert followed.port.programmes.get(first).retired_us
    await followed.look(followed.control())
    second, enrolment = followed.enrolled
    assert (second != first, followed.port.programmes.get(second).retired_us) == (True, 0)
    assert followed.port.enrolments.get(second, enrolment).state == "active"
    assert len(followed.events()) == 1
    await followed.look(followed.control())
    assert (followed.enrolled, len(followed.events())) == ((second, enrolment), 1)
    assert followed.told == {"A1": (1, 2, 6)}


async def test_what_its_owner_decided_holds_for_what_is_listed_again(followed) -> None:
    await followed.look(followed.control())
    programme, enrolment = followed.enrolled
    await followed.port.enrolments.opt_out(programme, enrolment, event=followed.events()[0].id)
    await followed.look(followed.control())
    await followed.look()
    await followed.look(followed.control())
    (again,) = followed.events()
    assert [one.event for one in followed.port.enrolments.get(programme, enrolment).opt_outs if one.event == again.id]
    assert followed.told == {"A1": (1, 2, 4, 6)}
    await followed.port.enrolments.decide(programme, enrolment, "withdraw")
    await followed.look(programs=())
    await followed.look(followed.control())
    assert followed.enrolled[0] != programme
    assert followed.port.enrolments.get(*followed.enrolled).state == "withdrawn"


async def test_an_event_that_was_cancelled_here_stays_cancelled(followed) -> None:
    await followed.look(followed.control())
    programme, _ = followed.enrolled
    await followed.port.programmes.cancel(programme, followed.events()[0].id, "not now")
    for controls in ((followed.control(),), (), (followed.control(),)):
        await followed.look(*controls)
        assert followed.events() == []


@pytest.mark.parametrize("programs", [("01",), ()])
async def test_what_is_listed_no_more_is_forgotten_however_late_it_would_have_ended(followed, programs) -> None:
    await followed.look(followed.control(lasts_s=20 * 365 * DAY_S), followed.control("A2"))
    followed.clock.step_wall(60)
    await followed.look(programs=programs)
    assert followed.told == {"A1": (1, 7, 6), "A2": (1, 2, 6)}
    followed.clock.step_wall(2 * DAY_S)
    await followed.look(programs=programs)
    assert [list(one.controls) for one in followed.record.programs.values()] == [["A1"]]
    followed.clock.step_wall(6 * DAY_S)
    await followed.look(programs=programs)
    assert [list(one.controls) for one in followed.record.programs.values()] == [[] for _ in programs]


async def test_events_are_at_the_right_time_though_the_clock_was_set(followed) -> None:
    """The node's clock was an hour late, which the server's made up for; then it is set, and there is nothing to."""
    ahead = followed.control(begin_s=7_200)
    await followed.look(ahead, offset_us=3_600 * US)
    assert [one.from_us for one in followed.events()] == [ahead.from_us - 3_600 * US]
    (before,) = followed.events()
    await followed.look(ahead, offset_us=3_590 * US)
    assert followed.events() == [before], "seconds are what a slow answer is wrong by"
    await followed.look(ahead)
    assert [one.from_us for one in followed.events()] == [ahead.from_us]
    await followed.look(ahead)
    assert len(followed.events()) == 1
    assert followed.told == {"A1": (1,)}


async def _moved(followed):
    """Have an event that is to move by an hour; return what was noted before it does, and its control."""
    ahead = followed.control(begin_s=7_200)
    await followed.look(ahead, offset_us=3_600 * US)
    return followed.record, ahead


async def test_what_was_moved_and_not_noted_is_one_event_that_ends_with_its_control(followed) -> None:
    before, ahead = await _moved(followed)
    await followed.look(ahead)
    (second,) = followed.events()
    followed.record = before  # the node stopped before it was kept
    await followed.look(ahead)
    assert followed.events() == [second], "it is found again"
    followed.record = before
    await followed.look(ahead, offset_us=-3_600 * US)
    assert [one.from_us for one in followed.events()] == [ahead.from_us + 3_600 * US], "it moves on"
    followed.record = before
    await followed.look(ahead._replace(status=CANCELLED))
    assert followed.events() == []


@pytest.mark.parametrize("told", ["cancelled", "listed no more"])
async def test_what_was_published_and_not_noted_ends_as_its_server_says(followed, told) -> None:
    await followed.look()
    before, one = followed.record, followed.control()
    await followed.look(one, followed.control("A2"))
    assert len(followed.events()) == 2
    followed.record = before
    ended = (one._replace(status=CANCELLED),) if told == "cancelled" else ()
    await followed.look(*ended, followed.control("A2"))
    assert [event.title for event in followed.events()] == ["DERControl (A2)"]
    await followed.look(one, followed.control("A2"))
    assert len(followed.events()) == (1 if told == "cancelled" else 2)


async def test_what_was_moved_and_not_noted_ends_when_it_is_listed_no_more(followed) -> None:
    before, ahead = await _moved(followed)
    await followed.look(ahead)
    followed.record = before
    await followed.look()
    assert followed.events() == []


async def test_what_may_be_listed_or_is_somebody_elses_is_no_stray(followed) -> None:
    await followed.look()
    before, one = followed.record, followed.control()
    await followed.look(one)
    title, interval = "Maintenance", EventInterval(one.from_us, one.until_us, control=LIMIT)
    other = ProgrammeEvent(
        id="", programme=followed.enrolled[0], organisation="", title=title, intervals=(interval,)
    )  # fmt: skip
    await followed.port.programmes.publish(other)
    seen = SeenProgram("01", "", 3, Control(), (), unread=("",))
    await followed.carrier.carry(before, [seen], 0)
    assert {event.title for event in followed.events()} == {"DERControl (A1)", title}
    await followed.carrier.carry(before, [seen._replace(unread=())], 0)
    assert [event.title for event in followed.events()] == [title]


async def test_an_event_that_could_not_be_published_again_is_when_there_is_room(followed, monkeypatch) -> None:
    _, ahead = await _moved(followed)

    async def full(*given):
        raise Overloaded("no more")

    with monkeypatch.context() as patch:
        patch.setattr(type(followed.port.programmes), "publish", full)
        await followed.look(ahead)
    assert followed.events() == []
    await followed.look(ahead)
    assert [one.from_us for one in followed.events()] == [ahead.from_us]


async def test_a_program_there_is_no_room_for_holds_up_no_other(followed, monkeypatch) -> None:
    made = type(followed.port.programmes).create

    async def full(self, programme):
        if "(01," in programme.title:
            raise Overloaded("no more")
        return await made(self, programme)

    with monkeypatch.context() as patch:
        patch.setattr(type(followed.port.programmes), "create", full)
        await followed.look(followed.control(), programs=("01", "02"))
    assert (set(followed.record.programs), len(followed.events())) == ({"02"}, 1)
    await followed.look(followed.control(), programs=("01", "02"))
    assert set(followed.record.programs) == {"01", "02"}


async def _let_go(followed, programme, monkeypatch):
    """Retire a programme as its operator does, and have the node let it go."""
    await followed.port.programmes.retire(programme)
    with monkeypatch.context() as patch:
        patch.setattr(retired_programmes, "KEPT", 0)
        patch.setattr(retired_programmes, "KEPT_OVER_US", 0)
        await followed.port.programmes.create(Programme(id="", organisation="", title="Another"))
    with pytest.raises(NotFound):
        followed.port.programmes.own(programme)


async def test_what_was_retired_here_stays_ended_when_it_is_let_go(followed, monkeypatch) -> None:
    await followed.look(followed.control())
    before = followed.enrolled
    await _let_go(followed, before[0], monkeypatch)
    for controls in ((followed.control(), followed.control("A2")), (), (followed.control(),)):
        await followed.look(*controls)
        assert [one.title for one in followed.port.programmes.all()] == ["Another"]
        assert followed.enrolled == before
    await followed.look(programs=())
    await followed.look(followed.control())
    assert len(followed.events()) == 1, "the server made it anew"


async def test_readings_are_told_no_more_when_what_asked_for_them_is_let_go(followed, monkeypatch) -> None:
    upstream = Upstream("grid", site=followed.site.id, mirror=("activePower",), post_s=300)
    carrier = Carrier(followed.port, followed.clock, "urn:example:link", upstream)
    record = await carrier.mirror(Record())
    await _let_go(followed, record.mirror.programme, monkeypatch)
    assert await carrier.mirror(record) == record
    follower = Follower(followed.clock, None, None, "urn:example:link", upstream, "AB", 1)
    monkeypatch.setattr(follower, "_walk", type("Walk", (), {"connection": None}))
    assert await follower._mirrored(followed.port, carrier, record) == record
    assert follower.next_us == 0, "nor is it tried again"


async def test_what_was_made_in_another_organisations_name_is_not_followed_on(followed) -> None:
    upstream = Upstream("grid", site=followed.site.id)
    book = Book(followed.store, "grid")
    follower = Follower(followed.clock, book, None, "urn:example:link", upstream, "AB", 1)
    await followed.look(followed.control())
    subject = msgspec.structs.replace(followed.record, subject=followed.site.id)
    for organisation, kept in (("", True), ("northside-networks", True), ("another", False)):
        await book.put("urn:example:link", msgspec.structs.replace(subject, organisation=organisation))
        await follower.look(followed.port, away=True)
        assert bool((await book.get("urn:example:link")).programs) == kept
