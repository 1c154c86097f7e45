"""Intake: from named readings to the log, and back to whoever sent them with what became of each.

::

    submit (event loop) ── names → numbers ──► LogWriter ── screen ── append ── twin ──► listeners, answer
                            │ unknown, not yours, wrong unit                               (event loop)
                            └──────────► refused: answered, counted, kept in topic "quarantine"

The answer comes after the commit. ``received = accepted + suppressed + duplicate + refused`` for every batch and for
the totals.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from gridspine.infra.log.port import Position, Record
from gridspine.infra.log.writer import LogWriter, Priority
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.kernel.readings import MAX_BATCH, Channel, Int32Array, ItemProblem, NamedReadings, Readings
from gridspine.things.adapter import Outcome, Source
from gridspine.things.flap import flap_records
from gridspine.things.held import HELD_TOPIC, Held
from gridspine.things.offence import Counted, Offences
from gridspine.things.point import NOT_YOURS, UNKNOWN, WRONG_UNIT, PointTable, Resolved
from gridspine.things.quarantine import Quota, quarantine_records
from gridspine.things.screen import DUPLICATE, HELD, REASONS, REFUSED, SUPPRESSED, Screen, Screened
from gridspine.things.twin import TwinState

log = structlog.get_logger(__name__)

READINGS = "readings"
MAX_PROBLEMS = 1_000
"""Refused items that an answer lists one by one; all of them are counted and kept."""
_NAMING = {
    UNKNOWN: ("unknown-point", "no such point, or it is not yours"),
    NOT_YOURS: ("unknown-point", "no such point, or it is not yours"),
    WRONG_UNIT: ("wrong-unit", "the unit is not one of this point's quantity"),
}
_SCREENING = {
    "not-finite": "the value is not a finite number",
    "future-time": "the time is in the future, or before 1970",
    "impossible": "the value is beyond what the device or physics can do",
    "not-a-code": "a state's value is a whole number",
    "bad-quality": "the quality has bits that mean nothing",
}


@dataclass(slots=True)
class Totals:
    """What became of all readings since the start."""

    received: int = 0
    accepted: int = 0
    suppressed: int = 0
    duplicate: int = 0
    refused: int = 0

    def add(self, outcome: Outcome) -> None:
        """Add one batch."""
        self.received += outcome.received
        self.accepted += outcome.accepted
        self.suppressed += outcome.suppressed
        self.duplicate += outcome.duplicate
        self.refused += outcome.refused


@dataclass(frozen=True, slots=True, eq=False)
class Committed:
    """A batch that the log has: its source, its place (None where nothing was accepted), and the screen's findings."""

    source: Source
    position: Position | None
    screened: Screened


Listener = Callable[[Committed], None]


class Intake:
    """Takes readings in. One for a node."""

    def __init__(
        self, points: PointTable, screen: Screen, twins: TwinState, writer: LogWriter, offences: Offences, clock: Clock
    ) -> None:
        self.points = points
        self.screen = screen
        self.twins = twins
        self.offences = offences
        self.totals = Totals()
        self.listeners: list[Listener] = []
        self.applied: dict[int, int] = {}
        """The next offset of each partition of topic ``readings`` that the twins do not have yet."""
        self.held = Held(points)
        self.quota = Quota()
        self.writer = writer
        self.clock = clock

    async def submit(
        self,
        readings: NamedReadings,
        source: Source,
        *,
        channel: Channel = Channel.REPORTED,
        backfill: bool = False,
        only: Collection[str] | None = None,
    ) -> Outcome:
        """Take ``readings`` in and return what became of them once that is durable.

        ``only`` narrows the source to some Things. Raises `Overloaded` or `DiskFull`: then nothing of the batch
        was kept, unless it was larger than `MAX_BATCH` and the disk filled up between its parts.
        """
        resolved = self.points.resolve(readings.names, readings.units, source.organisation, only)
        jobs = [
            self._job(readings.take(slice(start, start + MAX_BATCH)), resolved, source, channel, backfill)
            for start in range(0, max(len(readings), 1), MAX_BATCH)
        ]
        self.writer.submit(*jobs)
        outcomes = await asyncio.gather(*(job.done for job in jobs))
        return outcomes[0] if len(outcomes) == 1 else _sum(outcomes)

    def tell(self, committed: Committed) -> None:
        """Tell the listeners, on the event loop; one that fails is logged and stops nobody."""
        for listener in self.listeners:
            try:
                listener(committed)
            except Exception:
                log.exception("intake: a listener failed", source=committed.source.principal)

    def _job(
        self, named: NamedReadings, resolved: Resolved, source: Source, channel: Channel, backfill: bool
    ) -> "_ReadingsJob":
        point = resolved.point[named.name_index] if len(named) else np.zeros(0, np.int32)
        value = named.value
        if (resolved.scale != 1).any() or resolved.shift.any():
            with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused
                value = value * resolved.scale[named.name_index] + resolved.shift[named.name_index]
        known = np.flatnonzero(point >= 0)
        everything = len(known) == len(point)
        readings = Readings(
            point if everything else point[known],
            named.observed_us if everything else named.observed_us[known],
            value if everything else value[known],
            named.quality if everything else named.quality[known],
            source.principal,
            channel,
            self.clock.now_us(),
            backfill,
        )
        return _ReadingsJob(self, named, source, readings, point)


