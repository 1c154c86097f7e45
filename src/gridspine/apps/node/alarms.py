"""Alarms at work: conditions found in committed readings and in silence; incidents for quarantined sources."""

import asyncio
from collections.abc import Iterable
from typing import Any

import numpy as np
import structlog

from gridspine.infra.log.checkpoint import Checkpoints
from gridspine.infra.log.port import EventLog, Record
from gridspine.infra.log.scan import scan
from gridspine.infra.log.writer import AppendJob, LogWriter, append
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.tasks import to_the_end
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import Channel, Int64Array
from gridspine.kernel.time import US
from gridspine.things.alarm import ALARMS, Alarm, AlarmChanged, AlarmKind, AlarmTable, decode_change, encode_change
from gridspine.things.books import Committed
from gridspine.things.incident import Incidents
from gridspine.things.offence import Offences
from gridspine.things.point import PointTable
from gridspine.things.twin import TwinState

INCIDENT_WITHIN_US = 24 * 3600 * US
log = structlog.get_logger(__name__)


class Alarms:
    """The node's alarms; every change is in topic ``alarms``. Lives on the event loop."""

    def __init__(
        self,
        eventlog: EventLog,
        writer: LogWriter,
        points: PointTable,
        twins: TwinState,
        clock: Clock,
        checkpoints: Checkpoints,
    ) -> None:
        self._log = eventlog
        self._writer = writer
        self._points = points
        self._twins = twins
        self._clock = clock
        self._checkpoints = checkpoints
        self._acknowledging = 0
        self._departures = 0
        self.table = AlarmTable(points.point_id)

    def load(self) -> None:
        """Take up the newest checkpoint and what the topic has beyond it; blocks."""
        first, following = self._log.bounds(ALARMS)[0]
        start, bodies = self._checkpoints.load(first)
        for body in bodies:
            self.table.apply(decode_change(body))
        for record in scan(self._log, ALARMS, 0, start, following):
            self.table.apply(decode_change(record.body))

    async def checkpoint(self) -> None:
        """Write down all alarms as they are now, unless nothing happened since the last time.

        Each change says all of its alarm, so that replaying some that the state has already ends in the same.
        """
        offset = await asyncio.to_thread(lambda: self._log.bounds(ALARMS)[0][1])
        if self._acknowledging or offset <= self._checkpoints.offset:
            return  # one that is durable may not be in the table yet
        changes = [AlarmChanged(alarm) for alarm in self.table.alarms()]
        await to_the_end(lambda: self._checkpoints.save(offset, map(encode_change, changes)))

    def on_committed(self, committed: Committed) -> None:
        """Look at live reported readings for conditions that are met, or over."""
        accepted = committed.screened.accepted
        if accepted.backfill or accepted.channel != Channel.REPORTED or not len(accepted):
            return
        rules = self._points.rules
        rule = self._points.rule.array[accepted.point]
        high = accepted.value > rules.limit_max.array[rule]
        low = accepted.value < rules.limit_min.array[rule]
        rows = (accepted.point, accepted.observed_us, accepted.value)
        for kind, met in (
            (AlarmKind.HIGH, high),
            (AlarmKind.LOW, low),
            (AlarmKind.RATE, committed.screened.beyond & ~high & ~low),
        ):
            self._keep(self.table.update(kind, rows[0], met, rows[1], rows[2]))

    def on_judged(self, point: int, met: bool, observed_us: int, value: float) -> None:
        """Raise, or end, what a behaviour has found of a point; ``value`` [the point's unit] is what it saw."""
        row = (np.array([point], np.int32), np.array([met]), np.array([observed_us], np.int64), np.array([value]))
        self._keep(self.table.update(AlarmKind.BEHAVIOUR, *row))

    def on_silent(self, silent: Int64Array) -> None:
        """Raise the silence of points (numbers)."""
        point = silent.astype(np.int32)
        now_us = np.full(len(silent), self._clock.now_us())
        values = np.array([self._twins.get(int(number)).value for number in silent])
        self._keep(self.table.update(AlarmKind.SILENCE, point, np.ones(len(silent), np.bool_), now_us, values))

    def look_for_heard(self) -> None:
        """End the silence of points that were heard of again, whatever became of the reading."""
        if self._departures != self._points.departures:
            self._departures = self._points.departures
            self._end_of_those_that_left()
        silent = [alarm.number for alarm in self.table.alarms(active=True) if alarm.kind is AlarmKind.SILENCE]
        heard = [(n, twin) for n in silent if not (twin := self._twins.get(n)).quality & Quality.OLD_DATA]
        if heard:
            point = np.array([number for number, _ in heard], np.int32)
            heard_us = np.array([twin.heard_us for _, twin in heard], np.int64)
            values = np.array([twin.value for _, twin in heard], np.float64)
            self._keep(self.table.update(AlarmKind.SILENCE, point, np.zeros(len(point), np.bool_), heard_us, values))

    def _end_of_those_that_left(self) -> None:
        """End the alarms of points that are their Things' no more: nothing else ever would."""
        left = [alarm for alarm in self.table.alarms(active=True) if not self._points.in_use(alarm.number)]
        now_us = self._clock.now_us()
        for alarm in left:
            point, over = np.array([alarm.number], np.int32), np.zeros(1, np.bool_)
            values = np.array([self._twins.get(alarm.number).value])
            self._keep(self.table.update(alarm.kind, point, over, np.array([now_us]), values))

    def of(self, organisation: str) -> list[Alarm]:
        """Return the alarms of an organisation's Things, the most pressing first.

        Those of numbers a point no longer has are of a time that may have been somebody else's.
        """
        return [
            alarm
            for alarm in self.table.alarms()
            if self._points.organisation_of(alarm.point.partition("/")[0]) == organisation
            and self._points.number(alarm.point) == alarm.number
        ]

    async def acknowledge(self, number: int, kind: AlarmKind, person: str, note: str = "") -> Alarm:
        """Note that ``person`` has seen an alarm; durable on return."""
        change = self.table.acknowledge(number, kind, person, self._clock.now_us(), note)
        self._acknowledging += 1
        try:
            await append(self._writer, [self._record(change)], source="alarms")
            self.table.apply(change)
        finally:
            self._acknowledging -= 1
        return change.alarm

    def _keep(self, changes: Iterable[AlarmChanged]) -> None:
        records = [self._record(change) for change in changes]
        if not records:
            return
        try:
            job = AppendJob(records, source="alarms")
            job.done.add_done_callback(_say_failure)
            self._writer.submit(job)
        except GridspineError as error:
            log.error("an alarm could not be kept; it stands until the node stops", error=error.detail)

    def _record(self, change: AlarmChanged) -> Record:
        return Record(ALARMS, change.alarm.point.encode(), encode_change(change), self._clock.now_us())


class QuarantineWatch:
    """Opens an incident for each source that was quarantined: flag → quarantine → incident."""

    def __init__(self, offences: Offences, incidents: Incidents, clock: Clock) -> None:
        self._offences = offences
        self._incidents = incidents
        self._clock = clock
        self._known: set[str] = set()

    async def look(self) -> None:
        """Open the incidents that are due; one that is open already gets no second."""
        quarantined = self._offences.quarantined_principals()
        for principal in quarantined.keys() - self._known:
            await self._incidents.open(
                principal,
                organisation=quarantined[principal],
                title="A source was quarantined",
                owner="operator on duty",
                deadline_us=self._clock.now_us() + INCIDENT_WITHIN_US,
                evidence="its sessions sent too many readings that had to be refused: see topic quarantine",
                actor="node",
                work_order="Look at what it sent, mend or replace it, then release it.",
            )
        self._known = set(quarantined)


def _say_failure(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled() and done.exception() is not None:
        log.error("an alarm could not be kept; it stands until the node stops", error=str(done.exception()))
