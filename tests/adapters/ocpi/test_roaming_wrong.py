"""What a registered partner may not, and what it is told: by its own token, as no node would ask."""

import json

import httpx
import msgspec
import pytest
import pytest_asyncio
from ocpi_pairing import pair, registered

from gridspine.adapters.ocpi.authorised import notes_of
from gridspine.apps.node.adapters import RegistryStore

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT = "2026-01-31T12:00:00Z"
EVSE = {"thing": "urn:example:charger", "uid": "E1"}
PLACE = {
    "id": "HOME", "address": "a", "city": "c", "country": "NLD", "latitude": "52.1", "longitude": "4.35",
    "time_zone": "Europe/Amsterdam", "evses": [EVSE, {"thing": "urn:example:nobodys", "uid": "E2"}],
}  # fmt: skip
TOKEN = {
    "country_code": "DE", "party_id": "MSP", "uid": "U1", "type": "RFID", "contract_id": "C1", "issuer": "x",
    "valid": True, "whitelist": "ALLOWED", "last_updated": AT,
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(tmp_path_factory):
    """Yield the operator's node, its address, and a client with the provider's token."""
    async with pair(tmp_path_factory.mktemp("wrong"), versions=("2.2.1",), cpo={"locations": [PLACE]}) as (cpo, emsp):
        await cpo.world.thing("urn:example:charger", "https://gridspine.org/models/ev_charger")
        other = await cpo.world.op.post("/things", json={
            "id": "urn:example:p2", "title": "p2", "model": "https://gridspine.org/models/roaming_partner",
            "adapter": "ocpi", "connection": {"partner": "second"},
        })  # fmt: skip
        assert other.status_code == 201
        await registered(cpo, emsp)
        kept = await RegistryStore(emsp.world.node.registry, "ocpi").items()
        token = msgspec.json.decode(kept[f"partner/{emsp.partner}"])["token"]
        async with cpo.http(token) as http:
            yield cpo, f"{cpo.url}/2.2.1", http, emsp


def codes(answer):
    return answer.status_code, answer.json()["status_code"]


async def test_bodies_and_addresses_that_are_wrong_have_their_own_codes(asked) -> None:
    _, url, http, _ = asked
    put = f"{url}/receiver/tokens/DE/MSP/U1"
    assert codes(await http.put(put, content=b"{")) == (400, 2001)
    assert codes(await http.put(put, content=b"[]")) == (200, 2001)
    assert codes(await http.put(put, json={**TOKEN, "valid": "yes"})) == (200, 2001)
    assert codes(await http.put(put, json={**TOKEN, "uid": "U2"})) == (200, 2001)
    assert codes(await http.put(put, json={**TOKEN, "last_updated": "2026-02-30T00:00:00Z"})) == (200, 2001)
    assert codes(await http.put(f"{url}/receiver/tokens/NL/CPO/U1", json=TOKEN)) == (404, 2000)
    assert codes(await http.put(f"{url}/receiver/tokens/DE/MSP/{'U' * 40}", json=TOKEN)) == (404, 2000)
    assert codes(await http.put(put, content=json.dumps(TOKEN).encode() + b" " * (2 << 20))) == (413, 2000)
    assert codes(await http.delete(put)) == (405, 2000)
    assert codes(await http.get(f"{url}/receiver/nothing")) == (404, 2000)
    assert codes(await http.get(put)) == (404, 2000), "nothing of it was kept"
    assert codes(await http.put(put, json=TOKEN)) == (200, 1000)
    assert codes(await http.patch(put, json={"valid": False})) == (200, 2001)
    assert codes(await http.patch(put, json={"valid": False, "last_updated": AT})) == (200, 1000)
    assert (await http.get(put)).json()["data"]["valid"] is False


async def test_who_it_is_of_and_for_is_looked_at(asked) -> None:
    _, url, http, _ = asked
    to = {"ocpi-to-party-id": "CPO", "ocpi-to-country-code": "NL"}
    sender = {"ocpi-from-party-id": "MSP", "ocpi-from-country-code": "DE"}
    answer = await http.get(f"{url}/sender/locations", headers={**to, **sender, "x-correlation-id": "c1"})
    assert codes(answer) == (200, 1000)
    assert (answer.headers["ocpi-to-party-id"], answer.headers["ocpi-from-party-id"]) == ("MSP", "CPO")
    assert answer.headers["x-correlation-id"] == "c1"
    for wrong in (
        {**to, "ocpi-to-party-id": "ABC"},
        {**sender, "ocpi-from-party-id": "ABC"},
        {"ocpi-to-party-id": "CPO"},
    ):
        assert codes(await http.get(f"{url}/sender/locations", headers=wrong)) == (200, 2001)


async def test_a_list_is_cut_and_counted_and_hides_what_is_not_ours(asked) -> None:
    _, url, http, _ = asked
    answer = await http.get(f"{url}/sender/locations?limit=1")
    assert (answer.headers["x-total-count"], answer.headers["x-limit"], "link" in answer.headers) == ("1", "1", False)
    (place,) = answer.json()["data"]
    assert [one["uid"] for one in place["evses"]] == ["E1"], "of the other Thing there is none"
    assert place["evses"][0]["status"] == "UNKNOWN"
    assert codes(await http.get(f"{url}/sender/locations/HOME/E1/1")) == (200, 1000)
    assert codes(await http.get(f"{url}/sender/locations/HOME/E2")) == (404, 2000)
    assert (await http.get(f"{url}/sender/locations?date_to=2020-01-01T00:00:00")).json()["data"] == []
    assert codes(await http.get(f"{url}/sender/locations?limit=-1")) == (200, 2001)


async def test_commands_and_profiles_that_cannot_be_are_refused_at_once(asked) -> None:
    cpo, url, http, emsp = asked
    back = f"{emsp.url}/2.2.1/sender/commands/X/1"
    start = {"response_url": back, "token": TOKEN, "location_id": "HOME", "evse_uid": "E1"}
    post = f"{url}/receiver/commands"
    assert codes(await http.post(f"{post}/START_SESSION", json={**start, "location_id": "AWAY"})) == (200, 2003)
    assert codes(await http.post(f"{post}/START_SESSION", json={**start, "evse_uid": "E2"})) == (200, 2003)
    for elsewhere in ("http://127.0.0.1:1/x", f"{cpo.url}/versions", "ftp://a/b", "http://169.254.169.254/latest"):
        answer = await http.post(f"{post}/START_SESSION", json={**start, "response_url": elsewhere})
        assert codes(answer) == (200, 2001), elsewhere
    theirs = {**TOKEN, "party_id": "ABC"}
    assert codes(await http.post(f"{post}/START_SESSION", json={**start, "token": theirs})) == (200, 2004)
    assert codes(await http.post(f"{post}/DANCE", json=start)) == (404, 2000)
    answer = await http.post(f"{post}/START_SESSION", json=start)
    assert answer.json()["data"]["result"] == "NOT_SUPPORTED", "nobody serves that charging point"
    answer = await http.post(f"{post}/STOP_SESSION", json={"response_url": back, "session_id": "none"})
    assert answer.json()["data"]["result"] == "UNKNOWN_SESSION"
    profile = {"charging_rate_unit": "A", "charging_profile_period": [{"start_period": 0, "limit": 6}]}
    body = {"charging_profile": profile, "response_url": back}
    answer = await http.put(f"{url}/receiver/chargingprofiles/none", json=body)
    assert answer.json()["data"]["result"] == "UNKNOWN_SESSION"


async def test_results_that_nobody_waits_for_are_none(asked) -> None:
    _, url, http, _ = asked
    answer = await http.post(f"{url}/sender/commands/START_SESSION/guessed", json={"result": "ACCEPTED"})
    assert codes(answer) == (404, 2000)


async def test_a_record_is_taken_once_and_stays_as_it_is(asked) -> None:
    _, _, _, emsp = asked
    kept = await RegistryStore(asked[0].world.node.registry, "ocpi").items()
    token = msgspec.json.decode(kept[f"partner/{asked[0].partner}"])["token"]
    place = {
        "id": "HOME", "address": "a", "city": "c", "country": "NLD",
        "coordinates": {"latitude": "52.1", "longitude": "4.3"}, "evse_uid": "E1", "evse_id": "E1", "connector_id": "1",
        "connector_standard": "IEC_62196_T2", "connector_format": "SOCKET", "connector_power_type": "AC_3_PHASE",
    }  # fmt: skip
    period = {"start_date_time": AT, "dimensions": [{"type": "ENERGY", "volume": 5}]}
    by = {name: TOKEN[name] for name in ("country_code", "party_id", "uid", "type", "contract_id")}
    cdr = {
        "country_code": "NL", "party_id": "CPO", "id": "R1", "start_date_time": AT, "end_date_time": AT,
        "cdr_token": by, "auth_method": "WHITELIST", "cdr_location": place, "currency": "EUR",
        "charging_periods": [period], "total_cost": {"excl_vat": 2.0}, "total_energy": 5, "total_time": 1,
        "last_updated": AT,
    }  # fmt: skip
    url = f"{emsp.url}/2.2.1/receiver/cdrs"
    async with httpx.AsyncClient(headers={"authorization": f"Token {token}"}) as http:
        answer = await http.post(url, json=cdr)
        assert codes(answer) == (201, 1000)
        assert (await http.get(answer.headers["location"])).json()["data"] == cdr
        assert codes(await http.post(url, json=cdr)) == (201, 1000), "said again"
        assert codes(await http.post(url, json={**cdr, "total_energy": 6})) == (200, 2001), "never replaced"
        assert codes(await http.post(url, json={**cdr, "party_id": "ABC", "id": "R2"})) == (200, 2001)


async def test_who_is_given_up_is_a_stranger_and_forgotten(asked) -> None:
    cpo, url, http, emsp = asked
    await RegistryStore(cpo.world.node.registry, "ocpi").put(f"{notes_of(cpo.partner)}urn:a/u1", b"{}")
    assert codes(await http.get(f"{url}/sender/locations")) == (200, 1000)
    await emsp.act("unregister")
    assert codes(await http.get(f"{url}/sender/locations")) == (401, 2000)
    kept = await RegistryStore(cpo.world.node.registry, "ocpi").items()
    assert not [key for key in kept if key.startswith(("object/", "noted/"))]
