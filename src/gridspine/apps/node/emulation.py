"""Emulators at work: twins in emulator form stepped in a child process; what they say goes in on channel *emulated*.

::

    commands ─ orders of emulated Things ─► Instruct ─┐
    clock ─── each cohort's step ─────────► Step ─────┴► child: energy.emulators ─► readings ─► intake (emulated)

The child runs only while something is emulated. What the devices have become is kept twice a minute and when the node
stops: a node that starts again, or a child that had to be, goes on from there, as if no time had passed.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import structlog

from gridspine.apps.node.commands import Commands
from gridspine.apps.node.emulation_store import EmulatedStates
from gridspine.apps.node.emulation_wire import (
    MAX_FRAME_BYTES,
    Begin,
    Begun,
    Instruct,
    Instructed,
    Keep,
    Kept,
    Reply,
    Request,
    Step,
    Stepped,
)
from gridspine.infra.runtime.child import end_child, start_child
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.frame import frame, receive_frame
from gridspine.kernel.errors import GridspineError, Invalid, Unavailable
from gridspine.kernel.names import PackedNames
from gridspine.kernel.readings import BoolArray, Channel, Float64Array, NamedReadings
from gridspine.kernel.time import US
from gridspine.things.adapter import Order, ProgressState, Source
from gridspine.things.command import EMULATED, EMULATED_OUTSIDE
from gridspine.things.form import EMULATOR, Cohort, Forms
from gridspine.things.intake import Intake
from gridspine.things.point import PointTable

MAX_STEP_S = 3_600.0
_ANSWER_S = 60.0
_LOOK_S = 1.0
_KEEP_US = 30 * US
_R = TypeVar("_R", Begun, Instructed, Stepped, Kept)
log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Running:
    """A cohort at work: the names of its points, device by device, and which of them its Things have."""

    cohort: Cohort
    points: tuple[str, ...]
    names: PackedNames
    units: tuple[str, ...]
    known: BoolArray
    stepped_us: int
    active: BoolArray


class Emulation:
    """Steps the cohorts of emulated twins."""

    def __init__(
        self, forms: Forms, intake: Intake, commands: Commands, points: PointTable, clock: Clock, folder: Path
    ) -> None:
        self._forms, self._intake, self._commands, self._points = forms, intake, commands, points
        self._clock = clock
        self._states = EmulatedStates(folder)
        self._kept_us = clock.monotonic_us()
        self._cohorts: dict[str, Cohort] = {}
        self._running: dict[str, _Running] = {}
        self._held: dict[tuple[str, int, str], Instruct] = {}
        self._child: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._beginning = asyncio.Lock()
        self._exchanges: set[asyncio.Task[Reply]] = set()
        self._more = asyncio.Event()
        self._decoder = msgspec.msgpack.Decoder(Reply)

    def cohort(self, id: str) -> Cohort | None:
        """Return a cohort."""
        return self._cohorts.get(id)

    async def begin(self, cohort: Cohort) -> None:
        """Emulate ``cohort`` from now on; raise `Invalid` when there is no emulator of its model."""
        if not cohort.external:
            await self._ensure(cohort)
        self.expect(cohort)

    def expect(self, cohort: Cohort) -> None:
        """Emulate ``cohort`` as soon as its emulator runs: after a start of the node."""
        self._cohorts[cohort.id] = cohort
        self._more.set()

    def changed(self) -> list[Cohort]:
        """Look again which twins are emulated; return the cohorts that have none left, and are let go."""
        for running in self._running.values():
            running.active = self._active(running.cohort)
        over = [one for one in self._cohorts.values() if not self._active(one).any()]
        for cohort in over:
            del self._cohorts[cohort.id]
            self._running.pop(cohort.id, None)
            self._held = {key: held for key, held in self._held.items() if key[0] != cohort.id}
        return over

    async def work(self) -> None:
        """Step each cohort when it is due, until cancelled; an exception ends the child, and another goes on."""
        try:
            while True:
                if not any(not cohort.external for cohort in self._cohorts.values()):
                    self._more.clear()  # before what waits: a cohort that comes meanwhile is not overlooked
                    await self._keep()
                    await self._end()
                    await self._more.wait()
                await self._step_due()
                if self._clock.monotonic_us() >= self._kept_us + _KEEP_US:
                    await self._keep()
                await self._clock.sleep(self._wait_s())
        finally:
            try:
                await self._keep()
            finally:
                await self._end()

    async def carry(self) -> None:
        """Hand the orders for emulated Things to their emulators, until cancelled."""
        async for order in self._commands.orders(EMULATOR):
            state: ProgressState
            try:
                state, reason = await self._take(order)
            except GridspineError as error:
                state, reason = "failed", f"the emulator could not take it: {error.detail}"
            if order.value is not None:
                await self._commands.progress(order.command, state, reason)

    # -- inside -------------------------------------------------------------------------------------------------

    async def _take(self, order: Order) -> tuple[ProgressState, str]:
        form = self._forms.get(order.thing)
        cohort = self._cohorts.get(form.cohort) if form is not None else None
        if form is None or cohort is None:
            return "failed", "nothing emulates this Thing any more"
        if cohort.external:
            return "sent", EMULATED_OUTSIDE
        wanted = Instruct(cohort.id, form.place, order.point, order.value, order.until_us)
        await self._ensure(cohort)
        if not (await self._ask(wanted, Instructed)).taken:
            return "rejected", f"the emulator of {cohort.model} has no setting {order.point}"
        self._held[cohort.id, form.place, order.point] = wanted
        return "acknowledged", EMULATED

    async def _keep(self) -> None:
        """Write down what all cohorts at work have become, and forget those that are over."""
        self._kept_us = self._clock.monotonic_us()
        for id_ in list(self._running) if self._child is not None else ():
            kept = await self._ask(Keep(id_), Kept)
            await asyncio.to_thread(self._states.save, id_, kept.state)
        await asyncio.to_thread(self._states.keep_only, frozenset(self._cohorts))

    async def _ensure(self, cohort: Cohort) -> None:
        """Begin a cohort that is not at work; whoever wants it at the same time waits: it is begun once."""
        async with self._beginning:
            if cohort.id not in self._running:
                await self._begin(cohort)

    async def _begin(self, cohort: Cohort) -> None:
        now_us = self._clock.now_us()
        kept = await asyncio.to_thread(self._states.load, cohort.id)
        begun = await self._ask(Begin(cohort.id, cohort.model, len(cohort.things), cohort.seed, now_us, kept), Begun)
        if begun.problem:
            raise Invalid(f"emulator: {begun.problem}")
        if begun.lost:
            log.warning("emulated devices begin anew from their seed", cohort=cohort.id, why=begun.lost)
        names = PackedNames.of([f"{thing}/{point}" for thing in cohort.things for point in begun.points])
        units, known = ("",) * len(names), self._known(cohort, names)
        self._running[cohort.id] = _Running(cohort, begun.points, names, units, known, now_us, self._active(cohort))
        for held in [one for key, one in self._held.items() if key[0] == cohort.id and one.until_us > now_us]:
            await self._ask(held, Instructed)

    def _known(self, cohort: Cohort, names: PackedNames) -> BoolArray:
        """Return which of the points are there and the organisation's own, bool (n,)."""
        known: BoolArray = self._points.resolve(names, ("",) * len(names), cohort.organisation).point >= 0
        return known

    async def _step_due(self) -> None:
        for cohort in [one for one in self._cohorts.values() if not one.external]:
            try:
                await self._ensure(cohort)
            except Invalid as error:
                log.error("a cohort cannot be emulated any more", cohort=cohort.id, why=error.detail)
                del self._cohorts[cohort.id]
            running = self._running.get(cohort.id)
            if running is None:
                continue
            now_us = self._clock.now_us()
            since_s = (now_us - running.stepped_us) / US
            if since_s < 0 or since_s >= cohort.step_s:
                running.stepped_us = now_us
                stepped = await self._ask(Step(cohort.id, min(max(since_s, 0.001), MAX_STEP_S)), Stepped)
                await self._report(running, np.frombuffer(stepped.values, "<f8"), now_us)

    async def _report(self, running: _Running, values: Float64Array, now_us: int) -> None:
        chosen = np.repeat(running.active, len(running.points)) & running.known & np.isfinite(values)
        at = np.flatnonzero(chosen)
        if not len(at):
            return
        count, source = len(at), f"emulator:{running.cohort.id}"
        readings = NamedReadings(
            running.names, running.units, at.astype(np.int32), np.arange(count), np.full(count, now_us, np.int64),
            values[at], np.zeros(count, np.uint16),
        )  # fmt: skip
        try:
            outcome = await self._intake.submit(
                readings, Source(source, running.cohort.organisation, source), channel=Channel.EMULATED
            )
        except GridspineError as error:
            log.warning("what an emulator said could not be kept", cohort=running.cohort.id, why=error.detail)
            return
        if outcome.refused:
            log.warning("an emulator says what cannot be", cohort=running.cohort.id, first=outcome.problems[:1])
            running.known = self._known(running.cohort, running.names)  # a Thing may have gone, or changed hands

    def _wait_s(self) -> float:
        now_us = self._clock.now_us()
        due = [one.stepped_us + round(one.cohort.step_s * US) for one in self._running.values()]
        return min(max((min(due, default=now_us) - now_us) / US, 0.02), _LOOK_S)

    def _active(self, cohort: Cohort) -> BoolArray:
        """Return which of the cohort's places stand for a Thing that is emulated by it now."""
        forms = (self._forms.get(thing) for thing in cohort.things)
        return np.array([f is not None and f.form == "emulator" and f.cohort == cohort.id for f in forms], np.bool_)

    # -- the child ----------------------------------------------------------------------------------------------

    async def _ask(self, request: Request, kind: type[_R]) -> _R:
        """Return the answer; whoever asked may leave: the exchange is carried through, and the child goes on."""
        exchange = asyncio.ensure_future(self._exchange(request))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._over)
        reply = await asyncio.shield(exchange)
        assert isinstance(reply, kind)
        return reply

    def _over(self, exchange: asyncio.Task[Reply]) -> None:
        self._exchanges.discard(exchange)
        if not exchange.cancelled():
            exchange.exception()  # seen, also when nobody waits for it any more

    async def _exchange(self, request: Request) -> Reply:
        async with self._lock:
            try:
                child = await self._started(request)
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write(frame(request))
                async with asyncio.timeout(_ANSWER_S):
                    await child.stdin.drain()
                    reply: Reply = self._decoder.decode(await receive_frame(child.stdout, MAX_FRAME_BYTES))
                return reply
            except (OSError, TimeoutError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
                await self._end_locked()
                raise Unavailable(
                    "the emulators' process ended: is the extra there? install gridspine[emulator]"
                ) from error
            except BaseException:
                await self._end_locked()
                raise

    async def _started(self, request: Request) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            await self._end_locked()
            if not isinstance(request, Begin):
                raise Unavailable("the emulators' process ended; it is started again")  # a new one knows no cohort
            self._child = await start_child("gridspine.apps.node.emulation_child", OPENBLAS_NUM_THREADS="1")
        return self._child

    async def _end(self) -> None:
        async with self._lock:
            await self._end_locked()

    async def _end_locked(self) -> None:
        child, self._child = self._child, None
        self._running.clear()
        await end_child(child)
