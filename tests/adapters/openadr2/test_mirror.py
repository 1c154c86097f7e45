"""Which programme of the node a marketContext is kept as: each Thing has its own, also where an application has two."""

import asyncio
import itertools
from types import SimpleNamespace

import msgspec
import pytest

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.client import mirror
from gridspine.adapters.openadr2.client.connection import read_connection
from gridspine.adapters.openadr2.client.record import Kept
from gridspine.adapters.openadr2.problem import INVALID_DATA
from gridspine.kernel.errors import NotFound, Unavailable
from gridspine.kernel.time import US


class Store(dict):
    """What an adapter keeps; ``away`` is how many more writes there are until one fails."""

    away = 1_000

    async def put(self, key, value):
        self.away -= 1
        if not self.away:
            raise Unavailable("the disk is away")
        self[key] = value

    async def get(self, key):
        return super().get(key)

    async def items(self):
        return dict(super().items())


class Programmes:
    """Programmes and events of one application."""

    def __init__(self):
        self.kept, self.published, self.ids = {}, {}, itertools.count()

    def all(self):
        return list(self.kept.values())

    def own(self, id):
        if id not in self.kept:
            raise NotFound("there is no such programme")
        return self.kept[id]

    def events(self, programme):
        self.own(programme)
        return [one for one in self.published.values() if one.programme == programme]

    def event(self, programme, id):
        self.own(programme)
        return self.published[id]

    async def create(self, wanted):
        made = msgspec.structs.replace(wanted, id=f"p{next(self.ids)}", by="app", created_us=US)
        self.kept[made.id] = made
        return made

    async def change(self, id, wanted):
        self.kept[id] = wanted
        return wanted

    async def publish(self, event):
        made = msgspec.structs.replace(event, id=f"e{len(self.published)}", by="app")
        self.published[made.id] = made
        return made

    async def cancel(self, _, id, why):
        self.published[id] = msgspec.structs.replace(self.published[id], cancelled_us=US, reason=why)


@pytest.fixture
def node(monkeypatch):
    programmes, store = Programmes(), Store()
    port = SimpleNamespace(programmes=programmes, enrolments=None, source=SimpleNamespace(principal="app"))
    controls = SimpleNamespace(of=lambda _: port)
    monkeypatch.setattr(mirror, "controls_of", lambda _: controls)
    clock = SimpleNamespace(now_us=lambda: US)
    context = SimpleNamespace(clock=clock, store=store, source_of=lambda thing: thing)
    making = asyncio.Lock()

    async def follower(thing):
        kept = Kept(store, thing)
        await kept.load()
        connection = read_connection({"vtn": "https://vtn.example", "access": "utility"})
        return mirror.Mirror(context, SimpleNamespace(thing=thing), connection, kept, making)

    return SimpleNamespace(programmes=programmes, store=store, follower=follower)


def _told(event="e", market="urn:tou"):
    descriptor = m.Descriptor(
        event_id=event, modification_number=0, market_context=market, created_us=0, status="far"
    )  # fmt: skip
    interval = m.SignalInterval(duration_us=100 * US, value=0.2)
    item = m.Item(kind="oadr:currencyPerKWh", units="EUR", scale="none")
    signal = m.Signal(intervals=(interval,), name="ELECTRICITY_PRICE", type="price", id="0", item=item)
    period = m.ActivePeriod(start_us=1_000 * US, duration_us=100 * US)
    event = m.EiEvent(descriptor=descriptor, period=period, signals=(signal,))
    return m.DistributeEvent(request_id="r", vtn_id="v", events=(m.Event(event=event),))


async def test_things_of_one_application_keep_their_programmes_apart(node):
    for thing in ("urn:example:a", "urn:example:b", "urn:example:a"):  # the last is the first, after a restart
        responses = await (await node.follower(thing)).take(_told())
        assert [one.code for one in responses] == [200]
    assert set(node.programmes.kept) == {"p0", "p1"}
    assert {one.programme: one.cancelled_us for one in node.programmes.published.values()} == {"p0": 0, "p1": 0}


async def test_what_was_made_and_not_noted_is_found_again(node):
    node.store.away = 2  # that it is made is noted, which it is not
    with pytest.raises(Unavailable):
        await (await node.follower("urn:example:a")).take(_told())
    await (await node.follower("urn:example:b")).take(_told())
    await (await node.follower("urn:example:a")).take(_told())
    assert {one.programme for one in node.programmes.published.values()} == {"p0", "p1"} == set(node.programmes.kept)


async def test_a_programme_that_was_let_go_keeps_no_other_from_being_followed(node):
    await (await node.follower("urn:example:a")).take(_told())
    node.programmes.kept.clear()
    node.programmes.published.clear()
    again = await node.follower("urn:example:a")
    assert [one.code for one in await again.take(_told("other", "urn:other"))] == [200]
    assert [one.code for one in await again.take(_told("more"))] == [INVALID_DATA], "it stays ended"
    assert [one.description_url for one in node.programmes.kept.values()] == [""]
