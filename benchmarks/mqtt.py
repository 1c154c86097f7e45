"""Messages a second through the embedded broker, and through Mosquitto: QoS 1, three readings a message.

``uv run python benchmarks/mqtt.py [--messages 20000] [--devices 20]`` prints JSON. The node's real intake is behind:
screen, log (SQLite, ``synchronous=FULL``), twins; a message counts when the log has it. The devices are a process of
their own. A result is printed only if ``sent = acknowledged = stored``, message by message and reading by reading.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.adapters.mqtt.mosquitto import MosquittoSettings, write_mosquitto
from gridspine.adapters.mqtt.topics import Routes
from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.writer import LogWriter
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.readings import Channel, NamedReadings
from gridspine.things.adapter import Binding, Connection, Order, Outcome, Source
from gridspine.things.intake import Intake
from gridspine.things.model import parse_model
from gridspine.things.offence import Offences
from gridspine.things.point import PointTable
from gridspine.things.screen import Screen
from gridspine.things.twin import TwinState

WINDOW = 20
PASSWORD = "benchmark"
POINTS = ("activePower", "frequency", "voltage")
UNITS = ("W", "Hz", "V")
MODEL = {
    "@type": "tm:ThingModel", "id": "urn:example:meter", "title": "Meter", "version": {"model": "1"},
    "properties": {p: {"gs:readingType": {"unit": u}} for p, u in zip(POINTS, UNITS, strict=True)},
}  # fmt: skip


def thing(number: int) -> str:
    return f"urn:dev:ops:32473-meter-{number}"


class Node:
    """The parts of a node that a reading passes, and an adapter's context to them."""

    def __init__(self, folder: Path, devices: int, settings: dict[str, Any]) -> None:
        self.clock, self.settings, self.secrets = SystemClock(), settings, {"password": PASSWORD}
        self.store, self.content = self, dict[str, bytes]()
        self.address = ("", 0)
        self._servers: list[asyncio.Server] = []
        self._devices = devices
        topics = [Topic(name) for name in ("readings", "held", "quarantine", "events")]
        self.log = SqliteEventLog(folder / "log", topics)
        self.writer = LogWriter(self.log, asyncio.get_running_loop())
        points = PointTable()
        points.add_model(parse_model(MODEL))
        for n in range(devices):
            points.bind(PointBinding(n * 3, thing(n), "org", MODEL["id"], POINTS, UNITS, 0))
        twins = TwinState()
        twins.grow(devices * 3)
        self.intake_ = Intake(points, Screen(points), twins, self.writer, Offences(self.clock), self.clock)

    def bindings(self) -> list[Binding]:
        return [Binding(thing(n), "Meter", "org", MODEL["id"], {"username": f"m{n}"}) for n in range(self._devices)]

    async def bindings_changed(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def intake(
        self, readings: NamedReadings, source: Source, *, channel: Channel = Channel.REPORTED, backfill: bool = False
    ) -> Outcome:
        return await self.intake_.submit(readings, source, channel=channel, backfill=backfill)

    def source_of(self, thing: str) -> Source:
        return Source("adapter", "org", f"adapter:{thing}")

    async def authorise(self, username: str, password: str, certificate_der: bytes | None = None) -> Source | None:
        return Source(username, "org", username) if password == PASSWORD else None

    def may_publish(self, source: Source, thing: str) -> bool:
        return thing.rpartition("-")[2] == source.principal[1:]

    async def orders(self) -> AsyncIterator[Order]:
        await asyncio.get_running_loop().create_future()
        yield  # type: ignore[misc]

    async def progress(self, command: str, state: str, reason: str = "") -> None: ...

    async def get(self, key: str) -> bytes | None:
        return self.content.get(key)

    async def put(self, key: str, value: bytes | None) -> None:
        self.content[key] = value or b""

    async def listen(self, name: str, on_connection: Connection) -> tuple[str, int]:
        server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        self._servers.append(server)
        self.address = server.sockets[0].getsockname()[:2]
        return self.address

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self.writer.close()
        self.log.close()


@contextlib.asynccontextmanager
async def running(node: Node) -> AsyncIterator[MqttAdapter]:
    adapter = MqttAdapter()
    task = asyncio.create_task(adapter.run(node))  # type: ignore[arg-type]
    try:
        while not adapter.ready:
            if task.done():
                task.result()
            await asyncio.sleep(0.02)
        yield adapter
    finally:
        task.cancel()
        await asyncio.wait([task])
        node.close()


async def measure(node: Node, address: tuple[str, int] | None, devices: int, messages: int) -> dict[str, Any]:
    """Let the devices' process publish; return what was sent, acknowledged and stored, and how fast."""
    async with running(node) as adapter:
        address = address or node.address
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--publish", f"{address[0]}:{address[1]}",
            "--devices", str(devices), "--messages", str(messages), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        publisher = json.loads(output)
        assert adapter.counters is not None
        async with asyncio.timeout(120):
            while adapter.counters.totals()["stored"] < publisher["sent"]:
                await asyncio.sleep(0.01)
        ended, counts, totals = time.perf_counter(), adapter.counters.totals(), node.intake_.totals
        seconds = min(ended - started, time.time() - publisher["started"])
    assert publisher["sent"] == publisher["acknowledged"] == counts["stored"] == counts["received"], (publisher, counts)
    assert totals.accepted == totals.received == 3 * publisher["sent"], totals
    assert counts["lost"] == counts["refused"] == counts["turned_away"] == totals.refused == 0
    return {
        "devices": devices,
        "messages_per_s": round(publisher["sent"] / seconds),
        "readings_per_s": round(3 * publisher["sent"] / seconds),
        "sent": publisher["sent"],
        "acknowledged": publisher["acknowledged"],
        "stored": counts["stored"],
        "lost": counts["lost"],
        "seconds": round(seconds, 3),
    }


async def embedded(devices: int, messages: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return await measure(Node(Path(folder), devices, {}), None, devices, messages)


async def mosquitto(devices: int, messages: int, protocol: str) -> dict[str, Any]:
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    if not Path(program).exists():
        return {"skipped": "the program mosquitto is not installed"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {"mode": "external", "port": port, "protocol": protocol, "username": "gridspine-node"}
        node = Node(folder, devices, settings | {"reconnect_min_s": 0.1})
        configuration = write_mosquitto(
            folder / "broker",
            MosquittoSettings(password_port=port, run_as="root" if os.geteuid() == 0 else ""),
            Routes(node.bindings()),
            passwords={"gridspine-node": PASSWORD} | {f"m{n}": PASSWORD for n in range(devices)},
            randbytes=os.urandom,
        )
        broker = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
        try:
            return await measure(node, ("127.0.0.1", port), devices, messages)
        finally:
            broker.terminate()
            broker.wait(20)


# -- the devices' process -----------------------------------------------------------------------------------------


def packet(kind: int, body: bytes) -> bytes:
    length, header = len(body), bytearray([kind])
    while True:
        length, low = divmod(length, 128)
        header.append(low | (0x80 if length else 0))
        if not length:
            return bytes(header) + body


def text(value: str) -> bytes:
    return struct.pack("!H", len(value.encode())) + value.encode()


async def publish(host: str, port: int, number: int, messages: int) -> int:
    """One device: ``messages`` publishes with `WINDOW` unacknowledged at most; return how many were acknowledged."""
    reader, writer = await asyncio.open_connection(host, port)
    credentials = text(f"device-{number}") + text(f"m{number}") + text(PASSWORD)
    writer.write(packet(0x10, text("MQTT") + b"\x04\xc2\x00\x00" + credentials))
    assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    room, acknowledged = asyncio.Semaphore(WINDOW), 0
    start_us = time.time_ns() // 1000 - messages * 1000

    async def listen() -> None:
        nonlocal acknowledged
        while acknowledged < messages:
            assert (await reader.readexactly(4))[:2] == b"\x40\x02"
            acknowledged += 1
            room.release()

    listening = asyncio.create_task(listen())
    topic = text(f"gridspine/{thing(number)}/readings")
    for n in range(messages):
        await room.acquire()
        body = (
            f'[{{"bn":"{thing(number)}/","bt":{(start_us + n * 1000) / 1e6:.3f},"seq":{n + 1},'
            f'"n":"activePower","u":"W","v":{n}.5}},'
            f'{{"n":"frequency","u":"Hz","v":50.0{n % 10}}},{{"n":"voltage","u":"V","v":23{n % 10}.5}}]'
        )
        writer.write(packet(0x32, topic + struct.pack("!H", n % 65_535 + 1) + body.encode()))
        if n % WINDOW == 0:
            await writer.drain()
    await listening
    writer.write(b"\xe0\x00")
    await writer.drain()
    writer.close()
    return acknowledged


async def publish_all(address: str, devices: int, messages: int) -> None:
    host, _, port = address.rpartition(":")
    started, each = time.time(), messages // devices
    acknowledged = await asyncio.gather(*(publish(host, int(port), n, each) for n in range(devices)))
    print(json.dumps({"sent": each * devices, "acknowledged": sum(acknowledged), "started": started}))


async def main(devices: int, messages: int) -> None:
    results = {
        "embedded, one device": await embedded(1, messages // 2),
        f"embedded, {devices} devices": await embedded(devices, messages),
        f"mosquitto, MQTT 5, {devices} devices": await mosquitto(devices, messages, "5"),
        f"mosquitto, MQTT 3.1.1, {devices} devices": await mosquitto(devices, messages, "3.1.1"),
    }
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    print(json.dumps({"benchmark": "mqtt", "qos": 1, "readings_a_message": 3, **machine, "results": results}, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--publish", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        asyncio.run(publish_all(arguments.publish, arguments.devices, arguments.messages))
    else:
        asyncio.run(main(arguments.devices, arguments.messages))
