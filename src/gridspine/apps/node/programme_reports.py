"""Reports to programmes: made of history when the enrolled organisation says so, and kept as they were told."""

import contextlib
from typing import NamedTuple

import msgspec
import numpy as np

from gridspine.apps.node.archive import ArchiveService
from gridspine.apps.node.book import Book
from gridspine.apps.node.control_plan import ControlPlan, Holder
from gridspine.energy.lasting import LASTING, Lasting, Slot, lasted
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_report import (
    ProgrammeReport,
    ReportResource,
    ReportValues,
    check_time,
    slots,
)
from gridspine.infra.archive.query import Stop
from gridspine.infra.archive.wire import Granted
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound, TooLarge
from gridspine.kernel.ids import point_id
from gridspine.kernel.quality import VALIDITY_MASK
from gridspine.kernel.time import US
from gridspine.things.directory import Directory
from gridspine.things.model import PointModel
from gridspine.things.point import PointTable
from gridspine.things.thing import Thing
from gridspine.things.twin import NEVER_US, TwinState

KEPT = 1_000
"""Reports of a programme that are kept; the oldest go."""
LOOK_BACK_US = 3_600 * US
"""How long before a report a value may have been read that still held in it, but not to its end [µs]."""
_SQL = """
SELECT point, CAST(floor((epoch_us(observed) - {begin}) / {step}) AS BIGINT) AS slot,
       avg(CASE WHEN quality & 3 = 0 THEN value END) AS mean,
       arg_min(CASE WHEN quality & 3 = 0 THEN value END, observed) AS first,
       epoch_us(max(observed)) AS at, arg_max(value, observed) AS last, arg_max(quality & 3, observed) AS doubt
FROM readings GROUP BY point, slot
"""


class _Row(NamedTuple):
    """What was read of a point in an interval: ``doubt`` is the validity of the last of it."""

    point: str
    slot: int
    mean: float | None
    first: float | None
    at_us: int
    last: float | None
    doubt: int


class _Rows(msgspec.Struct):
    rows: list[_Row]


