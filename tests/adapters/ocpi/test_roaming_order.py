"""What comes late, or twice: the newest word of each thing stands, and a record is one."""

import asyncio
import json

import msgspec
import pytest
from ocpi_operator import A, started

from gridspine.adapters.ocpi.book import Book, Kept, Partner
from gridspine.adapters.ocpi.call import Call
from gridspine.adapters.ocpi.cpo_tokens import CpoTokens
from gridspine.adapters.ocpi.credentials import CredentialsRole
from gridspine.adapters.ocpi.emsp_objects import EmspObjects
from gridspine.adapters.ocpi.emsp_things import EmspThings
from gridspine.adapters.ocpi.gone import MAX_GONE
from gridspine.adapters.ocpi.wire import OcpiError
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


def tariff(minute, **more):
    part = {"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]}
    return {
        "country_code": "NL", "party_id": "CPO", "id": "T", "currency": "EUR", "elements": [part],
        "last_updated": at(minute), **more,
    }  # fmt: skip


async def test_what_was_deleted_comes_back_by_what_is_newer_only(objects) -> None:
    assert (await ask(objects.tariffs, "PUT", "T", tariff(5))).http == 201
    await ask(objects.tariffs, "DELETE", "T", None)
    for late in (tariff(4), tariff(5), tariff(5, id="t")):
        assert (await ask(objects.tariffs, "PUT", late["id"], late)).http == 200
    assert await objects.keep_all(PARTNER, "tariffs", [tariff(5)]) == 1
    book = objects._roaming.book
    assert list(book.objects("urn:p", "tariffs")) == []
    again = Book(book.store, 10)
    await again.load()
    objects._roaming.book = again
    await ask(objects.tariffs, "PUT", "T", tariff(5))
    assert list(again.objects("urn:p", "tariffs")) == [], "also after a restart"
    assert (await ask(objects.tariffs, "PUT", "T", tariff(6))).http == 201
    assert kept(objects, "tariffs")["last_updated"] == at(6)
    assert not [key for key in book.store.content if key.startswith("gone/")], "it is there again: nothing is gone"


async def test_what_was_deleted_is_remembered_within_bounds_and_as_long_as_the_partner() -> None:
    book = Book(DictStore(), 10)
    place = ("urn:p", "tariffs", "NL", "CPO")
    for number in range(MAX_GONE + 1):
        await book.keep_object(place, Kept(f"T{number}", {}, number + 1))
        await book.delete_object(place, f"T{number}")
    assert [book.is_late(place, f"T{number}", 1) for number in (0, 1, MAX_GONE)] == [False, True, True]
    assert len(book.store.content) == MAX_GONE
    await book.forget_all("urn:p", ["tariffs"])
    assert (book.store.content, book.is_late(place, "T1", 1)) == ({}, False)


async def test_what_comes_at_once_undoes_nothing_of_each_other(objects) -> None:
    """Over several connections; the store takes its time."""
    await ask(objects.locations, "PUT", "L", location(1, evses=[evse(0), evse(0, uid="E2")]))
    patch = {"status": "CHARGING", "last_updated": at(5)}
    await asyncio.gather(*(ask(objects.locations, "PATCH", f"L/{uid}", patch) for uid in ("E1", "E2")))
    assert [one["status"] for one in kept(objects)["evses"]] == ["CHARGING", "CHARGING"]
    await asyncio.gather(*(ask(objects.sessions, "PUT", "S", session(minute, kwh=minute)) for minute in (5, 4, 3)))
    assert kept(objects, "sessions")["kwh"] == 5
    tokens = CpoTokens(Roaming(), None)
    token = {
        "country_code": "NL", "party_id": "CPO", "uid": "U", "type": "RFID", "contract_id": "C", "issuer": "x",
        "whitelist": "ALLOWED",
    }  # fmt: skip
    said = [token | {"valid": False, "last_updated": at(5)}, token | {"valid": True, "last_updated": at(4)}]
    await asyncio.gather(*(ask(tokens.handlers, "PUT", "U", one) for one in said))
    assert tokens._by_uid["u"]["urn:p", "RFID"].valid is False


@pytest.mark.parametrize("wrong", [
    location(1, evses=[evse(0, last_updated="2026-02-30T00:00:00Z")]),
    location(1, evses=[evse(0, connectors=[connector(0, last_updated="2026-01-01T25:00:00Z")])]),
])  # fmt: skip
async def test_a_part_of_no_such_time_is_refused_before_it_is_kept(objects, wrong) -> None:
    with pytest.raises(OcpiError, match="no time of OCPI"):
        await ask(objects.locations, "PUT", "L", wrong)
    assert list(objects._roaming.book.objects("urn:p", "locations")) == []
    await ask(objects.locations, "PUT", "L", location(1))
    with pytest.raises(OcpiError, match="no time of OCPI"):
        await ask(objects.locations, "PUT", "L/E1", wrong["evses"][0] | {"last_updated": "2026-01-01T00:61:00Z"})
    with pytest.raises(OcpiError, match="uid is not that"):
        await ask(objects.locations, "PATCH", "L/E1", {"uid": "E2", "last_updated": at(2)})


async def test_a_location_that_cannot_be_read_ends_nothing() -> None:
    """One that an older version kept."""
    world = await started()
    bad_one = location(1, id="BAD", evses=[evse(0, last_updated="2026-02-30T00:00:00Z")])
    for body in (bad_one, location(1, id="GOOD"), {"id": "NONE"}):
        await world.roaming.book.keep_object((A, "locations", "NL", "CPO"), Kept(body["id"], body, 1))
    partner = msgspec.structs.replace(world.roaming.book.partner(A), roles=(ROLE,))
    await world.roaming.book.keep(partner)
    things, told = EmspThings(world.roaming), []
    things.thing = lambda partner, place, evse: f"urn:{place}"

    async def readings(thing, rows, observed_us):
        told.append(thing)

    world.roaming.readings = readings
    await things.on_things()
    assert told == ["urn:GOOD"]
