"""Reports to programmes in a caller's name: the policies are asked first."""

from collections.abc import Sequence

from gridspine.apps.node.asked import Asked
from gridspine.apps.node.caller_programmes import CallerProgrammes
from gridspine.energy.programme_report import ProgrammeReport, ReportValues
from gridspine.kernel.errors import NotFound


class CallerReports:
    """See `gridspine.energy.control_port.ReportPort`."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._reports = asked, asked.controls.reports

    def all(self, programme: str) -> Sequence[ProgrammeReport]:
        """Return all to an own programme, the organisation's own to another's, the newest first."""
        return self._reports.seen(self._asked.programme(programme), self._asked.organisation)

    def get(self, programme: str, id: str) -> ProgrammeReport:
        """Return one of them."""
        return self._reports.get(self._asked.programme(programme), id, self._asked.organisation)

    async def values(self, report: ProgrammeReport) -> ReportValues:
        """Return what one told."""
        return await self._reports.values(self.get(report.programme, report.id))

    async def deliver(
        self, programme: str, enrolment: str, payload_type: str, from_us: int, until_us: int, *, point: str = "",
        event: str = "",
    ) -> ProgrammeReport:  # fmt: skip
        """Make one of the history of an own enrolment, and keep it."""
        found = self._asked.programme(programme, "programme.report")
        one = self._asked.controls.enrolments.get(found.id, enrolment)
        if one.organisation != self._asked.organisation:
            raise NotFound("there is no such enrolment")
        if event:
            CallerProgrammes(self._asked).event(found.id, event)  # one that is not for it is as one that is not there
        return await self._reports.deliver(
            found, one, payload_type, point, from_us, until_us, event=event, actor=self._asked.actor
        )
