"""Ensembles as plants: what each comes to is reported as its Thing's readings; its set-point is spread over members.

::

    every 10 s: members ─► sums ─► what changed ─► intake (reported, source ``ensemble:<id>``)
    order of the Thing ─► shares ─► one order to many (batch), in the name of whoever asked ─► sent, acknowledged
    the order is over  ─► what is left of it is cancelled; each member's own lease would end it without the node

While a set-point is in force its members are those that were there when it was given, whatever they do by it.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import structlog

from gridspine.apps.node.commands import Commands
from gridspine.apps.node.ensembles import Ensembles
from gridspine.apps.node.read_now import Reads
from gridspine.energy.criteria import Capability, Criteria
from gridspine.energy.ensemble import Ensemble, Gathered
from gridspine.energy.plant import ADAPTER, Measured, measured, places
from gridspine.energy.spread import Share, batch_of, spread
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.tasks import Supervisor
from gridspine.kernel.errors import Conflict, GridspineError, NotFound
from gridspine.kernel.names import PackedNames
from gridspine.kernel.readings import Int64Array, NamedReadings
from gridspine.kernel.time import US
from gridspine.things.adapter import Order, ProgressState, Source
from gridspine.things.asking import Ask
from gridspine.things.command import Command
from gridspine.things.directory import Directory
from gridspine.things.intake import Intake
from gridspine.things.point import PointTable

LOOK_S, PERIOD_S, HEARTBEAT_S = 1.0, 10.0, 60.0
"""How often it is seen which ensembles are due; how long one waits for its turn; what did not change is told then."""
_SHARE = 9.0
"""Gathering rests for so many times as long as it took."""
_WAITS = frozenset({"requested", "awaiting-approval", "accepted", "sent"})
_TAKEN = frozenset({"acknowledged", "applied"})
_NOBODY: Int64Array = np.zeros(0, np.int64)
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Plant:
    """What is known of one ensemble: its members at last, what was reported of it, and the order it holds."""

    members: Int64Array = field(default_factory=lambda: _NOBODY)
    told: Measured | None = None
    told_us: int = 0
    due_us: int = 0
    order: Order | None = None
    answered: bool = True


class Plants:
    """All ensembles of a node as Things. Lives on the event loop."""

    def __init__(
        self, ensembles: Ensembles, things: Directory, points: PointTable, intake: Intake, commands: Commands,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._ensembles, self._saved = ensembles, ensembles.saved
        self._things, self._points, self._intake, self._commands = things, points, intake, commands
        self._clock = clock
        self._plants: dict[str, _Plant] = {}
        self._measuring = asyncio.Lock()
        """Held while one is gathered and reported: what is newer is never told before what is older."""

    def start(self, supervisor: Supervisor, reads: Reads) -> None:
        """Let ensembles be measured, also when ``reads`` asks for it, and take orders."""
        supervisor.start("ensembles as Things", self.work)
        supervisor.start("reads of ensembles", lambda: self._read(reads))
        supervisor.start("orders of ensembles", self.carry)

    def members(self, id: str, most: int) -> list[str]:
        """Return the ids of an ensemble's members as they were last seen, as far as they are its organisation's."""
        names, numbers = self._points.things(), self._members(id)[:most]
        return [names[number] for number in numbers.tolist()]

    def orders(self, id: str) -> list[Command]:
        """Return what members were told by orders of an ensemble that are known, the oldest first."""
        return [one for one in self._commands.commander.commands() if one.batch.startswith(batch_of(id))]

    # -- measuring ----------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Measure what is due, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self.look()

    async def look(self, *, all_of_them: bool = False) -> None:
        """Measure once what is due (or all of them)."""
        for gone in await self._saved.tidy():
            self._plants.pop(gone.id, None)
            self._ensembles.end(gone.id)
        for ensemble in self._saved.list():
            plant = self._plants.setdefault(ensemble.id, _Plant())
            began_us = self._clock.monotonic_us()
            if not all_of_them and began_us < plant.due_us:
                continue
            try:
                await self._measure(ensemble, plant)
                await self._follow(ensemble, plant)
            except GridspineError as error:
                log.warning("an ensemble could not be measured", ensemble=ensemble.id, why=error.detail)
            took_us = self._clock.monotonic_us() - began_us
            plant.due_us = began_us + took_us + round(PERIOD_S * US)
            if not all_of_them:
                await self._clock.sleep(_SHARE * took_us / US)

    async def _measure(self, ensemble: Ensemble, plant: _Plant) -> None:
        async with self._measuring:
            await self._measure_alone(ensemble, plant)

    async def _measure_alone(self, ensemble: Ensemble, plant: _Plant) -> None:
        found = await self._gather(ensemble, plant)
        plant.members = found.members
        setpoint_w = 0.0 if plant.order is None or plant.order.value is None else plant.order.value
        now, now_us = await asyncio.to_thread(measured, found, setpoint_w), self._clock.now_us()
        late = plant.told is None or not 0 <= now_us - plant.told_us < HEARTBEAT_S * US
        names = list(now.values) if late else now.differs(plant.told)
        if not names:
            return
        await self._report(ensemble, now, names, now_us)
        if late:
            plant.told_us = now_us
        before = now if plant.told is None else plant.told
        plant.told = Measured(
            {name: (now if name in names else before).values[name] for name in now.values},
            {name: (now if name in names else before).quality[name] for name in now.quality},
        )

    async def _gather(self, ensemble: Ensemble, plant: _Plant) -> Gathered:
        """Return the members now; while a set-point is in force, those of then."""
        own = self._points.owned(ensemble.organisation)
        if plant.order is not None and len(plant.members):
            criteria = Criteria(max_age_s=ensemble.criteria.max_age_s)
            numbers = own[places(own, plant.members)]
            return await self._ensembles.gather(criteria, numbers, np.ones(len(numbers), np.bool_))
        relaxed = np.zeros(len(own), np.bool_)
        relaxed[places(own, plant.members)] = True
        return await self._ensembles.gather(ensemble.criteria, own, relaxed, ensemble=ensemble.id)

    async def _report(self, ensemble: Ensemble, now: Measured, names: list[str], now_us: int) -> None:
        count, said = len(names), f"ensemble:{ensemble.id}"
        readings = NamedReadings(
            PackedNames.of(f"{ensemble.id}/{name}" for name in names), ("",) * count, np.arange(count, dtype=np.int32),
            np.arange(count), np.full(count, now_us, np.int64), np.array([now.values[name] for name in names]),
            np.array([now.quality[name] for name in names], np.uint16),
        )  # fmt: skip
        outcome = await self._intake.submit(readings, Source(said, ensemble.organisation, said))
        if outcome.refused:
            log.warning("what an ensemble comes to was refused", ensemble=ensemble.id, first=outcome.problems[:1])

    async def _read(self, reads: Reads) -> None:
        """Measure the ensembles that somebody wants to be read now, until cancelled."""
        async for request in reads.requests(ADAPTER):
            try:
                ensemble = self._saved.get(request.thing)
                await self._measure(ensemble, self._plants.setdefault(ensemble.id, _Plant()))
            except GridspineError as error:
                reads.ended(request.id, error.detail)
            else:
                reads.ended(request.id)

    def _members(self, id: str) -> Int64Array:
        plant = self._plants.get(id)
        if plant is None:
            return _NOBODY
        try:
            own = self._points.owned(self._saved.get(id).organisation)
        except NotFound:
            return _NOBODY
        return own[places(own, plant.members)]

    # -- carrying out -------------------------------------------------------------------------------------------

    async def carry(self) -> None:
        """Spread the orders for ensembles over their members, until cancelled."""
        async for order in self._commands.orders(ADAPTER):
            state: ProgressState
            try:
                state, reason = await self.take(order)
            except Conflict as error:
                state, reason = "rejected", error.detail
            except GridspineError as error:
                state, reason = "failed", f"it could not be spread: {error.detail}"
            if order.value is not None:
                await self._commands.progress(order.command, state, reason[:500], sequence=order.sequence)

    async def take(self, order: Order) -> tuple[ProgressState, str]:
        """Carry one order out; return what is to be said of it. Raises `Conflict` where members cannot do it."""
        if order.value is None:  # its ensemble may be gone by now: its members are let go all the same
            if (held := self._plants.get(order.thing)) is not None:
                held.order, held.due_us = None, 0
            await self._end(order.thing, "the order of its ensemble is over")
            return "sent", ""
        ensemble = self._saved.get(order.thing)
        plant = self._plants.setdefault(ensemble.id, _Plant())
        batch = batch_of(ensemble.id, order.command, order.sequence)
        given = [one for one in self.orders(ensemble.id) if one.batch == batch]
        if not given:  # else it was spread before the node began anew
            plant.order = None
            given = await self._spread(ensemble, plant, order, order.value, batch)
            await self._end(ensemble.id, "replaced by another order of its ensemble", but=batch)
        else:
            own = {self._points.thing_number(one.lease.thing) for one in given}
            plant.members = np.union1d(plant.members, np.array(sorted(own), np.int64))
        plant.order, plant.answered, plant.due_us = order, False, 0
        return "sent", _told(given)

    async def _spread(
        self, ensemble: Ensemble, plant: _Plant, order: Order, target_w: float, batch: str
    ) -> list[Command]:
        """Tell members their shares, in the name and with the authority of whoever asked."""
        asked = self._commands.commander.command(order.command).lease
        present = await self._gather(ensemble, plant)
        present_w = float(np.nansum(present.power_w))
        now_us, given = self._clock.now_us(), ensemble.criteria.can
        for_s = max(0.0, (order.until_us - now_us) / US)
        # An ensemble that asks for energy counts on it; of another the stores' sizes need not be known.
        can = Capability(
            "shed" if target_w <= present_w else "raise", for_s=0.0 if given is None else for_s,
            rated_energy_wh=0.0 if given is None else given.rated_energy_wh,
        )  # fmt: skip
        criteria = Criteria(can=can, max_age_s=ensemble.criteria.max_age_s)
        everybody = np.ones(len(present.members), np.bool_)
        able = await self._ensembles.gather(criteria, present.members, everybody, ensemble=ensemble.id)
        shares = spread(target_w, present_w, able, lambda number: self._points.points_of(number)[1], for_s)
        plant.members = present.members
        names = self._points.things()
        asks = []
        for share in shares:
            lease = self._commands.new_lease(
                thing=names[share.thing], point=share.lever.point, value=share.value, role=share.lever.rule.role,
                authority=asked.authority, priority=asked.priority, from_us=now_us, until_us=order.until_us,
                principal=asked.principal,
            )  # fmt: skip
            asks.append(Ask(lease, "", _why(ensemble, share), "", batch))
        commands = await self._commands.request_all(asks)
        if all(one.state == "refused" for one in commands):
            raise Conflict(f"all {len(commands)} members refused; the first: {commands[0].reason}")
        return commands

    async def _end(self, id: str, reason: str, *, but: str = "") -> None:
        """Cancel what members were told, apart from batch ``but``."""
        for one in self.orders(id):
            if one.batch != but and not one.final:
                try:
                    await self._commands.cancel(one.id, reason)
                except (Conflict, NotFound):  # it ended meanwhile
                    continue

    async def _follow(self, ensemble: Ensemble, plant: _Plant) -> None:
        """Say that an order is acknowledged, or failed, when all members have answered."""
        order = plant.order
        if order is None or plant.answered:
            return
        batch = batch_of(ensemble.id, order.command, order.sequence)
        given = [one for one in self.orders(ensemble.id) if one.batch == batch]
        if any(one.state in _WAITS for one in given):
            return
        plant.answered = True
        taken = any(one.state in _TAKEN for one in given)
        await self._commands.progress(
            order.command, "acknowledged" if taken else "failed", _told(given), sequence=order.sequence
        )


def _told(given: list[Command]) -> str:
    """Return in words what became of shares."""
    return f"{len(given)} members told: {', '.join(_counted(given))}"


def _counted(given: list[Command]) -> Iterator[str]:
    states = [one.state for one in given]
    for state in dict.fromkeys(states):
        yield f"{states.count(state)} {state}"


def _why(ensemble: Ensemble, share: Share) -> str:
    return f"its share of {ensemble.title[:200]!r}: {share.w:.0f} W"
