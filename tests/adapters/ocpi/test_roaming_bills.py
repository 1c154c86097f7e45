"""Who is billed for what: tokens, sessions and records of ours, at a charging port that does as it is told."""

import asyncio
import contextlib

import msgspec
import pytest
from ocpi_operator import CHARGER, PRIVATE, A, B, World, roamed, started

from gridspine.adapters.ocpi.authorised import ASKED_US, MAX_NOTED
from gridspine.adapters.ocpi.book import Full
from gridspine.adapters.ocpi.cpo import Cpo
from gridspine.adapters.ocpi.own import CDRS, SESSIONS
from gridspine.apps.node.charging import Charging
from gridspine.energy.charging import ChargingSession, LimitState
from gridspine.kernel.errors import Conflict, Overloaded
from gridspine.kernel.time import US


async def test_no_partner_charges_where_none_is_shown_a_charging_point() -> None:
    world = await started()
    world.push(A, "U1", "AAA")
    world.push(A, "U2", "AAA", "NEVER")
    assert await world.tokens.on_token(PRIVATE, "U1", "") is None
    assert await world.tokens.on_token(PRIVATE, "U2", "") is None
    verdict = await world.tokens.on_token(CHARGER, "U1", "")
    assert verdict is not None
    assert verdict.status == "Accepted"


async def test_a_session_is_a_partners_only_if_its_token_was_let_in_for_it() -> None:
    world = await started()
    world.push(A, "U1", "AAA")
    await world.charge("U1", "local")
    assert world.kept(SESSIONS) == [], "it pushed the token, but nobody asked whether it may charge"
    await world.tokens.on_token(CHARGER, "U1", "")
    own = ChargingSession(CHARGER, "own", "U1", world.clock.now_us(), None, 1_000.0, own=True)
    await world.sessions.on_session(own)
    assert world.kept(SESSIONS) == [], "it stands in the list of the charging points' own operator"
    await world.charge("u1", "roaming")
    (kept,) = world.kept(SESSIONS)
    assert (kept["transaction"], kept["method"]) == ("roaming", "WHITELIST")


async def test_what_is_noted_stands_for_a_while_and_goes_with_its_partner() -> None:
    world = await started()
    token = world.push(A, "U1", "AAA")
    partner = world.roaming.book.partner(A)
    await world.tokens.expect(CHARGER, partner, token, "ref")
    assert world.tokens.behind(CHARGER, "U1").reference == "ref"
    world.clock.step_wall(ASKED_US / US + 1)
    assert world.tokens.behind(CHARGER, "U1") is None
    await world.tokens.expect(CHARGER, partner, token, None, world.clock.now_us() + 2 * ASKED_US)
    world.clock.step_wall(ASKED_US / US + 1)
    assert world.tokens.behind(CHARGER, "U1") is not None, "reserved until later"
    world.tokens.forget(A)
    assert world.tokens.behind(CHARGER, "U1") is None
    assert await world.tokens.on_token(CHARGER, "U1", "") is None


async def test_a_partner_that_asks_much_lets_nobody_else_be_forgotten() -> None:
    world = await started()
    await world.tokens.expect(CHARGER, world.roaming.book.partner(B), world.push(B, "UB", "BBB"), None)
    token = world.push(A, "U1", "AAA")
    for number in range(MAX_NOTED + 5):
        given = msgspec.structs.replace(token, uid=f"U{number}")
        await world.tokens.expect(CHARGER, world.roaming.book.partner(A), given, None)
    assert world.tokens.behind(CHARGER, "UB").partner == B
    assert world.tokens.behind(CHARGER, "U4") is None
    assert world.tokens.behind(CHARGER, "U5") is not None


async def test_a_partner_that_has_just_gone_keeps_no_other_from_being_asked() -> None:
    world = await started()
    world.push(A, "U1", "AAA")
    world.push(B, "U1", "BBB")
    world.port.gone.add(A)
    assert (await world.tokens.on_token(CHARGER, "U1", "")).status == "Accepted"
    assert world.tokens.behind(CHARGER, "U1").partner == B


