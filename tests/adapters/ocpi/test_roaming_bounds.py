"""What operators push is bounded and the newest of it stands; and a partner that goes keeps nobody out."""

import pytest
from ocpi_pairing import pair, registered
from running_node import until

from gridspine.adapters.ocpi.book import MAX_OTHER_BYTES, Book, Kept, Partner
from gridspine.adapters.ocpi.credentials import CredentialsRole
from gridspine.adapters.ocpi.emsp_objects import EmspObjects
from gridspine.adapters.ocpi.words import BusinessDetails
from gridspine.apps.node.adapters import RegistryStore
from gridspine.kernel.errors import Overloaded, TooLarge
from gridspine.testing.node import DictStore

ROLE = CredentialsRole("CPO", BusinessDetails("x"), "CPO", "NL")
PARTNER = Partner("urn:p", "", "s", "", "t", "http://x/", "2.2.1", (), (ROLE,), 1)


class Things:
    async def on_session(self, partner, session):
        pass


class Roaming:
    def __init__(self, most):
        self.book = Book(DictStore(), most)


def session(id_, minute, status="COMPLETED", **more):
    token = {"country_code": "DE", "party_id": "MSP", "uid": "U", "type": "RFID", "contract_id": "C"}
    at = f"2026-01-01T00:{minute:02}:00Z"
    return {
        "country_code": "NL", "party_id": "CPO", "id": id_, "start_date_time": at, "kwh": 1.0, "cdr_token": token,
        "auth_method": "WHITELIST", "location_id": "L", "evse_uid": "E", "connector_id": "1", "currency": "EUR",
        "status": status, "last_updated": at, **more,
    }  # fmt: skip


def kept(objects, module="sessions"):
    found = (one for _, one in objects._roaming.book.objects("urn:p", module))
    return {one.id: one.body["status"] for one in found}


async def test_the_oldest_that_is_over_goes_where_there_is_no_room() -> None:
    objects = EmspObjects(Roaming(3), Things())
    given = [session(f"S{minute}", minute) for minute in range(5)] + [session("RUNS", 0, "ACTIVE")]
    for one in (given[5], *given[:2]):
        await objects.keep(PARTNER, "sessions", "2.2.1", one)
    await objects.keep(PARTNER, "sessions", "2.2.1", given[2])
    assert kept(objects) == {"RUNS": "ACTIVE", "S1": "COMPLETED", "S2": "COMPLETED"}
    with pytest.raises(Overloaded):
        await objects.keep(PARTNER, "sessions", "2.2.1", given[0])
    assert await objects.keep_all(PARTNER, "sessions", [*given, "none"]) == 2, "the newest of what was fetched"
    assert kept(objects) == {"RUNS": "ACTIVE", "S3": "COMPLETED", "S4": "COMPLETED"}


async def test_what_is_older_does_not_undo_what_is_newer() -> None:
    objects = EmspObjects(Roaming(3), Things())
    await objects.keep(PARTNER, "sessions", "2.2.1", session("S", 5))
    assert await objects.keep_all(PARTNER, "sessions", [session("S", 4, "ACTIVE")]) == 1
    assert kept(objects) == {"S": "COMPLETED"}
    await objects.keep(PARTNER, "sessions", "2.2.1", session("S", 5, "INVALID"))
    assert kept(objects) == {"S": "INVALID"}


async def test_objects_are_bounded_by_their_bytes() -> None:
    store = DictStore()
    book = Book(store, 100)
    place = ("urn:p", "sessions", "NL", "CPO")
    with pytest.raises(TooLarge):
        await book.keep_object(place, Kept("S", {"x": "x" * MAX_OTHER_BYTES}, 1))
    big = {"x": "x" * (MAX_OTHER_BYTES - 100)}
    with pytest.raises(Overloaded):
        for number in range(100):
            await book.keep_object(place, Kept(f"S{number}", big, 1))
    assert sum(map(len, store.content.values())) <= 4 << 20
    assert book.full("urn:p", "sessions")
    again = Book(store, 100)
    await again.load()
    assert again.full("urn:p", "sessions")
    await again.keep_object(place, Kept("S0", {"x": "small"}, 2))
    await again.forget_object(place, "S1")
    assert not again.full("urn:p", "sessions")
    await again.keep_object(("urn:other", *place[1:]), Kept("S", big, 1))


async def test_a_partner_comes_again_and_both_know_how_it_stands(tmp_path) -> None:
    async def reads(side, thing, wanted):
        async def stands():
            answer = await side.op.get(f"/things/{thing}/properties/registration/value")
            return answer.status_code == 200 and answer.json() == wanted

        for _ in range(400):
            if await stands():
                return True
            await side.world.node.clock.sleep(0.05)
        return False

    async with pair(tmp_path, versions=("2.2.1",)) as (cpo, emsp):
        await registered(cpo, emsp)
        assert await reads(cpo, cpo.partner, 2), "told though the partner did it"
        assert await reads(emsp, emsp.partner, 2)
        book = {key for key in await _store(cpo) if key.startswith("partner/")}
        assert book == {f"partner/{cpo.partner}"}
        answer = await cpo.op.post(f"/things/{cpo.partner}/lifecycle", json={"to": "retired", "why": "it moves"})
        assert answer.status_code == 200, answer.text
        assert await reads(emsp, emsp.partner, 0), "it was told, and says so"
        assert not [key for key in await _store(cpo) if key.startswith("partner/")], "and its token is gone"
        new = await cpo.world.thing(
            "urn:example:again", "https://gridspine.org/models/roaming_partner", adapter="ocpi",
            connection={"partner": "again"},
        )  # fmt: skip
        await until(lambda: cpo.world.node.adapters.requests.served("ocpi"))
        invitation = await cpo.act("invite", {"party": "DE MSP"}, thing=new)
        assert (await emsp.act("register", invitation))["registered"] is True


async def _store(side):
    return await RegistryStore(side.world.node.registry, "ocpi").items()
