"""Controls at work: what sites and enrolled Things owe is asked for as leases, kept up, and ended.

::

    a document changed ─┐
    time ───────────────┴─► plan ─► compare with the commands there are ─┬─► leases asked for, in the source's name
                                                                         └─► what is not wanted any more is cancelled

Nothing of it is kept but documents and commands: after a start it is compared again, and goes on.
"""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from gridspine.apps.node.commands import Commands
from gridspine.apps.node.control_plan import BATCH, ControlPlan, Holder
from gridspine.apps.node.programme_enrolments import ProgrammeEnrolments
from gridspine.apps.node.programmes import Programmes
from gridspine.apps.node.sites import Sites
from gridspine.energy.obligation import Obligation, fulfils
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, DiskFull, GridspineError, NotFound, Unavailable
from gridspine.kernel.time import US
from gridspine.things.asking import Ask
from gridspine.things.command import Command, CommandChanged, CommandEvent

LOOK_S = 1.0
PERIOD_US, RETRY_US, SOON_US = 900 * US, 300 * US, 60 * US
"""How often a holder is looked at though nothing is due; when what was refused, or failed, is asked for again; when it
is tried again to ask at all."""
WITHDRAWN = "no longer asked for: "
"""How the reason begins when it is the desk that cancels."""
_SLICE_US, _AT_ONCE, _BEHIND = 20_000, 5_000, 1_000
_TRIED = frozenset({"refused", "rejected", "failed"})
log = structlog.get_logger(__name__)


