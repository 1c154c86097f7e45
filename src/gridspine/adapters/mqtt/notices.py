"""Notices of other adapters, on their way to who subscribed to them at the embedded broker.

::

    tell ─► queue of the client (the newest; while it is away, too) ─► a place in the window ─► PUBLISH ─► PUBACK

What waits is in memory: `MAX_WAITING` of `MAX_BYTES_OF_ONE` for one client, `MAX_BYTES` in all, of which the oldest go;
after a restart nothing waits. QoS 0 or 1, as was asked for; what was not acknowledged is sent again when the client
is back (DUP).
"""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection
from typing import Generic, NamedTuple, TypeVar

from gridspine.adapters.mqtt.frames import DUP, encode_packet
from gridspine.things.adapter_notices import ANY_VERB, Notice, NoticeTopic, read_notice_topic

MAX_WAITING = 200
MAX_BYTES_OF_ONE, MAX_BYTES = 1 << 20, 64 << 20
"""A client may have one larger notice, alone. Bytes are those of bodies; in all what many wait for is counted once."""
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

    def hold(self, notice: Notice) -> None:
        """Count a notice that one more queue holds."""
        self.bytes += 0 if notice.waiting else len(notice.body)
        notice.waiting += 1

    def let_go(self, notice: Notice) -> None:
        """Count a notice that one queue less holds."""
        notice.waiting -= 1
        self.bytes -= 0 if notice.waiting else len(notice.body)


class NoticeQueue:
    """The notices that wait for one client; it outlives a connection as the client's session does."""

    def __init__(self, room: NoticeRoom) -> None:
        self.wake = asyncio.Event()
        self._room = room
        self._waiting: deque[_Waiting] = deque()
        self._under_way: dict[int, _Waiting] = {}
        self._bytes = 0
        self._packet_ids = itertools.cycle(range(FIRST_PACKET_ID, 65_536))

    def put(self, topic: str, notice: Notice, qos: int) -> None:
        """Queue a notice; of too many the oldest go."""
        self._room.hold(notice)
        self._bytes += len(notice.body)
        self._waiting.append(_Waiting(topic, notice, qos))
        while self._waiting and self._is_full():
            self._let_go(self._waiting.popleft(), "lost")
        self.wake.set()

    def _is_full(self) -> bool:
        many = len(self._waiting) > MAX_WAITING or (len(self._waiting) > 1 and self._bytes > MAX_BYTES_OF_ONE)
        return many or self._room.bytes > MAX_BYTES

    def _let_go(self, one: _Waiting, how: str) -> None:
        self._room.let_go(one.notice)
        self._bytes -= len(one.notice.body)
        self._room.counts[how] += 1

    def resume(self) -> None:
        """Let what was sent and not acknowledged go out again, before all else: a new connection begins."""
        for one in reversed(self._under_way.values()):
            self._waiting.appendleft(one._replace(again=True))
        self._under_way.clear()
        self.wake.set()

    def clear(self) -> None:
        """Forget what waits: the client is gone, or is not who it was."""
        for one in (*self._waiting, *self._under_way.values()):
            self._let_go(one, "lost")
        self._waiting.clear()
        self._under_way.clear()

    def taken(self, packet_id: int) -> None:
        """Note a PUBACK."""
        one = self._under_way.pop(packet_id, None)
        if one is not None:
            self._let_go(one, "told")
            self.wake.set()

    def packets(self) -> bytes:
        """Return what there is room for on the way, as PUBLISH packets."""
        found: list[bytes] = []
        while self._waiting and len(self._under_way) < NOTICES_IN_FLIGHT and len(found) < NOTICES_IN_FLIGHT:
            one = self._waiting.popleft()
            topic, packet_id = one.topic.encode(), b""
            if one.qos:
                number = next(id_ for id_ in self._packet_ids if id_ not in self._under_way)
                self._under_way[number] = one
                packet_id = number.to_bytes(2, "big")
            first = _PUBLISH | (_QOS_1 if one.qos else 0) | (DUP if one.again else 0)
            body = len(topic).to_bytes(2, "big") + topic + packet_id + one.notice.body
            found.append(encode_packet(first, body))
            if not one.qos:
                self._let_go(one, "told")
        return b"".join(found)


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
