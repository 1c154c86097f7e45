"""The form of twins changed: live ↔ emulated at one address; first leases end, then orders go the other way.

::

    to emulator   emulator there? ─► leases end at the device ─► registry, event ─► orders go to the emulator
    to adapter    leases end at the emulator ─► registry, event ─► orders go to the wire

What the real device still says is kept as reported. What emulators say is on the channel *emulated* and satisfies no
contract, no confirmation and no settlement.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from gridspine.apps.node.commands import Commands
from gridspine.apps.node.emulation import MAX_STEP_S, Emulation
from gridspine.infra.log.topics import EVENTS
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.infra.runtime.tasks import Supervisor
from gridspine.kernel.errors import Conflict, GridspineError, Invalid
from gridspine.kernel.time import format_rfc3339
from gridspine.things.adapter import Order
from gridspine.things.command import Command
from gridspine.things.form import Cohort, Form, TwinForm, changed
from gridspine.things.intake import Intake
from gridspine.things.lease import Authority
from gridspine.things.point import PointTable
from gridspine.things.thing import Thing

MAX_AT_ONCE = 10_000
MIN_STEP_S = 0.1
_TURN = 500
"""Things whose form changes in one turn."""
_OTHERS = {Authority.NETWORK, Authority.SAFETY}
"""In whose name a lease is not ended by a change of form."""
log = structlog.get_logger(__name__)


class FormChange(msgspec.Struct, frozen=True):
    """What is asked: the form, why, and what becomes of leases; the rest is for emulators.

    ``leases`` *end* with the form they were made under; or are handed over (*hand-over*): the emulator is given what
    the device no longer is. From an emulator nothing is handed to a device. ``seed`` and ``step_s`` [s] are the
    emulator's; ``external`` means that somebody outside emulates.
    """

    form: Form
    reason: str = ""
    leases: Literal["end", "hand-over"] = "end"
    seed: int = 0
    step_s: float = 10.0
    external: bool = False

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not MIN_STEP_S <= self.step_s <= MAX_STEP_S:
            raise Invalid(f"stepS: {MIN_STEP_S:g} to {MAX_STEP_S:g} s")
        if not 0 <= self.seed < 1 << 53:
            raise Invalid("seed: a whole number from 0, below 2^53")
        if len(self.reason) > 500:
            raise Invalid("reason: at most 500 characters")
        if self.form == "adapter" and self.leases != "end":
            raise Invalid("leases: what was ordered from an emulator is never handed to a device")


Outcome = TwinForm | GridspineError


class FormService:
    """Changes forms, one change at a time, and keeps them."""

    def __init__(
        self, registry: Registry, commands: Commands, intake: Intake, points: PointTable, clock: Clock, folder: Path
    ) -> None:
        """Make the service; ``folder`` is where it is kept what emulated devices have become."""
        self._registry, self._commands, self._clock, self._points = registry, commands, clock, points
        self.forms = commands.forms
        self._working: set[asyncio.Task[list[Outcome]]] = set()
        self.emulation = Emulation(self.forms, intake, commands, points, clock, folder)

    def load(self) -> None:
        """Read the forms when the node starts; blocks."""
        forms, cohorts = self._registry.read(lambda tx: (tx.list(TwinForm), tx.list(Cohort)))
        self.forms.put(forms)
        for cohort in cohorts:
            self.emulation.expect(cohort)
        self.emulation.changed()

    def start(self, supervisor: Supervisor) -> None:
        """Let emulators work."""
        supervisor.start("emulation", self.emulation.work)
        supervisor.start("emulated orders", self.emulation.carry)

    async def change(self, things: Sequence[Thing], wanted: FormChange, actor: str) -> list[Outcome]:
        """Give the twins of ``things``, all of one organisation, another form; return for each what became of it.

        One that cannot change does not stop the others.
        """
        wanted.check()
        work = asyncio.ensure_future(self._change_groups(things, wanted, actor))
        self._working.add(work)  # it is carried through, whoever asked may leave
        work.add_done_callback(self._working.discard)
        return await asyncio.shield(work)

    async def _change_groups(self, things: Sequence[Thing], wanted: FormChange, actor: str) -> list[Outcome]:
        outcomes: dict[str, Outcome] = {}
        groups: dict[str, list[Thing]] = {}
        for thing in things:
            refused = self._refusal(thing, wanted)
            if refused is not None:
                outcomes[thing.id] = refused
            else:
                groups.setdefault(thing.model if wanted.form == "emulator" else "", []).append(thing)
        for group in groups.values():
            unique = list({thing.id: thing for thing in group}.values())
            ids = [thing.id for thing in unique]
            try:
                await (self._emulate if wanted.form == "emulator" else self._adapt)(unique, wanted, actor)
            except GridspineError as error:
                outcomes.update((thing.id, error) for thing in unique)
            outcomes.update((one.thing, one) for one in map(self.forms.get, ids) if one and one.form == wanted.form)
        return [outcomes.get(thing.id) or self._overtaken(thing) for thing in things]

    def _overtaken(self, thing: Thing) -> Conflict:
        """Say that another change came before what became of this one was looked at."""
        return Conflict(f"the twin's form was changed again meanwhile: it is in {self.forms.of(thing.id)} form now")

    def _refusal(self, thing: Thing, wanted: FormChange) -> GridspineError | None:
        if self.forms.of(thing.id) == wanted.form:
            return Conflict(f"the twin is in {wanted.form} form already")
        if wanted.form == "adapter":
            return None
        strong = [
            lease
            for lease in (one.lease for one in self._commands.commander.commands(thing.id) if not one.final)
            if lease.authority in _OTHERS
        ]
        if strong:
            until = format_rfc3339(max(lease.until_us for lease in strong))
            names = ", ".join(sorted({lease.authority.value for lease in strong}))
            return Conflict(f"{names} holds a lease of this Thing until {until}: a change of form does not end it")
        return None

    async def _emulate(self, things: Sequence[Thing], wanted: FormChange, actor: str) -> None:
        ids = tuple(thing.id for thing in things)
        organisation, model = things[0].organisation, things[0].model
        seed = wanted.seed or int.from_bytes(self._clock.randbytes(4))
        cohort = Cohort(new_urn(self._clock), organisation, model, ids, seed, wanted.step_s, wanted.external)
        await self.emulation.begin(cohort)  # before anything is ended: there may be no such emulator
        try:
            ended = await self._change_all(things, wanted, actor, cohort)
        finally:
            self.emulation.changed()
        if wanted.leases == "hand-over":
            await self._hand_over(ended)

    async def _adapt(self, things: Sequence[Thing], wanted: FormChange, actor: str) -> None:
        await self._change_all(things, wanted, actor, None)
        over = self.emulation.changed()
        if over:

            def forget(tx: Transaction) -> None:
                for cohort in over:
                    tx.delete(Cohort, cohort.id)

            await self._registry.run(forget)

    async def _change(
        self, things: Sequence[Thing], wanted: FormChange, actor: str, cohort: Cohort | None, first: int
    ) -> list[Command]:
        async def keep(orders: Sequence[Order]) -> None:
            by_thing: dict[str, list[Order]] = {}
            for order in orders:
                by_thing.setdefault(order.thing, []).append(order)
            now_us = self._clock.now_us()
            forms = [
                changed(
                    self.forms.get(thing.id), thing.id, thing.organisation, wanted.form, by_thing.get(thing.id, ()),
                    now_us, by=actor, reason=wanted.reason, cohort=cohort.id if cohort else "", place=place,
                )
                for place, thing in enumerate(things, first)
            ]  # fmt: skip
            await self._keep(forms, cohort, actor)

        def check() -> None:
            for thing in things:  # it may have been handed over, or retired, since this was asked for
                gone = self._points.thing_points(thing.id) is None
                if gone or self._points.organisation_of(thing.id) != thing.organisation:
                    raise Conflict(f"{thing.id} is not yours any more, or is retired: leave it out, and ask again")

        reason = f"the twin goes into {wanted.form} form" + (f": {wanted.reason}" if wanted.reason else "")
        return await self._commands.hand_over(frozenset(thing.id for thing in things), reason, keep, check)

    async def _change_all(
        self, things: Sequence[Thing], wanted: FormChange, actor: str, cohort: Cohort | None
    ) -> list[Command]:
        """Change many, some at a time: commands have their turn in between."""
        ended: list[Command] = []
        for start in range(0, len(things), _TURN):
            ended += await self._change(things[start : start + _TURN], wanted, actor, cohort, start)
        return ended

    async def _keep(self, forms: Sequence[TwinForm], cohort: Cohort | None, actor: str) -> None:
        """Keep forms, then let them be so; what the registry has counts, also when its events did not reach the log."""
        try:
            await self._registry.run(self._writing(forms, cohort, actor))
        except Exception:
            kept = await self._registry.run(lambda tx: [tx.get(TwinForm, one.thing) for one in forms], write=False)
            self.forms.put(one for one in kept if one is not None)
            raise
        self.forms.put(forms)

    def _writing(self, forms: Sequence[TwinForm], cohort: Cohort | None, actor: str) -> Callable[[Transaction], None]:
        def work(tx: Transaction) -> None:
            if cohort is not None:
                tx.put(cohort, id=cohort.id, owner=cohort.organisation)
            for form in forms:
                tx.put(form, id=form.thing, owner=form.organisation)
            tx.emit_all((EVENTS, form.thing, self._event(form, actor)) for form in forms)

        return work

    def _event(self, form: TwinForm, actor: str) -> Event:
        data = {"form": form.form, "reason": form.reason, "cohort": form.cohort}
        return Event(new_id(self._clock), "thing.form-changed", form.since_us, form.thing, actor, data)

    async def _hand_over(self, ended: Sequence[Command]) -> None:
        """Ask of the emulators what was asked of the devices, for the time that is left of it."""
        for command in ended:
            lease = command.lease
            if lease.until_us <= self._clock.now_us():
                continue
            again = msgspec.structs.replace(
                lease, id=new_urn(self._clock), command=new_urn(self._clock), issued_us=self._clock.now_us()
            )
            try:
                await self._commands.request(again, "")
            except GridspineError as error:
                log.warning("a lease could not be handed to the emulator", command=command.id, why=error.detail)
