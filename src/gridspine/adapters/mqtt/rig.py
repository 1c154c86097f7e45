"""A meter to judge this adapter by: an MQTT 3.1.1 client written down here byte by byte, which sends, takes orders, and
comes back after a break with what was not acknowledged.

Source: MQTT 3.1.1 §3 (CONNECT, PUBLISH, PUBACK, SUBSCRIBE); the clauses were not read again.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gridspine.adapters.mqtt import packets
from gridspine.adapters.mqtt.frames import Frame as Packet
from gridspine.adapters.mqtt.frames import Run, Splitter, encode_packet, topic_of
from gridspine.adapters.mqtt.wire import decode_command, decode_readings, encode_command
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import parse_rfc3339
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import Frame, PushingDevice, Rig, Sample, recorded
from gridspine.things.adapter import Binding, Order

THING = "urn:example:meter"
_PASSWORD = "open-sesame-18"  # noqa: S105 - of a device that lives for a check
_READINGS, _COMMANDS, _ACKS = (f"gridspine/{THING}/{one}" for one in ("readings", "commands", "acknowledgements"))


class Meter(PushingDevice):
    """See `gridspine.testing.rig.Rig`."""

    listener = "mqtt"
    pushes, commands = True, True
    passwords: Sequence[str] = (_PASSWORD,)
    samples = (
        Sample(THING, "activePower", 1_500.0, "W"),
        Sample(THING, "activePower", -3_250.0, "W"),
        Sample(THING, "voltage", 230.5, "V"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.settings: Mapping[str, Any] = {"max_in_flight": 8, "hold_off_s": 2.0}
        self.secrets: Mapping[str, str] = {}
        self.connections = 0
        self._waiting: dict[int, bytes] = {}
        self._last_id = 0
        self._writer: asyncio.StreamWriter | None = None
        self._begun_s = 0

    def bindings(self) -> Sequence[Binding]:
        """Return the meter, at its usual topics."""
        return (Binding(THING, "Meter", "org", "m", {}),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order on the power."""
        return Order(f"c{sequence}", THING, "activePowerSetpoint", value, until_us, 0.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return the packets in frames.json."""
        return recorded("gridspine.adapters.mqtt")

    def decode(self, frame: bytes) -> Any:
        """Return topic and content of a PUBLISH: readings as [point, unit, value, time in µs], or an order."""
        packet = next(iter(Splitter(1 << 20).feed(frame)), None)
        if not isinstance(packet, Run):
            raise Invalid("no whole PUBLISH")
        topic, body = topic_of(packet.topics[0]), packet.bodies[0]
        if topic.endswith("/commands"):
            said = decode_command(body)
            return {"topic": topic, "order": [said.command, said.point, said.value, said.until, said.sequence]}
        found = decode_readings(body, thing=THING, now_us=0).readings
        rows = [
            [found.names[pair], found.units[pair], float(value), int(observed_us)]
            for pair, value, observed_us in zip(found.name_index, found.value, found.observed_us, strict=True)
        ]
        return {"topic": topic, "readings": rows}

    def encode(self, means: Any) -> bytes:
        """Return the PUBLISH of an order."""
        command, point, value, until, sequence = means["order"]
        order = Order(command, THING, point, value, parse_rfc3339(until), 0.0, sequence)
        return packets.publish(means["topic"], encode_command(order), qos=1, packet_id=1)

    async def start(self, node: FakeNode) -> None:
        """Let the meter sign in."""
        node.add_user(THING, _PASSWORD, THING)
        self._begun_s = node.clock.now_us() // 1_000_000

    async def measure(self, sample: Sample) -> None:
        """Send it, now or when the connection stands again."""
        self._last_id = self._last_id % 65_535 + 1
        self._begun_s += 1  # else it would say something else of the same moment
        pack = [{"n": sample.name, "u": sample.unit, "v": sample.value, "t": self._begun_s}]
        body = _text(_READINGS) + self._last_id.to_bytes(2, "big") + json.dumps(pack).encode()
        self._waiting[self._last_id] = body
        if self._writer is not None:
            self._writer.write(encode_packet(0x32, body))

    async def connected(self, host: str, port: int) -> None:
        """Sign in, and talk until the connection ends."""
        reader, writer = await asyncio.open_connection(host, port)
        self.connections += 1
        try:
            said = _text("MQTT") + bytes((4, 0xC0, 0, 0)) + _text("meter") + _text(THING) + _text(_PASSWORD)
            writer.write(encode_packet(0x10, said))
            if (await reader.readexactly(4))[3]:
                return
            writer.write(encode_packet(0x82, b"\0\1" + _text(_COMMANDS) + b"\1"))
            for body in self._waiting.values():
                writer.write(encode_packet(0x3A, body))
            self._writer = writer
            splitter = Splitter(1 << 20)
            while chunk := await reader.read(65_536):
                for packet in splitter.feed(chunk):
                    self._take(packet, writer)
        finally:
            self._writer = None
            self.connections -= 1
            writer.close()

    def _take(self, packet: Run | Packet, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            return
        if isinstance(packet, Run):
            for body, packet_id in zip(packet.bodies, packet.packet_ids, strict=True):
                order = decode_command(body)
                self.written.append(order.value)
                writer.write(encode_packet(0x40, packet_id))
                state = "rejected" if self.refuses else "acknowledged"
                word = {"command": order.command, "state": state, "sequence": order.sequence}
                writer.write(encode_packet(0x30, _text(_ACKS) + json.dumps(word).encode()))
        elif packet.first == 0x40 and self._waiting.pop(int.from_bytes(packet.body, "big"), b""):
            self.acknowledged += 1


def _text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def rig() -> Rig:
    """Return a new meter."""
    return Meter()
