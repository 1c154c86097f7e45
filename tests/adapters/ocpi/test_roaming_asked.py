"""What partners ask for, and may not have, or not any more; and what is asked of them."""

import asyncio
from dataclasses import replace

import msgspec
import pytest
from ocpi_operator import CHARGER, PLACE, A, B, World, started

from gridspine.adapters.ocpi.client import PartnerError
from gridspine.adapters.ocpi.command import ChargingProfile, ChargingProfilePeriod
from gridspine.adapters.ocpi.cpo_commands import CpoCommands
from gridspine.adapters.ocpi.cpo_profiles import MAX_S, ceiling
from gridspine.adapters.ocpi.latest import MAX_TOLD, LatestSessions
from gridspine.adapters.ocpi.settings import PublishedEvse, read_settings
from gridspine.energy.charging import ChargingPoint, ChargingSession
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.kernel.time import US, format_rfc3339

ACTIONS = frozenset({"unlock", "reserve", "cancelReservation", "remoteStart"})


class Results:
    """Takes results, and answers in place of providers."""

    def __init__(self):
        self.posted, self.answer = [], None

    def check(self, url):
        pass

    async def call(self, method, url, token, body=None, *, to=None):
        if self.answer is None:
            self.posted.append(body.result)
        return await self.answer() if self.answer else None


