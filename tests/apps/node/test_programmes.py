"""Documents of sites and programmes: their bounds, two who change them at once, and what fails half-way."""

import asyncio
import time

import pytest
from running_node import BATTERY, World

from gridspine.apps.node import programme_enrolments, programmes, retired_programmes, sites
from gridspine.energy.site import Site
from gridspine.kernel.errors import Conflict, DiskFull
from gridspine.kernel.time import US, format_rfc3339

FOREVER = "2100-01-01T00:00:00Z"


def at(seconds):
    return format_rfc3339(time.time_ns() // 1000 + round(seconds * US))


def event(begin, end, title="E"):
    signals = [{"type": "PRICE", "values": [1]}]
    return {"title": title, "intervals": [{"from": at(begin), "until": at(end), "signals": signals}]}


async def programme(world):
    answer = await world.op.post("/programmes", json={"title": "P", "signals": [{"payloadType": "PRICE"}]})
    return answer.json()["id"]


async def test_events_are_bounded_and_those_that_are_over_make_room(world: World, monkeypatch) -> None:
    id_ = await programme(world)
    monkeypatch.setattr(programmes, "MAX_EVENTS", 2)
    monkeypatch.setattr(programmes, "KEPT_EVENTS", 1)
    ids = []
    for number in range(4):
        answer = await world.op.post(f"/programmes/{id_}/events", json=event(60, 600, f"E{number}"))
        assert answer.status_code == 201, answer.text
        ids.append(answer.json()["id"])
        assert (await world.op.post(f"/programmes/{id_}/events/{ids[-1]}/cancel")).status_code == 200
    kept = [one["id"] for one in (await world.op.get(f"/programmes/{id_}/events")).json()]
    assert kept == [ids[3], ids[2]], "one that is over beside the newest, which was not when it came"
    for _ in range(2):
        assert (await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))).status_code == 201
    full = await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))
    assert (full.status_code, "2 events" in full.text) == (429, True)


async def test_intervals_of_all_events_and_envelopes_are_bounded(world: World, monkeypatch) -> None:
    id_ = await programme(world)
    monkeypatch.setattr(programmes, "MAX_INTERVALS", 1)
    assert (await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))).status_code == 201
    assert (await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))).status_code == 429
    monkeypatch.setattr(sites, "MAX_INTERVALS", 1)
    site = (await world.op.post("/sites", json={"title": "S"})).json()["id"]
    parts = [{"from": at(at_), "until": at(at_ + 1), "limits": {"importLimitW": 1}} for at_ in (60, 120)]
    answer = await world.op.post(f"/sites/{site}/envelopes", json={"title": "V", "intervals": parts})
    assert answer.status_code == 429
    assert (await world.op.post(f"/sites/{site}/envelopes", json={"title": "V", "intervals": parts[:1]})).is_success


async def test_events_of_any_programme_that_are_long_over_make_room_for_intervals(world: World, monkeypatch) -> None:
    before, id_ = await programme(world), await programme(world)
    monkeypatch.setattr(programmes, "MAX_INTERVALS", 2)
    monkeypatch.setattr(programmes, "_FULL_US", 0)
    for number in range(2):
        made = await world.op.post(f"/programmes/{before}/events", json=event(60, 600, f"E{number}"))
        assert (await world.op.post(f"/programmes/{before}/events/{made.json()['id']}/cancel")).status_code == 200
    full = await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))
    assert (full.status_code, "2 intervals" in full.text) == (429, True), "they are over for a moment only"
    monkeypatch.setattr(programmes, "KEPT_OVER_US", 0)
    assert (await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))).status_code == 201
    assert [one["title"] for one in (await world.op.get(f"/programmes/{before}/events")).json()] == ["E1"]
    assert (await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))).status_code == 201
    full = await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))
    assert full.status_code == 429, "those that are to come make no room"
    assert len((await world.op.get(f"/programmes/{id_}/events")).json()) == 2


async def test_the_oldest_programmes_that_are_retired_are_let_go_with_all_of_theirs(world: World, monkeypatch) -> None:
    monkeypatch.setattr(retired_programmes, "KEPT", 1)
    monkeypatch.setattr(programmes, "MAX_RETIRED", 2)
    site, controls, ids = (await world.op.post("/sites", json={"title": "S"})).json()["id"], world.node.controls, []
    for _ in range(2):
        ids.append(await programme(world))
        assert (await world.op.post(f"/programmes/{ids[-1]}/events", json=event(60, 600))).status_code == 201
        enrolled = await world.op.post(f"/programmes/{ids[-1]}/enrolments", json={"site": site, "until": FOREVER})
        assert enrolled.status_code == 201, enrolled.text
        assert (await world.op.delete(f"/programmes/{ids[-1]}")).status_code == 204
    full = await world.op.post("/programmes", json={"title": "P"})
    assert (full.status_code, "2 programmes that are retired" in full.text) == (429, True), "they may be needed yet"
    monkeypatch.setattr(retired_programmes, "KEPT_OVER_US", 0)
    third = await programme(world)
    assert [(await world.op.get(f"/programmes/{one}")).status_code for one in (*ids, third)] == [404, 200, 200]

    def left():
        books = (controls.programmes.book, controls.programmes.event_book, controls.enrolments.book)
        return [len(book.kept) for book in books]

    assert left() == [2, 1, 1]
    assert [one.programme for one in controls.enrolments.of_subject(site)] == ids[1:]
    await asyncio.to_thread(controls.load)
    assert left() == [2, 1, 1], "nor does a start bring them back"
    assert (await world.op.delete(f"/sites/{site}")).status_code == 204, "nothing comes of what is retired"


