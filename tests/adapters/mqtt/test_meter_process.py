"""The meter's process against the embedded broker: nothing it made is lost while the node is away."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from adapter_node import DictStore, FakeNode
from mqtt_device import PASSWORD, THING

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.things.adapter import Binding
from tests.ports import free_port


@contextlib.asynccontextmanager
async def metering(folder: Path, port: int, home_port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    meter = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gridspine.apps.demo.meter", "--thing", THING, "--port", str(port), "--username", THING,
        "--interval-s", "0.05", "--home-port", str(home_port), "--state", str(folder / "state"),
        env={key: value for key, value in os.environ.items() if key != "GRIDSPINE_METER_PASSWORD"},
        stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert meter.stdin is not None
    meter.stdin.write(f"{PASSWORD}\n".encode())
    try:
        yield meter
    finally:
        meter.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            _, said = await meter.communicate()
    assert meter.returncode == 0, said
    assert PASSWORD.encode() not in said


async def until_seq(folder: Path, seq: int, home_port: int) -> None:
    """Drive the home's power until the meter has made message ``seq``."""
    power_w = -5000.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inverter:
        async with asyncio.timeout(60):
            while not (folder / "state").exists() or json.loads((folder / "state").read_text())["seq"] < seq:
                power_w -= 50.0
                inverter.sendto(json.dumps({"device": "pv", "power_w": power_w}).encode(), ("127.0.0.1", home_port))
                await asyncio.sleep(0.02)


async def serve_until(
    folder: Path, seq: int, port: int, home_port: int, store: DictStore
) -> tuple[FakeNode, MqttAdapter]:
    """Run a node until it has what the meter made up to message ``seq`` and something newer than its own start."""
    node = FakeNode([Binding(THING, "Meter", "org", "m", {})], port=port, store=store)
    node.add_user(THING, PASSWORD, THING)
    adapter = MqttAdapter()
    async with node.running(adapter):
        started_us = node.clock.now_us()
        await until_seq(folder, seq, home_port)
        await node.until(
            lambda: (
                node.stored
                and node.stored[-1].observed_us > started_us
                and adapter.counters is not None
                and adapter.counters.of(THING).sequence.high >= seq
            )
        )
    assert min(s.observed_us for s in node.stored) < started_us  # made before, with their own times
    return node, adapter


async def test_nothing_the_meter_made_is_lost_while_the_node_is_away(tmp_path: Path) -> None:
    port, home_port, store = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM), DictStore()
    taken, times = 0, set()
    async with metering(tmp_path, port, home_port):
        await until_seq(tmp_path, 8, home_port)  # made before the node was ever there
        for goal in (15, 30):
            node, adapter = await serve_until(tmp_path, goal, port, home_port, store)
            assert adapter.counters is not None
            assert adapter.counters.of(THING).lost == 0
            taken += adapter.counters.of(THING).stored
            power = [s for s in node.stored if s.point == f"{THING}/activePower"]
            times |= {s.observed_us for s in node.stored}  # a message has at least one reading, power or not
            assert min(s.value for s in power) < -4000.0  # the inverter on the home's wires
            assert {s.unit for s in power} == {"W"}
            await until_seq(tmp_path, goal + 5, home_port)  # made while the node was away
    assert taken >= 30
    assert len(times) >= 30