class _ReadingsJob:
    """One batch on its way through the writer; see `gridspine.infra.log.writer.Job`."""

    def __init__(
        self, intake: Intake, named: NamedReadings, source: Source, readings: Readings, point: Int32Array
    ) -> None:
        self.priority = Priority.BACKFILL if readings.backfill else Priority.LIVE
        self.weight = max(named.received, 1)
        self.source = source.session
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._intake = intake
        self._named = named
        self._source = source
        self._readings = readings
        self._point = point
        self._screened: Screened | None = None
        self._outcome: Outcome | None = None
        self._position: Position | None = None
        self._counted: Counted | None = None
        self._refused = 0

    def prepare(self) -> Sequence[Record]:
        """Screen, and encode what is to be kept."""
        blocked = self._intake.offences.quarantined(self._source.principal)
        readings = self._readings.take(slice(0, 0)) if blocked else self._readings
        screened = self._screened = self._intake.screen.screen(readings)
        problems = self._problems(screened, blocked=blocked)
        self._outcome = self._count(screened, problems)
        time_us, key = self._readings.received_us, self._source.organisation.encode()
        records = []
        if len(screened.accepted):
            records.append(Record(READINGS, key, encode_batch(screened.accepted), time_us))
        if len(screened.held):
            records.append(Record(HELD_TOPIC, key, encode_batch(screened.held), time_us))
        if problems:
            left = self._intake.quota.left(self._source.principal, time_us)
            records += quarantine_records(self._named, problems, self._source, time_us, left)
            self._refused = min(len(problems), left)
        self._counted = self._intake.offences.count(self._source, self._outcome, time_us)
        records += self._counted.records
        records += flap_records(self._intake.points, screened.flapped, self._intake.clock, time_us)
        return records

    def committed(self, positions: Sequence[Position]) -> None:
        """Publish: the twin moves, the totals grow."""
        assert self._screened is not None and self._outcome is not None
        screened, intake = self._screened, self._intake
        intake.screen.settle()
        intake.twins.apply(screened.accepted)
        waits = (screened.verdict == SUPPRESSED) | (screened.verdict == HELD)  # of live reported readings only
        intake.twins.heard(self._readings.point[: len(waits)][waits], self._readings.received_us)
        intake.held.keep(self._source.organisation, screened)
        if self._refused:
            intake.quota.spend(self._source.principal, self._refused, self._readings.received_us)
        if len(screened.accepted):
            self._position = positions[0]
            intake.applied[self._position.partition] = self._position.offset + 1
        intake.totals.add(self._outcome)

    def undone(self) -> None:
        """Forget what the screen remembered of this batch."""
        if self._screened is not None:
            self._intake.screen.undo(self._screened)
        if self._counted is not None:
            self._intake.offences.undo(self._counted)

    def finished(self, error: BaseException | None) -> None:
        """Answer the sender and tell the listeners."""
        if error is not None:
            if not self.done.done():
                self.done.set_exception(error)
            return
        assert self._screened is not None and self._outcome is not None
        self._intake.tell(Committed(self._source, self._position, self._screened))
        if not self.done.done():
            self.done.set_result(self._outcome)

    def _problems(self, screened: Screened, *, blocked: bool) -> list[ItemProblem]:
        """Return every refused item: unreadable, unresolved, refused by the screen, or of a quarantined source."""
        named = self._named
        problems = list(named.problems)
        if blocked:
            detail = "this source is quarantined: its operator must release it"
            return problems + [
                ItemProblem(item, "source-quarantined", detail, named.names[at])
                for item, at in zip(named.item.tolist(), named.name_index.tolist(), strict=True)
            ]
        for at in np.flatnonzero(self._point < 0):
            reason, detail = _NAMING[int(self._point[at])]
            problems.append(ItemProblem(int(named.item[at]), reason, detail, named.names[named.name_index[at]]))
        refused = np.flatnonzero(screened.verdict == REFUSED)
        if len(refused):
            place = np.flatnonzero(self._point >= 0)[refused]
            for at, code in zip(place.tolist(), screened.reason[refused].tolist(), strict=True):
                reason = REASONS[code]
                name = named.names[named.name_index[at]]
                problems.append(ItemProblem(int(named.item[at]), reason, _SCREENING[reason], name))
        return problems

    def _count(self, screened: Screened, problems: list[ItemProblem]) -> Outcome:
        return Outcome(
            received=self._named.received,
            accepted=len(screened.accepted),
            suppressed=screened.count(SUPPRESSED) + screened.count(HELD),
            duplicate=screened.count(DUPLICATE),
            refused=len(problems),
            problems=tuple(problems[:MAX_PROBLEMS]),
        )


def _sum(outcomes: Sequence[Outcome]) -> Outcome:
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems)[:MAX_PROBLEMS]
    totals = Totals()
    for outcome in outcomes:
        totals.add(outcome)
    return Outcome(totals.received, totals.accepted, totals.suppressed, totals.duplicate, totals.refused, problems)
