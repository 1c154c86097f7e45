"""Agents at work: twins wake on readings, orders and time, run their behaviours, and go to sleep again.

::

    committed ─ points of interest ─┐
    orders ─────────────────────────┼► Wakes ─► calls, many at once ─► child: Starlark ─► answers
    time ───────────────────────────┘                                                        │
      derived readings (a source of their own) ◄─ set-points (authority service) ◄─ alarms ◄─┴─ state, next time

A fault ends that call only: the agent keeps the state it had and is tried again after a while that doubles. Faults and
steps are counted by version; what they ask for, promotion or the way back, is done without anyone's help. A twin in
emulator form wakes on emulated readings, and what it derives is emulated too.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import structlog

from gridspine.apps.node.agent_book import AgentBook
from gridspine.apps.node.agent_call import Call, CallMaker
from gridspine.apps.node.agent_effects import Effects
from gridspine.apps.node.agent_health import HealthWatch
from gridspine.apps.node.behaviours import Behaviours, program
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.starlark_runner import Runner
from gridspine.infra.runtime.starlark_wire import Done, Fault, Result
from gridspine.kernel.errors import Invalid
from gridspine.kernel.readings import Channel, Int64Array
from gridspine.kernel.time import US
from gridspine.things.adapter import Order
from gridspine.things.agent import COMMAND, READING, TIMER, Wakes
from gridspine.things.behaviour import Answer, read_answer
from gridspine.things.books import Committed
from gridspine.things.command import CommandEvent, OrderIssued
from gridspine.things.form import Forms
from gridspine.things.incident import Incidents
from gridspine.things.point import PointTable
from gridspine.things.rollout import EARLY_CALLS, Deployment
from gridspine.things.twin import TwinState

AT_ONCE = 256
"""Agents that are run in one go at most."""
_LOOK_S = 1.0
_FIRST_HOLD_S, _LONGEST_HOLD_S = 1.0, 300.0
_MAX_ORDERS = 100_000
_SPREAD = 1 << 20
log = structlog.get_logger(__name__)


class Agents:
    """Runs the agents of a node's twins; lives on the event loop."""

    def __init__(
        self, behaviours: Behaviours, effects: Effects, runner: Runner, points: PointTable, twins: TwinState,
        forms: Forms, incidents: Incidents, clock: Clock, path: Path,
    ) -> None:  # fmt: skip
        self.behaviours = behaviours
        self._effects, self._runner = effects, runner
        self._points, self._forms = points, forms
        self._clock = clock
        self.book = AgentBook(behaviours, points, path)
        self._maker = CallMaker(behaviours, points, twins, forms)
        self._wakes = Wakes()
        self._more = asyncio.Event()
        self._orders: dict[int, Order] = {}
        self._failures: Counter[tuple[str, int]] = Counter()
        self._held_us: dict[tuple[str, int], int] = {}
        self._loaded: set[str] = set()
        self.watch = HealthWatch(behaviours, incidents, clock)
        behaviours.changed = self._changed

    def load(self) -> None:
        """Take up deployments and states when the node starts; blocks."""
        self.behaviours.load()
        self.book.load()
        for deployment in self.behaviours.deployments.values():
            self._begin(deployment)

    @property
    def waiting(self) -> int:
        """How many Things are awake and wait to be run."""
        return len(self._wakes)

    # -- hearing ------------------------------------------------------------------------------------------------

    def on_committed(self, committed: Committed) -> None:
        """Wake the agents that listen to what was read."""
        accepted = committed.screened.accepted
        if not len(self.book.interest) or accepted.backfill or not len(accepted):
            return
        if accepted.channel not in {Channel.REPORTED, Channel.EMULATED}:
            return
        rule = self._points.rule.array[accepted.point]
        hit = self.book.interest[np.minimum(rule, len(self.book.interest) - 1)]
        if not hit.any():
            return
        things = np.unique(self._points.things_of(accepted.point[hit]))
        if len(self._forms):
            names, form = self._points.things(), "emulator" if accepted.channel is Channel.EMULATED else "adapter"
            things = things[[self._forms.of(names[thing]) == form for thing in things.tolist()]]
        elif accepted.channel is Channel.EMULATED:
            return
        self._wake(things, READING)

    def on_events(self, events: Sequence[CommandEvent]) -> None:
        """Wake the agents whose Things were ordered something, unless it was by themselves."""
        if not self.book.commanded:
            return
        for event in events:
            if isinstance(event, OrderIssued) and not self._effects.own(event.order):
                found = self._points.thing_points(event.order.thing)
                if found is None or found[1].id not in self.book.commanded or len(self._orders) >= _MAX_ORDERS:
                    continue
                number = self._points.thing_number(event.order.thing)
                self._orders[number] = event.order
                self._wake(np.array([number]), COMMAND)

    def _wake(self, things: Int64Array, why: int, at_us: int | Int64Array = 0) -> None:
        if self._wakes.hear(things, why, self._clock.now_us(), at_us):
            self._more.set()

    # -- running ------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Run agents as they wake, and judge their versions, until cancelled."""
        judged_us = self._clock.monotonic_us()
        while True:
            taken = self._wakes.take(self._clock.now_us(), AT_ONCE)
            if taken:
                await self.run(taken)
            if self._clock.monotonic_us() - judged_us >= _LOOK_S * US:
                judged_us = self._clock.monotonic_us()
                await self._look()
            if not taken:
                await self._rest()

    async def run(self, taken: Sequence[tuple[int, int]]) -> None:
        """Run the agents of Things (by number, each with why it wakes)."""
        groups: dict[tuple[str, str], list[Call]] = {}
        for thing, why in taken:
            for call in self._calls(thing, why):
                name = program(call.deployment.organisation, call.behaviour.name, call.behaviour.version)
                groups.setdefault((name, call.function), []).append(call)
        for (name, function), calls in groups.items():
            for start in range(0, len(calls), EARLY_CALLS):
                if name not in self.book.programs():  # taken back meanwhile: what came in its place has its turn
                    self._wake(np.unique([call.thing for call in calls[start:]]), READING)
                    break
                await self._run_some(name, function, calls[start : start + EARLY_CALLS])
        await self._effects.flush()

    async def _run_some(self, name: str, function: str, calls: Sequence[Call]) -> None:
        """Run a few agents of one version; where some fault, judge at once: a bad version holds up all others."""
        results = await self._called(name, function, calls)
        for call, result in zip(calls, results, strict=True):
            self._after(name, call, result)
        if any(isinstance(result, Fault) for result in results):
            await self.watch.judge_all()

    async def _look(self) -> None:
        """Judge the versions; let go of those that nobody has any more."""
        await self.watch.judge_all()
        wanted = self.book.programs()
        for name in self._loaded - wanted:
            await self._runner.forget(name)
        self._loaded &= wanted

    async def close(self) -> None:
        """End the evaluator."""
        await self._runner.aclose()

    # -- inside -------------------------------------------------------------------------------------------------

    async def _rest(self) -> None:
        self._more.clear()
        if not self.book.by_model:
            await self._more.wait()  # no behaviour is deployed: there is nothing to look at
            return
        wait_s = (self._wakes.next_us - self._clock.now_us()) / US
        resting = asyncio.ensure_future(self._clock.sleep(min(max(wait_s, 0.005), _LOOK_S)))
        waking = asyncio.ensure_future(self._more.wait())
        try:
            await asyncio.wait({resting, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            resting.cancel()
            waking.cancel()

    def _calls(self, thing: int, why: int) -> list[Call]:
        """Return what a Thing's agents are to be called with; those that rest after a fault are woken later."""
        deployments = self.book.of(thing)
        order = self._orders.pop(thing, None)
        if not deployments:
            return []
        now_us = self._clock.now_us()
        least_s = min(self.behaviours.watched(one).min_interval_s for one in deployments)
        self._wakes.rest(thing, now_us + round(least_s * US))
        calls = []
        for deployment in deployments:
            held_us = self._held_us.get((deployment.id, thing), 0)
            if held_us > now_us:
                self._wake(np.array([thing]), why, held_us)
            else:
                call = self._maker.make(thing, deployment, self.book.states[deployment.id], why, order, now_us)
                calls += [] if call is None else [call]
        return calls

    async def _called(self, name: str, function: str, calls: Sequence[Call]) -> Sequence[Result]:
        behaviour = calls[0].behaviour
        try:
            if name not in self._loaded:
                await self._runner.load(name, behaviour.text)
                self._loaded.add(name)
            each = [call.arguments for call in calls]
            return await self._runner.call_many(name, function, each, max_steps=behaviour.max_steps)
        except Invalid as error:
            return [Fault("text", error.detail)] * len(calls)

    def _after(self, name: str, call: Call, result: Result) -> None:
        self.watch.call(name, result.steps)
        key = (call.deployment.id, call.thing)
        answer: Answer | None = None
        try:
            if isinstance(result, Done):
                answer = read_answer(call.behaviour, result.value)
        except Invalid as error:
            result = Fault("result", error.detail, steps=result.steps)
        if answer is None:
            assert isinstance(result, Fault)
            self.watch.fault(name, result, f"{call.function} of {call.urn}")
            self._failures[key] += 1
            hold_s = min(_FIRST_HOLD_S * 2 ** (self._failures[key] - 1), _LONGEST_HOLD_S)
            self._held_us[key] = self._clock.now_us() + round(hold_s * US)
            why = {"on_reading": READING, "on_command": READING, "on_timer": TIMER}[call.function]
            self._wake(np.array([call.thing]), why, self._held_us[key])
            return
        if key in self._failures:
            del self._failures[key]
            self._held_us.pop(key, None)
        if answer.state is not None:
            self.book.states[call.deployment.id].put(call.thing, answer.state)
        self._again(call, answer.wake_in_s or call.behaviour.timer_s)
        self._effects.take(call.urn, call.deployment.organisation, call.behaviour, call.channel, call.points, answer)

    def _again(self, call: Call, after_s: float) -> None:
        if after_s:
            self._wake(np.array([call.thing]), TIMER, self._clock.now_us() + round(after_s * US))

    def _changed(self, deployment: Deployment) -> None:
        """Follow a change of a deployment at once: what is let out begins with a clean sheet."""
        if deployment.state != "stopped":
            watched = self.behaviours.watched(deployment)
            self.watch.begin(program(deployment.organisation, watched.name, watched.version))
        for key in [key for key in self._held_us if key[0] == deployment.id]:
            del self._held_us[key]
            del self._failures[key]
        self.book.refresh()
        self._begin(deployment)
        self._more.set()

    def _begin(self, deployment: Deployment) -> None:
        """Wake the Things of a deployment that are to act by time, spread over their interval."""
        if deployment.state == "stopped":
            return
        behaviour = self.behaviours.watched(deployment)
        if not behaviour.timer_s and not behaviour.resident:
            return
        things = self.book.members(deployment)
        spread_us = (things * 2_654_435_761 % _SPREAD) * round(behaviour.timer_s * US) // _SPREAD
        self._wake(things, TIMER if behaviour.timer_s else READING, self._clock.now_us() + spread_us)
