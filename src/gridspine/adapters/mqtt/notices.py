"""Notices of other adapters, on their way to who subscribed to them at the embedded broker.

::

    tell ─► queue of the client (the newest; while it is away, too) ─► a place in the window ─► PUBLISH ─► PUBACK

What waits is in memory: `MAX_WAITING` of `MAX_BYTES_OF_ONE` for one client, of which the oldest go, and `MAX_BYTES` in
all: then they go from whoever has most in the organisation that has most, so none takes another's share of it. After a
restart nothing waits. QoS 0 or 1, as was asked for; what was not acknowledged is sent again when the client is back
(DUP), unless there was no room for it.
"""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection
from typing import Generic, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from gridspine.adapters.mqtt.frames import DUP, encode_packet
from gridspine.things.adapter_notices import ANY_VERB, Notice, NoticeTopic, read_notice_topic

MAX_WAITING = 200
MAX_BYTES_OF_ONE, MAX_BYTES = 1 << 20, 64 << 20
"""A client may have one larger notice, alone. Bytes are those of bodies; in all, and of an organisation, what many wait
for is counted once."""
NOTICES_IN_FLIGHT = 16
FIRST_PACKET_ID = 32_768
"""Packet identifiers below it are those of orders on the same connection."""
_PUBLISH, _QOS_1 = 0x30, 0x02
State = TypeVar("State")


class _Waiting(NamedTuple):
    topic: str
    notice: Notice
    qos: int
    again: bool = False


class NoticeRoom:
    """What all queues of a broker hold together [bytes], and how many notices were told and lost."""

    def __init__(self) -> None:
        self.bytes = 0
        self.counts: Counter[str] = Counter()
        self._shares: WeakValueDictionary[str, NoticeShare] = WeakValueDictionary()

    def share(self, organisation: str) -> "NoticeShare":
        """Return what the queues of one organisation hold."""
        found = self._shares.get(organisation)
        if found is None:
            found = self._shares[organisation] = NoticeShare(self, organisation)
        return found

    def hold(self, share: "NoticeShare", notice: Notice) -> None:
        """Count a notice that one more queue of ``share`` holds."""
        self.bytes += 0 if notice.waiting else len(notice.body)
        share.bytes += 0 if notice.waiting[share.organisation] else len(notice.body)
        notice.waiting[share.organisation] += 1

    def let_go(self, share: "NoticeShare", notice: Notice) -> None:
        """Count a notice that one queue of ``share`` less holds."""
        notice.waiting[share.organisation] -= 1
        if not notice.waiting[share.organisation]:
            del notice.waiting[share.organisation]
            share.bytes -= len(notice.body)
        self.bytes -= 0 if notice.waiting else len(notice.body)

    def make(self) -> None:
        """Let notices go until what is left fits."""
        while self.bytes > MAX_BYTES:
            most = max(self._shares.values(), key=lambda one: one.bytes)
            # The oldest of the fullest queue, from all queues that begin with it: its bytes go with the last of them.
            oldest = max(most.queues, key=lambda one: one.bytes).oldest
            for queue in list(most.queues):
                while oldest is not None and queue.oldest is oldest:
                    queue.shed()


class NoticeShare:
    """What the queues of one organisation hold together [bytes], each notice once; ``queues``: those that hold any."""

    def __init__(self, room: NoticeRoom, organisation: str) -> None:
        self.room, self.organisation, self.bytes = room, organisation, 0
        self.queues: dict[NoticeQueue, None] = {}


