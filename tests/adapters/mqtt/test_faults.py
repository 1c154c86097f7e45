"""Killed nodes, killed brokers, a writer that does not keep up: what was acknowledged is kept, memory is bounded."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from mqtt_brokering import Broker, broker_in, linked, make_node, needs_mosquitto
from mqtt_device import OTHER, Device, device, pack, topic
from mqtt_durable import USERNAME, kept

SCRIPT = Path(__file__).parent / "durable.py"


class Killable:
    """The process of `mqtt_durable`."""

    def __init__(self, folder: Path, settings: dict[str, Any], port: int = 0) -> None:
        words = [sys.executable, str(SCRIPT), str(folder), json.dumps(settings), str(port)]
        self.process = Popen(words, stdin=PIPE, stdout=PIPE, text=True)
        self.port = int(self.read()["port"])

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    async def ask(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return await asyncio.to_thread(self.read)

    def close(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        with suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.close()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def killable(folder: Path, settings: dict[str, Any], port: int = 0) -> Iterator[Killable]:
    it = Killable(folder, settings, port)
    try:
        yield it
    finally:
        if it.process.returncode is None:
            it.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path) as it:
        yield it


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def message(number: int) -> bytes:
    return pack(OTHER, power=float(number), time_s=1_767_225_600.0 + number, seq=number + 1)


def publish(meter: Device, numbers: range) -> dict[int, int]:
    return {meter.publish(topic(OTHER), message(n)): n for n in numbers}


def values(numbers: range) -> set[float]:
    return {float(n) for n in numbers}


async def test_a_killed_node_has_all_it_acknowledged_and_gets_the_rest_again(tmp_path: Path) -> None:
    everything = range(3000)
    with killable(tmp_path, {}) as first, device(first.address, USERNAME) as meter:
        await until(lambda: meter.connected)
        sent = publish(meter, everything)
        await until(lambda: len(meter.acknowledged) >= 100)
        first.close(kill=True)
        await until(lambda: meter.disconnected)
        assert {float(sent[mid]) for mid in meter.acknowledged} <= set(kept(tmp_path))
        with killable(tmp_path, {}, first.port) as second:
            await until(lambda: meter.acknowledged.issuperset(sent))
            told = await second.ask()
            assert told["received"] == told["accepted"] + told["duplicate"]
            assert told["messages"]["refused"] == told["messages"]["turned_away"] == 0
    assert set(kept(tmp_path)) == values(everything)


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_killed_node_gets_from_its_broker_what_it_had_not_acknowledged(
    tmp_path: Path, broker: Broker, protocol: str
) -> None:
    everything, folder = range(3000), tmp_path / "node"
    folder.mkdir()
    await broker.start()
    settings = {
        "mode": "external", "port": broker.password_port, "protocol": protocol, "username": "gridspine-node",
        "reconnect_min_s": 0.1, "receive_maximum": 200,
    }  # fmt: skip
    with killable(folder, settings) as first, device(broker.address, USERNAME) as meter:
        await until(lambda: meter.connected)
        sent = publish(meter, everything)
        while (await first.ask())["accepted"] < 100:
            await asyncio.sleep(0.01)
        first.close(kill=True)
        with killable(folder, settings) as second:
            await until(lambda: meter.acknowledged.issuperset(sent))
            async with asyncio.timeout(60):
                while (told := await second.ask())["highest"] < everything[-1]:
                    await asyncio.sleep(0.1)
            assert told["received"] == told["accepted"] + told["duplicate"]
    assert set(kept(folder)) == values(everything)


@needs_mosquitto
@pytest.mark.parametrize("kill", [False, True])
async def test_a_broker_that_ends_under_load_loses_nothing_or_it_is_counted(broker: Broker, kill: bool) -> None:
    """Stopped, Mosquitto saves its queue; killed, it loses what it acknowledged to devices and nobody had from it."""
    broker.write(autosave_interval_s=0)
    await broker.start()
    everything = range(4000)
    node = make_node(broker, settings={"receive_maximum": 50})
    async with linked(node) as adapter:
        assert adapter.counters is not None
        with device(broker.address, "meter-two", client_id="b") as meter:
            await node.until(lambda: meter.connected)  # what comes first is where the count starts
            sent = publish(meter, everything)
            await node.until(lambda: len(node.stored) >= 200)
            node.gate.clear()
            await node.until(lambda: len(meter.acknowledged) >= len(node.stored) + 100)
            broker.stop(kill=kill)
            await node.until(lambda: meter.disconnected)
            node.gate.set()
            await broker.start()
            await node.until(lambda: meter.acknowledged.issuperset(sent), timeout_s=60)
            await node.until(lambda: adapter.ready)
            meter.publish(topic(OTHER), message(len(everything)))
            await node.until(lambda: node.stored and node.stored[-1].value == len(everything), timeout_s=60)
            got = {one.value for one in node.stored}
            lost = adapter.counters.of(OTHER).lost
            assert len(got) + lost == len(everything) + 1
            assert kill or lost == 0


@needs_mosquitto
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_writer_that_does_not_keep_up_holds_the_broker_back(broker: Broker, protocol: str, qos: int) -> None:
    await broker.start()
    node = make_node(broker, protocol, settings={"receive_maximum": 50})
    everything = range(2000)
    async with linked(node) as adapter:
        assert adapter.counters is not None
        taken = adapter.counters.of(OTHER)
        node.gate.clear()
        with device(broker.address, "meter-two", client_id="b") as meter:
            await node.until(lambda: meter.connected)
            for n in everything:
                meter.publish(topic(OTHER), message(n), qos=qos)
            await node.until(lambda: taken.received == 50)
            await asyncio.sleep(0.3)
            assert taken.received == 50
            node.gate.set()
            if qos:
                await node.until(lambda: len(node.stored) == len(everything))
                assert {one.value for one in node.stored} == values(everything)
                assert taken.lost == 0
            else:  # what a broker drops of QoS 0 was never promised; what it passed on is taken
                await node.until(lambda: len(node.stored) > 50)
