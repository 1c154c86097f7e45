"""What devices send: MQTT packets and payloads, Modbus registers and SunSpec chains."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from target import Target, target

from gridspine.adapters.modbus.layout import load_layout
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


def _points(layout: Any) -> list[str]:
    return list(layout.points)[::3]
