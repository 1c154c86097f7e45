"""What a partner sends is never more work than it is long, and is bounded before it is looked at."""

import asyncio
import json

import httpx
import msgspec
import pytest
from ocpi_operator import A, started

from gridspine.adapters.ocpi.book import Kept
from gridspine.adapters.ocpi.call import Call
from gridspine.adapters.ocpi.client import MAX_OBJECTS, PartnerError
from gridspine.adapters.ocpi.credentials import CredentialsRole
from gridspine.adapters.ocpi.emsp_objects import MAX_PERIODS, EmspObjects
from gridspine.adapters.ocpi.emsp_things import EmspThings
from gridspine.adapters.ocpi.registration import MAX_ENDPOINTS
from gridspine.adapters.ocpi.wire import OcpiError, next_link
from gridspine.adapters.ocpi.words import BusinessDetails

PLACE = (A, "sessions", "NL", "ABC")
TOKEN = {"country_code": "DE", "party_id": "MSP", "uid": "U", "type": "RFID", "contract_id": "C"}
SESSION = {
    "country_code": "NL", "party_id": "ABC", "id": "S", "start_date_time": "2026-01-01T00:00:00Z", "kwh": 1.0,
    "cdr_token": TOKEN, "auth_method": "WHITELIST", "location_id": "L", "evse_uid": "E", "connector_id": "1",
    "currency": "EUR", "status": "ACTIVE", "last_updated": "2026-01-01T00:00:00Z",
}  # fmt: skip


def period(number):
    return {"start_date_time": "2026-01-01T00:00:00Z", "dimensions": [{"type": "ENERGY", "volume": number}]}


class Counted(dict):
    """A period that counts how often it is compared."""

    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return dict.__eq__(self, other)

    __hash__ = None


async def operator():
    """A node whose partner is an operator, and its objects."""
    world = await started()
    role = CredentialsRole("CPO", BusinessDetails("x"), "ABC", "NL")
    await world.roaming.book.keep(msgspec.structs.replace(world.roaming.book.partner(A), roles=(role,)))
    return world, EmspObjects(world.roaming, EmspThings(world.roaming))


async def patched(world, objects, periods):
    body = json.dumps({"last_updated": "2026-01-01T00:01:00Z", "charging_periods": periods}).encode()
    partner = world.roaming.book.partner(A)
    await objects.sessions["PATCH"](Call("PATCH", "2.2.1", partner, ("NL", "ABC", "S"), {}, body, "http://x/", 0))


async def test_periods_are_counted_and_checked_before_they_are_compared() -> None:
    world, objects = await operator()
    before = [Counted(period(number)) for number in range(200)]
    await world.roaming.book.keep_object(PLACE, Kept("S", SESSION | {"charging_periods": before}, 1))
    Counted.compared = 0
    for wrong, said in (
        ([0] * 200, "Expected `object`"),
        ([period(1)] * (MAX_PERIODS + 1), "length <= 4000"),
        (7, "int"),
    ):
        with pytest.raises(OcpiError, match=f"^charging_periods: .*{said}"):
            await patched(world, objects, wrong)
    await patched(world, objects, [period(number) for number in range(300)])
    assert Counted.compared == 0
    ((_, kept),) = world.roaming.book.objects(A, "sessions")
    assert [one["dimensions"][0]["volume"] for one in kept.body["charging_periods"]] == list(range(300))


async def test_others_have_their_turn_while_what_was_fetched_is_left_out() -> None:
    world, objects = await operator()
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    partner = world.roaming.book.partner(A)
    assert await objects.keep_all(partner, "sessions", [0] * 100) == 0
    assert turns >= 99
    late = SESSION | {"last_updated": "2025-12-01T00:00:00Z"}
    await objects.keep(partner, "sessions", "2.2.1", SESSION)
    turns = 0
    assert await objects.keep_all(partner, "sessions", [late] * 100) == 100
    assert turns >= 99
    task.cancel()


async def test_a_page_has_so_many_objects_and_no_more() -> None:
    world = await started()
    client = world.roaming.client

    async def ask(method, url, token, body, to):
        return [0] * (MAX_OBJECTS + 1), httpx.Headers()

    client._ask = ask
    with pytest.raises(PartnerError, match="more than 20000 objects"):
        _ = [page async for page in client.pages("https://x.example/", "t")]


def test_a_link_is_looked_for_from_each_place_to_the_next_only() -> None:
    assert next_link(['<https://h/1>;<https://h/2>; rel="next"']) == "https://h/2"
    assert next_link(["<a>;" * 25_000]) == ""


async def test_endpoints_beyond_those_that_count_are_not_looked_at() -> None:
    world = await started()
    checked = []

    class Asked:
        def check(self, url):
            checked.append(url)

        async def call(self, method, url, token):
            if url == "http://x/":
                return [{"version": "2.2.1", "url": "http://x/2.2.1"}]
            many = [{"identifier": "tokens", "role": "SENDER", "url": f"http://x/{one}"} for one in range(1_000)]
            return {"version": "2.2.1", "endpoints": many}

    world.roaming.registration._client = Asked()
    found = await world.roaming.registration._look("http://x/", "t", "2.2.1")
    assert len(checked) == len(found.endpoints) == MAX_ENDPOINTS