class NoticeQueue:
    """The notices that wait for one client; it outlives a connection as the client's session does."""

    def __init__(self, share: NoticeShare) -> None:
        self.wake = asyncio.Event()
        self.bytes = 0
        """Of what waits and what is under way."""
        self._share, self._room = share, share.room
        self._waiting: deque[_Waiting] = deque()
        self._under_way: dict[int, _Waiting | None] = {}
        """By packet identifier; None for one that went before it was acknowledged, as there was no room."""
        self._bytes_under_way = 0
        self._packet_ids = itertools.cycle(range(FIRST_PACKET_ID, 65_536))

    def put(self, topic: str, notice: Notice, qos: int) -> None:
        """Queue a notice; of too many the oldest go."""
        self.bytes += len(notice.body)
        self._share.queues[self] = None
        self._room.hold(self._share, notice)
        self._waiting.append(_Waiting(topic, notice, qos))
        while len(self._waiting) > MAX_WAITING or (len(self._waiting) > 1 and self.bytes > MAX_BYTES_OF_ONE):
            self._let_go(self._waiting.popleft(), "lost")
        self._room.make()
        self.wake.set()

    @property
    def oldest(self) -> Notice | None:
        """The notice that goes first: one under way, as long as there are any."""
        under_way = next((one for one in self._under_way.values() if one is not None), None)
        first = under_way or (self._waiting[0] if self._waiting else None)
        return None if first is None else first.notice

    def shed(self) -> None:
        """Let the oldest go."""
        under_way = next((id_ for id_, one in self._under_way.items() if one is not None), None)
        if under_way is not None:
            self._let_go_under_way(under_way, "lost")
        elif self._waiting:
            self._let_go(self._waiting.popleft(), "lost")

    def _let_go(self, one: _Waiting, how: str) -> None:
        self.bytes -= len(one.notice.body)
        if not self._waiting and not any(self._under_way.values()):
            self._share.queues.pop(self, None)
        self._room.let_go(self._share, one.notice)
        self._room.counts[how] += 1

    def _let_go_under_way(self, packet_id: int, how: str) -> None:
        one, self._under_way[packet_id] = self._under_way[packet_id], None
        if one is not None:
            self._bytes_under_way -= len(one.notice.body)
            self._let_go(one, how)

    def resume(self) -> None:
        """Let what was sent and not acknowledged go out again, before all else: a new connection begins."""
        for one in reversed(self._under_way.values()):
            if one is not None:
                self._waiting.appendleft(one._replace(again=True))
        self._under_way.clear()
        self._bytes_under_way = 0
        self.wake.set()

    def clear(self) -> None:
        """Forget what waits: the client is gone, or is not who it was."""
        while self._waiting:
            self._let_go(self._waiting.popleft(), "lost")
        for packet_id in self._under_way:
            self._let_go_under_way(packet_id, "lost")
        self._under_way.clear()

    def taken(self, packet_id: int) -> None:
        """Note a PUBACK."""
        if packet_id in self._under_way:
            self._let_go_under_way(packet_id, "told")
            del self._under_way[packet_id]
            self.wake.set()

    def packets(self) -> bytes:
        """Return what there is room for on the way, as PUBLISH packets."""
        found: list[bytes] = []
        while self._waiting and len(self._under_way) < NOTICES_IN_FLIGHT and len(found) < NOTICES_IN_FLIGHT:
            more = len(self._waiting[0].notice.body) if self._waiting[0].qos else 0
            if self._bytes_under_way and self._bytes_under_way + more > MAX_BYTES_OF_ONE:
                break
            found.append(self._sent(self._waiting.popleft()))
        return b"".join(found)

    def _sent(self, one: _Waiting) -> bytes:
        topic, packet_id = one.topic.encode(), b""
        if one.qos:
            number = next(id_ for id_ in self._packet_ids if id_ not in self._under_way)
            self._under_way[number] = one
            self._bytes_under_way += len(one.notice.body)
            packet_id = number.to_bytes(2, "big")
        first = _PUBLISH | (_QOS_1 if one.qos else 0) | (DUP if one.again else 0)
        packet = encode_packet(first, len(topic).to_bytes(2, "big") + topic + packet_id + one.notice.body)
        if not one.qos:
            self._let_go(one, "told")
        return packet


async def send_notices(queue: NoticeQueue, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Send what waits, for ever; the next packets are made when the client took the last ones from its socket."""
    queue.resume()
    while True:
        await queue.wake.wait()
        queue.wake.clear()
        while data := queue.packets():
            await write(data)


class NoticeIndex(Generic[State]):
    """Who subscribed to which notices."""

    def __init__(self) -> None:
        self._by_desk: dict[str, dict[str, dict[str, dict[State, None]]]] = {}

    def add(self, topic: NoticeTopic, state: State) -> None:
        """Note a subscription."""
        verbs = self._by_desk.setdefault(topic.desk, {}).setdefault(topic.subject, {})
        verbs.setdefault(topic.verb, {})[state] = None

    def discard(self, topic_filter: str, state: State) -> None:
        """Forget one, if it is there."""
        topic = read_notice_topic(topic_filter)
        if topic is None:
            return
        subjects = self._by_desk.get(topic.desk, {})
        verbs = subjects.get(topic.subject, {})
        states = verbs.get(topic.verb, {})
        states.pop(state, None)
        if not states:
            verbs.pop(topic.verb, None)
        if not verbs:
            subjects.pop(topic.subject, None)

    def subjects(self, desk: str) -> Collection[str]:
        """Return the subjects that anybody subscribed to."""
        return self._by_desk.get(desk, {}).keys()

    def readers(self, desk: str, subject: str, verb: str) -> list[State]:
        """Return who subscribed to ``verb`` of ``subject``, or to whatever becomes of it, each once."""
        verbs = self._by_desk.get(desk, {}).get(subject, {})
        return list({**verbs.get(verb, {}), **verbs.get(ANY_VERB, {})})
