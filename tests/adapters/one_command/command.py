"""One command, given to a device by its adapter, and what the device's side makes of it, facet by facet.

::

    Order ─► adapter ─► real socket ─► Side: parses the wire by itself, and keeps a lease as such a device does
                                         │ value, end, holds(at) …
    claim of quality.toml ──────────────►┴─ judged: equal, within the stated bounds, or absent

A `Side` uses nothing of the adapter's own codec. Time is virtual; `holds` asks what the device does with nobody there.
"""

import contextlib
import datetime
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US
from gridspine.testing.facets import Fate
from gridspine.testing.node import FakeNode
from gridspine.testing.pace import Pace
from gridspine.things.adapter import Binding, Order, Planned

THING = "urn:example:commanded"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
WORDS = "too warm today"
LASTS_US = 60_400_000
"""How long the command holds [µs]: no whole number of seconds."""
LATER_W = 1_111.3
"""What the plan has for later [W]."""


class Side:
    """A device of one language: on a real socket, with nothing of the adapter's.

    ``point``, ``value`` and ``fallback`` are what it is ordered [W, import positive]; ``other_fallback`` is one that
    the language may not be able to say. ``step`` is the least difference that its wire can say [W]. ``said`` is every
    byte it was told. ``refuses`` has it refuse, with `WORDS` where its language has a place for them; ``silent`` has it
    answer nothing.
    """

    point = "activePowerLimit"
    value, fallback, other_fallback = 4_737.3, 4_444.4, 4_444.4
    older = 5_555.5
    step = 0.0
    commands: tuple[str, ...] = ()

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.said = bytearray()
        self.silent = self.refuses = False
        self.told_start_us: int | None = None
        self.told_end_us: int | None = None
        self.told_plan: tuple[tuple[int, float | None], ...] = ()
        self.told_sequence: int | None = None
        self.told_chance = False

    def adapter(self) -> Any:
        """Return a new adapter of its language."""
        raise NotImplementedError

    def node(self, clock: VirtualClock) -> FakeNode:
        """Return a node that knows the device."""
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def connected(self, node: FakeNode) -> AsyncIterator[None]:
        """Be there for the length of a block, while the adapter runs."""
        raise NotImplementedError
        yield

    @property
    def ready(self) -> bool:
        """Whether an order would reach it."""
        return True

    def holds(self, at_us: int) -> float:
        """Return what it does at a time [µs since 1970] by all that it was told so far [W, import positive]."""
        raise NotImplementedError


@dataclass
class Bench:
    """An adapter that runs against a side."""

    node: FakeNode
    side: Side
    pace: Pace
    clock: VirtualClock

    def order(self, value: float | None, sequence: int = 9, **more: Any) -> Order:
        now_us = self.clock.now_us()
        until_us = more.pop("until_us", now_us + LASTS_US)
        plan = (Planned(now_us + 30 * US, LATER_W), Planned(until_us, None))
        made = {"fallback": self.side.fallback, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "plan": plan}
        return Order(f"c{sequence}", THING, self.side.point, value, until_us, sequence=sequence, **(made | more))

    def states(self, command: str = "c9") -> list[str]:
        return [state for name, state, _ in self.node.progressed if name == command]

    async def give(self, order: Order, *states: str) -> None:
        """Give an order and wait until one of ``states`` is told of it; time stands still, so that its end is exact."""
        self.node.order(order)
        await self.node.until(lambda: set(states) & set(self.states(order.command)))


@contextlib.asynccontextmanager
async def bench(kind: Any) -> AsyncIterator[Bench]:
    """Run a side's adapter against it."""
    clock = VirtualClock()
    side: Side = kind(clock)
    adapter = side.adapter()
    async with contextlib.AsyncExitStack() as stack:
        node = side.node(clock)
        if hasattr(side, "listening"):
            await stack.enter_async_context(side.listening(node))
        await stack.enter_async_context(node.running(adapter))
        await stack.enter_async_context(side.connected(node))
        made = Bench(node, side, Pace(clock, node._raise_failure, 10.0), clock)
        await made.pace.until(lambda: side.ready and node.waiting_orders is not None, "the device is served", 60.0)
        yield made


# -- what is heard -------------------------------------------------------------------------------------------------


@dataclass
class Heard:
    """What became of each facet: of numbers what was ordered and what arrived; of the others how it was found.

    ``unit`` is what one of a facet's unit is: a step of the wire [W], a second [µs].
    """

    numbers: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    unit: dict[str, float] = field(default_factory=dict)


async def hear(kinds: tuple[Any, ...]) -> Heard:
    """Give the command to a device of a language, in each of the ways that it can be set up; return what arrived."""
    heard = [await _hear(kind) for kind in kinds]
    first = heard[0]
    for facet in first.states:
        found = {one.states[facet] for one in heard}
        first.states[facet] = found.pop() if len(found) == 1 else "part"
    return first


async def _hear(kind: Any) -> Heard:
    heard = Heard()
    await _told(kind, heard)
    await _fallback(kind, heard)
    heard.states["sign"] = await _sign(kind)
    heard.states["acknowledged"] = await _acknowledged(kind)
    heard.states["refused"] = await _refused(kind)
    heard.states["released"] = await _released(kind)
    return heard


