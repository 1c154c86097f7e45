"""All that a node knows of sites and programmes, put together."""

from collections.abc import Callable
from typing import Any

from gridspine.apps.node.archive import ArchiveService
from gridspine.apps.node.bids import Bids
from gridspine.apps.node.book import Book
from gridspine.apps.node.commands import Commands
from gridspine.apps.node.control_desk import ControlDesk
from gridspine.apps.node.control_plan import ControlPlan
from gridspine.apps.node.programme_enrolments import ProgrammeEnrolments
from gridspine.apps.node.programme_reports import ProgrammeReports
from gridspine.apps.node.programmes import Programmes
from gridspine.apps.node.read_now import Reads
from gridspine.apps.node.registers import Registers
from gridspine.apps.node.retired_programmes import RetiredProgrammes
from gridspine.apps.node.settlement_desk import SettlementDesk
from gridspine.apps.node.sites import Sites
from gridspine.energy.control_port import Change, Kept
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.tasks import Supervisor
from gridspine.things.directory import Directory
from gridspine.things.intake import Intake
from gridspine.things.point import PointTable
from gridspine.things.twin import TwinState


class Controls:
    """Sites, programmes, who takes part, what comes of it, what is told of it."""

    def __init__(
        self, registry: Registry, things: Directory, points: PointTable, twins: TwinState, commands: Commands,
        archive: ArchiveService, intake: Intake, clock: Clock,
    ) -> None:  # fmt: skip
        self.sites = Sites(registry, things, clock)
        self.programmes = Programmes(registry, clock)
        self.enrolments = ProgrammeEnrolments(registry, self.programmes, self.sites, things, clock)
        self.plan = ControlPlan(self.sites, self.programmes, self.enrolments, things)
        self.desk = ControlDesk(self.plan, self.sites, self.programmes, self.enrolments, commands, clock)
        self.reports = ProgrammeReports(registry, self.plan, things, points, twins, archive, clock)
        self.retired = RetiredProgrammes(self.programmes, self.enrolments, self.reports, clock)
        self.listeners: list[Callable[[Change], None]] = []
        """Hear of each document that is kept or removed."""
        self.revision = 0
        """Rises with each of them."""
        for book in self._books():
            book.listeners.append(self._on_change)
        self.bids = Bids(registry, self.programmes, self.enrolments, self.sites, things, clock)
        registers = Registers(things, points, archive, clock)
        self.settlement = SettlementDesk(registry, self.bids, registers, things, points, intake, clock)
        commands.listeners.append(self.desk.on_events)
        others = commands.behind
        commands.behind = lambda principal: others(principal) | self.desk.behind(principal)

    def _books(self) -> tuple[Book[Any], ...]:
        return (
            self.sites.book, self.sites.envelope_book, self.programmes.book, self.programmes.event_book,
            self.enrolments.book, self.reports.book,
        )  # fmt: skip

    def _on_change(self, type_: str, document: Kept, actor: str, removed: bool) -> None:
        self.revision += 1
        change = Change(type_, document, actor, removed)
        for listener in list(self.listeners):
            listener(change)

    def load(self) -> None:
        """Read all documents when the node starts; blocks."""
        for one in (self.sites, self.programmes, self.enrolments, self.reports, self.desk):
            one.load()
        self.bids.load()
        self.settlement.load()

    def concern(self, subject: str, organisation: str) -> bool:
        """Whether a site, envelope, programme, event, enrolment, report or bid concerns an organisation; its own do.

        Who takes part in a programme is concerned by it and by its events; who runs one by enrolments and reports.
        """
        if self.bids.concern(subject, organisation):
            return True
        for book in (self.sites.book, self.sites.envelope_book):
            if (one := book.kept.get(subject)) is not None:
                return bool(one.organisation == organisation)
        for enrolled in (self.enrolments.book.kept.get(subject), self.reports.book.kept.get(subject)):
            if enrolled is not None:
                return organisation in {enrolled.organisation, enrolled.owner}
        event = self.programmes.event_book.kept.get(subject)
        programme = self.programmes.find(subject if event is None else event.programme)
        if programme is None:
            return False
        if programme.organisation == organisation:
            return True
        own = (one for one in self.enrolments.seen(programme, organisation) if one.state == "active")
        return any(event is None or event.aimed_at(one.words) for one in own)

    def start(self, supervisor: Supervisor, reads: Reads) -> None:
        """Let commands follow documents and time, and bids be settled, for which ``reads`` are asked for."""
        supervisor.start("controls", self.desk.work)
        supervisor.start("settlement", lambda: self.settlement.work(reads))
