"""Reports to programmes: made of history when the enrolled organisation says so, and kept as they were told."""

import msgspec

from gridspine.apps.node.archive import ArchiveService
from gridspine.apps.node.book import Book
from gridspine.apps.node.control_plan import ControlPlan, Holder
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
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import US
from gridspine.things.directory import Directory
from gridspine.things.model import PointModel
from gridspine.things.point import PointTable
from gridspine.things.thing import Thing

KEPT = 1_000
"""Reports of a programme that are kept; the oldest go."""
_SQL = """
SELECT point, CAST(floor((epoch_us(observed) - {begin}) / {step}) AS BIGINT) AS slot,
       avg(value) AS mean, arg_min(value, observed) AS first
FROM readings WHERE quality & 3 = 0 GROUP BY point, slot
"""


class _Rows(msgspec.Struct):
    rows: list[tuple[str, int, float | None, float | None]]


class ProgrammeReports:
    """Makes and keeps them. Lives on the event loop."""

    def __init__(
        self, registry: Registry, plan: ControlPlan, things: Directory, points: PointTable, archive: ArchiveService,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._plan, self._things, self._points = plan, things, points
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
        values = await self._values(one, found, descriptor.interval_s * US, (from_us, until_us), actor)
        told = ReportValues(
            tuple(
                ReportResource(
                    thing.id, model.reading_type.unit, _in_order(values, f"{thing.id}/{model.name}", count, model)
                )
                for thing, model in found
            )
        )
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

    async def _values(
        self, one: ProgrammeEnrolment, found: list[tuple[Thing, PointModel]], step_us: int, time: tuple[int, int],
        actor: str,
    ) -> dict[tuple[str, int], tuple[float | None, float | None]]:  # fmt: skip
        """Return mean and first of each point and interval, of what was validly reported."""
        names = [f"{thing.id}/{model.name}" for thing, model in found]
        granted = Granted(names, [model.reading_type.unit for _, model in found], *time)
        sql = _SQL.format(begin=time[0], step=step_us)
        result = await self._archive.query_granted(
            sql, "json", granted, principal=f"report:{actor}", stop=Stop(), as_of_us=None
        )
        rows = msgspec.json.decode(result.body, type=_Rows).rows
        return {(point, slot): (mean, first) for point, slot, mean, first in rows}

    async def _make_room(self, programme: str) -> None:
        own = sorted(one.id for one in self.book.kept.values() if one.programme == programme)
        if len(own) > KEPT:
            await self.book.forget(own[: len(own) - KEPT], ReportValues)


def _in_order(
    values: dict[tuple[str, int], tuple[float | None, float | None]], name: str, count: int, model: PointModel
) -> tuple[float | None, ...]:
    """Return one value an interval: the mean, or of a register its first reading."""
    which = 1 if model.reading_type.kind == "register" else 0
    return tuple(values.get((name, slot), (None, None))[which] for slot in range(count))