class ProgrammeReports:
    """Makes and keeps them. Lives on the event loop."""

    def __init__(
        self, registry: Registry, plan: ControlPlan, things: Directory, points: PointTable, twins: TwinState,
        archive: ArchiveService, clock: Clock,
    ) -> None:  # fmt: skip
        self._plan, self._things, self._points, self._twins = plan, things, points, twins
        self._registry, self._archive, self._clock = registry, archive, clock
        self.book = Book(ProgrammeReport, "report", registry, clock)

    def load(self) -> None:
        """Read them when the node starts; blocks."""
        self.book.load()

    def seen(self, programme: Programme, organisation: str) -> list[ProgrammeReport]:
        """Return the reports an organisation may see, the newest first: all to its own programme, else its own."""
        own = programme.organisation == organisation
        found = (one for one in self.book.kept.values() if one.programme == programme.id)
        seen = [one for one in found if own or one.organisation == organisation]
        return sorted(seen, key=lambda one: one.id, reverse=True)

    def get(self, programme: Programme, id: str, organisation: str) -> ProgrammeReport:
        """Return one that an organisation may see; raise `NotFound`."""
        found = self.book.get(id)
        if found.programme != programme.id or organisation not in {found.organisation, programme.organisation}:
            raise NotFound("there is no such report")
        return found

    async def values(self, report: ProgrammeReport) -> ReportValues:
        """Return what a report told; raise `NotFound` when it was let go meanwhile."""
        found = await self._registry.run(lambda tx: tx.get(ReportValues, report.id), write=False)
        if found is None:
            raise NotFound("there is no such report")
        return found

    async def deliver(
        self, programme: Programme, one: ProgrammeEnrolment, payload_type: str, point: str, from_us: int, until_us: int,
        *, event: str = "", actor: str = "",
    ) -> ProgrammeReport:  # fmt: skip
        """Make a report of history and keep it; raise `Invalid`, `Conflict` where there is nothing to tell of."""
        asked = (d for d in programme.reports if d.payload_type == payload_type and point in {"", d.point})
        descriptor = next(asked, None)
        if descriptor is None:
            raise Invalid(f"payloadType: {payload_type[:64]!r} is none that the programme asks for")
        now_us = self._clock.now_us()
        check_time(one, from_us, until_us, now_us)
        found = self._telling(one, descriptor.point)
        count = slots(descriptor, from_us, until_us, len(found))
        told = ReportValues(await self._told(found, descriptor.interval_s * US, from_us, count, actor))
        report = ProgrammeReport(
            id=new_urn(self._clock), programme=programme.id, enrolment=one.id, owner=one.owner,
            organisation=one.organisation, descriptor=descriptor, from_us=from_us, until_us=until_us,
            digest=told.digest, event=event, by=actor, at_us=now_us,
        )  # fmt: skip
        kept = await self.book.keep("programme-report.delivered", report, actor, told)
        await self._make_room(programme.id)
        return kept

    def _telling(self, one: ProgrammeEnrolment, point: str) -> list[tuple[Thing, PointModel]]:
        """Return the Things of a subject that have the point; none that was another organisation's before."""
        found = [
            (thing, model)
            for thing in self._plan.things(Holder(one.kind, one.subject))
            if thing.organisation == one.organisation and not self._points.foreign(thing.id, one.organisation)
            for model in self._things.model(thing).points
            if model.name == point
        ]
        if not found:
            raise Conflict(f"none of its Things has {point}, or has always been your organisation's")
        return found

    async def _told(
        self, found: list[tuple[Thing, PointModel]], step_us: int, from_us: int, count: int, actor: str
    ) -> tuple[ReportResource, ...]:
        """Return what is told of each Thing in ``count`` intervals from ``from_us`` [µs since 1970] on."""
        rows = await self._read(found, (from_us, from_us + count * step_us), step_us, actor)
        slots: dict[str, dict[int, Slot]] = {_name(thing, model): {} for thing, model in found}
        models = {_name(thing, model): model for thing, model in found}
        for row in rows:
            model = models[row.point]
            mean = row.first if model.reading_type.kind == "register" else row.mean
            last = row.last if _lasts(model) and not row.doubt else None
            slots[row.point][row.slot] = Slot(mean, row.at_us, last)
        before = await self._before(found, slots, from_us, actor)
        resources = []
        for thing, model in found:
            name = _name(thing, model)
            rule = Lasting(round(model.screen.max_silence_s * US), *self._twins.steady(self._points.number(name)))
            values, earlier = lasted(slots[name], before.get(name), rule, from_us, step_us, count)
            resources.append(ReportResource(thing.id, model.reading_type.unit, tuple(values), earlier))
        return tuple(resources)

    async def _before(
        self, found: list[tuple[Thing, PointModel]], slots: dict[str, dict[int, Slot]], from_us: int, actor: str
    ) -> dict[str, Slot]:
        """Return the last that was read before ``from_us`` of the points in whose first interval nothing was.

        Of an hour before it that is told by history, where what came late is, too; else by the twin.
        """
        known: dict[str, Slot] = {}
        asked = []
        for thing, model in found:
            name = _name(thing, model)
            if not _lasts(model) or 0 in slots[name]:
                continue
            number = self._points.number(name)
            twin = self._twins.take(np.array([max(number, 0)], np.int64))
            at_us = NEVER_US if number < 0 else int(twin.observed_us[0])
            if at_us == NEVER_US:
                continue
            asked.append((thing, model))
            if at_us < from_us:
                valid = not int(twin.quality[0]) & VALIDITY_MASK
                known[name] = Slot(None, at_us, float(twin.value[0]) if valid else None)
        if asked:
            with contextlib.suppress(TooLarge):  # too many Things, each with too much: they are told of what was read
                for row in await self._read(asked, (from_us - LOOK_BACK_US, from_us), LOOK_BACK_US, actor):
                    if row.point not in known or row.at_us >= known[row.point].last_us:
                        known[row.point] = Slot(None, row.at_us, None if row.doubt else row.last)
        return known

    async def _read(
        self, found: list[tuple[Thing, PointModel]], time: tuple[int, int], step_us: int, actor: str
    ) -> list[_Row]:
        """Return what was reported in ``time`` [µs since 1970), by point and interval of ``step_us``."""
        names = [_name(thing, model) for thing, model in found]
        granted = Granted(names, [model.reading_type.unit for _, model in found], *time)
        sql = _SQL.format(begin=time[0], step=step_us)
        result = await self._archive.query_granted(
            sql, "json", granted, principal=f"report:{actor}", stop=Stop(), as_of_us=None
        )
        return msgspec.json.decode(result.body, type=_Rows).rows

    async def forget(self, programme: str) -> None:
        """Let all reports to a programme go that is let go, too."""
        own = [one.id for one in self.book.kept.values() if one.programme == programme]
        if own:
            await self.book.forget(own, ReportValues)

    async def _make_room(self, programme: str) -> None:
        own = sorted(one.id for one in self.book.kept.values() if one.programme == programme)
        if len(own) > KEPT:
            await self.book.forget(own[: len(own) - KEPT], ReportValues)


def _lasts(model: PointModel) -> bool:
    """Whether no reading means "as before": not where what changed is held back for a time."""
    return model.reading_type.kind in LASTING and not model.screen.min_interval_s


def _name(thing: Thing, model: PointModel) -> str:
    return point_id(thing.id, model.name)
