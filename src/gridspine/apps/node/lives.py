"""The lives of Things at work: books, stores and what must happen elsewhere when a Thing takes a step.

::

    Lives ─┬─ lifecycles     states and steps      ─► gates of readings, commands, automatic control
           ├─ announcements  who waits to be taken in
           ├─ vouchers       how they come to a key
           ├─ reports        commissioning
           ├─ transfers      between organisations  ─► leases ended, credentials replaced
           ├─ attachments    files, by hash
           └─ histories      all of it, as it happened
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from gridspine.apps.node.commands import Commands
from gridspine.apps.node.histories import Histories
from gridspine.apps.node.paths import Paths
from gridspine.infra.identity.enrol import Vouchers
from gridspine.infra.identity.service import Identity
from gridspine.infra.log.port import EventLog
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.content import ContentStore
from gridspine.infra.runtime.settings import Settings
from gridspine.infra.runtime.tasks import Supervisor
from gridspine.kernel.errors import Conflict, GridspineError
from gridspine.things.adapter import Order
from gridspine.things.announcement import Announcements
from gridspine.things.attachment import Attachments
from gridspine.things.commissioning_report import Reports
from gridspine.things.directory import Directory
from gridspine.things.lifecycle import Lifecycle, State
from gridspine.things.lifecycle_book import Lifecycles
from gridspine.things.meter_exchange import Exchange, Exchanges, with_exchange
from gridspine.things.standing import Standings
from gridspine.things.thing import Thing
from gridspine.things.transfer import Transfer, Transfers

log = structlog.get_logger(__name__)


class Lives:
    """All that a node knows of the lives of its Things."""

    def __init__(
        self, settings: Settings, root: Path, eventlog: EventLog, registry: Registry, clock: Clock,
        things: Directory, standings: Standings, commands: Commands, identity: Identity,
    ) -> None:  # fmt: skip
        self._registry, self._clock = registry, clock
        self._things, self._commands, self._identity = things, commands, identity
        self.deciding = asyncio.Lock()
        """Held while something that waits for a word is decided: whoever comes second finds it decided."""
        self.lifecycles = Lifecycles(registry, standings, clock, settings.lifecycle.commissioning)
        self.announcements = Announcements(registry, clock)
        self.vouchers = Vouchers(registry, clock, topic=LEDGER)
        self.reports = Reports(registry, self.lifecycles, clock)
        self.transfers = Transfers(registry, clock)
        self.attachments = Attachments(
            registry, ContentStore(Paths(root).attachments), clock, self.lifecycles.emit,
            max_bytes=settings.attachments.max_bytes, quota_bytes=settings.attachments.quota_bytes,
        )  # fmt: skip
        self.histories = Histories(Paths(root).histories, eventlog, things, clock)
        commands.gate = self.lifecycles.gate
        things.keep_lives(self.lifecycles)
        things.held = self._held

    def start(self, supervisor: Supervisor) -> None:
        """Let histories follow the log."""
        supervisor.start("histories", self.histories.follow)

    async def move(self, thing: Thing, to: State, *, by: str, why: str, evidence: Sequence[str] = ()) -> Lifecycle:
        """Take a step; what the new state does not allow ends: set-points, and for a retired Thing its credentials."""
        if to == "retired":
            return await self._retire(thing, by=by, why=why, evidence=evidence)
        if to == "commissioned":
            await self._check_commissioned(thing, evidence)
        life = await self.lifecycles.move(thing, to, by=by, why=why, evidence=evidence)
        if life.paused or to == "described":
            await self._commands.withdraw(thing.id, f"the Thing is {to}: {why}"[:500])
        return life

    async def exchange_meter(self, thing: Thing, exchange: Exchange) -> Exchange:
        """Keep that a meter was exchanged, with both meters' readings; raise `Invalid`."""
        exchange.check(self._things.model(thing), self._clock.now_us())

        def work(tx: Transaction) -> Exchange:
            told = msgspec.to_builtins(exchange)
            told.pop("event")
            event = self.lifecycles.emit(tx, thing.id, "thing.meter-exchanged", exchange.by, told, thing.organisation)
            kept = msgspec.structs.replace(exchange, event=event)
            exchanges = with_exchange(tx.get(Exchanges, thing.id) or Exchanges(), kept)
            tx.put(exchanges, id=thing.id, owner=thing.organisation)
            return kept

        return await self._registry.run(work)

    async def exchanges(self, thing: Thing) -> Exchanges:
        """Return the exchanges of a Thing's meter, since it is whose it is now."""
        kept = await self._registry.run(lambda tx: tx.get(Exchanges, thing.id), write=False)
        return Exchanges(tuple(one for one in (kept or Exchanges()).list if one.at_us >= thing.owned_since_us))

    async def accept_transfer(self, transfer: Transfer, *, by: str, why: str) -> Transfer:
        """Hand a Thing over: leases end, it has another owner and no device, and is to be provisioned anew.

        Nothing is ordered in between. What the old owner's devices prove themselves with speaks for the Thing no more.
        """
        before = self._things.get(transfer.thing)
        done: list[Transfer] = []

        def also(tx: Transaction, after: Thing) -> None:
            done.append(self.transfers.accept(tx, transfer.id, by=by, why=why))
            self.lifecycles.handed_over(tx, before, after, by=by, why=why, transfer=transfer.id)

        async def change(_: Sequence[Order]) -> None:
            self._check_form(transfer.thing)
            await self._registry.run(lambda tx: self.transfers.open_one(tx, transfer.id), write=False)
            await self._things.change(
                transfer.thing, actor=by, expected=before.version, also=also, organisation=transfer.heir,
                devices=(), adapter="", connection={},
            )  # fmt: skip

        if before.organisation != transfer.owner or before.retired:
            raise Conflict("the Thing is not the one's any more who offered it")
        self._check_form(transfer.thing)
        async with self.deciding:
            await self._commands.hand_over([transfer.thing], f"the Thing goes to {transfer.heir}", change)
        self.lifecycles.standings.set(transfer.thing, "described")
        await asyncio.to_thread(self._take_credentials, before, by)
        return done[0]

    def _held(self, thing: str) -> str:
        """Return why a Thing keeps its model: by another one, nobody could tell the device to go to its fallback."""
        running = sum(not one.final for one in self._commands.commander.commands(thing))
        return f"{running} of its commands are running or to come: end them before it gets another model" * bool(
            running
        )

    def _check_form(self, thing: str) -> None:
        """Raise `Conflict` while a Thing is emulated: whoever emulates it would go on to hear its orders."""
        if self._commands.forms.of(thing) == "emulator":
            raise Conflict("the twin is in emulator form: its owner must let it stand for its device first")

    async def bind(self, voucher: str, thing: str, *, actor: str) -> None:
        """Let the voucher a device announced itself with enrol for the Thing it became; one that is gone binds none."""
        try:
            await asyncio.to_thread(self.vouchers.bind, voucher, thing, actor=actor)
        except GridspineError as error:
            log.warning("an announced device needs a new voucher", voucher=voucher, why=error.detail)

    async def end_transfer(self, id: str, state: Literal["refused", "withdrawn"], *, by: str, why: str) -> Transfer:
        """Refuse or withdraw an offer that stands."""
        async with self.deciding:
            return await self.transfers.end(id, state, by=by, why=why)

    def close(self) -> None:
        """Close files."""
        self.histories.close()

    async def _retire(self, thing: Thing, *, by: str, why: str, evidence: Sequence[str]) -> Lifecycle:
        self.lifecycles.part(thing.id, why, evidence)

        async def change(_: Sequence[Order]) -> None:
            await self._things.retire(thing.id, actor=by, reason=why)

        await self._commands.hand_over([thing.id], f"the Thing is retired: {why}"[:500], change)
        await asyncio.to_thread(self._take_credentials, thing, by)
        return await self.lifecycles.of(thing)

    def _take_credentials(self, thing: Thing, by: str) -> None:
        """End the vouchers of a Thing, and the devices that spoke for it and for nothing else; blocks."""
        self.vouchers.revoke_for(thing.id, thing.organisation, actor=by)
        for device in thing.devices:
            known = self._identity.directory.active(device)
            if known is None or known.kind != "device" or known.organisation != thing.organisation:
                continue
            if not any(one.id != thing.id for one in self._things.of_device(device)):
                self._identity.directory.deactivate(device, actor=by)

    async def _check_commissioned(self, thing: Thing, evidence: Sequence[str]) -> None:
        """Raise `Conflict` unless a report shows that the device works, where the node asks for one."""
        if self.lifecycles.commissioning != "required":
            return
        known = {one.id: one for one in await self.reports.of(thing)}
        shown = [known[one] for one in evidence if one in known]
        if not shown:
            raise Conflict("evidence: name a commissioning report of this Thing: POST …/commissioning makes one")
        latest = max(shown, key=lambda one: one.at_us)
        faults = {one.code for one in latest.findings if one.severity == "fault"}
        overruled = {one.removeprefix("despite:") for one in evidence if one.startswith("despite:")}
        if faults - overruled:
            raise Conflict(
                f"the report names {', '.join(sorted(faults - overruled))}: mend it and examine again, or say "
                "despite:<finding> among the evidence, and why"
            )
