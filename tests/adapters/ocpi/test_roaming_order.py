"""What comes late, or twice: the newest word of each thing stands, and a record is one."""

import json

import pytest

from gridspine.adapters.ocpi.book import Book, Partner
from gridspine.adapters.ocpi.call import Call
from gridspine.adapters.ocpi.cpo_tokens import CpoTokens
from gridspine.adapters.ocpi.credentials import CredentialsRole
from gridspine.adapters.ocpi.emsp_objects import EmspObjects
from gridspine.adapters.ocpi.words import BusinessDetails
from gridspine.kernel.errors import Invalid
from gridspine.testing.node import DictStore

ROLE = CredentialsRole("CPO", BusinessDetails("x"), "CPO", "NL")
PARTNER = Partner("urn:p", "", "s", "", "t", "http://x/", "2.2.1", (), (ROLE,), 1)


class Things:
    """Takes what an EVSE tells."""

    def __init__(self):
        self.told = []

    async def on_location(self, partner, location, only=None):
        self.told.append(only)

    async def on_session(self, partner, session):
        pass


class Roaming:
    def __init__(self):
        self.book = Book(DictStore(), 10)


@pytest.fixture
def objects():
    return EmspObjects(Roaming(), Things())


def at(minute):
    return f"2026-01-01T00:{minute:02}:00Z"


def connector(minute, **more):
    return {
        "id": "1", "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "AC_3_PHASE", "max_voltage": 230,
        "max_amperage": 16, "last_updated": at(minute), **more,
    }  # fmt: skip


def evse(minute, status="AVAILABLE", **more):
    return {
        "uid": "E1", "status": status, "connectors": [connector(0)], "last_updated": at(minute), **more
    }  # fmt: skip


def location(minute, **more):
    return {
        "country_code": "NL", "party_id": "CPO", "id": "L", "publish": True, "address": "a", "city": "c",
        "country": "NLD", "coordinates": {"latitude": "52.1", "longitude": "4.3"}, "time_zone": "Europe/Amsterdam",
        "last_updated": at(minute), "evses": [evse(0)], **more,
    }  # fmt: skip


def session(minute, **more):
    token = {"country_code": "DE", "party_id": "MSP", "uid": "U", "type": "RFID", "contract_id": "C"}
    return {
        "country_code": "NL", "party_id": "CPO", "id": "S", "start_date_time": at(0), "kwh": 1.0, "cdr_token": token,
        "auth_method": "WHITELIST", "location_id": "L", "evse_uid": "E1", "connector_id": "1", "currency": "EUR",
        "status": "ACTIVE", "last_updated": at(minute), **more,
    }  # fmt: skip


def cdr(minute, energy):
    place = {
        "id": "L", "address": "a", "city": "c", "country": "NLD", "evse_uid": "E1", "evse_id": "E1",
        "coordinates": {"latitude": "52.1", "longitude": "4.3"}, "connector_id": "1", "connector_standard": "CHADEMO",
        "connector_format": "CABLE", "connector_power_type": "DC",
    }  # fmt: skip
    period = {"start_date_time": at(0), "dimensions": [{"type": "ENERGY", "volume": energy}]}
    return {
        "country_code": "NL", "party_id": "CPO", "id": "R", "start_date_time": at(0), "end_date_time": at(9),
        "cdr_token": session(0)["cdr_token"], "auth_method": "WHITELIST", "cdr_location": place, "currency": "EUR",
        "charging_periods": [period], "total_cost": {"excl_vat": energy}, "total_energy": energy, "total_time": 1,
        "last_updated": at(minute),
    }  # fmt: skip


async def ask(handlers, method, path, body, **query):
    rest = ("NL", "CPO", *path.split("/"))
    call = Call(method, "2.2.1", PARTNER, rest, query, json.dumps(body).encode(), "http://x/", 0)
    return await handlers[method](call)


def kept(objects, module="locations"):
    ((_, found),) = objects._roaming.book.objects("urn:p", module)
    return found.body


async def test_an_evse_that_was_told_of_late_changes_nothing(objects) -> None:
    await ask(objects.locations, "PUT", "L", location(1))
    await ask(objects.locations, "PATCH", "L/E1", {"status": "CHARGING", "last_updated": at(5)})
    assert (kept(objects)["evses"][0]["status"], kept(objects)["last_updated"]) == ("CHARGING", at(5))
    told = len(objects._things.told)
    await ask(objects.locations, "PATCH", "L/E1", {"status": "AVAILABLE", "last_updated": at(4)})
    await ask(objects.locations, "PUT", "L/E1", evse(4, "RESERVED"))
    await ask(objects.locations, "PUT", "L", location(4, name="old"))
    await ask(objects.locations, "PATCH", "L", {"name": "old", "last_updated": at(4)})
    assert kept(objects)["evses"][0]["status"] == "CHARGING"
    assert "name" not in kept(objects)
    assert len(objects._things.told) == told
    await ask(objects.locations, "PUT", "L/E1", evse(6, "RESERVED"))
    await ask(objects.locations, "PUT", "L/E2", evse(2, uid="E2"))
    assert [one["status"] for one in kept(objects)["evses"]] == ["RESERVED", "AVAILABLE"], "a new one has no age yet"
    assert kept(objects)["last_updated"] == at(6)
    with pytest.raises(Invalid, match="no time of OCPI"):
        await ask(objects.locations, "PATCH", "L/E1", {"status": "BLOCKED", "last_updated": "later"})


