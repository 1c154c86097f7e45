"""Two nodes roam, in both versions: an operator with a charge point of OCPP 1.6, and a provider of drivers."""

import asyncio
import contextlib

import msgspec
import pytest
import pytest_asyncio
from ocpi_charge_point import charging
from ocpi_pairing import pair, registered
from running_node import until

from gridspine.apps.node.adapters import RegistryStore

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHARGER = "urn:example:charger"
LOCATIONS = [{
    "id": "HOME", "address": "Street 1", "city": "Town", "country": "NLD", "latitude": "52.1", "longitude": "4.35",
    "time_zone": "Europe/Amsterdam", "name": "Home",
    "evses": [{"thing": CHARGER, "uid": "E1", "evse_id": "NL*CPO*E1", "tariff_ids": ["T"]}],
}]  # fmt: skip
ENERGY = {"type": "ENERGY", "price": 0.4, "step_size": 1, "vat": 20.0}
FLAT = {"type": "FLAT", "price": 1.0, "step_size": 1, "vat": 20.0}
CPO = {
    "allow": ("ocpi", "ocpp"), "locations": LOCATIONS, "others": {"ocpp": {"tokens": [{"id": "LOCAL1"}]}},
    "tariffs": [{"id": "T", "currency": "EUR", "elements": [{"price_components": [ENERGY, FLAT]}]}],
}  # fmt: skip
TOKENS = [
    {"uid": "RFID1", "contract_id": "DE-MSP-1"}, {"uid": "ASK1", "contract_id": "DE-MSP-2", "whitelist": "NEVER"},
    {"uid": "BAD1", "contract_id": "DE-MSP-3", "whitelist": "NEVER", "valid": False},
    {"uid": "LOCAL1", "contract_id": "DE-MSP-4"},
]  # fmt: skip


class Journey:
    def __init__(self, cpo, emsp, point, version):
        self.cpo, self.emsp, self.point, self.version = cpo, emsp, point, version
        self.evse = ""

    async def value(self, name, thing=""):
        answer = await self.emsp.op.get(f"/things/{thing or self.evse}/properties/{name}/value")
        return answer.json() if answer.status_code == 200 else None

    async def reads(self, name, wanted):
        async with asyncio.timeout(60):
            while await self.value(name) != wanted:
                await asyncio.sleep(0.05)

    async def kept(self, action, member, condition):
        async with asyncio.timeout(60):
            while True:
                found = (await self.emsp.act(action))[member]
                if any(condition(one) for one in found):
                    return next(one for one in found if condition(one))
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["2.2.1", "2.3.0"])
async def journey(request, tmp_path_factory):
    async with contextlib.AsyncExitStack() as stack:
        folder = tmp_path_factory.mktemp("roaming")
        emsp_section = {"tokens": TOKENS, "roles": ["EMSP"]}
        cpo, emsp = await stack.enter_async_context(
            pair(folder, versions=(request.param,), cpo={**CPO, "roles": ["CPO"]}, emsp=emsp_section)
        )
        await until(lambda: "ocpp.ocpp" in cpo.world.node.adapters.listening)
        point = await stack.enter_async_context(charging(cpo.world, CHARGER))
        said = await registered(cpo, emsp)
        assert said["version"] == request.param
        made = Journey(cpo, emsp, point, request.param)
        made.evse = await admitted(emsp)
        yield made


async def admitted(emsp):
    """Take the announced EVSE in and return its Thing."""
    async with asyncio.timeout(60):
        while True:
            waiting = (await emsp.op.get("/announcements")).json()
            waiting = waiting.get("announcements", waiting) if isinstance(waiting, dict) else waiting
            if waiting:
                break
            await asyncio.sleep(0.05)
    (one,) = waiting
    answer = await emsp.op.post(f"/announcements/{one['id']}/accept", json={})
    assert answer.status_code in {200, 201}, answer.text
    thing = answer.json()["thing"]
    answer = await emsp.op.post(f"/things/{thing}/lifecycle", json={"to": "commissioned", "why": "roaming"})
    assert answer.status_code == 200, answer.text
    return thing


async def test_an_evse_of_the_partner_is_a_thing_with_its_state(journey) -> None:
    await journey.reads("connectorState", 1)
    await journey.point.state("Faulted")
    await journey.reads("connectorState", 9)
    await journey.point.state("Available")
    await journey.reads("connectorState", 1)
    assert (await journey.emsp.act("partner"))["kept"] == {"locations": 1, "tariffs": 1}


