"""Delivery without a web: a real log, a writer that goes on writing, and consumers of every speed."""

import asyncio

import numpy as np
import pytest

from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.kernel.errors import Gone, Invalid
from gridspine.kernel.readings import Channel, Readings
from gridspine.sharing import delivery
from gridspine.sharing.delivery import Hub, Subscription, check_place, pull
from gridspine.sharing.gate import Gate
from gridspine.sharing.grant import Grant
from gridspine.sharing.parcel import make_mask

FAR_US = 1 << 60
MINE, OTHER = 3, 4


class Room:
    """A log, a hub and a gate; ``write`` appends, and ``publish`` tells the hub later, as the writer's thread does."""

    def __init__(self, folder):
        self.log = SqliteEventLog(folder, (Topic("readings"),), segment_bytes=20_000)
        self.clock = SystemClock()
        self.hub = Hub({0: 0})
        self.gate = Gate(self.clock)
        self.gate.tell(Grant("g", "p", "own", "con", "a", 0, FAR_US, "ann", 0, state="active", epoch=2))
        self.mask = make_mask("p", 1, ["urn:x:t/mine"], ["W"], lambda _: MINE)
        self.count = 0
        self.unpublished = []

    def write(self, size=10, point=MINE):
        value = np.arange(self.count, self.count + size, dtype=np.float64)
        if point == MINE:
            self.count += size
        batch = Readings(
            np.full(size, point, np.int32), np.arange(size, dtype=np.int64), value, np.zeros(size, np.uint16), ("s",),
            Channel.REPORTED, 0,
        )  # fmt: skip
        (position,) = self.log.append([Record("readings", b"k", encode_batch(batch), 0)])
        self.unpublished.append((position, batch))

    def publish(self):
        for position, batch in self.unpublished:
            self.hub.publish(position, batch)
        self.unpublished.clear()

    def subscribe(self, at=0):
        return Subscription(self.hub, self.log, self.gate, "g", self.mask, {0: at})


@pytest.fixture
async def room(tmp_path):
    made = Room(tmp_path / "log")

    async def confirm():
        while True:
            made.gate.confirm()
            await asyncio.sleep(0.05)

    task = asyncio.ensure_future(confirm())
    yield made
    task.cancel()
    made.log.close()


async def collect(subscription, *, pause=0.0, until=1 << 60, start=()):
    got = list(start)
    async for parcel in subscription.parcels():
        got += parcel.readings.value.tolist()
        if pause:
            await asyncio.sleep(pause)
        if len(got) >= until:
            break
    return got


async def test_what_is_committed_but_not_yet_published_comes_once(room):
    """The log is ahead of the hub for a moment: reading history must not take what the hub will bring, nor pass it."""
    for _ in range(5):
        room.write()
    room.publish()
    for _ in range(3):
        room.write()  # committed, not yet published
    subscription = room.subscribe()
    collecting = asyncio.ensure_future(collect(subscription, until=80))
    await asyncio.sleep(0.2)
    room.publish()
    assert await asyncio.wait_for(collecting, 60) == list(range(80))


@pytest.mark.parametrize("seed", range(6))
async def test_consumers_of_every_speed_get_everything_once(room, seed, monkeypatch):
    """Whatever the interleaving of appends, publications, overflows and reads."""
    monkeypatch.setattr(delivery, "MAX_WAITING_READINGS", 60)
    rng = np.random.default_rng(seed)
    total = 100 * 10
    collecting = []
    for at in range(100):
        room.write()
        if rng.random() < 0.3:
            room.write(point=OTHER)
        if rng.random() < 0.5:
            room.publish()
        if rng.random() < 0.04 or at == 0:
            pause = float(rng.choice([0.0, 0.001]))
            collecting.append(asyncio.ensure_future(collect(room.subscribe(), pause=pause, until=total)))
        if rng.random() < 0.3:
            await asyncio.sleep(0)
        if rng.random() < 0.05:
            await asyncio.sleep(0.01)
    room.publish()
    for got in await asyncio.wait_for(asyncio.gather(*collecting), 60):
        assert got == list(range(total))


