"""Adapters hosted: found by entry point, allowed by name, each with a context of its own and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from gridspine.apps.api.tls import node_context
from gridspine.apps.node.adapter_keyring import AdapterKeyring
from gridspine.apps.node.adapter_tokens import AdapterTokens
from gridspine.apps.node.adapter_words import AdapterWords
from gridspine.apps.node.authority import Authority
from gridspine.apps.node.charging import Charging
from gridspine.apps.node.commands import Commands
from gridspine.apps.node.control_port import HostedControls
from gridspine.apps.node.controls import Controls
from gridspine.apps.node.following import Following
from gridspine.apps.node.quotas import Quotas
from gridspine.apps.node.read_now import Reads
from gridspine.apps.node.requests import Requests
from gridspine.apps.node.served import Served
from gridspine.apps.node.transactions import Transactions
from gridspine.infra.identity.service import Identity
from gridspine.infra.identity.token import MAX_LIFE_S
from gridspine.infra.registry.group import Grouped
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.meter import Meter
from gridspine.infra.runtime.secret import adapter_secrets
from gridspine.infra.runtime.settings import Adapters as AdapterSettings
from gridspine.infra.runtime.settings import Http
from gridspine.infra.runtime.trace import Trace
from gridspine.kernel.errors import GridspineError, Invalid, NotFound
from gridspine.kernel.readings import Channel, NamedReadings
from gridspine.things.adapter import (
    ActionRequest,
    Adapter,
    Application,
    Binding,
    Connection,
    Introduced,
    Order,
    Outcome,
    PrivateStore,
    ProgressState,
    ReadRequest,
    RequestEnd,
    Source,
    WireTrace,
)
from gridspine.things.adapter_host import Listeners, installed
from gridspine.things.adapter_notices import Notices
from gridspine.things.adapter_package import refusal
from gridspine.things.announcement import Announcement, Announcements
from gridspine.things.directory import Directory
from gridspine.things.intake import Intake
from gridspine.things.wire_trace import RingTrace

log = structlog.get_logger(__name__)


class AdapterNote(msgspec.Struct, frozen=True):
    """What an adapter asked the node to keep for it."""

    value: bytes


class RegistryStore:
    """An adapter's private store, in the registry; what is put meanwhile shares the next transaction."""

    def __init__(self, registry: Registry, adapter: str) -> None:
        self._registry = registry
        self._adapter = adapter
        self._puts: Grouped[tuple[str, bytes | None], None] = Grouped(registry, self._put_all, lambda _: None)

    async def get(self, key: str) -> bytes | None:
        """Return what was put under ``key``, or None."""
        note = await self._registry.run(lambda tx: tx.get(AdapterNote, f"{self._adapter}/{key}"), write=False)
        return None if note is None else note.value

    async def put(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key``; None forgets it."""
        outcome = await self._puts.do((f"{self._adapter}/{key}", value))
        if outcome is not None:
            raise outcome

    async def items(self) -> Mapping[str, bytes]:
        """Return all that is kept, by key."""
        kept = await self._registry.run(lambda tx: tx.items(AdapterNote, owner=self._adapter), write=False)
        return {id_.removeprefix(f"{self._adapter}/"): note.value for id_, note in kept}

    def _put_all(self, tx: Transaction, asked: Sequence[tuple[str, bytes | None]]) -> list[None]:
        latest = dict(asked)
        for id_, value in latest.items():
            if value is None:
                tx.delete(AdapterNote, id_)
        kept = {id_: AdapterNote(value) for id_, value in latest.items() if value is not None}
        tx.put_over(AdapterNote, kept, self._adapter)
        return [None] * len(asked)


class HostedContext:
    """The `gridspine.things.adapter.AdapterContext` of one adapter."""

    def __init__(self, host: "AdapterHost", name: str, settings: Mapping[str, Any]) -> None:
        self.clock = host.clock
        self.settings = settings
        self.secrets: Mapping[str, str] = adapter_secrets(name)
        self.store: PrivateStore = RegistryStore(host.registry, name)
        self.keyring: PrivateStore = AdapterKeyring(host.identity.custody, name)
        self.trace: WireTrace = host.wire_trace(name)
        self._host = host
        self._name = name
        self._listeners = Listeners(settings)
        self._served = Served(settings, host.http, host.identity, f"adapters.settings.{name}")

    @property
    def controls(self) -> HostedControls:
        """Sites and programmes, in the name of a source."""
        return self._host.controls

    @property
    def notices(self) -> Notices:
        """What adapters tell clients of the node's broker."""
        return self._host.notices

    def bindings(self) -> Sequence[Binding]:
        """Return the Things this adapter serves now."""
        self._host.directory.bindings.look()
        return [
            Binding(
                thing.id,
                thing.title,
                thing.organisation,
                thing.model,
                thing.connection,
                tuple(point.name for point in self._host.directory.model(thing).points),
            )
            for thing in self._host.directory.of_adapter(self._name)
        ]

    async def bindings_changed(self) -> None:
        """Return when Things were added or taken away, or a principal's standing changed."""
        await self._host.directory.bindings.wait()

    async def intake(
        self,
        readings: NamedReadings,
        source: Source,
        *,
        channel: Channel = Channel.REPORTED,
        backfill: bool = False,
    ) -> Outcome:
        """Hand in readings; see the contract."""
        if channel is Channel.COMMANDED:
            raise Invalid("channel: what is commanded is the commander's to say; report `progress`")
        self._host.quotas.readings(source.principal, readings.received)
        work = self._host.intake.submit(readings, source, channel=channel, backfill=backfill)
        with self._host.trace.span(f"{self._name} readings"):
            return await self._host.meter.timed(self._name, work)

    def source_of(self, thing: str) -> Source:
        """Return the source for a device that the node itself polls."""
        organisation = self._host.directory.get(thing).organisation
        return Source(f"adapter:{self._name}:{thing}", organisation, f"adapter:{self._name}:{thing}")

    async def authorise(self, username: str, password: str, certificate_der: bytes | None = None) -> Source | None:
        """Return the source behind a device's credentials, or None."""
        identity = self._host.identity
        try:
            if certificate_der is not None:
                caller = await asyncio.to_thread(identity.by_certificate, certificate_der)
            else:
                caller = await asyncio.to_thread(identity.by_password, username, password)
        except GridspineError as error:
            log.warning("a device was turned away", adapter=self._name, username=username[:100], why=error.detail)
            if username:
                self._host.words.note(self._name, username, f"somebody of that name was turned away: {error.detail}")
            return None
        return Source(caller.principal, caller.organisation, caller.session, caller.epoch)

    def issue_token(self, source: Source, *, life_s: int = MAX_LIFE_S) -> tuple[str, int]:
        """Return a plain access token for ``source``, and how long it lives [s]."""
        return self._host.tokens.issue(source, life_s, self._name)

    def by_token(self, token: str) -> Source:
        """Return the source that a plain access token was made for."""
        return self._host.tokens.find(token, self._name)

    def may_publish(self, source: Source, thing: str) -> bool:
        """Whether ``source`` may send readings of ``thing``."""
        return self._host.may_publish(source, thing)

    def things_of(self, source: Source) -> Sequence[str]:
        """Return the Things of this adapter that ``source`` may send readings of."""
        return self._host.things_of(self._name, source)

    def orders(self) -> AsyncIterator[Order]:
        """Yield orders for this adapter's Things."""
        return self._host.commands.orders(self._name)

    async def progress(self, command: str, state: ProgressState, reason: str = "", *, sequence: int = 0) -> None:
        """Record how far an order got; what is said of an order of another adapter's Thing does not count."""
        if not self._host.carries(self._name, command):
            log.warning("progress of a command that is another adapter's", adapter=self._name, command=command[:100])
            return
        await self._host.commands.progress(command, state, reason, sequence=sequence)

    def reads(self) -> AsyncIterator[ReadRequest]:
        """Yield requests to read a device at once."""
        return self._host.reads.requests(self._name)

    def read_ended(self, id: str, problem: str = "") -> None:
        """Tell that a request to read is over."""
        self._host.reads.ended(id, problem, by=self._name)

    async def announce(self, source: Source, said: Introduced) -> None:
        """Have a device wait to be taken in; see the contract."""
        known = (
            "" if self._host.directory.models.get(said.thing_model, source.organisation) is None else said.thing_model
        )
        one = Announcement(
            id="", organisation=source.organisation, make=said.make, model=said.model, serial=said.serial,
            by=source.principal, at_us=0, firmware=said.firmware, thing_model=known, adapter=self._name,
            connection=said.connection, devices=self._speakers(source),
        )  # fmt: skip
        await self._host.announcements.announce(one)

    def _speakers(self, source: Source) -> tuple[str, ...]:
        """Return who speaks for what ``source`` announced: nobody, where the adapter itself found it."""
        return () if source.principal.startswith(f"adapter:{self._name}:") else (source.principal,)

    def requests(self) -> AsyncIterator[ActionRequest]:
        """Yield requests to carry out actions."""
        return self._host.requests.requests(self._name)

    def request_ended(self, id: str, state: RequestEnd = "done", output: Any = None, reason: str = "") -> None:
        """Tell that a request to carry out an action is over."""
        self._host.requests.ended(id, state, output, reason, by=self._name)

    async def listen(self, name: str, on_connection: Connection) -> tuple[str, int]:
        """Open the listener ``name``: ``host``, ``port`` and ``tls`` in its section; plain ones stay on loopback."""
        names = tuple(str(one) for one in self.settings.get(name, {}).get("names", ()))
        tls = self._listeners.tls(name)
        context = await asyncio.to_thread(node_context, self._host.identity, names) if tls else None
        beyond = f"adapters.settings.{self._name}.{name}: set tls = true to listen beyond loopback"
        address = await self._listeners.open(name, on_connection, beyond=beyond, context=context)
        self._host.listening[f"{self._name}.{name}"] = address
        return address

    async def serve(self, name: str, app: Application) -> tuple[str, int]:
        """Serve ``app`` by the listener ``name``; see the contract."""
        address = self._host.listening[f"{self._name}.{name}"] = await self._served.open(name, app)
        return address

    async def close(self) -> None:
        """Close the listeners that were opened."""
        await self._listeners.close()
        await self._served.close()


class AdapterHost:
    """Loads the allowed adapters and runs each with its context."""

    def __init__(
        self,
        settings: AdapterSettings,
        clock: Clock,
        registry: Registry,
        identity: Identity,
        authority: Authority,
        directory: Directory,
        intake: Intake,
        commands: Commands,
        adapters: Mapping[str, Callable[[], Adapter]] | None = None,
        *,
        quotas: Quotas,
        meter: Meter,
        trace: Trace,
        http: Http,
        controls: Controls,
    ) -> None:
        """Make a host of ``adapters`` by name; None: of those that are installed."""
        self.clock, self.registry, self.identity, self.directory = clock, registry, identity, directory
        self.intake, self.commands, self.meter, self.trace = intake, commands, meter, trace
        self.quotas, self.http = quotas, http
        following = Following(controls, directory, authority, identity, clock, self.may_publish)
        self.tokens, self.notices = AdapterTokens(identity), Notices()
        self.listening: dict[str, tuple[str, int]] = {}
        self.reads = Reads(directory, clock)
        self.announcements = Announcements(registry, clock)
        self.requests = Requests(directory, commands, intake.writer, clock, trace)
        self.words = AdapterWords(clock, self._serves)
        charging = Charging(directory, intake.books.twins, self.requests, commands, clock)
        self.controls = HostedControls(authority, controls, identity, following, charging, directory)
        self.transactions = Transactions(directory, self.requests)
        self._settings = settings
        self._adapters = adapters
        self._traces: dict[str, RingTrace] = {}
        loop = asyncio.get_running_loop()
        # Who keeps connections open asks again whom they may be kept for, as after a change of Things.
        identity.watch.listen(lambda _: loop.call_soon_threadsafe(directory.wake))

    def load(self) -> dict[str, Callable[[], Any]]:
        """Return what to run for each allowed adapter; raise `Invalid` for a name that is not installed, or not
        as pinned: before anything of it is imported."""
        found = installed() if self._adapters is None else self._adapters
        missing = sorted(set(self._settings.allow) - set(found))
        if missing:
            known = ", ".join(sorted(found)) or "none"
            raise Invalid(f"adapters.allow: {', '.join(missing)} is not installed; installed are: {known}")
        for name, pinned in self._settings.pin.items():
            if name in self._settings.allow and (why := refusal(name, pinned)):
                raise Invalid(f"adapters.pin: {why}")
        return {name: self._runner(name, found[name]()) for name in self._settings.allow}

    def wire_trace(self, name: str) -> RingTrace:
        """Return the trace of an allowed adapter's wire; raise `NotFound` for any other."""
        if name not in self._settings.allow:
            raise NotFound(f"no adapter {name[:60]!r} runs here: adapters.allow names {self._allowed_names()}")
        if name not in self._traces:
            self._traces[name] = RingTrace(self.clock, adapter_secrets(name).values())
        return self._traces[name]

    def _allowed_names(self) -> str:
        return ", ".join(sorted(self._settings.allow)) or "none"

    def may_publish(self, source: Source, thing: str) -> bool:
        """Whether ``source`` may send readings of ``thing``: an own device that speaks for it."""
        try:
            found = self.directory.get(thing)
        except GridspineError:
            return False
        if found.retired or source.organisation != found.organisation or source.principal not in found.devices:
            return False
        return self.identity.holds_session(source.principal, source.session, source.epoch)

    def things_of(self, adapter: str, source: Source) -> list[str]:
        """Return an adapter's Things that ``source`` may send readings of."""
        if not self.identity.holds_session(source.principal, source.session, source.epoch):
            return []
        return [
            one.id
            for one in self.directory.of_device(source.principal)
            if one.adapter == adapter and one.organisation == source.organisation and not one.retired
        ]

    def carries(self, adapter: str, command: str) -> bool:
        """Whether a command is of a Thing that ``adapter`` serves; one that is unknown is late, which is no offence."""
        try:
            thing = self.commands.commander.command(command).lease.thing
            return self.directory.get(thing).adapter == adapter
        except NotFound:
            return True

    def _serves(self, adapter: str, thing: str) -> bool:
        found = self.directory.roll.get(thing)
        return found is not None and found.adapter == adapter

    def _runner(self, name: str, adapter: Adapter) -> Callable[[], Any]:
        package = type(adapter).__module__.rpartition(".")[0] or type(adapter).__module__

        async def run() -> None:
            context = HostedContext(self, name, self._settings.settings.get(name, {}))
            with self.words.listening(name, package, self.wire_trace(name).redaction):
                try:
                    await adapter.run(context)
                finally:
                    await context.close()

        return run
