"""What devices send: MQTT packets and payloads, Modbus registers and SunSpec chains."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import numpy as np
from target import Target, target

from gridspine.adapters.modbus.curve import Curve, Sets, functions
from gridspine.adapters.modbus.layout import load_layout
from gridspine.adapters.modbus.plan import Span
from gridspine.adapters.modbus.readout import Readout
from gridspine.adapters.modbus.register import COUNT_OF, Register, Served
from gridspine.adapters.modbus.register import decode as decode_register
from gridspine.adapters.modbus.session import Refused
from gridspine.adapters.modbus.sunspec import Chain, discover
from gridspine.adapters.modbus.view import View
from gridspine.adapters.modbus.wire import to_words
from gridspine.adapters.mqtt.frames import Frame, Splitter, topic_of
from gridspine.adapters.mqtt.packets import EndOfStream, WrongProtocol, decode_packet, read_connect
from gridspine.adapters.mqtt.wire import decode_acknowledgement, decode_command, decode_readings
from gridspine.kernel.errors import Invalid, TooLarge

NOW_US = 1_767_225_600_000_000
_CONNECT = bytes.fromhex("101600044d51545404c2003c000161000175000470617373")
_PUBLISH = b'\x32\x13\x00\x05a/b/c\x00\x07[{"v":1}]'
_SUBSCRIBE = b"\x82\x0a\x00\x01\x00\x05a/b/#\x01"
_OTHERS = b"\xc0\x00\x40\x02\x00\x07\x62\x02\x00\x07\xa2\x09\x00\x02\x00\x05a/b/#\xe0\x00"


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what waits for nothing, without the cost of an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise AssertionError("a decoder waits for something")


@target
def mqtt_packets() -> Target:
    """A connection's bytes after CONNECT; cut in two anywhere, the same comes out."""

    def parsed(chunks: list[bytes], five: bool) -> list[Any]:
        splitter, found = Splitter(4096, five=five), []
        for chunk in chunks:
            for part in splitter.feed(chunk):
                if isinstance(part, Frame):
                    found.append((part.first, part.body))
                    _at_once(decode_packet(part))
                else:
                    found += zip(part.firsts, part.topics, part.bodies, part.packet_ids, part.properties, strict=True)
                    for topic in part.topics:
                        topic_of(topic)
        return found

    def run(data: bytes) -> int:
        five, at = bool(data[:1] > b"\x7f"), data[1] if len(data) > 1 else 0
        body = data[2:]
        whole = parsed([body], five)
        if parsed([body[:at], body[at:]], five) != whole:
            raise AssertionError("packets depend on where the bytes were cut")
        return min(len(whole), 9)

    seeds = [
        b"\x00\x05" + _PUBLISH * 3,
        b"\x00\x02" + _SUBSCRIBE + _OTHERS,
        b"\xff\x03\x30\x09\x00\x01a\x02\x01\x00hey\xc0\x00",
        b"\x00\x09" + _PUBLISH + _OTHERS + _PUBLISH,
    ]
    return Target(
        "mqtt-packets",
        "MQTT packets",
        run,
        (Invalid, TooLarge),
        seeds,
        [b"\x30\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff", b"\x00\x00", b"\x32\x02", b"#", b"+/"],
        shape=int,
    )


@target
def mqtt_connect() -> Target:
    """CONNECT, the first packet of anybody."""
    loop = asyncio.new_event_loop()

    def run(data: bytes) -> str:
        reader = asyncio.StreamReader(loop=loop)
        reader.feed_data(data)
        reader.feed_eof()
        return str(_at_once(read_connect(reader)).variable_header.flags)

    seeds = [
        _CONNECT,
        bytes.fromhex("100c00044d5154540402003c0000"),
        bytes.fromhex("101c00044d51545404ce003c000161000177000268690001750001 70".replace(" ", "")),
    ]
    return Target(
        "mqtt-connect",
        "MQTT CONNECT",
        run,
        (Invalid, TooLarge, EndOfStream, WrongProtocol),
        seeds,
        [b"\x00\x04MQTT\x04", b"\x00\x04MQTT\x05", b"\x00\x06MQIsdp\x03", b"\xff\xff"],
        shape=str,
    )


@target
def mqtt_payload() -> Target:
    """Payloads of devices: SenML, plain objects, orders and acknowledgements."""

    def run(data: bytes) -> tuple[Any, ...]:
        shapes: list[Any] = []
        for decode in (
            lambda body: decode_readings(body, thing="urn:x:a", now_us=NOW_US),
            decode_acknowledgement,
            decode_command,
        ):
            try:
                shapes.append(type(decode(data)).__name__)
            except (Invalid, TooLarge) as error:
                shapes.append(str(error)[:24])
        return tuple(shapes)

    seeds = [
        b'{"time":"2026-01-01T00:00:00Z","values":{"activePower":1.5},"quality":0,"seq":4,"run":"a"}', b'[{"n":"p","v":1,"seq":1}]',
        b'{"command":"c","state":"acknowledged","reason":"x"}', b'{"command":"c","point":"p","value":1.5,"until":"2026-01-01T00:00:00Z","fallback":0,"sequence":1}',
        b"\x81\xa2\x00\x61p\x02\x01", b' {"activePower": 5}',
    ]  # fmt: skip
    return Target(
        "mqtt-payload",
        "MQTT payloads",
        run,
        (),
        seeds,
        [b'"values":{', b'"units":{', b'"time":', b'"seq":', b"-1", b"1e999", b"{}"],
        shape=lambda shapes: shapes,
    )