class ControlDesk:
    """Keeps the commands of all holders as they should be. Lives on the event loop."""

    def __init__(
        self, plan: ControlPlan, sites: Sites, programmes: Programmes, enrolments: ProgrammeEnrolments,
        commands: Commands, clock: Clock,
    ) -> None:  # fmt: skip
        self.plan = plan
        self._sites, self._programmes, self._enrolments = sites, programmes, enrolments
        self._commands, self._clock = commands, clock
        self._due_us: dict[Holder, int] = {}
        self._by_batch: dict[str, Holder] = {}
        self._sweep_us = 0
        self._looking = asyncio.Lock()

    def load(self) -> None:
        """Look at everything soon after the start."""
        holders = {Holder("site", one.id) for one in self._sites.all()}
        holders |= {Holder(kind, id_) for kind, id_ in self._enrolments.subjects()}
        self._due_us = dict.fromkeys(holders, 0)
        self._by_batch = {one.batch: one for one in holders}

    def on_events(self, events: Sequence[CommandEvent]) -> None:
        """Look again soon at a holder of which somebody else ended a lease: a limit is asked for anew."""
        for event in events:
            if isinstance(event, CommandChanged) and _ended_by_others(event.command):
                holder = self._by_batch.get(event.command.batch)
                if holder in self._due_us:
                    self._due_us[holder] = 0

    def commands_of(self, holder: Holder) -> list[Command]:
        """Return the commands that a holder's Things were given by the desk, as far as they are known."""
        things = self.plan.things(holder)
        return [
            one for thing in things for one in self._commands.commander.commands(thing.id) if one.batch == holder.batch
        ]

    def behind(self, principal: str) -> frozenset[str]:
        """Return the persons by whose doing a site or programme asks; nobody for any other principal."""
        kind, _, id_ = principal.partition(":")
        if kind == "site":
            site = self._sites.find(id_)
            if site is None:
                return frozenset()
            envelopes = self._sites.envelopes(id_)
            changers = {*site.changers, *(who for one in envelopes for who in (one.by, *one.changers))}
            return frozenset({site.by, site.changed_by, *changers} - {""})
        programme = self._programmes.find(id_) if kind == "programme" else None
        if programme is None:
            return frozenset()
        events = self._programmes.live(id_, self._clock.now_us())
        changers = {*programme.changers, *(one.by for one in events)}
        return frozenset({programme.by, programme.changed_by, *changers} - {""})

    def holders_of(self, programme: str) -> list[Holder]:
        """Return what is enrolled in a programme."""
        return [Holder(one.kind, one.subject) for one in self._enrolments.of_programme(programme)]

    async def follow(self, holder: Holder, before: Sequence[Command]) -> None:
        """Look at a holder that has changed; ``before`` are the commands that it had: those of Things gone end."""
        there = {thing.id for thing in self.plan.things(holder)}
        await self.carry_out([holder], [one for one in before if one.lease.thing not in there])

    async def carry_out(self, holders: Iterable[Holder], gone: Sequence[Command] = ()) -> None:
        """Do what `look` does for a change that somebody waits for; raise where it is kept but not carried out.

        So nobody is told that leases ended which run on: `DiskFull` where there was no room, else `Unavailable`.
        """
        errors = await self.look(holders, gone)
        if errors:
            kind = DiskFull if any(isinstance(one, DiskFull) for one in errors) else Unavailable
            why = next((one.detail for one in errors if isinstance(one, GridspineError)), "the node's log says more")
            raise kind(
                f"the change is kept, but {len(errors)} of what follows from it could not be done yet: leases that ran "
                f"may run on. It is tried again within {SOON_US // US} s. The reason: {why}"
            )

    async def work(self) -> None:
        """Look at what is due, until cancelled; first, and every now and then, at what was left behind.

        That is: when the node ended, when something could not be ended, when a Thing went to another organisation.
        """
        while True:
            now_us = self._clock.monotonic_us()
            if self._sweep_us <= now_us:
                self._sweep_us = now_us + PERIOD_US
                await self.look([], self._left())
            due = [holder for holder, due_us in self._due_us.items() if due_us <= now_us]
            for at in range(0, len(due), _BEHIND):
                await self.look(due[at : at + _BEHIND])
            await self._clock.sleep(LOOK_S)

    async def look(self, holders: Iterable[Holder], gone: Sequence[Command] = ()) -> list[BaseException]:
        """Bring the commands of ``holders`` to what they should be; end those of ``gone``, whose holders are no more.

        What cannot be asked for or ended now is tried again later: documents say what should be. It is returned why.
        """
        errors: list[BaseException] = []
        async with self._looking:
            asks: list[Ask] = []
            over = list(gone)
            began_us = self._clock.monotonic_us()
            for holder in dict.fromkeys(holders):
                try:
                    missing, unwanted = self._compare(holder)
                    asks += [self._ask(one, holder) for one in missing]
                except GridspineError as error:
                    log.warning("controls could not be planned: tried again", holder=holder.id, why=error.detail)
                    errors.append(error)
                    self._due_us[holder] = self._clock.monotonic_us() + SOON_US
                    continue
                except Exception as error:  # one holder's documents must not take the controls of all others with them
                    log.exception("controls could not be planned: tried again", holder=holder.id)
                    errors.append(error)
                    self._due_us[holder] = self._clock.monotonic_us() + SOON_US
                    continue
                over += unwanted
                if self._clock.monotonic_us() - began_us > _SLICE_US:
                    await asyncio.sleep(0)
                    began_us = self._clock.monotonic_us()
            errors += await self._request(asks)
            errors += await self._cancel(over)
        return errors

    def _left(self) -> list[Command]:
        """Return the commands whose Things are not their holder's any more."""
        known = [one for one in self._commands.commander.commands() if one.batch.startswith(BATCH)]
        own: dict[str, set[str]] = {}
        for holder in self._due_us:
            own.setdefault(holder.batch, set()).update(thing.id for thing in self.plan.things(holder))
        return [one for one in known if one.lease.thing not in own.get(one.batch, ())]

    def _compare(self, holder: Holder) -> tuple[list[Obligation], list[Command]]:
        """Return what is to be asked for, and what is to end."""
        now_us = self._clock.now_us()
        known = [one for one in self.commands_of(holder) if one.lease.until_us > now_us]
        wanted = self.plan.owed(holder, now_us)
        missing: list[Obligation] = []
        kept: set[str] = set()
        ahead_us = (self.plan.until_us(holder, now_us) - now_us) // 2
        due_us = now_us + min(PERIOD_US, max(ahead_us, US))
        for one in wanted:
            found = next((c for c in known if _place(c) == one.place and _answers(c, one, now_us)), None)
            until_us = one.until_us if found is None else found.lease.until_us
            if until_us < one.whole_us:
                due_us = min(due_us, max(until_us - (one.until_us - one.from_us) // 2, now_us + US))
            if found is None:
                missing.append(one)
                continue
            kept.add(found.id)
            if found.state in _TRIED:
                due_us = min(due_us, found.changes[-1].at_us + RETRY_US)
        if wanted or known or holder.kind == "site" or self._enrolments.stand(holder.id, now_us):
            self._due_us[holder] = self._clock.monotonic_us() + due_us - now_us
            self._by_batch[holder.batch] = holder
        else:
            self._due_us.pop(holder, None)
            self._by_batch.pop(holder.batch, None)
        return missing, [
            one for one in known if one.id not in kept and (not one.final or self._commands.commander.counts(one))
        ]

    def _ask(self, one: Obligation, holder: Holder) -> Ask:
        source = one.source
        lease = self._commands.new_lease(
            thing=one.thing, point=one.point, value=one.steps[0].value, role=one.role, authority=source.authority,
            priority=source.priority, from_us=one.from_us, until_us=one.until_us, principal=source.principal,
            steps=one.steps if len(one.steps) > 1 else (), bounding=one.bounding,
        )  # fmt: skip
        return Ask(lease, "", source.reason, "", holder.batch)

    async def _request(self, asks: Sequence[Ask]) -> list[BaseException]:
        """Ask for leases: one order for each principal, as long as no point is in it twice; return what went wrong."""
        errors: list[BaseException] = []
        while asks:
            orders: dict[str, dict[tuple[str, str], Ask]] = {}
            later: list[Ask] = []
            for ask in asks:
                order = orders.setdefault(ask.lease.principal, {})
                if len(order) < _AT_ONCE and (ask.lease.thing, ask.lease.point) not in order:
                    order[ask.lease.thing, ask.lease.point] = ask
                else:
                    later.append(ask)
            for principal, order in orders.items():
                try:
                    await self._commands.request_all(list(order.values()))
                except GridspineError as error:
                    log.warning("leases could not be asked for: tried again", source=principal, why=error.detail)
                    errors.append(error)
                    self._again(order.values())
            asks = later
        return errors

    async def _cancel(self, over: Sequence[Command]) -> list[BaseException]:
        """End what is not wanted any more, return what went wrong; what a newer lease superseded has ended."""
        errors: list[BaseException] = []
        for at in range(0, len(over), _AT_ONCE):
            part = over[at : at + _AT_ONCE]
            ended = await asyncio.gather(*map(self._end, part), return_exceptions=True)
            for command, error in zip(part, ended, strict=True):
                if isinstance(error, BaseException) and not isinstance(error, Conflict | NotFound):
                    log.warning("a lease could not be ended: tried again", command=command.id, why=str(error))
                    errors.append(error)
                    soon_us = self._clock.monotonic_us() + SOON_US
                    self._sweep_us = min(self._sweep_us, soon_us)
                    if (holder := self._by_batch.get(command.batch)) in self._due_us:
                        self._due_us[holder] = min(self._due_us[holder], soon_us)
        return errors

    async def _end(self, command: Command) -> None:
        command = self._commands.commander.command(command.id)
        if not command.final or self._commands.commander.counts(command):
            await self._commands.end(command.id, f"{WITHDRAWN}by {command.lease.principal}")

    def _again(self, asks: Iterable[Ask]) -> None:
        soon_us = self._clock.monotonic_us() + SOON_US
        for holder in {self._by_batch[ask.batch] for ask in asks if ask.batch in self._by_batch}:
            self._due_us[holder] = min(self._due_us.get(holder, soon_us), soon_us)


def _place(command: Command) -> tuple[str, str, str, str]:
    lease = command.lease
    return lease.principal, lease.thing, lease.point, lease.role


def _ended_by_others(command: Command) -> bool:
    return command.state == "cancelled" and not command.reason.startswith(WITHDRAWN)


def _answers(command: Command, wanted: Obligation, now_us: int) -> bool:
    """Whether a command is the answer to what is wanted: it holds, or it was just tried.

    A set-point that somebody else ended is one, too: it stays ended. A limit is not: it holds while documents say so.
    """
    if not fulfils(command.lease, wanted, now_us):
        return False
    if not command.final:
        return True
    if command.state in _TRIED:
        return command.changes[-1].at_us + RETRY_US > now_us
    return command.lease.role == "setpoint" and _ended_by_others(command)
