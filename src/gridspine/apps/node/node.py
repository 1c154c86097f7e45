"""The node itself: its parts, in the order they start and stop.

::

    DataDirectory ─ log ─ registry ─ points · twins · screen ─ writer ─ intake ─ listeners:
                                                                          hub · commands · alarms
    identity ─ authority        gate ─ access        ledger        archive (child process)        adapters
"""

import asyncio
import contextlib
from pathlib import Path

import structlog

from gridspine.apps.node.adapters import AdapterHost
from gridspine.apps.node.agent_parts import make_agents
from gridspine.apps.node.alarms import Alarms, QuarantineWatch
from gridspine.apps.node.archive import ArchiveService
from gridspine.apps.node.authority import Authority
from gridspine.apps.node.checks import ClockWatch, watch
from gridspine.apps.node.commands import Commands
from gridspine.apps.node.condition import Conditions
from gridspine.apps.node.controls import Controls
from gridspine.apps.node.edges import Edges
from gridspine.apps.node.engines import Engines
from gridspine.apps.node.enrolment import Enrolment
from gridspine.apps.node.ensembles import Ensembles
from gridspine.apps.node.examination import Examinations
from gridspine.apps.node.forms import FormService
from gridspine.apps.node.invocations import Invocations
from gridspine.apps.node.lives import Lives
from gridspine.apps.node.paths import Paths
from gridspine.apps.node.plants import Plants
from gridspine.apps.node.projection import CatchUpJob, OffencesJob, restore_offences, restore_twins
from gridspine.apps.node.quotas import Quotas
from gridspine.apps.node.reach import reachable
from gridspine.apps.node.retention import Retention
from gridspine.apps.node.rules import EdgeRules
from gridspine.apps.node.search import Search
from gridspine.apps.node.sparql import Sparql
from gridspine.apps.node.tidings import Tidings
from gridspine.apps.node.topics import TOPICS
from gridspine.apps.node.watchers import Watchers
from gridspine.energy.models import load_models
from gridspine.infra.identity.limit import Rate
from gridspine.infra.identity.service import Identity
from gridspine.infra.ledger.ledger import Ledger
from gridspine.infra.log.checkpoint import Checkpoints
from gridspine.infra.log.measured import MeasuredLog
from gridspine.infra.log.topics import EVENTS, LEDGER, READINGS
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import Clock, Steps
from gridspine.infra.runtime.datadir import DataDirectory
from gridspine.infra.runtime.durable import write_whole
from gridspine.infra.runtime.meter import Meter
from gridspine.infra.runtime.settings import Settings
from gridspine.infra.runtime.tasks import Supervisor, to_the_end
from gridspine.kernel.errors import DiskFull, Overloaded
from gridspine.kernel.readings import Int64Array
from gridspine.sharing.access import Access
from gridspine.sharing.delivery import Hub
from gridspine.sharing.gate import Gate
from gridspine.things.alarm import ALARMS
from gridspine.things.books import Committed
from gridspine.things.command import COMMANDS
from gridspine.things.directory import Directory
from gridspine.things.flap import FlapJob
from gridspine.things.held import restore_held
from gridspine.things.incident import Incidents
from gridspine.things.intake import Intake
from gridspine.things.offence import Offences
from gridspine.things.point import PointTable
from gridspine.things.registrar import Registrar
from gridspine.things.release import ReleaseJob
from gridspine.things.screen import Screen
from gridspine.things.silence import Silence, SilenceJob
from gridspine.things.twin import TwinState

TICK_S = 0.1
GATE_S = 0.2
LEDGER_S = 0.4
SNAPSHOT_S = 60.0
SWEEP_S = 0.5
OUTBOX_S = 1.0
log = structlog.get_logger(__name__)


