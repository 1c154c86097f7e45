"""Notices of other adapters, at the embedded broker: who may read, what waits, what is sent again, what goes."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_device import OTHER, PASSWORD, THING, Packet, Raw, pack, raw, topic
from mqtt_serving import make_node, serving

from gridspine.adapters.mqtt import broker, notices
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict
from gridspine.testing.node import FakeNode
from gridspine.things.adapter import Order, Source
from gridspine.things.adapter_notices import Notice, Notices, NoticeTopic, read_notice_topic

PUBACK, PUBLISH = 4, 3
TOKEN = f"{'x' * 100}.y.z"


class Desk:
    """Lets everybody read of news."""

    name = "news"

    def __init__(self) -> None:
        self.closed: set[str] = set()

    def proven(self, username: str, password: str) -> Source | None:
        return Source(THING, "org", "by token") if (username, password) == (THING, TOKEN) else None

    def serves(self, source: Source) -> bool:
        return source.principal not in self.closed

    def may_read(self, source: Source, subject: str, verb: str) -> bool:
        return subject == "a/b" and verb in {"create", "+"}


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def node(desk: Desk) -> Iterator[FakeNode]:
    made = make_node()
    with made.notices.open(desk):
        yield made


def named(client: str = THING, verb: str = "create") -> str:
    return str(NoticeTopic("news", client, "a/b", verb))


def tell(node: FakeNode, *bodies: str) -> int:
    """Tell all who read; return how many they were."""
    assert node.notices.broker is not None
    readers = node.notices.broker.readers("news", "a/b", "create")
    for body in bodies:
        notice = Notice(body.encode())
        for reader in readers:
            reader.tell(NoticeTopic("news", reader.source.principal, "a/b", "create"), notice)
    return len(readers)


async def taken(client: Raw) -> tuple[str, bytes, int, bytes]:
    """Return topic, packet identifier, flags and body of the next PUBLISH."""
    packet = await client.receive()
    assert isinstance(packet, Packet)
    assert packet.kind == PUBLISH, packet
    end = 2 + int.from_bytes(packet.body[:2], "big")
    ids = 2 if packet.flags & 6 else 0
    return packet.body[2:end].decode(), packet.body[end : end + ids], packet.flags, packet.body[end + ids :]


async def test_each_reads_its_own_topic_and_no_other(node: FakeNode) -> None:
    async with serving(node), raw(node.address["mqtt"]) as one, raw(node.address["mqtt"]) as two:
        await one.connect()
        await two.connect(OTHER, PASSWORD)
        refused = [named(OTHER), named(verb="delete"), "news/+/a/b/create", f"news/{THING}/#", "news/x", named() + "/"]
        assert await one.subscribe(*refused) == [0x80] * len(refused)
        assert await one.subscribe(named(), named(verb="+")) == [1, 1]
        assert await two.subscribe(named(OTHER), qos=0) == [0]
        assert tell(node, "hello") == 2
        assert await taken(one) == (named(), (32_768).to_bytes(2, "big"), 2, b"hello")
        assert await taken(two) == (named(OTHER), b"", 0, b"hello")


async def test_of_too_many_subscriptions_those_to_notices_are_refused(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "MAX_SUBSCRIPTIONS", 1)
    async with serving(node), raw(node.address["mqtt"]) as one:
        await one.connect()
        assert await one.subscribe(named(), named(verb="+"), named()) == [1, 0x80, 1]
        assert await one.subscribe(topic(THING, "commands")) == [1], "orders are of as many as there are Things"


async def test_what_was_not_acknowledged_is_sent_again_and_what_came_meanwhile_follows(node: FakeNode) -> None:
    async with serving(node):
        async with raw(node.address["mqtt"]) as one:
            await one.connect(clean=False)
            await one.subscribe(named())
            tell(node, "first", "second")
            _, id_, _, body = await taken(one)
            await one.send(PUBACK, id_)
            assert (body, (await taken(one))[3]) == (b"first", b"second")
        await node.until(lambda: node.notices.broker.readers("news", "a/b", "create")[0].session is None)
        tell(node, "third")
        async with raw(node.address["mqtt"]) as one:
            assert await one.connect(clean=False) == (True, 0)
            again, third = await taken(one), await taken(one)
            assert (again[2], again[3], third[2], third[3]) == (0x0A, b"second", 2, b"third")


async def test_a_slow_reader_loses_the_oldest_and_holds_up_nobody(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MAX_WAITING", 3)
    async with serving(node), raw(node.address["mqtt"]) as slow, raw(node.address["mqtt"]) as quick:
        await slow.connect()
        await quick.connect(OTHER, PASSWORD)
        await slow.subscribe(named())
        await quick.subscribe(named(OTHER), qos=0)
        count = notices.NOTICES_IN_FLIGHT + 5
        for number in range(count):
            tell(node, str(number))
            assert (await taken(quick))[3] == str(number).encode()
        first = [await taken(slow) for _ in range(notices.NOTICES_IN_FLIGHT)]
        for _, id_, _, _ in first:
            await slow.send(PUBACK, id_)
        rest = [(await taken(slow))[3] for _ in range(3)]
        assert rest == [str(number).encode() for number in range(count - 3, count)]


async def test_notices_and_orders_share_a_connection(node: FakeNode) -> None:
    async with serving(node), raw(node.address["mqtt"]) as one:
        node.may = {THING: {THING}}
        await one.connect()
        assert await one.subscribe(named(), topic(THING, "commands")) == [1, 1]
        tell(node, "hello")
        _, id_, _, _ = await taken(one)
        await one.send(PUBACK, id_)
        assert node.progressed == []


async def test_who_came_by_a_token_comes_again_within_the_hour(desk: Desk) -> None:
    clock = VirtualClock()
    node = make_node(clock=clock)
    with node.notices.open(desk):
        async with serving(node), raw(node.address["mqtt"]) as one:
            assert await one.connect(password=TOKEN) == (False, 0)
            assert await one.subscribe(named()) == [1]
            for _ in range(10):
                await clock.advance(broker.TOKEN_S / 8)
                await asyncio.sleep(0)
            assert await one.receive() is None


async def test_who_came_by_a_token_reads_notices_and_does_nothing_else(node: FakeNode) -> None:
    async with serving(node):
        async with raw(node.address["mqtt"]) as one:
            assert await one.connect(password=TOKEN, will=(topic(THING), b"{}")) == (False, 5)
        async with raw(node.address["mqtt"]) as one:
            await one.connect(clean=False)
            await one.subscribe(topic(THING, "commands"))
        async with raw(node.address["mqtt"]) as one:
            assert await one.connect(password=TOKEN, clean=False) == (True, 0)
            node.order(Order("c", THING, "activePowerSetpoint", 1.0, node.clock.now_us() + 10**9, 0.0, 1))
            await one.subscribe(named())
            tell(node, "hello")
            assert (await taken(one))[3] == b"hello"
        async with raw(node.address["mqtt"]) as one:
            await one.connect(password=TOKEN)
            assert await one.subscribe(named(), topic(THING, "commands")) == [1, 0x80]
            await one.publish(topic(THING), pack(power=1.0))
            assert await one.receive() is None
        assert node.stored == []
        assert node.progressed == []


async def test_whom_no_desk_serves_any_more_is_cut_off(node: FakeNode, desk: Desk) -> None:
    async with serving(node), raw(node.address["mqtt"]) as one, raw(node.address["mqtt"]) as two:
        for client, who in ((one, THING), (two, OTHER)):
            await client.connect(who, PASSWORD)
            await client.subscribe(named(who))
        node.may = {}
        desk.closed.add(THING)
        node.set_bindings(node.bindings())
        assert await one.receive() is None
        tell(node, "still")
        assert (await taken(two))[3] == b"still"


def test_bytes_that_many_wait_for_are_counted_once() -> None:
    room = notices.NoticeRoom()
    shares = [room.share("one"), room.share("one"), room.share("two")]
    queues, notice = [notices.NoticeQueue(share) for share in shares], Notice(b"12345")
    for queue in queues:
        queue.put("t", notice, 1)
    assert (room.bytes, [share.bytes for share in shares]) == (5, [5, 5, 5])
    for queue in queues:
        queue.packets()
        queue.clear()
    assert (room.bytes, [share.bytes for share in shares]) == (0, [0, 0, 0])
    assert not any(share.queues for share in shares)


def test_a_client_that_is_away_keeps_the_newest_bytes_and_takes_nobodys_room() -> None:
    room = notices.NoticeRoom()
    queue = notices.NoticeQueue(room.share("one"))
    large = b"x" * (notices.MAX_BYTES_OF_ONE // 2)
    for number in range(300):
        queue.put("t", Notice(b"%d" % number + large), 1)
    assert room.bytes <= notices.MAX_BYTES_OF_ONE
    assert b"299xx" in queue.packets()
    queue.put("t", Notice(large * 4), 1)
    assert queue.packets() == b"", "no more is under way than a client may have"
    queue.taken(notices.FIRST_PACKET_ID)
    assert len(queue.packets()) > notices.MAX_BYTES_OF_ONE, "one that is larger goes alone"
    queue.clear()
    assert (room.bytes, room.counts["lost"], room.counts["told"]) == (0, 300, 1)


@pytest.mark.parametrize("sent", [False, True])
def test_readers_that_take_nothing_take_only_their_own_organisations_room(
    sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MAX_BYTES", 1_000)
    room, one = notices.NoticeRoom(), Notice(b"y" * 400)
    other = notices.NoticeQueue(room.share("other"))
    other.put("t", one, 1)
    slow = [notices.NoticeQueue(room.share("slow")) for _ in range(3)]
    for number in range(40):
        slow[number % 3].put("t", Notice(b"x%02d" % number + b"x" * 97), 1)
        if sent:
            slow[number % 3].packets()
    assert room.bytes == 1_000
    assert room.share("other").bytes == 400
    for queue in slow:
        queue.resume()
    left = b"".join(queue.packets() for queue in slow)
    assert [b"x%02d" % number in left for number in (33, 34, 39)] == [False, True, True], "the oldest went"
    other.put("t", Notice(b"z" * 100), 1)
    assert b"y" in other.packets(), "up to its half it takes room from whoever has more"
    assert (room.bytes, room.share("other").bytes) == (1_000, 500)


def test_what_went_before_it_was_acknowledged_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MAX_BYTES", 10)
    room = notices.NoticeRoom()
    queue = notices.NoticeQueue(room.share("one"))
    queue.put("t", Notice(b"first"), 1)
    assert b"first" in queue.packets()
    queue.put("t", Notice(b"second"), 1)
    queue.taken(notices.FIRST_PACKET_ID)
    assert room.counts["lost"] == 1
    assert queue.packets().endswith(b"second")
    queue.resume()
    assert queue.packets().endswith(b"second")
    queue.clear()
    assert (room.bytes, room.counts["lost"], room.counts["told"]) == (0, 2, 0)


@settings(max_examples=50)
@given(
    st.text(min_size=1, max_size=20),
    st.lists(st.sampled_from(["a", "b-1", "c_d"]), min_size=1),
    st.sampled_from(["x", "+"]),
)
def test_a_topic_is_read_as_it_was_written(client: str, subject: list[str], verb: str) -> None:
    made = NoticeTopic("desk", client, "/".join(subject), verb)
    assert read_notice_topic(str(made)) == made


@pytest.mark.parametrize("text", ["", "a", "a/b/c", "a/b//d", "a/+/c/d", "a/b/#/d", "a/b/c/#", "a/%41/c/d", "/b/c/d"])
def test_what_is_no_topic_of_notices(text: str) -> None:
    assert read_notice_topic(text) is None


def test_one_broker_and_each_desk_once(desk: Desk) -> None:
    port = Notices()
    with port.open(desk), pytest.raises(Conflict), port.open(Desk()):
        pass
    assert not port.desks
