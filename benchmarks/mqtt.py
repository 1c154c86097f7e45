"""Messages a second through the embedded broker, and through Mosquitto: QoS 1, three readings a message.

``uv run python benchmarks/mqtt.py [--short] [--only mosquitto]`` prints a line of JSON a figure. The node's real intake
is behind: screen, log (SQLite, ``synchronous=FULL``), twins; a message counts when the log has it. Node, Mosquitto and
devices are processes of their own, all on this machine. A figure is printed only if ``sent = acknowledged = stored``,
message by message and reading by reading. What Mosquitto does alone, to a bare subscriber, is measured beside it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from mqtt_load import PASSWORD, thing

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.adapters.mqtt.broker import LISTENER
from gridspine.adapters.mqtt.mosquitto import MosquittoSettings, write_mosquitto
from gridspine.adapters.mqtt.topics import Routes
from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.writer import LogWriter
from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.readings import Channel, NamedReadings
from gridspine.testing.node import FakeNode
from gridspine.things.adapter import Binding, Outcome, ProgressState, Source
from gridspine.things.intake import Intake
from gridspine.things.model import parse_model
from gridspine.things.offence import Offences
from gridspine.things.point import PointTable
from gridspine.things.screen import Screen
from gridspine.things.twin import TwinState

GOALS = {"embedded": 15_000, "mosquitto": 60_000}
POINTS = ("activePower", "frequency", "voltage")
UNITS = ("W", "Hz", "V")
LOAD = Path(__file__).with_name("mqtt_load.py")
MODEL = {
    "@type": "tm:ThingModel", "id": "urn:example:meter", "title": "Meter", "version": {"model": "1"},
    "properties": {p: {"gs:readingType": {"unit": u}} for p, u in zip(POINTS, UNITS, strict=True)},
}  # fmt: skip


class Node(FakeNode):
    """An adapter's context, with the parts of a real node behind it that a reading passes."""

    def __init__(self, folder: Path, devices: int, settings: dict[str, Any]) -> None:
        things = [
            Binding(thing(n), "Meter", "org", MODEL["id"], {"username": f"m{n}"}) for n in range(devices)
        ]  # fmt: skip
        super().__init__(things, settings=settings, secrets={"password": PASSWORD})
        topics = [Topic(name) for name in ("readings", "held", "quarantine", "events")]
        self.log = SqliteEventLog(folder / "log", topics)
        self.writer = LogWriter(self.log, asyncio.get_running_loop())
        points = PointTable()
        points.add_model(parse_model(MODEL))
        for n in range(devices):
            points.bind(PointBinding(n * 3, thing(n), "org", MODEL["id"], POINTS, UNITS, 0))
        twins = TwinState()
        twins.grow(devices * 3)
        self.parts = Intake(points, Screen(points), twins, self.writer, Offences(self.clock), self.clock)

    async def intake(
        self, readings: NamedReadings, source: Source, *, channel: Channel = Channel.REPORTED, backfill: bool = False
    ) -> Outcome:
        return await self.parts.submit(readings, source, channel=channel, backfill=backfill)

    def source_of(self, thing: str) -> Source:
        return Source(f"adapter:mqtt:{thing}", "org", f"adapter:mqtt:{thing}")

    async def authorise(self, username: str, password: str, certificate_der: bytes | None = None) -> Source | None:
        return Source(username, "org", username) if password == PASSWORD else None

    def may_publish(self, source: Source, thing: str) -> bool:
        return int(thing.rpartition("-")[2]) == int(source.principal[1:])

    async def progress(self, command: str, state: ProgressState, reason: str = "", *, sequence: int = 0) -> None: ...

    async def close(self) -> None:
        await super().close()
        self.writer.close()
        self.log.close()


@dataclass(frozen=True)
class Case:
    """One measurement: ``window`` messages of each device are unacknowledged at most."""

    broker: str
    devices: int
    messages: int
    window: int
    protocol: str = "5"


# -- the node's process: says its address, then, asked, what it has --------------------------------------------------


