"""A stream of bytes to MQTT packets: runs of PUBLISH at QoS 0 and 1 as columns, anything else as it is. Pure; no I/O.

Sources: MQTT 3.1.1 and 5.0 §2 (packet format), §3.3 (PUBLISH).

::

    chunk  │PUBLISH│PUBLISH│PUBLISH│PINGREQ│PUBLISH│PUBL…
            └─────── Run ─────────┘ └Frame┘ └─Run─┘ └ kept for the next chunk

What a device sends all day is taken apart here, a handful of operations a message; packets that are rare are left to
a careful codec. Wherever the bytes are cut, the same packets come out.
"""

from collections.abc import Iterator

import msgspec

from gridspine.kernel.errors import Invalid, TooLarge

PUBLISH_HOT = frozenset({0x30, 0x31, 0x32, 0x33, 0x38, 0x39, 0x3A, 0x3B})
"""First bytes of PUBLISH at QoS 0 and 1, with and without DUP and RETAIN (§3.3.1)."""
QOS_1, RETAIN, DUP = 0x02, 0x01, 0x08
_ZERO = b"\0\0"
_LENGTH_BYTES = 4


class Frame(msgspec.Struct, frozen=True):
    """One packet that is not part of a `Run`: its first byte (type and flags), and what follows its length."""

    first: int
    body: bytes


class Run:
    """PUBLISH packets one after the other, as columns: fixed header's first byte, topic, body, packet identifier as it
    is on the wire (b"" at QoS 0), and the MQTT 5 properties as they are on the wire."""

    __slots__ = ("bodies", "firsts", "packet_ids", "properties", "topics")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.topics: list[bytes] = []
        self.bodies: list[bytes] = []
        self.packet_ids: list[bytes] = []
        self.properties: list[bytes] = []

    def __len__(self) -> int:
        return len(self.firsts)


class Splitter:
    """Cuts what a connection brings into packets; packets beyond ``max_bytes`` [bytes] are `TooLarge`.

    ``five`` tells that PUBLISH carries properties (MQTT 5.0 §3.3.2.3).
    """

    def __init__(self, max_bytes: int, *, five: bool = False) -> None:
        self._max_bytes = max_bytes
        self._five = five
        self._kept = bytearray()
        self._need = 2

    def feed(self, chunk: bytes) -> Iterator[Run | Frame]:
        """Yield the packets that ``chunk`` completes.

        Raises `Invalid` or `TooLarge` after those before the fault; the stream cannot be used further then.
        """
        data = chunk
        if self._kept:
            self._kept += chunk
            if len(self._kept) < self._need:
                return
            data = bytes(self._kept)
            self._kept.clear()
        run = Run()
        at = 0
        try:
            while (end := self._packet_end(data, at)) > 0:
                first = data[at]
                if first in PUBLISH_HOT:
                    at = self._publishes(data, at, run)
                    continue
                if run.firsts:
                    yield run
                    run = Run()
                yield Frame(first, data[self._body_start(data, at) : end])
                at = end
        except (Invalid, TooLarge):
            if run.firsts:
                yield run
            raise
        self._kept += data[at:]
        if run.firsts:
            yield run

    def _publishes(self, data: bytes, at: int, run: Run) -> int:
        """Append the PUBLISH packets at ``at`` to ``run``; return where the first other or incomplete packet starts."""
        size, most, five = len(data), self._max_bytes, self._five
        firsts, topics, bodies = run.firsts.append, run.topics.append, run.bodies.append
        packet_ids, properties, hot = run.packet_ids.append, run.properties.append, PUBLISH_HOT
        while at + 1 < size and (first := data[at]) in hot:
            length, start = data[at + 1], at + 2
            if length > 127:
                more = data[start] if start < size else 255
                length, start = (length & 127) | more << 7, start + 1
                if more > 127:
                    length, start = self._long(data, at)
            end = start + length
            if end > size or length > most:
                break
            if length < 2:
                raise Invalid("malformed PUBLISH: it has no topic")
            body = start + 2
            topic_end = body + (data[start] << 8 | data[start + 1])
            topic, body = data[body:topic_end], topic_end
            packet_id = b""
            if first & QOS_1:
                body += 2
                packet_id = data[topic_end:body]
            if body > end or packet_id == _ZERO:
                raise Invalid("malformed PUBLISH: it ends within its header, or has packet identifier 0")
            rest = b""
            if five:
                rest, body = _properties(data, body, end)
            firsts(first)
            topics(topic)
            packet_ids(packet_id)
            properties(rest)
            bodies(data[body:end])
            at = end
        return at

    def _long(self, data: bytes, at: int) -> tuple[int, int]:
        """Return length and start of a body whose length takes three bytes or more; one beyond the limit when it is
        not complete."""
        end = self._packet_end(data, at)
        start = self._body_start(data, at)
        return (end - start, start) if end else (self._max_bytes + 1, start)

    def _packet_end(self, data: bytes, at: int) -> int:
        """Return where the packet at ``at`` ends; 0 when that is beyond ``data``, and what is needed is noted."""
        start = self._body_start(data, at)
        if not start:
            self._need = len(data) - at + 1
            return 0
        length = sum((data[i] & 127) << 7 * n for n, i in enumerate(range(at + 1, start)))
        if length > self._max_bytes:
            raise TooLarge(f"a packet of {length} bytes; {self._max_bytes} are allowed")
        end = start + length
        self._need = end - at
        return end if end <= len(data) else 0

    def _body_start(self, data: bytes, at: int) -> int:
        """Return where the body of the packet at ``at`` starts, 0 when its length (§2.2.3) is not complete."""
        for i in range(at + 1, min(at + 1 + _LENGTH_BYTES, len(data))):
            if data[i] < 128:
                return i + 1
        if len(data) > at + _LENGTH_BYTES:
            raise Invalid("malformed header: a remaining length of more than four bytes")
        return 0


def topic_of(raw: bytes) -> str:
    """Return the topic name of a PUBLISH; raise `Invalid` when it is none (§3.3.2.1: UTF-8, no wildcards)."""
    try:
        topic = raw.decode()
    except UnicodeDecodeError as error:
        raise Invalid("malformed PUBLISH: its topic is not UTF-8") from error
    if "#" in topic or "+" in topic:
        raise Invalid("malformed PUBLISH: a wildcard in its topic")
    return topic


def variable_integer(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable byte integer (MQTT 5.0 §1.5.5) and where it ends; raise `Invalid` when there is none."""
    value = 0
    for n, byte in enumerate(data[at : at + _LENGTH_BYTES]):
        value |= (byte & 127) << 7 * n
        if byte < 128:
            return value, at + n + 1
    raise Invalid("malformed packet: no variable byte integer")


def encode_length(length: int) -> bytes:
    """Return a variable byte integer, as a remaining length is written (§2.2.3)."""
    out = bytearray()
    while True:
        length, low = divmod(length, 128)
        out.append(low | (0x80 if length else 0))
        if not length:
            return bytes(out)


def encode_packet(first: int, body: bytes) -> bytes:
    """Return a packet: first byte (type and flags), remaining length, body."""
    return bytes((first,)) + encode_length(len(body)) + body


def pubacks(packet_ids: list[bytes]) -> bytes:
    """Return a PUBACK (§3.4) for each packet identifier; QoS 0 has none (b"") and gets none."""
    return b"".join([b"@\x02" + packet_id for packet_id in packet_ids if packet_id])


def _properties(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    if at < end and not data[at]:
        return b"", at + 1
    length, start = variable_integer(data, at)
    if start + length > end:
        raise Invalid("malformed PUBLISH: it ends within its properties")
    return data[start : start + length], start + length