class Node:
    """All parts of a node; made by `compose` on the running event loop."""

    def __init__(self, settings: Settings, data: Path, clock: Clock, organisation: str, engines: Engines) -> None:
        self.settings, self.clock, self.organisation = settings, clock, organisation
        self.engines = engines
        self.directory_lock = DataDirectory(data)
        self.paths = Paths(data)
        self.room = engines.room(data, settings)
        self.log = engines.log(self.paths.log, TOPICS, segment_bytes=settings.log.segment_bytes, room=self.room)
        try:
            self.registry = SqlRegistry(sqlite_url(self.paths.registry), clock, self.log)
        except BaseException:
            self.log.close()
            self.directory_lock.close()
            raise
        self.supervisor = Supervisor(clock)
        self.trace = engines.trace(settings)
        self.meter, self.clock_watch, self.conditions = Meter(), ClockWatch(clock), Conditions(clock)
        self.quotas = Quotas(settings.quotas, clock)
        self._compose_things()
        self._compose_trust()
        self.hub = Hub({p: following for p, (_, following) in enumerate(self.log.bounds(READINGS))})
        self.things.moved.append(self._on_moved)
        self._restored = False
        self.stopping = False
        """Whether it was told to stop: it is not ready for anything new."""
        self.stored = 0
        """Readings the log took since the start."""
        self.submissions: dict[tuple[object, ...], frozenset[str]] = {}
        self.watchers, self.tidings = Watchers(), Tidings(self.log, clock)
        self.invocations = Invocations(clock)
        self.intake.books.listeners += [self._publish, self.commands.on_committed, self.alarms.on_committed]
        self.intake.books.listeners += [self.watchers.on_committed, self.ensembles.on_committed]

    def _compose_things(self) -> None:
        self.points = PointTable(self.clock.randbytes(16))
        for model in load_models().values():
            self.points.add_model(model)
        self.twins = TwinState()
        self.snapshot_offsets: dict[int, int] = {}
        """Up to where the twins' snapshot stands: the log is not trimmed beyond."""
        self.screen = Screen(self.points)
        self.offences = Offences(self.clock)
        self.things = Directory(self.registry, self.points, self.clock)
        self.writer = self.engines.writer(MeasuredLog(self.log, self.meter), asyncio.get_running_loop())
        self.intake = Intake(self.points, self.screen, self.twins, self.writer, self.offences, self.clock)
        topics = (COMMANDS, ALARMS, EVENTS)
        self.checkpoints = {topic: Checkpoints(self.paths.checkpoints, topic) for topic in topics}
        self.intake.books.trace = self.trace
        self.alarms = Alarms(self.log, self.writer, self.points, self.twins, self.clock, self.checkpoints[ALARMS])
        self.incidents = Incidents(self.registry, self.clock)
        self.quarantine_watch = QuarantineWatch(self.offences, self.incidents, self.clock)
        self.commands = Commands(
            self.log, self.writer, self.things, self.points, self.clock, self.checkpoints[COMMANDS], self.trace,
            self.settings.commands,
        )  # fmt: skip
        self.forms = FormService(
            self.registry, self.commands, self.intake, self.points, self.clock, self.paths.emulators
        )
        standings = self.intake.standings
        self.ensembles = Ensembles(
            self.registry, self.clock, self.things, self.points, self.twins, standings, self.screen.memory.seen_us,
            self.commands,
        )  # fmt: skip
        self.ensembles.saved.retire = lambda thing, by: self.lives.move(
            thing, "retired", by=by, why="its ensemble was forgotten"
        )
        self.commands.spread = self.ensembles.saved.spreads
        self.plants = Plants(self.ensembles, self.things, self.points, self.intake, self.commands, self.clock)

    def _compose_trust(self) -> None:
        address = f"http://{self.settings.http.host}:{self.settings.http.port}"
        self.identity = Identity(
            self.registry,
            self.clock,
            self.paths.keys,
            self._issuer(address),
            token_endpoint=f"{address}/token",
            topic=LEDGER,
            demo=self.settings.demo,
            rate=Rate(self.settings.http.requests_per_s, self.settings.http.request_burst),
        )
        self.lives = Lives(
            self.settings, self.paths.root, self.log, self.registry, self.clock, self.things, self.intake.standings,
            self.commands, self.identity,
        )  # fmt: skip
        self.registrar = Registrar(
            self.things, self.registry, self.clock, reachable(self.settings),
            lambda thing: self.lives.move(thing, "retired", by="node", why="its registration has expired"),
        )  # fmt: skip
        self.search = Search(self.things, self.points, self.registrar, self.clock)
        self.sparql = Sparql(self.things, self.points, self.registrar, self.clock)
        self.enrolment = Enrolment(self.identity, self.things, self.lives, self.clock)
        self.examinations = Examinations(self.log, self.things, self.commands, self.lives, self.clock)
        self.authority = Authority(self.clock, self.writer, self.organisation)
        rules = EdgeRules(self.registry, self.identity.custody, self.clock)
        self.edges = Edges(self.clock, self.identity, self.things, self.commands, rules)
        self.gate = Gate(self.clock)
        self.access = Access(self.registry, self.gate, self.clock, self._point_of, self.points.former_numbers)
        self.ledger = Ledger(
            self.paths.ledger, self.identity.custody.ledger_key(), f"{self.organisation}/ledger", log=self.log
        )
        self.agents = make_agents(
            self.registry, self.identity.directory, self.intake, self.commands, self.alarms, self.points, self.twins,
            self.incidents, self.clock, self.paths.root,
        )  # fmt: skip
        self.archive = ArchiveService(self.settings, self.paths.archive, self.paths.log, self.log, self.things)
        self.archive.form_of = self.forms.forms.of
        self.controls = Controls(
            self.registry, self.things, self.points, self.twins, self.commands, self.archive, self.intake, self.clock
        )
        self.retention = Retention(
            self.settings, self.paths.root, self.log, self.room, self.clock, self.checkpoints, self.snapshot_offsets
        )
        self.adapters = AdapterHost(
            self.settings.adapters, self.clock, self.registry, self.identity, self.authority,
            self.things, self.intake, self.commands, self.engines.adapters, quotas=self.quotas, meter=self.meter,
            trace=self.trace, http=self.settings.http, controls=self.controls,
        )  # fmt: skip

    async def start(self) -> None:
        """Rebuild what is projected from the log, then let tasks and adapters run."""
        await self.things.load(self.log, self.paths.things)
        await self.access.load()
        await asyncio.to_thread(self.lives.lifecycles.load)
        await asyncio.to_thread(self._restore)
        self.gate.confirm()
        self.supervisor.start("gate", self._confirm_gate)
        self.supervisor.start("tick", self._tick)
        self.supervisor.start("sweep", self._sweep)
        self.supervisor.start("receipts", self.commands.follow_receipts)
        self.supervisor.start("ledger", self._follow_ledger)
        self.supervisor.start("snapshots", self._snapshots)
        self.supervisor.start("watch", lambda: watch(self))
        self.supervisor.start("retention", self.retention.work)
        self.supervisor.start("outbox", self._follow_outbox)
        self.supervisor.start("edge asks", lambda: self.edges.hand_on(self.adapters.reads, self.adapters.requests))
        self.supervisor.start("registrations", self.registrar.work)
        self.forms.start(self.supervisor)
        self.ensembles.start(self.supervisor)
        self.plants.start(self.supervisor, self.adapters.reads)
        self.controls.start(self.supervisor, self.adapters.reads)
        self.supervisor.start("sparql", self.sparql.work)
        self.supervisor.start("agents", self.agents.work)
        self.lives.start(self.supervisor)
        if self.settings.archive.enabled:
            self.supervisor.start("archive", self.archive.work)
        for name, run in self.adapters.load().items():
            self.supervisor.start(f"adapter:{name}", run)

    async def stop(self) -> None:
        """Stop taking in, finish what is queued, write a snapshot, close."""
        await self.supervisor.close()
        await self.invocations.close()
        await self.agents.close()
        await self.sparql.close()
        self.gate.end_all_streams("node-stopping")
        if self._restored:
            with contextlib.suppress(DiskFull, Overloaded, OSError):
                await self._save_checkpoints()
        await asyncio.to_thread(self.writer.close)
        if self._restored:  # else the snapshot on disk is the better one: a start that failed knows nothing
            try:
                await asyncio.to_thread(self._save_twins)
            except OSError as error:
                log.warning("no snapshot of the twins: the next start reads more of the log", error=str(error))
            await asyncio.to_thread(self._save_things)
        with contextlib.suppress(DiskFull):
            await asyncio.to_thread(self.registry.relay)
        await asyncio.to_thread(self.trace.close)
        self.archive.close()
        self.lives.close()
        self.ledger.close()
        self.registry.close()
        self.log.close()
        self.directory_lock.close()

    def _issuer(self, address: str) -> str:
        """Return the name tokens are issued under: the first address this node had, whatever its port is now."""
        if not self.paths.issuer.exists():
            write_whole(self.paths.issuer, f"{address}\n".encode())
        return self.paths.issuer.read_text().strip()

    def _restore(self) -> None:
        self.intake.books.applied.update({p: following for p, (_, following) in enumerate(self.log.bounds(READINGS))})
        restore_twins(self.log, self.twins, self.screen, self.paths.twins, points=self.points.count)
        restore_held(self.log, self.intake.books.held, self.screen.memory, self.twins, self.points)
        restore_offences(self.log, self.offences, self.checkpoints[EVENTS])
        self.steps = Steps(self.clock)
        self.silence = Silence(self.points, self.twins, self.clock.now_us())
        self.forms.load()
        self.ensembles.saved.load()
        self.edges.rules.load()
        self.commands.load()
        self.controls.load()
        self.alarms.load()
        self.agents.load()
        self.ledger.catch_up()
        self._restored = True

    def _publish(self, committed: Committed) -> None:
        if committed.position is not None:
            self.stored += len(committed.screened.accepted)
            self.hub.publish(committed.position, committed.screened.accepted)

    def _on_moved(self, thing: str) -> None:
        self.access.forget_masks()
        self.hub.cut_thing(thing, "points-moved")

    def _point_of(self, point_id: str) -> tuple[int, str, str]:
        number = self.points.number(point_id)
        if number < 0:
            return -1, "", ""
        thing, model = self.points.place(number)
        return number, model.reading_type.unit, self.points.organisation_of(thing) or ""

    async def _tick(self) -> None:
        while True:
            await self.commands.tick()
            await self.quarantine_watch.look()
            await self.clock.sleep(TICK_S)

    async def _sweep(self) -> None:
        """Look for what only time brings: held readings that are due, silence, flapping that is over."""
        while True:
            await self.clock.sleep(SWEEP_S)
            self.alarms.look_for_heard()
            with contextlib.suppress(Overloaded):  # the next sweep finds the same
                if self.intake.books.held.next_due_us <= self.clock.now_us():
                    self.writer.submit(ReleaseJob(self.intake.books))
                if self.intake.books.behind:
                    self.writer.submit(CatchUpJob(self.log, self.intake.books, self.hub.skip))
                tell = self._tell_silent
                self.writer.submit(
                    SilenceJob(
                        self.silence, self.points, self.twins, self.clock, tell, self.steps,
                        self.intake.books.held.shift,
                    ),
                    FlapJob(self.screen.flaps, self.points, self.clock),
                )  # fmt: skip

    def _tell_silent(self, silent: Int64Array) -> None:
        self.alarms.on_silent(silent)
        self.watchers.on_silent(silent)

    async def _confirm_gate(self) -> None:
        """Keep the gate sure of itself: changes of grants are told to it on this loop before they are answered."""
        while True:
            self.gate.confirm()
            self.gate.sweep()
            await self.clock.sleep(GATE_S)

    async def _follow_ledger(self) -> None:
        while True:
            if self.ledger.behind:
                await to_the_end(self.ledger.catch_up)
            await self.clock.sleep(LEDGER_S)

    async def _follow_outbox(self) -> None:
        """Hand on what the log did not take when it was committed; then what waited for it is seen."""
        while True:
            await self.clock.sleep(OUTBOX_S)
            if self.registry.behind:
                with contextlib.suppress(DiskFull):
                    await to_the_end(self.registry.relay)
            if not self.registry.behind:
                await self.things.settle()
                await self.access.settle()

    async def _snapshots(self) -> None:
        while True:
            await self.clock.sleep(SNAPSHOT_S)
            await to_the_end(self._save_twins)
            await to_the_end(self._save_things)
            await self._save_checkpoints()
            with contextlib.suppress(DiskFull):
                await to_the_end(self.registry.relay)

    async def _save_checkpoints(self) -> None:
        await self.commands.checkpoint()
        await self.alarms.checkpoint()
        await to_the_end(self.agents.book.save)
        with contextlib.suppress(Overloaded):
            self.writer.submit(OffencesJob(self.log, self.offences, self.checkpoints[EVENTS]))

    def _save_things(self) -> None:
        try:
            self.things.save(self.log, self.paths.things)
        except (DiskFull, OSError) as error:
            log.warning("no snapshot of the Things: the next start reads them one by one", error=str(error))

    def _save_twins(self) -> None:
        """Snapshot the twins with offsets taken *before*: replaying a batch twice changes nothing."""
        offsets = dict(self.intake.books.applied)
        self.twins.save(self.paths.twins, offsets)
        self.snapshot_offsets.update(offsets)


async def compose(
    settings: Settings, data: Path, clock: Clock, *, organisation: str, engines: Engines | None = None
) -> Node:
    """Build and start a node on ``data``; ``organisation`` is the id of the one that runs it."""
    node = Node(settings, data, clock, organisation, engines or Engines())
    try:
        await node.start()
    except BaseException:
        await node.stop()
        raise
    return node