class Operator(World):
    """With its commands; charging points do as they are asked."""

    def __init__(self, **section):
        super().__init__(**section)
        self.state, self.done, self.given = 1, [], []
        self.port.points = lambda partner, things: [
            ChargingPoint(one, self.state, 1, {"activeEnergyImport": self.port.register}, "", ACTIONS) for one in things
        ]  # fmt: skip
        self.port.ask = self.ask
        self.roaming.client = Results()
        self.commands = CpoCommands(self.roaming, self.later, self.locations, self.tokens, self.sessions)

    async def ask(self, partner, thing, action, given):
        self.done.append((partner, action))
        self.given.append((thing, action, given.get("reservation")))
        return {"reservation": len(self.done)}

    async def command(self, name, partner=A, **body):
        """Have a command carried out, and return what is answered at once."""
        said = {"response_url": "http://x/back", "location_id": "HOME", "evse_uid": "E1", **body}
        made = replace(self.call(partner), method="POST", rest=(name,), body=msgspec.json.encode(said))
        answer = (await self.commands.handlers["POST"](made)).data
        await asyncio.gather(*self.later._tasks)
        return answer

    def token(self, party="AAA", **more):
        token = {
            "country_code": "DE", "party_id": party, "uid": "U1", "type": "RFID", "contract_id": "C1", "issuer": "x",
            "valid": True, "whitelist": "ALLOWED", "last_updated": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        return token | more

    def after(self, hours):
        return format_rfc3339(self.clock.now_us() + round(hours * 3600) * US)


async def operator(**section):
    return await Operator(**section).begin()


async def test_a_cable_is_let_go_for_who_charges_there_and_for_nobody_else() -> None:
    world = await operator()
    assert (await world.command("UNLOCK_CONNECTOR", connector_id="1")).result == "ACCEPTED", "nobody charges"
    world.state = 3
    world.push(B, "U1", "BBB")
    await world.tokens.on_token(CHARGER, "U1", "")
    session = await world.charge("U1")
    refused = await world.command("UNLOCK_CONNECTOR", connector_id="1")
    assert (refused.result, refused.message[0].text) == ("REJECTED", "somebody else charges there")
    assert (await world.command("UNLOCK_CONNECTOR", B, connector_id="1")).result == "ACCEPTED"
    world.clock.step_wall(60)
    own = await world.charge("OWN", "2")
    assert (await world.command("UNLOCK_CONNECTOR", B, connector_id="1")).result == "REJECTED", "it is over, untold"
    await world.sessions.on_session(world.end(session))
    for world.state in (2, 6, None):
        assert (await world.command("UNLOCK_CONNECTOR", B, connector_id="1")).result == "REJECTED", "it still runs"
    world.state = 1
    assert (await world.command("UNLOCK_CONNECTOR", B, connector_id="1")).result == "ACCEPTED", "nobody told its end"
    world.state = 6
    await world.sessions.on_session(world.end(own))
    assert (await world.command("UNLOCK_CONNECTOR", B, connector_id="1")).result == "ACCEPTED", "the cable is stuck"
    assert [partner for partner, _ in world.done] == [A, B, B, B]


async def test_who_gives_a_reservation_up_lets_nobody_begin_by_it() -> None:
    world = await operator()
    asked = {"token": world.token(), "expiry_date": world.after(5), "reservation_id": "R1"}
    assert (await world.command("RESERVE_NOW", **asked)).result == "ACCEPTED"
    assert (await world.tokens.on_token(CHARGER, "U1", "")).status == "Accepted"
    await world.command("CANCEL_RESERVATION", reservation_id="R1")
    world.clock.step_wall(1)
    assert await world.tokens.on_token(CHARGER, "U1", "") is None
    assert world.roaming.client.posted == ["ACCEPTED", "ACCEPTED"]


async def test_who_gives_a_reservation_up_still_begins_by_what_was_asked_since() -> None:
    world = await operator()
    asked = {"token": world.token(), "expiry_date": world.after(5), "reservation_id": "R1"}
    await world.command("RESERVE_NOW", **asked)
    world.clock.step_wall(1)
    assert (await world.command("START_SESSION", token=world.token())).result == "ACCEPTED"
    world.clock.step_wall(1)
    await world.command("CANCEL_RESERVATION", reservation_id="R1")
    world.clock.step_wall(1)
    assert (await world.tokens.on_token(CHARGER, "U1", "")).status == "Accepted"
    await world.command("RESERVE_NOW", **asked)
    again = {"expiry_date": world.after(1), "reservation_id": "R2"}
    await world.command("RESERVE_NOW", **asked | again)
    await world.command("CANCEL_RESERVATION", reservation_id="R1")
    world.clock.step_wall(1)
    assert world.tokens.behind(CHARGER, "U1") is not None, "the other one stands"
    await world.command("CANCEL_RESERVATION", reservation_id="R2")
    world.clock.step_wall(1)
    assert world.tokens.behind(CHARGER, "U1") is None
    assert world.roaming.client.posted == ["ACCEPTED"] * 7


async def test_a_session_is_told_of_though_the_charge_points_clock_was_set_back_before_it() -> None:
    world = await operator()
    world.push(A, "U1", "AAA")
    await world.tokens.on_token(CHARGER, "U1", "")
    world.state = 3
    before = await world.charge("U1")
    await world.sessions.on_session(world.end(before))
    now = msgspec.structs.replace(before, id="2", started_us=before.started_us - 240 * US)
    await world.sessions.on_session(now)
    assert (await world.command("UNLOCK_CONNECTOR", connector_id="1")).result == "ACCEPTED"
    run = asyncio.create_task(world.sessions.run())
    try:
        await asyncio.sleep(0)
        await world.clock.advance(61)
        took = {one["transaction"]: one["energy_wh"] for one in world.kept("own-sessions")}
        assert took == {"1": 5_000.0, "2": 2_000.0}
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


def test_a_session_that_ended_is_the_latest_only_while_none_that_was_told_of_later_runs() -> None:
    latest = LatestSessions()

    def told(id_, began, *, runs=True, again=False):
        latest.tell("urn:a", id_, began, runs=runs, again=again)
        return latest.at("urn:a")

    assert latest.at("urn:a") == ""
    assert [told("left", 10), told("next", 20), told("next", 20, runs=False)] == ["left", "next", "next"]
    assert told("left", 10) == "next", "it runs no more, though nobody told that it ended"
    assert told("back", 5) == "back", "its charge point's clock was set back"
    assert [told("next", 20, runs=False), told("next", 20)] == ["back", "back"], "what ended stays so"
    assert told("further", 1) == "back", "both run, as far as anybody knows"
    assert told("back", 5, runs=False) == "further"
    assert told("new", 30) == "new"


def test_after_a_start_the_session_that_runs_is_the_latest_again() -> None:
    latest = LatestSessions()
    latest.tell("urn:a", "runs", 5, runs=True)  # as it was kept
    for id_, began, runs in (("ended", 20, False), ("runs", 5, True)):
        latest.tell("urn:a", id_, began, runs=runs, again=True)
    assert latest.at("urn:a") == "runs"


def test_of_many_sessions_the_oldest_are_not_remembered() -> None:
    latest = LatestSessions()
    latest.tell("urn:a", "first", 10**6, runs=True)
    for number in range(3 * MAX_TOLD):
        latest.tell("urn:a", f"{number}", number - 5, runs=False)
    assert latest.at("urn:a") == "first"
    assert len(latest._at["urn:a"].runs) == MAX_TOLD


async def test_a_reservation_that_is_made_again_is_one_wherever_it_is() -> None:
    two = [{"thing": CHARGER, "uid": "E1"}, {"thing": "urn:second", "uid": "E2"}]
    world = await operator(locations=[PLACE | {"evses": two}])
    given = {"token": world.token(), "reservation_id": "R1", "expiry_date": world.after(1)}
    states = {CHARGER: 1, "urn:second": 1}
    world.port.points = lambda partner, things: [ChargingPoint(one, states[one], 1, {}, "", ACTIONS) for one in things]
    await world.command("RESERVE_NOW", **given, evse_uid=None)
    states[CHARGER] = 7
    await world.command("RESERVE_NOW", **given, evse_uid=None)
    assert world.given == [(CHARGER, "reserve", None), (CHARGER, "reserve", 1)], "the same, though another is free"
    await world.command("RESERVE_NOW", **given, evse_uid="E2")
    assert world.given[2:] == [("urn:second", "reserve", None), (CHARGER, "cancelReservation", 2)]
    assert [one["thing"] for one in world.kept("reservations")] == ["urn:second"]
    world.clock.step_wall(1)
    assert world.tokens.behind(CHARGER, "U1") is None
    assert world.tokens.behind("urn:second", "U1") is not None


async def test_reservations_whose_time_is_over_make_room() -> None:
    world = await operator(kept=3)
    for number in range(6):
        asked = {"token": world.token(), "expiry_date": world.after(1), "reservation_id": f"R{number}"}
        assert (await world.command("RESERVE_NOW", **asked)).result == "ACCEPTED"
        world.clock.step_wall(2 * 3600)
    assert world.roaming.client.posted == ["ACCEPTED"] * 6
    assert [one["number"] for one in world.kept("reservations")] == [6]
    with pytest.raises(Invalid, match="no time of OCPI"):
        await world.command("RESERVE_NOW", **asked | {"expiry_date": "2026-13-01T00:00:00Z"})
    assert len(world.done) == 6


async def test_a_token_that_was_blocked_since_it_was_started_with_charges_no_more() -> None:
    world = await operator()
    await world.command("START_SESSION", token=world.token())
    assert (await world.tokens.on_token(CHARGER, "U1", "")).status == "Accepted"
    made = msgspec.convert(world.token(valid=False), type(world.push(A, "OTHER", "AAA")))
    world.tokens._arrange(A, made)
    assert (await world.tokens.on_token(CHARGER, "U1", "")).status == "Accepted", "the start is the newer word"
    world.tokens._arrange(A, msgspec.structs.replace(made, last_updated="2026-01-01T00:00:01Z"))
    assert (await world.tokens.on_token(CHARGER, "U1", "")).status == "Blocked"


BESIDE = "urn:beside"
BOTH = PLACE | {"evses": [{"thing": CHARGER, "uid": "E1"}, {"thing": BESIDE, "uid": "E2"}]}


@pytest.mark.parametrize("command", ["START_SESSION", "RESERVE_NOW"])
async def test_a_start_lets_its_token_charge_at_its_whole_charge_point_and_a_reservation_where_it_is(command) -> None:
    """StartSession object: a driver may use the card at the same charge point instead, for a quarter of an hour."""
    world = await operator(locations=[BOTH])
    reserved = {"expiry_date": world.after(5), "reservation_id": "R1"}
    await world.command(command, token=world.token(), **reserved if command == "RESERVE_NOW" else {})
    assert await world.tokens.on_token(BESIDE, "U1", "") is None, "of another charge point"
    verdict = await world.tokens.on_token(BESIDE, "U1", "", (CHARGER,))
    session = ChargingSession(BESIDE, "1", "U1", world.clock.now_us(), None, 1_000.0, beside=(CHARGER,))
    for said in (session, world.end(session)):
        await world.sessions.on_session(said)
    if command == "RESERVE_NOW":
        assert (verdict, world.kept("own-cdrs")) == (None, [])
        return
    (own,) = world.kept("own-cdrs")
    assert (verdict.status, own["thing"], own["method"], own["energy_wh"]) == ("Accepted", BESIDE, "COMMAND", 5_000.0)


async def test_what_was_let_in_at_an_evse_itself_counts_before_what_was_started_beside_it() -> None:
    world = await operator(locations=[BOTH])
    await world.command("START_SESSION", token=world.token())
    world.push(B, "U1", "BBB")
    await world.tokens.on_token(BESIDE, "U1", "")
    world.clock.step_wall(1)
    await world.command("START_SESSION", token=world.token())
    assert world.tokens.behind(BESIDE, "U1", (CHARGER,)).partner == B


async def test_a_provider_is_asked_of_the_location_alone_while_the_evse_is_not_known() -> None:
    world = await operator(locations=[BOTH])
    token = world.push(A, "U1", "AAA", "NEVER")
    asked = []

    async def call(method, url, given, body=None, *, to=None):
        asked.append((body.location_id, body.evse_uids))
        place = {"location_id": "HOME", "evse_uids": ["E2"]}
        return {"allowed": "ALLOWED", "token": msgspec.to_builtins(token), "location": place}

    world.roaming.client.call = call
    assert (await world.tokens.on_token(CHARGER, "U1", "", (BESIDE,), anywhere=True)).status == "Accepted"
    assert (await world.tokens.on_token(CHARGER, "U1", "", (BESIDE,))).status == "Invalid"
    assert world.tokens.behind(CHARGER, "U1") is None, "it was allowed elsewhere"
    assert (await world.tokens.on_token(BESIDE, "U1", "", (CHARGER,))).status == "Accepted"
    assert asked == [("HOME", ()), ("HOME", ("E1",)), ("HOME", ("E2",))]
    assert world.tokens.behind(BESIDE, "U1").partner == A


async def test_what_a_provider_says_of_its_token_is_heard_and_waited_for_briefly() -> None:
    world = await operator()
    token = world.push(A, "U1", "AAA", "ALLOWED_OFFLINE")

    async def verdict(answer):
        world.roaming.client.answer = answer
        return (await world.tokens.on_token(CHARGER, "U1", "")).status

    async def unknown():
        raise PartnerError("it answers 2004", 2004, 200)

    async def away():
        raise Unavailable("cannot be reached")

    def allowed(*evses):
        async def answer():
            place = {"location_id": "HOME", "evse_uids": list(evses)}
            return {"allowed": "ALLOWED", "token": msgspec.to_builtins(token), "location": place}

        return answer

    assert await verdict(unknown) == "Invalid", "the provider was there, and knows no such token"
    assert await verdict(allowed("E2")) == "Invalid", "not at this EVSE"
    assert [await verdict(allowed(*evses)) for evses in (("e1", "E2"), ())] == ["Accepted", "Accepted"]
    assert await verdict(away) == "Accepted", "offline it may charge"

    async def hangs():
        await asyncio.Event().wait()

    asked = asyncio.create_task(verdict(hangs))
    async with asyncio.timeout(40):
        while not asked.done():
            await world.clock.advance(1)
    assert asked.result() == "Accepted"
    assert world.clock.monotonic_us() < 30 * US


async def test_a_session_that_nobody_ended_takes_nothing_of_the_next() -> None:
    world = await started()
    world.push(A, "U1", "AAA")
    await world.tokens.on_token(CHARGER, "U1", "")
    await world.charge("U1")
    run = asyncio.create_task(world.sessions.run())
    await asyncio.sleep(0)
    await world.clock.advance(61)
    assert world.kept("own-sessions")[0]["energy_wh"] == 2_000.0
    await world.charge("OWN", "2")
    world.port.register = 50_000.0
    await world.clock.advance(61)
    assert world.kept("own-sessions")[0]["energy_wh"] == 2_000.0, "what is metered now is somebody else's"
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_a_record_ends_no_earlier_than_it_begins() -> None:
    """A charge point's clock was put right meanwhile."""
    world = await started()
    world.push(A, "U1", "AAA")
    await world.tokens.on_token(CHARGER, "U1", "")
    session = await world.charge("U1")
    await world.sessions.on_session(
        msgspec.structs.replace(session, ended_us=session.started_us - 60 * US, meter_stop_wh=6_000.0)
    )
    (own,) = world.kept("own-cdrs")
    assert (own["ended_us"], own["energy_wh"]) == (own["started_us"], 5_000.0)


def test_a_profile_lasts_a_year_at_most() -> None:
    period = (ChargingProfilePeriod(0, 6.0), ChargingProfilePeriod(1 << 50, 8.0))
    made = ChargingProfile("A", None, 1 << 53, charging_profile_period=period)
    found = ceiling(made, PublishedEvse("urn:a"), "currentLimit", US)
    assert (found.until_us - found.from_us, len(found.steps)) == (MAX_S * US, 1)


def test_no_two_evses_have_one_uid() -> None:
    given = {"country_code": "NL", "party_id": "CPO", "name": "x"}
    other = PLACE | {"id": "AWAY", "evses": [{"thing": "urn:b", "uid": "e1"}]}
    with pytest.raises(Invalid, match="a uid is named twice"):
        read_settings(given | {"locations": [PLACE, other]})