async def _told(kind: Any, heard: Heard) -> None:
    async with bench(kind) as run:
        side, order = run.side, run.order(kind.value)
        begun_us = run.clock.now_us()
        await run.give(order, "acknowledged")
        heard.unit = {"value": side.step, "fallback": side.step, "start": US, "end": US}
        heard.numbers["value"] = kind.value, side.holds(run.clock.now_us())
        heard.numbers["start"] = begun_us, _near(side.told_start_us, begun_us)
        heard.numbers["end"] = order.until_us, side.told_end_us
        ordered = tuple((one.from_us, one.value) for one in order.plan)
        heard.states["plan"] = _how_much(len(side.told_plan), len(ordered), side.told_plan == ordered)
        heard.states["random-start"] = "kept" if side.told_chance else "lost"
        heard.states["trace"] = "kept" if TRACE.encode() in side.said else "lost"
        before, sequence = side.holds(run.clock.now_us()), side.told_sequence
        run.node.order(run.order(kind.older, 8))
        await run.pace.passes(5.0)
        held = side.holds(run.clock.now_us()) == before
        heard.states["sequence"] = "lost" if not held else "kept" if sequence == order.sequence else "part"
    if side.told_plan:  # it goes by what it was told, and not to its fallback in between
        assert side.holds(order.plan[0].from_us + US) == LATER_W
    over_us = order.until_us + 3 * US
    heard.states["reverts"] = "kept" if side.holds(over_us) != before else "lost"


async def _fallback(kind: Any, heard: Heard) -> None:
    """Nobody is there when it ends; a language that did not say the fallback then gets another chance."""
    async with bench(kind) as run:
        order = run.order(kind.value, fallback=kind.other_fallback)
        await run.give(order, "acknowledged", "rejected")
        refused = "rejected" in run.states()
        assert not refused or run.side.holds(run.clock.now_us()) == kind.fallback, "refused, and written all the same"
        side = run.side
    alone = side.holds(order.until_us + 3 * US)
    if refused:
        heard.states["fallback"] = "part"
    elif abs(alone - kind.other_fallback) > 1.01 * side.step:
        async with bench(kind) as run:
            order = run.order(kind.value, fallback=kind.other_fallback)
            await run.give(order, "acknowledged")
            await run.pace.passes(LASTS_US / US + 8.0)
            after = run.side.holds(run.clock.now_us())
        heard.states["fallback"] = "part" if abs(after - kind.other_fallback) <= 1.01 * side.step else "lost"
    heard.numbers["fallback"] = kind.other_fallback, alone


async def _sign(kind: Any) -> str:
    async with bench(kind) as run:
        await run.give(run.order(-kind.value), "acknowledged", "rejected")
        held = run.side.holds(run.clock.now_us())
        if "rejected" in run.states():
            assert held >= 0.0
            return "lost"
        return "kept" if abs(held + kind.value) <= run.side.step else "lost"


async def _acknowledged(kind: Any) -> str:
    async with bench(kind) as run:
        run.side.silent = True
        run.node.order(run.order(kind.value))
        await run.pace.passes(10.0)
        unheard = "acknowledged" not in run.states()
    async with bench(kind) as run:
        await run.give(run.order(kind.value), "sent", "acknowledged")
        await run.pace.passes(5.0)
        return _how_much(len(run.states()), 1, unheard and "acknowledged" in run.states())


async def _refused(kind: Any) -> str:
    async with bench(kind) as run:
        run.side.refuses = True
        run.node.order(run.order(kind.value))
        await run.pace.passes(10.0)
        reasons = [reason for _, state, reason in run.node.progressed if state in {"rejected", "failed"}]
        return _how_much(len(reasons), 1, any(WORDS in reason for reason in reasons))


async def _released(kind: Any) -> str:
    async with bench(kind) as run:
        order = run.order(kind.value)
        await run.give(order, "acknowledged")
        before = run.side.holds(run.clock.now_us())
        await run.pace.passes(1.0)
        run.node.order(run.order(None, 10, until_us=order.until_us, plan=()))
        await run.pace.passes(5.0)
        after = run.side.holds(run.clock.now_us())
        return _how_much(after != before, 1, abs(after - kind.fallback) <= run.side.step)


def _how_much(some: int, all_: int, whole: bool) -> str:
    return "kept" if whole else "part" if some else "lost"


def _near(told_us: int | None, wanted_us: int) -> int | None:
    """A moment that is more than a minute off is not the one that was meant."""
    return told_us if told_us is not None and abs(told_us - wanted_us) < 60 * US else None


# -- what is said of it --------------------------------------------------------------------------------------------


def complaint(facet: str, claim: Fate, heard: Heard) -> str:
    """Return what is false in a claim about a facet, "" when it is so."""
    if facet in heard.states and not claim.within:
        found = heard.states[facet]
        return "" if claim.state == found else f"{facet} is said to be {claim.state}, and is {found}"
    if facet not in heard.numbers:
        return f"{facet} is no number here: it has no bounds"
    wanted, arrived = heard.numbers[facet]
    if arrived is None:
        return "" if claim.state == "lost" else f"{facet} is said to be {claim.state}, and is lost"
    off = (arrived - wanted) / heard.unit[facet]
    if claim.state != "part":
        found = "kept" if abs(off) < 1e-6 else "part"
        return "" if claim.state == found else f"{facet} is said to be {claim.state}, and arrives {off:g} off"
    if abs(off) < 1e-6:
        return f"{facet} is said to be part, and arrives as it was ordered"
    low, high = claim.within or (0.0, 0.0)
    if not low - 1e-6 <= off <= high + 1e-6:
        return f"{facet} is said to arrive between {low:g} and {high:g}, and arrives {off:g} off"
    return ""


def binding(connection: dict[str, Any], points: tuple[str, ...] = (), model: str = "m") -> Binding:
    return Binding(THING, "Commanded", "org", model, connection, points)


def moment(at_us: int) -> str:
    """Return a time as RFC 3339."""
    since = datetime.timedelta(microseconds=at_us)
    return (datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + since).isoformat().replace("+00:00", "Z")