async def serve(case: Case, port: int) -> None:
    """Be the node: a line of JSON when devices can be heard, and one for each line on standard input."""
    external = {"mode": "external", "port": port, "protocol": case.protocol, "username": "gridspine-node"}
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder), case.devices, external | {"reconnect_min_s": 0.1} if port else {})
        adapter = MqttAdapter()
        task = asyncio.create_task(adapter.run(node))
        try:
            while not adapter.ready:
                if task.done():
                    task.result()
                await asyncio.sleep(0.02)
            say(node, adapter)
            while await asyncio.to_thread(sys.stdin.readline):
                say(node, adapter)
        finally:
            task.cancel()
            await asyncio.wait([task])
            await node.close()


def say(node: Node, adapter: MqttAdapter) -> None:
    """Print what the node has."""
    assert adapter.counters is not None
    totals = node.parts.books.totals
    words = {
        "port": node.address[LISTENER][1] if LISTENER in node.address else 0, "time": time.time(),
        "readings": totals.accepted, "of": totals.received, **adapter.counters.totals(),
    }  # fmt: skip
    print(json.dumps(words), flush=True)


# -- the measuring process -----------------------------------------------------------------------------------------


class Child:
    """A process that says lines of JSON, and how much processor time it took."""

    def __init__(self, *words: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, *words], stdin=pipe, stdout=pipe, text=True)

    def answer(self, *, ask: bool = False) -> dict[str, Any]:
        """Return the next line; ``ask`` for it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if ask:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended without a word")
        return dict(json.loads(line))

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()


def cpu_s(process: int) -> float:
    """Return the processor time [s] a process has taken."""
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def mosquitto(case: Case) -> Iterator[tuple[int, int]]:
    """Run Mosquitto with the configuration we ship; yield its port and process."""
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        things = [Binding(thing(n), "", "org", "", {"username": f"m{n}"}) for n in range(case.devices)]
        configuration = write_mosquitto(
            Path(folder) / "broker",
            MosquittoSettings(password_port=port, run_as="root" if os.geteuid() == 0 else ""),
            Routes(things),
            passwords={"gridspine-node": PASSWORD} | {f"m{n}": PASSWORD for n in range(case.devices)},
            randbytes=os.urandom,
        )
        broker = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield port, broker.pid
        finally:
            broker.terminate()
            broker.wait(20)


def publishing(case: Case, port: int) -> Child:
    """Start the devices; they wait for a line."""
    child = Child(
        str(LOAD), "publish", f"127.0.0.1:{port}", "--devices", str(case.devices),
        "--messages", str(case.messages), "--window", str(case.window),
    )  # fmt: skip
    child.answer()
    return child


def through(case: Case, port: int, broker: int | None) -> dict[str, Any]:
    """Let the devices publish until the node has all; return how fast, and what took whose time."""
    words = ["--broker", case.broker, "--devices", str(case.devices), "--protocol", case.protocol, "--port", str(port)]
    with Child(__file__, "--serve", *words) as node:
        address = node.answer()["port"] or port
        with publishing(case, address) as devices:
            before = cpu_s(node.process.pid), cpu_s(broker) if broker else 0.0
            sent = devices.answer(ask=True)
            has = node.answer(ask=True)
            while has["stored"] < sent["sent"] and time.time() < sent["ended"] + 120:
                time.sleep(0.02)
                has = node.answer(ask=True)
            after = cpu_s(node.process.pid), cpu_s(broker) if broker else 0.0
    assert sent["sent"] == sent["acknowledged"] == has["stored"] == has["received"], (sent, has)
    assert has["readings"] == has["of"] == 3 * sent["sent"], has
    assert has["lost"] == has["refused"] == has["turned_away"] == 0, has
    return {
        "messages_per_s": sent["sent"] / (max(has["time"], sent["ended"]) - sent["started"]),
        "sent": sent["sent"],
        "node_us": (after[0] - before[0]) / sent["sent"] * 1e6,
        "broker_us": (after[1] - before[1]) / sent["sent"] * 1e6,
        "devices_us": sent["cpu_s"] / sent["sent"] * 1e6,
    }


def alone(case: Case) -> dict[str, Any]:
    """Let the devices publish through Mosquitto to a bare subscriber: what the broker does without a node."""
    with (
        mosquitto(case) as (port, broker),
        Child(str(LOAD), "listen", f"127.0.0.1:{port}", "--messages", str(case.messages)) as subscriber,
    ):
        subscriber.answer()
        with publishing(case, port) as devices:
            before = cpu_s(broker)
            sent = devices.answer(ask=True)
            heard = subscriber.answer()
            used = cpu_s(broker) - before
    assert sent["sent"] == sent["acknowledged"] == heard["received"], (sent, heard)
    return {
        "messages_per_s": sent["sent"] / (max(heard["ended"], sent["ended"]) - sent["started"]),
        "sent": sent["sent"],
        "node_us": heard["cpu_s"] / sent["sent"] * 1e6,
        "broker_us": used / sent["sent"] * 1e6,
        "devices_us": sent["cpu_s"] / sent["sent"] * 1e6,
    }


def report(name: str, goal: str, figure: float, unit: str, conditions: str) -> None:
    """Print one figure as a line of JSON."""
    line = {"name": name, "goal": goal, "figure": figure, "unit": unit, "conditions": conditions}
    print(json.dumps(line, ensure_ascii=False), flush=True)


def conditions(case: Case, result: dict[str, Any], who: str) -> str:
    """Return the conditions of a figure in words."""
    shares = f"{who} {result['node_us']:.1f}"
    if case.broker == "mosquitto":
        shares += f", Mosquitto {result['broker_us']:.1f}"
    return (
        f"{case.devices} devices, {case.window} unacknowledged each, three readings a message; sent = acknowledged = "
        f"{'received' if who == 'subscriber' else 'stored'} = {result['sent']:,}; processor time a message [µs]: "
        f"{shares}, devices {result['devices_us']:.1f}"
    )


def measure(case: Case) -> None:
    """Measure one case and report it, beside Mosquitto alone when that is the broker."""
    goal = f"≥ {GOALS[case.broker]:,}"
    if case.broker == "embedded":
        result = through(case, 0, None)
        name = f"MQTT QoS 1, embedded broker, {case.devices} devices"
        report(name, goal, round(result["messages_per_s"]), "messages/s", conditions(case, result, "node"))
        return
    bare = alone(case)
    name = f"Mosquitto alone, to a bare subscriber, {case.devices} devices"
    report(name, "", round(bare["messages_per_s"]), "messages/s", conditions(case, bare, "subscriber"))
    with mosquitto(case) as (port, broker):
        result = through(case, port, broker)
    name = f"MQTT QoS 1, Mosquitto, MQTT {case.protocol}, {case.devices} devices"
    words = conditions(case, result, "node")
    ratio = result["messages_per_s"] / bare["messages_per_s"]
    words += f"; {ratio:.2f} of Mosquitto alone just before"
    report(name, goal, round(result["messages_per_s"]), "messages/s", words)


def main() -> None:
    """Measure, or be the node's process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a look, not a measurement")
    parser.add_argument("--only", choices=sorted(GOALS))
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--window", type=int, default=50)
    parser.add_argument("--protocol", choices=["3.1.1", "5"], default="5")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--broker", default="embedded", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        case = Case(options.broker, options.devices, 0, 0, options.protocol)
        asyncio.run(serve(case, options.port))
        return
    scale = 5 if options.short else 1
    cases = [
        Case("embedded", 1, 100_000 // scale, options.window),
        Case("embedded", options.devices, 200_000 // scale, options.window),
        Case("embedded", 1000, 100_000 // scale, 5),
        Case("mosquitto", options.devices, 500_000 // scale, options.window, options.protocol),
        Case("mosquitto", 1000, 100_000 // scale, 5, options.protocol),
    ]
    for case in cases:
        if options.only in {None, case.broker}:
            measure(case)


if __name__ == "__main__":
    main()