async def test_a_slow_one_is_bounded_and_told(room, monkeypatch):
    monkeypatch.setattr(delivery, "MAX_WAITING_READINGS", 50)
    subscription = room.subscribe()
    parcels = subscription.parcels()
    first = asyncio.ensure_future(anext(parcels))
    await asyncio.sleep(0.05)
    for _ in range(100):
        room.write()
        room.publish()
        assert subscription._waiting <= 50
    assert subscription.behind == 1
    got = (await first).readings.value.tolist()
    async for parcel in parcels:
        got += parcel.readings.value.tolist()
        if len(got) == 1000:
            break
    await parcels.aclose()
    assert got == list(range(1000))


async def test_after_the_cut_nothing_more_is_handed_out(room):
    for _ in range(10):
        room.write()
    room.publish()
    subscription = room.subscribe()
    got = []
    async for parcel in subscription.parcels():
        got += parcel.readings.value.tolist()
        if len(got) == 30:
            subscription.cut("revoked")
    assert got == list(range(30))
    assert subscription.end.reason == "revoked"
    assert subscription.end.offsets == {0: 3}
    assert room.hub.subscriptions == 0
    assert not room.gate._watchers


async def test_a_gate_that_is_not_sure_pauses_and_goes_on(room):
    room.write()
    room.publish()
    room.gate._confirmed_us -= 10_000_000
    confirm, room.gate.confirm = room.gate.confirm, lambda: None
    collecting = asyncio.ensure_future(collect(room.subscribe(), until=10))
    await asyncio.sleep(0.3)
    assert not collecting.done()
    room.gate.confirm = confirm
    assert await asyncio.wait_for(collecting, 60) == list(range(10))


async def test_a_stream_that_was_trimmed_past_ends_and_says_so(room, monkeypatch):
    monkeypatch.setattr(delivery, "_HISTORY_BYTES", 200)
    for _ in range(500):
        room.write()
    room.publish()
    subscription = room.subscribe()
    parcels = subscription.parcels()
    await anext(parcels)
    room.log.trim("readings", 0, 400)
    rest = [parcel async for parcel in parcels]
    assert len(rest) < 400
    assert subscription.end.reason == "gone"


async def test_counting_open_subscriptions(room):
    one = Subscription(room.hub, room.log, room.gate, "g", room.mask, {0: 0}, "ann")
    two = Subscription(room.hub, room.log, room.gate, "g", room.mask, {0: 0}, "bob")
    assert (room.hub.subscriptions, room.hub.subscriptions_of("ann")) == (2, 1)
    one.close()
    one.close()
    assert (room.hub.subscriptions, room.hub.subscriptions_of("ann")) == (1, 0)
    two.close()


async def test_a_pull_looks_through_a_bounded_part_of_the_log(room, monkeypatch):
    """Much that is not the consumer's lies before what is: pages are empty, but the cursor moves and ends there."""
    monkeypatch.setattr(delivery, "_SCANNED_BYTES", 2000)
    for _ in range(300):
        room.write(point=OTHER)
    room.write()
    offsets, found, pages, empty = {}, [], 0, 0
    while len(found) < 10:
        page = pull(room.log, room.mask, offsets, 1000)
        assert page.offsets != offsets
        offsets, pages, empty = page.offsets, pages + 1, empty + (not page.parcels)
        found += [value for parcel in page.parcels for value in parcel.readings.value.tolist()]
    assert found == list(range(10))
    assert pages > 2
    assert empty == pages - 1


async def test_places_that_lead_nowhere(room):
    for _ in range(400):
        room.write()
    check_place(room.log, {})
    check_place(room.log, {0: 400})
    for ahead in ({0: 401}, {1: 0}, {0: 3, 7: 1}):
        with pytest.raises(Invalid):
            check_place(room.log, ahead)
    room.log.trim("readings", 0, 100)
    with pytest.raises(Gone):
        check_place(room.log, {0: 99})
    check_place(room.log, {0: 100})