@target
def sunspec() -> Target:
    """A device's registers: the chain of models, then every point of each known model."""
    layouts = {id_: layout for id_ in (1, 103, 120) if (layout := load_layout(id_))}

    def run(data: bytes) -> int:
        words = to_words(data[: len(data) & ~1])

        async def read(address: int, count: int) -> tuple[int, ...]:
            found = words[address : address + count]
            if len(found) < count:
                raise Refused(2)
            return tuple(found)

        chain: Chain = _at_once(discover(read, (0,)))
        view = View(chain, dict(enumerate(words)), NOW_US)
        seen = 0
        for instance in chain.models[:4]:
            layout = layouts.get(instance.id)
            for point in () if layout is None else _points(layout):
                seen += view.value(instance.id, point) is not None
                view.text(instance.id, point)
        return min(seen, 50)

    def model(id_: int, length: int, fill: int) -> bytes:
        return id_.to_bytes(2, "big") + length.to_bytes(2, "big") + fill.to_bytes(2, "big") * length

    seeds = [
        b"SunS" + model(1, 66, 0x4142) + model(id_, 50, 7) + model(120, 26, 1) + b"\xff\xff\x00\x00"
        for id_ in (101, 103)
    ]
    seeds += [b"SunS" + model(802, 62, 0x8000) + b"\xff\xff\x00\x00", b"SunS\xff\xff\x00\x00"]
    return Target(
        "sunspec",
        "Modbus registers, SunSpec models",
        run,
        (Invalid, Refused),
        seeds,
        [b"SunS", b"\xff\xff\x00\x00", b"\x80\x00", b"\x7f\xff", b"\x00\x67\x00\x32", b"\x7f\xc0\x00\x00"],
        shape=int,
    )


@target
def stored_curves() -> Target:
    """A device's stored curves: how many it says it has, and their registers; what is read can be written again."""
    known = list(functions().items())

    def run(data: bytes) -> str:
        name, function = known[data[0] % len(known) if data else 0]
        words = to_words(data[3 : len(data) - (len(data) - 3) % 2] if len(data) > 4 else b"")
        sets = Sets(function, {function.count: data[1] if len(data) > 1 else 0, "NPt": data[2] if len(data) > 2 else 0})
        curve = Curve(name, 2, function.zones[0] if function.zones else "")
        held = dict(enumerate(words))
        read = sets.decode(curve, held)
        for point in read.points:
            assert point.x == point.x and point.y == point.y
        sets.encode(read, held)
        return f"{name} {len(read.points)}"

    seeds = [bytes((at, 3, 4)) + b"\0\x02" * 200 for at in range(len(known))]
    seeds += [bytes((at, 2, 2)) + b"\0\0" * 300 for at in range(len(known))]
    words = [b"\xff\xff", b"\x80\x00", b"\0\x01", b"\0\x64"]
    return Target("stored-curves", "stored curves of SunSpec 705 to 712", run, (Invalid,), seeds, words, shape=str)


@target
def register_block() -> Target:
    """Registers of a device of no standard, decoded together: the same as each alone."""
    kinds = sorted(set(COUNT_OF) - {"bit"})

    def run(data: bytes) -> int:
        words = np.frombuffer((data[4:20] + bytes(16))[:16], ">u2").astype(np.uint16)
        served = {
            f"p{at}": Served(Register("holding", at, kinds[byte % len(kinds)], bool(byte & 32), bool(byte & 64), 0.1))
            for at, byte in enumerate(data[:4])
        }
        readout = Readout("urn:x:a", served, [("holding", Span(0, 8))])
        readings, problems = readout.read(words, np.ones(8, np.bool_), NOW_US)
        alone = [
            decode_register(one.read, words[one.read.address :][: one.read.count].tolist()) for one in served.values()
        ]
        found = [value for value in alone if value is not None]
        if len(found) != len(readings) or len(found) + len(problems) != len(served):
            raise AssertionError("together they are others than alone")
        if any(abs(a - b) > 1e-12 * abs(a) for a, b in zip(found, readings.value.tolist(), strict=True)):
            raise AssertionError("together they are worth something else")
        return len(found)

    seeds = [bytes((at, at + 1, at + 2, at + 3)) + bytes(range(16)) for at in range(0, 100, 3)]
    words = [b"\x7f\xf0\0\0", b"\x7f\xc0\0\0", b"\xff\xff\xff\xff", b"\x80\0"]
    return Target("register-block", "registers of no standard", run, (Invalid,), seeds, words, shape=int)


def _points(layout: Any) -> list[str]:
    return list(layout.points)[::3]