async def test_a_session_is_started_limited_and_billed(journey) -> None:
    assert await journey.emsp.act("remoteStart", {"token": "RFID1"}, thing=journey.evse) == {"token": "RFID1"}
    session = await journey.kept("sessions", "sessions", lambda one: one["status"] == "ACTIVE")
    assert (session["auth_method"], session["cdr_token"]["contract_id"]) == ("COMMAND", "DE-MSP-1")
    body = {"thing": journey.evse, "point": "currentLimit", "value": 10, "durationS": 600}
    answer = await journey.emsp.op.post("/commands", json=body)
    assert answer.status_code in {200, 201}, answer.text
    command = answer.json()["id"]
    async with asyncio.timeout(30):
        while (await journey.emsp.op.get(f"/commands/{command}")).json()["state"] != "applied":
            await asyncio.sleep(0.05)
    assert journey.point.limit_a == 10
    assert await journey.value("currentLimit") == 10
    (theirs,) = journey.cpo.world.node.commands.commander.commands(CHARGER)
    assert theirs.lease.principal == f"partner:{journey.cpo.partner}"
    await journey.emsp.act("remoteStop", {}, thing=journey.evse)
    record = await journey.kept("records", "records", lambda one: one["session_id"] == session["id"])
    assert (record["total_energy"], record["currency"]) == (5.0, "EUR")
    before = record["total_cost"]["excl_vat" if journey.version == "2.2.1" else "before_taxes"]
    assert before == pytest.approx(5 * 0.4 + 1)
    if journey.version == "2.2.1":
        assert record["total_cost"]["incl_vat"] == pytest.approx(3 * 1.2)
    else:
        assert record["total_cost"]["taxes"] == [{"name": "VAT", "amount": pytest.approx(0.6), "percentage": 20.0}]
    await journey.reads("sessionEnergy", 5000)
    await until(lambda: journey.point.limit_a == 32)  # the ceiling ended with the session
    with pytest.raises(RuntimeError, match="no session"):
        await journey.emsp.act("remoteStop", {}, thing=journey.evse)


async def test_tokens_of_the_partner_charge_as_their_whitelist_says(journey) -> None:
    async def says(token, wanted):
        async with asyncio.timeout(60):
            while (found := (await journey.point.call("Authorize", idTag=token))["idTagInfo"]["status"]) != wanted:
                await asyncio.sleep(0.1)
        return found

    await says("RFID1", "Accepted")
    await says("ASK1", "Accepted")
    await says("BAD1", "Blocked")
    assert await says("nobody", "Invalid") == "Invalid"
    await journey.point.start("ASK1")
    session = await journey.kept("sessions", "sessions", lambda one: one["cdr_token"]["uid"] == "ASK1")
    assert session["auth_method"] == "AUTH_REQUEST"
    assert session["authorization_reference"]
    await journey.point.stop()
    await journey.kept("records", "records", lambda one: one["session_id"] == session["id"])


async def test_a_driver_of_the_operators_own_is_no_partners_whatever_it_pushed(journey) -> None:
    before = len((await journey.cpo.act("sessions"))["ours"])
    assert await journey.point.start("LOCAL1") == "Accepted"
    await journey.point.stop()
    assert len((await journey.cpo.act("sessions"))["ours"]) == before


async def test_unlocking_reserving_and_giving_up(journey) -> None:
    assert await journey.emsp.act("unlock", {}, thing=journey.evse) == {"status": "Unlocked"}
    asked = {"token": "RFID1", "until": "2099-01-01T00:00:00Z", "reservation": "mine"}
    assert (await journey.emsp.act("reserve", asked, thing=journey.evse))["reservation"] == "mine"
    number = next(said["reservationId"] for action, said in journey.point.asked if action == "ReserveNow")
    await journey.emsp.act("cancelReservation", {"reservation": "mine"}, thing=journey.evse)
    assert ("CancelReservation", {"reservationId": number}) in journey.point.asked
    with pytest.raises(RuntimeError, match="REJECTED"):
        await journey.emsp.act("cancelReservation", {"reservation": "mine"}, thing=journey.evse)


async def test_what_is_fetched_is_what_was_pushed_and_the_wire_shows_no_token(journey) -> None:
    for side in (journey.cpo, journey.emsp):
        answer = await side.op.post("/adapters/ocpi/trace", json={"forS": 60})
        assert answer.status_code == 200, answer.text
    fetched = await journey.emsp.act("pull")
    assert fetched["locations"] == fetched["tariffs"] == 1
    assert fetched["cdrs"] >= 2
    before = await secrets_of(journey)
    await journey.emsp.act("renew")
    shown = [(await side.op.get("/adapters/ocpi/trace")).text for side in (journey.cpo, journey.emsp)]
    assert all("sender/locations" in text and "PUT /ocpi" in text for text in shown)
    after = await secrets_of(journey)
    assert len(before | after) == 4, "both are new"
    assert not [secret for secret in before | after for text in shown if secret in text]
    named = [one[name] for one in TOKENS for name in ("uid", "contract_id")]
    assert not [name for name in named for text in shown if f'\\"{name}\\"' in text or f"/{name}" in text]
    assert all("cdr_token" in text and "…" in text for text in shown), "it was said, and whose it was is not shown"


async def secrets_of(journey):
    """Return what the two sides show each other now."""
    found = set()
    for side in (journey.cpo, journey.emsp):
        for key, value in (await RegistryStore(side.world.node.registry, "ocpi").items()).items():
            if key.startswith("partner/"):
                found.add(msgspec.json.decode(value)["token"])
    return found