async def test_a_record_is_kept_whatever_goes_wrong_with_what_ends() -> None:
    world = await started()
    session = await roamed(world)

    async def fails(partner, own):
        raise Conflict("not now")

    world.sessions.ended.insert(0, fails)
    await world.sessions.on_session(world.end(session))
    assert [one["energy_wh"] for one in world.kept(CDRS)] == [5_000.0]
    assert world.kept(SESSIONS)[0]["ended_us"]
    await world.sessions.on_session(world.end(session))
    assert len(world.kept(CDRS)) == 1


async def test_a_session_stopped_between_its_record_and_its_end_has_ended() -> None:
    world = await started()
    session = await roamed(world)
    put = world.store.put

    async def stops(key, value):
        if "own-sessions" in key:
            raise RuntimeError("the power is gone")
        await put(key, value)

    world.store.put = stops
    with pytest.raises(RuntimeError):
        await world.sessions.on_session(world.end(session))
    world.store.put = put
    again = await World(store=world.store, clock=world.clock).begin()
    await again.sessions.load()
    assert again.kept(SESSIONS)[0]["ended_us"] == again.kept(CDRS)[0]["ended_us"]
    await again.sessions.on_session(world.end(session))
    assert len(again.kept(CDRS)) == 1


async def test_what_a_session_took_so_far_does_not_bring_back_one_that_ended() -> None:
    world = await started()
    session = await roamed(world)
    (kept,) = world.kept(SESSIONS)
    own = world.sessions.find(A, kept["id"])
    await asyncio.gather(
        world.sessions.on_session(world.end(session)), world.sessions._measure(A, own), world.sessions._measure(A, own)
    )
    assert world.kept(SESSIONS)[0]["ended_us"]
    await world.sessions._measure(A, own)
    assert world.kept(SESSIONS)[0]["ended_us"]
    assert world.kept(SESSIONS)[0]["energy_wh"] == 5_000.0


async def test_a_ceiling_ends_with_its_session_and_brings_none_back() -> None:
    world = await started()
    session = await roamed(world)
    id_ = world.kept(SESSIONS)[0]["id"]
    assert await world.profiles._swap(A, id_, LimitState("c1", True, True))
    assert await world.profiles._swap(A, id_, LimitState("c2", True, True))
    assert world.port.released == ["c1"]
    await asyncio.gather(
        world.sessions.on_session(world.end(session)), world.profiles._swap(A, id_, LimitState("c3", True, True))
    )
    assert set(world.port.released) == {"c1", "c2", "c3"}
    assert world.kept(SESSIONS)[0]["ended_us"]
    assert not world.kept(SESSIONS)[0].get("profile")


async def test_the_ceiling_that_cannot_be_ended_costs_no_record() -> None:
    world = await started()
    session = await roamed(world)
    await world.profiles._swap(A, world.kept(SESSIONS)[0]["id"], LimitState("c1", True, True))
    world.port.refuses = True
    await world.sessions.on_session(world.end(session))
    assert len(world.kept(CDRS)) == 1


async def test_a_partner_that_only_fetches_loses_no_new_record() -> None:
    world = await started(kept=3)
    for number in range(6):
        session = await roamed(world, str(number))
        world.clock.step_wall(1)
        await world.sessions.on_session(world.end(session))
    assert {one["transaction"] for one in world.kept(CDRS)} == {"3", "4", "5"}, "the oldest is let go"
    fetched = await world.cdrs.handlers["GET"](world.call(offset="2"))
    assert [one.total_energy for one in fetched.data] == [5.0]
    assert [one["transaction"] for one in world.kept(CDRS) if one.get("told")] == ["5"]
    session = await roamed(world, "6")
    await world.sessions.on_session(world.end(session))
    assert {one["transaction"] for one in world.kept(CDRS)} == {"3", "4", "6"}, "what was taken goes first"


async def test_a_register_that_ran_backwards_is_no_bill() -> None:
    world = await started()
    session = await roamed(world)
    assert world.end(session, 900.0).energy_wh is None
    await world.sessions.on_session(world.end(session, 900.0))
    assert world.kept(CDRS) == []
    assert world.sessions.find(A, world.kept(SESSIONS)[0]["id"]).status == "INVALID"