@pytest.mark.parametrize(("module", "name", "path", "body"), [
    (sites, "MAX_SITES", "/sites", {"title": "S"}), (programmes, "MAX_PROGRAMMES", "/programmes", {"title": "P"}),
])  # fmt: skip
async def test_there_are_only_so_many(world: World, monkeypatch, module, name, path, body) -> None:
    monkeypatch.setattr(module, name, 1)
    assert [(await world.op.post(path, json=body)).status_code for _ in range(2)] == [201, 429]


async def test_those_who_take_part_are_bounded(world: World, monkeypatch) -> None:
    id_ = await programme(world)
    monkeypatch.setattr(programme_enrolments, "MAX_ENROLMENTS", 1)
    found = []
    for number in range(2):
        thing = await world.thing(f"urn:example:b{number}", BATTERY)
        body = {"thing": thing, "until": FOREVER}
        found.append((await world.op.post(f"/programmes/{id_}/enrolments", json=body)).status_code)
    assert found == [201, 429]


async def test_of_two_who_take_a_thing_at_once_one_has_it(world: World) -> None:
    thing = await world.thing("urn:example:b", BATTERY)
    body = {"title": "S", "things": [thing]}
    answers = await asyncio.gather(*(world.op.post("/sites", json=body) for _ in range(4)))
    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]
    id_ = await programme(world)
    site = next(one.json()["id"] for one in answers if one.status_code == 201)
    asked = {"site": site, "until": FOREVER}
    enrolled = await asyncio.gather(*(world.op.post(f"/programmes/{id_}/enrolments", json=asked) for _ in range(4)))
    assert sorted(one.status_code for one in enrolled) == [201, 409, 409, 409]


async def test_a_change_that_somebody_else_came_before_is_refused(world: World) -> None:
    known = world.node.controls.sites
    made = await known.register(Site(id="", organisation="northside-networks", title="S"), "me")
    book = known.book
    results = await asyncio.gather(
        *(book.keep("site.changed", made, "me") for _ in range(2)), return_exceptions=True
    )  # fmt: skip
    assert sorted(type(one).__name__ for one in results) == ["Conflict", "Site"]
    assert isinstance(next(one for one in results if isinstance(one, Exception)), Conflict)
    assert book.kept[made.id].version == 2


async def test_what_is_committed_counts_though_the_log_did_not_take_it(world: World, monkeypatch) -> None:
    known, id_ = world.node.controls.sites, await programme(world)
    thing = await world.thing("urn:example:b", BATTERY)
    run = world.node.registry.run

    async def failing(work, *, write=True):
        found = await run(work, write=write)
        if write:
            raise DiskFull("no room")
        return found

    monkeypatch.setattr(world.node.registry, "run", failing)
    with pytest.raises(DiskFull):
        await known.register(Site(id="", organisation="northside-networks", title="Kept", things=(thing,)), "me")
    assert known.of_thing(thing)
    answer = await world.op.post(f"/programmes/{id_}/events", json=event(60, 600))
    assert answer.status_code == DiskFull.status
    assert [one["title"] for one in (await world.op.get(f"/programmes/{id_}/events")).json()] == ["E"]
    asked = {"site": known.of_thing(thing), "until": FOREVER}
    assert (await world.op.post(f"/programmes/{id_}/enrolments", json=asked)).status_code == DiskFull.status
    (enrolment,) = (await world.op.get(f"/programmes/{id_}/enrolments")).json()
    assert enrolment["state"] == "requested"
    assert [one.title for one in known.of_organisation("northside-networks")] == ["Kept"]


async def test_a_site_that_is_gone_keeps_nothing_though_the_log_did_not_take_its_end(world: World, monkeypatch) -> None:
    known, run = world.node.controls.sites, world.node.registry.run
    thing = await world.thing("urn:example:b", BATTERY)
    site = (await world.op.post("/sites", json={"title": "S", "things": [thing]})).json()["id"]
    assert (await world.op.post(f"/sites/{site}/envelopes", json={"title": "E"})).status_code == 201

    async def failing(work, *, write=True):
        found = await run(work, write=write)
        if write:
            raise DiskFull("no room")
        return found

    monkeypatch.setattr(world.node.registry, "run", failing)
    assert (await world.op.delete(f"/sites/{site}")).status_code == DiskFull.status
    assert (known.of_thing(thing), known.envelopes(site), known.find(site)) == ("", [], None)
