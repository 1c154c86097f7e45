"""Simulated devices: batteries with a timer of their own, behind an adapter that is the node's like any other."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gridspine.kernel.errors import GridspineError
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import named_readings
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Order, Outcome
from sim.network import Network
from sim.story import Story

NAME = "sim"
MODEL = "https://gridspine.org/models/battery"
_AGAIN_S = 2.0
_SPOOL = 50
Row = tuple[str, float, int]
"""Point id, value, observed [µs]."""


@dataclass(eq=False)
class Battery:
    """A battery: holds what it was ordered until its own timer ends it, then falls back, whoever is there or not."""

    thing: str
    fallback: float = 0.0
    value: float = 0.0
    ends_s: float = 0.0
    sequence: int = 0
    manner: str = "prompt"
    """``prompt``, ``late`` (answers after seconds), ``silent`` (obeys, never answers) or ``refusing``."""
    spool: list[tuple[int, list[Row]]] = field(default_factory=list)
    """Batches that the node did not acknowledge yet."""
    sent: int = 0
    energy_wh: int = 0

    def holds(self, now_s: float) -> float:
        """Return the value it holds at ``now_s`` [s]."""
        return self.value if now_s < self.ends_s else self.fallback

    def obey(self, order: Order, lasts_s: float, now_s: float) -> str:
        """Take an order that lasts ``lasts_s`` [s] from its arrival; return what it says to that."""
        if order.sequence <= self.sequence and self.sequence:
            return "acknowledged" if order.sequence == self.sequence else "old"
        if self.manner == "refusing":
            return "rejected"
        self.sequence = order.sequence
        self.value, self.ends_s = (self.fallback, 0.0) if order.value is None else (order.value, now_s + lasts_s)
        return "acknowledged"


class Field:
    """All devices and what they hear of; they outlive every node."""

    def __init__(self, dice: random.Random, network: Network, story: Story, checked: Callable[..., None]) -> None:
        self.dice, self.network, self.story = dice, network, story
        self.batteries: dict[str, Battery] = {}
        self.on_order: Callable[[Order], None] = lambda _: None
        self.on_outcome: Callable[[Outcome, list[Row]], None] = checked
        self.longest_s = 0.0
        """When the last timer of a device ends [s]."""

    def adapter(self) -> "SimAdapter":
        """Return the adapter of one start of the node."""
        return SimAdapter(self)


class SimAdapter:
    """Speaks to the batteries over the simulated network; sends an order again until it is answered."""

    name = NAME

    def __init__(self, field_: Field) -> None:
        self._field = field_
        self._newest: dict[tuple[str, str], int] = {}
        self._answered: set[tuple[str, str, int]] = set()

    async def run(self, context: AdapterContext) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for thing in sorted(self._field.batteries):
                tasks.create_task(self._report(context, self._field.batteries[thing]))
            async for order in context.orders():
                self._field.on_order(order)
                self._newest[order.thing, order.point] = order.sequence
                tasks.create_task(self._deliver(context, order))

    async def _deliver(self, context: AdapterContext, order: Order) -> None:
        key = (order.thing, order.point)
        tried = False
        while True:
            if self._newest[key] != order.sequence or (*key, order.sequence) in self._answered:
                return
            lasts_s = (order.until_us - context.clock.now_us()) / US
            if order.value is not None and lasts_s <= 0:
                return
            late_s = self._field.network.pass_s()
            if late_s >= 0:
                asyncio.get_running_loop().call_later(late_s, self._arrive, context, order, lasts_s)
            if not tried:
                tried = True
                await self._progress(context, order, "sent")
            await context.clock.sleep(_AGAIN_S)

    def _arrive(self, context: AdapterContext, order: Order, lasts_s: float) -> None:
        loop, field_ = asyncio.get_running_loop(), self._field
        battery = field_.batteries[order.thing]
        said = battery.obey(order, lasts_s, loop.time())
        field_.longest_s = max(field_.longest_s, battery.ends_s)
        field_.story.tell(loop.time(), f"{order.thing} hears {order.value} #{order.sequence}: {said}")
        back_s = field_.network.pass_s() + (5.0 if battery.manner == "late" else 0.0)
        if said == "old" or battery.manner == "silent" or back_s < 0:
            return
        loop.call_later(back_s, self._said, context, order, said)

    def _said(self, context: AdapterContext, order: Order, said: Any) -> None:
        self._answered.add((order.thing, order.point, order.sequence))
        asyncio.ensure_future(self._progress(context, order, said))  # noqa: RUF006 - the loop of a run keeps it

    async def _progress(self, context: AdapterContext, order: Order, state: Any) -> None:
        try:
            await context.progress(order.command, state)
        except GridspineError as error:
            self._field.story.tell(asyncio.get_running_loop().time(), f"progress {state} not kept: {error.detail[:60]}")

    async def _report(self, context: AdapterContext, battery: Battery) -> None:
        """Send what the battery measures; what was not acknowledged is sent again, in order."""
        dice, loop = self._field.dice, asyncio.get_running_loop()
        while True:
            await context.clock.sleep(dice.uniform(0.5, 3.0))
            if len(battery.spool) < _SPOOL:
                battery.sent += 1
                battery.energy_wh += dice.randint(1, 50)
                at_us = context.clock.now_us()
                held = battery.holds(loop.time())
                rows = [
                    (f"{battery.thing}/activePower", held + dice.randint(-20, 20), at_us),
                    (f"{battery.thing}/activeEnergyImport", float(battery.energy_wh), at_us),
                ]
                battery.spool.append((battery.sent, rows))
            await self._send_oldest(context, battery)

    async def _send_oldest(self, context: AdapterContext, battery: Battery) -> None:
        number, rows = battery.spool[0]
        late_s = self._field.network.pass_s()
        if late_s < 0:
            return
        await context.clock.sleep(late_s)
        named = named_readings([(point, "", at_us, value, int(Quality.GOOD)) for point, value, at_us in rows])
        try:
            outcome = await context.intake(named, context.source_of(battery.thing))
        except GridspineError as error:
            self._field.story.tell(asyncio.get_running_loop().time(), f"{battery.thing} not taken: {error.title}")
            return
        self._field.on_outcome(outcome, rows)
        acknowledged_s = self._field.network.pass_s()
        if acknowledged_s >= 0 and battery.spool and battery.spool[0][0] == number:
            battery.spool.pop(0)