async def test_a_page_makes_no_more_than_it_shows() -> None:
    world = await started()
    for number in range(4):
        await roamed(world, str(number))
    made = []
    session = world.bill.session
    world.bill.session = lambda own, version: made.append(own.id) or session(own, version)
    page = await world.sessions.handlers["GET"](world.call(limit="1"))
    assert len(page.data) == len(made) == 1
    assert ("x-total-count", "4") in page.headers


async def test_what_runs_when_its_partner_goes_is_still_recorded() -> None:
    world = await started()
    session = await roamed(world)
    with contextlib.suppress(KeyError):
        del world.roaming.book._partners[A]
    await world.sessions.on_session(world.end(session))
    assert len(world.kept(CDRS)) == 1


async def test_locations_are_looked_at_once_for_all_and_a_partner_that_goes_ends_nothing() -> None:
    world = await World().begin(endpoints=["locations"])
    running = asyncio.create_task(world.locations.run())
    for _ in range(20):
        await asyncio.sleep(0)
    asked = world.port.asked
    await world.clock.advance(1.0)
    assert world.port.asked == asked + 1, "two partners of one organisation"
    page = await world.locations.handlers["GET"](world.call())
    assert [one.id for one in page.data] == ["HOME"]
    assert world.port.asked == asked + 1
    world.port.gone.add(A)
    await world.clock.advance(2.0)
    assert not running.done()
    assert sorted(world.pushes._waiting) == [A, B]
    running.cancel()
    await asyncio.wait([running])


async def test_what_a_busy_store_did_not_take_is_told_again_and_billed() -> None:
    world = await started()
    port = Charging(None, None, None, None, world.clock)
    port.listen(world.sessions.on_session, world.tokens.on_token)
    world.push(A, "U1", "AAA")
    await world.tokens.on_token(CHARGER, "U1", "")
    session = ChargingSession(CHARGER, "1", "U1", world.clock.now_us(), None, 1_000.0)
    put = world.store.put

    async def busy(key, value):
        raise Overloaded("too many changes wait")

    for said in (session, world.end(session)):
        world.store.put = busy
        with pytest.raises(Overloaded):  # nobody acknowledges it to the charge point, which says it again
            await port.report(said)
        world.store.put = put
        await port.report(said)
    assert [one["energy_wh"] for one in world.kept(CDRS)] == [5_000.0]


async def test_what_was_told_of_before_is_taken_in_when_the_store_is_busy_no_more() -> None:
    world = await started()
    session = await roamed(world)
    cpo = Cpo(world.roaming, world.pushes, world.later)
    ends = [world.end(session), msgspec.structs.replace(session, id="full"), msgspec.structs.replace(session, id="3")]
    world.port.recent, world.port.listen = lambda: ends, lambda *_: lambda: None
    taken, busy = [], [Overloaded("busy", retry_after_s=2), Overloaded("busy")]

    async def take(session):
        if busy:
            raise busy.pop()
        if session.id == "full":
            raise Full("no room", retry_after_s=3600)
        taken.append(session.id)

    cpo.sessions.on_session = take
    run = asyncio.create_task(cpo.run())
    async with asyncio.timeout(40):
        while len(taken) < 2:
            await world.clock.advance(0.5)
    assert (taken, world.clock.monotonic_us() < 600 * US) == (["1", "3"], True)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_a_session_that_there_is_no_room_for_goes_on() -> None:
    world = await started()
    world.push(A, "U1", "AAA")
    await world.tokens.on_token(CHARGER, "U1", "")
    keep = world.roaming.book.keep_object

    async def full(place, kept):
        raise Full("as many as may be", retry_after_s=3600)

    world.roaming.book.keep_object = full
    session = await world.charge("U1")
    assert world.kept(SESSIONS) == []
    world.roaming.book.keep_object = keep
    await world.sessions.on_session(session)
    world.roaming.book.keep_object = full
    with pytest.raises(Full):
        await world.sessions.on_session(world.end(session))
