"""Agents of twins: what one takes while it sleeps, how soon it is awake, how many run, what they cost who has none.

``uv run python benchmarks/agents.py [--short]``

Asleep: the columns and states of agents that were all woken once, in this process, by its unique memory. Awake: a node
in this process with its evaluator as a child; from the moment the node tells of a durable reading to the answer of the
behaviour that listens to it.
"""

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from rig import report

from gridspine.apps.cli.keys import new_key
from gridspine.apps.node.behaviours import program
from gridspine.apps.node.node import Node
from gridspine.apps.node.run import start
from gridspine.energy.models import load_models
from gridspine.infra.identity import jws
from gridspine.infra.runtime.settings import Archive, Http, Log, Settings
from gridspine.kernel.readings import Channel, Readings, named_readings
from gridspine.things.adapter import Source
from gridspine.things.agent import READING, States, Wakes
from gridspine.things.behaviour import SIGNATURE_TYPE, Behaviour, digest_of
from gridspine.things.books import Committed
from gridspine.things.directory import Thing
from gridspine.things.rollout import Plan
from gridspine.things.screen import Screened

MODEL = load_models()["battery"].id
ORGANISATION = "bench"
FIRST = 50
"""Things before these are woken one by one."""
TEXT = """
def on_reading(twin, state):
    charge = twin["points"]["stateOfCharge"]["value"]
    low = charge < 20
    return {"state": {"low": low, "n": state.get("n", 0) + 1}, "derived": {"operatingState": 2 if low else 6}}
"""


def asleep(agents: int) -> None:
    """Measure the memory of agents that sleep."""
    things, held = np.arange(agents), psutil.Process()
    gc.collect()
    before = held.memory_full_info().uss
    wakes = Wakes()
    wakes.hear(things, READING, 1)
    while wakes.take(2, 10_000):
        pass
    gc.collect()
    without = held.memory_full_info().uss
    states = States()
    for thing in range(agents):
        states.put(thing, {"low": False, "n": 17, "since": 1_750_000_000.25})
    gc.collect()
    both = held.memory_full_info().uss
    words = f"{agents:,} agents that were all woken once; one that never was takes nothing"
    report("agent asleep, without a state", "≤ 200", round((without - before) / agents, 1), "bytes", words)
    words = f"{agents:,} agents with a state of three values, {len(states.items()[0][1])} bytes packed"
    report("agent asleep, with its state", "≤ 200", round((both - before) / agents, 1), "bytes", words)


async def awake(rounds: int, things: int) -> None:
    """Measure a node whose agents wake."""
    settings = Settings(
        organisation="Bench",
        demo=True,
        http=Http(port=0),
        archive=Archive(enabled=False),
        log=Log(reserve_bytes=1 << 20),
    )
    with tempfile.TemporaryDirectory() as folder:
        running = await start(settings, Path(folder) / "data")
        try:
            await _measure(running.node, rounds, things)
        finally:
            await running.stop()


async def _measure(node: Node, rounds: int, things: int) -> None:
    await node.things.register_all(
        [Thing(_id(n), ORGANISATION, "b", MODEL) for n in range(FIRST + things)], actor="bench"
    )
    await _deploy(node)
    health = node.agents.watch.health[program(ORGANISATION, "bench", "1.0.0")]
    took = await _wakes(node, rounds)
    words = f"{rounds} readings one after the other; median {1000 * np.median(took):.2f} ms; mean of all "
    words += f"{1000 * np.mean(took):.2f} ms; the evaluator is a child process"
    report(
        "agent awake and answered after a reading, p99",
        "≤ 5",
        round(1000 * float(np.percentile(took, 99)), 2),
        "ms",
        words,
    )
    before, began, cpu_s = health.calls, time.perf_counter(), time.process_time()
    await node.intake.submit(_charges(range(FIRST, FIRST + things), 40.0), Source("s", ORGANISATION, "s"))
    while health.calls < before + things:
        await asyncio.sleep(0.005)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    words = (
        f"{things:,} Things, one reading each, one derived reading back; {1e6 * cpu_s / things:.0f} µs of the node's "
    )
    words += "processor an agent, the child's besides"
    report("agents run", "", round(things / seconds), "agents/s", words)
    _cost(node, things)


async def _wakes(node: Node, rounds: int) -> list[float]:
    told: list[float] = []
    took: list[float] = []
    node.intake.books.listeners.insert(0, lambda _: told.append(time.perf_counter()))
    effects: Any = node.agents._effects
    take: Callable[..., None] = effects.take

    def taken(*arguments: Any) -> None:
        took.append(time.perf_counter() - told[-1])
        take(*arguments)

    effects.take = taken
    for turn in range(rounds + 20):
        count = len(took)
        await node.intake.submit(_charges([turn % FIRST], 30.0 + turn % 40), Source("s", ORGANISATION, "s"))
        while len(took) == count:
            await asyncio.sleep(0.0005)
        await asyncio.sleep(0.005)
    effects.take = take
    del node.intake.books.listeners[0]
    return took[20:]


def _cost(node: Node, things: int) -> None:
    """Measure what the node's loop pays for a batch, of interest and not."""
    for name, of_interest in (("activePower", False), ("stateOfCharge", True)):
        point = np.array([node.points.number(f"{_id(n)}/{name}") for n in range(things)], np.int32)
        empty = np.zeros(0, np.int64)
        zeros = np.zeros(things, np.uint8)
        batch = Readings(
            point, np.full(things, node.clock.now_us()), np.zeros(things), np.zeros(things, np.uint16), ("s",),
            Channel.REPORTED, node.clock.now_us(),
        )  # fmt: skip
        screened = Screened(zeros, zeros, batch, batch.take(slice(0, 0)), empty, np.zeros(things, np.bool_), batch)
        committed = Committed(None, screened)
        node.agents.on_committed(committed)
        began = time.process_time()
        for _ in range(20):
            node.agents.on_committed(committed)
        ns = (time.process_time() - began) / 20 / things * 1e9
        words = f"a batch of {things:,} readings of {things:,} Things, " + (
            "all of interest to agents that wait already" if of_interest else "none of interest, though others are"
        )
        report(f"agents' share of a reading{', of interest' if of_interest else ''}", "≈ 0", round(ns, 1), "ns", words)


async def _deploy(node: Node) -> None:
    directory, key = node.identity.directory, new_key()
    publisher = directory.add_principal(ORGANISATION, "application", "bench", ("operator",))
    directory.add_key(publisher.id, jws.public_jwk(key.as_dict(private=False)))
    package = Behaviour(
        name="bench", version="1.0.0", model=MODEL, text=TEXT, listens=("stateOfCharge",), derives=("operatingState",),
        min_interval_s=0.05,
    )  # fmt: skip
    text = msgspec.json.encode(package).decode()
    signature = jws.sign({"typ": SIGNATURE_TYPE}, {"digest": digest_of(text)}, key)
    await node.agents.behaviours.publish(ORGANISATION, publisher.id, text, signature)
    await node.agents.behaviours.deploy(ORGANISATION, "bench", "1.0.0", Plan(share=1), actor="bench")


def _charges(things: Any, value: float) -> Any:
    now_us = time.time_ns() // 1000
    return named_readings([(f"{_id(n)}/stateOfCharge", "", now_us, value, 0) for n in things])


def _id(number: int) -> str:
    return f"urn:dev:ops:32473-battery-{number:06}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a look, not a measurement")
    short = parser.parse_args().short
    asleep(50_000 if short else 1_000_000)
    asyncio.run(awake(100 if short else 1_000, 500 if short else 5_000))


if __name__ == "__main__":
    main()
