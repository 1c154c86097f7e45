"""What waits for somebody's word: transfers, announcements and vouchers, and that their time runs out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridspine.infra.identity.enrol import Vouchers
from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Overloaded, Unauthenticated
from gridspine.things import announcement as module
from gridspine.things.announcement import Announcement, Announcements
from gridspine.things.thing import Thing
from gridspine.things.transfer import Transfers

THING = Thing("urn:x:m", "a", "T", "model")


class Books:
    def __init__(self, path: Path) -> None:
        self.clock = VirtualClock()
        self.log = SqliteEventLog(path / "log", [Topic("events", control=True), Topic("ledger", control=True)])
        self.registry = SqlRegistry(sqlite_url(path / "registry.db"), self.clock, self.log)
        self.transfers = Transfers(self.registry, self.clock)
        self.announcements = Announcements(self.registry, self.clock)
        self.vouchers = Vouchers(self.registry, self.clock, topic="ledger")

    def offer(self, heir="b", life_s=3600, **more):
        return self.transfers.offer(THING, heir, by="ann", why="sold", life_s=life_s, **more)

    def announce(self, serial="1", organisation="a"):
        said = Announcement(
            id="", organisation=organisation, make="M", model="m", serial=serial, by="voucher:v", at_us=0
        )
        return self.announcements.announce(said)

    def close(self) -> None:
        self.registry.close()
        self.log.close()


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    yield made
    made.close()


async def test_an_offer_runs_out_and_makes_room_for_another(books):
    first = await books.offer()
    with pytest.raises(Conflict, match="offered to b already"):
        await books.offer("c")
    await books.clock.advance(3600)
    assert first.standing(books.clock.now_us()) == "expired"
    with pytest.raises(Conflict, match="has run out"):
        await books.transfers.end(first.id, "refused", by="bob", why="late")
    second = await books.offer("c")
    assert [(one.heir, one.state) for one in await books.transfers.of("a")] == [("c", "offered"), ("b", "expired")]
    assert second.id != first.id


async def test_an_offer_is_of_two_organisations_and_nobody_elses(books):
    offer = await books.offer()
    assert [one.id for one in await books.transfers.of("b")] == [offer.id]
    assert await books.transfers.of("c") == []
    with pytest.raises(NotFound):
        await books.transfers.get(offer.id, "c")
    refused = await books.transfers.end(offer.id, "refused", by="bob", why="no")
    assert (refused.state, refused.because) == ("refused", "no")
    with pytest.raises(Conflict, match="the offer was refused"):
        await books.transfers.end(offer.id, "withdrawn", by="ann", why="no")
    again = await books.offer("c")
    assert [one.heir for one in await books.transfers.of("a")] == ["c", "b"]
    assert again.state == "offered"
    for bad in ({"heir": "a"}, {"life_s": 5}, {"life_s": 10**9}):
        with pytest.raises(Invalid):
            await books.offer(**bad)


async def test_announcements_are_bounded_and_a_decided_device_may_come_again(books, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    first = await books.announce("1")
    assert (await books.announce("1")).id == first.id
    await books.announce("2")
    with pytest.raises(Overloaded):
        await books.announce("3")
    await books.announce("3", "b")
    await books.announcements.reject(first.id, by="ann", why="not ours")
    again = await books.announce("1")
    assert again.id != first.id
    with pytest.raises(Conflict, match="rejected by ann"):
        await books.announcements.accept(first.id, "urn:x:m", by="bob")
    assert sorted(one.state for one in await books.announcements.list("a")) == ["rejected", "waiting", "waiting"]


async def test_a_voucher_runs_out_and_keeps_no_code(books):
    voucher, code = books.vouchers.make("a", made_by="ann", life_s=60)
    assert books.vouchers.check(voucher.id, code.upper()).id == voucher.id
    for record in books.log.read("ledger", 0, 0):
        assert code.encode() not in record.body
        assert voucher.digest.encode() not in record.body
    with pytest.raises(Unauthenticated):
        books.vouchers.check(voucher.id, code[:-1])
    await books.clock.advance(60)
    with pytest.raises(Unauthenticated):
        books.vouchers.check(voucher.id, code)
    for life_s in (0, 59, 10**9):
        with pytest.raises(Invalid):
            books.vouchers.make("a", made_by="ann", life_s=life_s)


def test_a_voucher_is_bound_once_and_used_for_one_key(books):
    voucher, _ = books.vouchers.make("a", made_by="ann", life_s=600)
    books.vouchers.bind(voucher.id, "urn:x:m", actor="ann")
    with pytest.raises(Conflict, match="another Thing"):
        books.vouchers.bind(voucher.id, "urn:x:n", actor="ann")
    with pytest.raises(Conflict, match="another device"):
        books.vouchers.announced(voucher.id, "urn:x:a")
    assert books.vouchers.use(voucher.id, "k1", "p1").principal == "p1"
    assert books.vouchers.use(voucher.id, "k1", "p2").principal == "p1"
    with pytest.raises(Forbidden):
        books.vouchers.use(voucher.id, "k2", "p2")
    books.vouchers.revoke_for("urn:x:m", "a", actor="ann")
    assert books.vouchers.list("a") == []
