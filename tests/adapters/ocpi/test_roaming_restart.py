"""What outlasts a stop of the node: sessions and records are neither lost nor billed twice."""

import asyncio
from dataclasses import replace

import msgspec
from ocpi_operator import CHARGER, PLACE, A, World, roamed, started

from gridspine.adapters.ocpi.authorised import ASKED_US
from gridspine.adapters.ocpi.cpo_cdrs import AGAIN_S
from gridspine.adapters.ocpi.own import CDRS, SESSIONS
from gridspine.energy.charging import ChargingSession, LimitState
from gridspine.kernel.time import US


async def test_what_was_let_in_is_known_after_a_restart_and_billed_though_it_is_told_of_late() -> None:
    world = await started()
    world.push(A, "U1", "AAA")
    before = world.clock.now_us()
    world.clock.step_wall(3600)
    await world.tokens.on_token(CHARGER, "U1", "")
    began_us = world.clock.now_us()
    world.clock.step_wall(4 * ASKED_US / US)
    again = World(store=world.store, clock=world.clock)
    await again.begin()
    await again.tokens.load()
    assert again.tokens.behind(CHARGER, "U1") is None, "it stands no more for what begins now"
    late = ChargingSession(CHARGER, "late", "U1", began_us, began_us + 600 * US, 1_000.0, 3_000.0, again=True)
    yesterdays = msgspec.structs.replace(late, id="other", started_us=before, ended_us=before + 60 * US)
    tomorrows = msgspec.structs.replace(late, id="new", started_us=again.clock.now_us())
    for one in (late, late, yesterdays, tomorrows):
        await again.sessions.on_session(one)
    assert [(one["transaction"], one["energy_wh"]) for one in again.kept(CDRS)] == [("late", 2_000.0)]


async def test_a_partner_that_registered_anew_has_nothing_noted() -> None:
    world = await started()
    world.push(A, "U1", "AAA")
    await world.tokens.on_token(CHARGER, "U1", "")
    partner = world.roaming.book.partner(A)
    again = World(store=world.store, clock=world.clock)
    await again.begin()
    await again.roaming.book.keep(msgspec.structs.replace(partner, since_us=world.clock.now_us() + 1))
    await again.tokens.load()
    assert again.tokens.behind(CHARGER, "U1") is None
    assert not [key for key in world.store.content if key.startswith("noted/")]


async def test_a_record_is_the_same_whatever_the_settings_say_meanwhile() -> None:
    def tariffs(price):
        part = {"type": "ENERGY", "price": price, "step_size": 1}
        return [{"id": "T", "currency": "EUR", "elements": [{"price_components": [part]}]}]

    place = {**PLACE, "evses": [{"thing": CHARGER, "uid": "E1", "tariff_ids": ["T"]}]}
    world = await started(tariffs=tariffs(0.5), locations=[place])
    session = await roamed(world)
    again = await World(store=world.store, clock=world.clock, tariffs=tariffs(9.0), locations=[place]).begin()
    await again.sessions.on_session(world.end(session))
    (one,) = (await again.cdrs.handlers["GET"](again.call())).data
    assert (one.total_cost.excl_vat, one.tariffs[0]["elements"][0]["price_components"][0]["price"]) == (2.5, 0.5)
    world.clock.step_wall(60)
    (later,) = (await again.cdrs.handlers["GET"](again.call())).data
    assert later == one


async def test_a_start_tells_what_was_not_heard_and_undoes_what_was_left() -> None:
    world = await World().begin(endpoints=["sessions", "cdrs"])
    session = await roamed(world)
    id_ = world.kept(SESSIONS)[0]["id"]
    await world.profiles._swap(A, id_, LimitState("c1", True, True))
    world.sessions.ended.clear()  # the power goes before
    await world.sessions.on_session(world.end(session))
    assert world.port.released == []
    again = await World(store=world.store, clock=world.clock).begin(endpoints=["sessions", "cdrs"])
    await again.sessions.load()
    assert list(again.pushes._waiting[A]) == [f"session/{id_}", f"cdr/{id_}"]
    assert again.pushes._waiting[A][f"session/{id_}"].body.status == "COMPLETED"
    running = asyncio.create_task(again.sessions.run())
    for _ in range(20):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert again.port.released == ["c1"]
    assert again.kept(SESSIONS)[0].get("profile", "") == ""
    await again.pushes._waiting[A][f"cdr/{id_}"].taken()
    third = await World(store=world.store, clock=world.clock).begin(endpoints=["sessions", "cdrs"])
    await third.sessions.load()
    assert third.pushes._waiting == {}, "taken is taken"


async def test_a_record_that_is_not_taken_is_pushed_anew() -> None:
    world = await World().begin(endpoints=["cdrs"])
    session = await roamed(world)
    await world.sessions.on_session(world.end(session))
    world.pushes._waiting.clear()
    running = asyncio.create_task(world.cdrs.run())
    await asyncio.sleep(0)
    await world.clock.advance(AGAIN_S + 1)
    assert [key.partition("/")[0] for key in world.pushes._waiting[A]] == ["cdr"]
    running.cancel()
    await asyncio.wait([running])


async def test_what_began_where_nothing_is_published_any_more_ends_and_is_billed() -> None:
    world = await started()
    session = await roamed(world)
    (kept,) = world.kept(SESSIONS)
    other = {**PLACE, "evses": [{"thing": "urn:other", "uid": "E9"}]}
    again = await World(store=world.store, clock=world.clock, locations=[other]).begin()
    await again.tokens.load()
    await again.sessions.load()
    profile = {"charging_rate_unit": "A", "charging_profile_period": [{"start_period": 0, "limit": 6}]}
    body = msgspec.json.encode({"charging_profile": profile, "response_url": "http://x/back"})
    call = replace(again.call(), rest=(kept["id"],), body=body, query={"response_url": "http://x/", "duration": "60"})
    again.later.check = lambda call, url: None
    done = []
    again.later.begin = lambda call, url, work: done.append(work) or True
    assert (await again.profiles.handlers["PUT"](call)).data.result == "NOT_SUPPORTED"
    assert (await again.profiles.handlers["GET"](call)).data.result == "ACCEPTED"
    assert (await done[0]()).result == "REJECTED"
    await again.sessions.on_session(msgspec.structs.replace(session, id="2", again=True))
    await again.sessions.on_session(world.end(session))
    assert [(one["transaction"], one["energy_wh"]) for one in again.kept(CDRS)] == [("1", 5_000.0)]
    assert len(again.kept(SESSIONS)) == 1, "nothing begins there any more"
    await again.sessions.on_session(msgspec.structs.replace(session, thing="urn:third", id="3"))
    assert again.sessions._latest.at("urn:third") == ""