async def test_a_connector_has_an_age_of_its_own_and_what_it_is_part_of_was_updated_too(objects) -> None:
    await ask(objects.locations, "PUT", "L", location(1))
    await ask(objects.locations, "PATCH", "L/E1/1", {"max_amperage": 32, "last_updated": at(5)})
    (one,) = kept(objects)["evses"]
    assert (one["connectors"][0]["max_amperage"], one["last_updated"], kept(objects)["last_updated"]) == (
        32, at(5), at(5)
    )  # fmt: skip
    await ask(objects.locations, "PATCH", "L/E1/1", {"max_amperage": 6, "last_updated": at(4)})
    await ask(objects.locations, "PUT", "L/E1/1", connector(4, max_amperage=8))
    await ask(objects.locations, "PUT", "L/E1", evse(4))
    assert kept(objects)["evses"][0]["connectors"][0]["max_amperage"] == 32
    await ask(objects.locations, "PUT", "L/E1/1", connector(5, max_amperage=10))
    assert kept(objects)["evses"][0]["connectors"][0]["max_amperage"] == 10, "of the same moment the last word stands"
    half = at(5).replace("Z", ".5Z")
    await ask(objects.locations, "PATCH", "L/E1/1", {"max_amperage": 12, "last_updated": half})
    assert kept(objects)["last_updated"] == half, "later than the whole second, though it sorts before it"


async def test_a_session_that_is_patched_twice_has_its_periods_once(objects) -> None:
    await ask(objects.sessions, "PUT", "S", session(1))
    period = {"start_date_time": at(1), "dimensions": [{"type": "ENERGY", "volume": 2}]}
    patch = {"kwh": 2.0, "charging_periods": [period], "last_updated": at(3)}
    for _ in range(2):
        await ask(objects.sessions, "PATCH", "S", patch)
    assert (kept(objects, "sessions")["kwh"], len(kept(objects, "sessions")["charging_periods"])) == (2.0, 1)
    await ask(objects.sessions, "PATCH", "S", {"kwh": 1.5, "charging_periods": [], "last_updated": at(2)})
    assert kept(objects, "sessions")["kwh"] == 2.0


async def test_a_record_is_one_whether_it_is_pushed_or_fetched(objects) -> None:
    await objects.keep(PARTNER, "cdrs", "2.2.1", cdr(1, 5))
    assert await objects.keep_all(PARTNER, "cdrs", [cdr(1, 5), cdr(2, 9)]) == 2
    assert kept(objects, "cdrs")["total_energy"] == 5


async def test_a_tariff_and_a_token_that_come_late_change_nothing() -> None:
    objects = EmspObjects(Roaming(), Things())
    part = {"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]}
    tariff = {"country_code": "NL", "party_id": "CPO", "id": "T", "currency": "EUR", "elements": [part]}
    await ask(objects.tariffs, "PUT", "T", tariff | {"last_updated": at(5)})
    await ask(objects.tariffs, "PUT", "T", tariff | {"last_updated": at(4), "currency": "SEK"})
    assert kept(objects, "tariffs")["currency"] == "EUR"
    tokens = CpoTokens(Roaming(), None)
    token = {
        "country_code": "NL", "party_id": "CPO", "uid": "U", "type": "RFID", "contract_id": "C", "issuer": "x",
        "whitelist": "ALLOWED",
    }  # fmt: skip
    await ask(tokens.handlers, "PUT", "U", token | {"valid": False, "last_updated": at(5)})
    await ask(tokens.handlers, "PUT", "U", token | {"valid": True, "last_updated": at(4)})
    await ask(tokens.handlers, "PATCH", "U", {"valid": True, "last_updated": at(4)})
    assert kept(tokens, "tokens")["valid"] is False, "what was blocked stays blocked"
    assert tokens._by_uid["u"]["urn:p", "RFID"].valid is False
    await ask(tokens.handlers, "PATCH", "U", {"valid": True, "last_updated": at(6)})
    assert tokens._by_uid["u"]["urn:p", "RFID"].valid is True
