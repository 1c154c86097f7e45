"""Asking for leases: what is refused, what waits for a second person, what is taken. Decides only; keeps nothing.

::

    ask ─► asked before? ─► has a meaning, fits the device, nothing blocks it ─► room ─► large? ─► accepted
              the answer of then                    refused                     429      awaiting-approval
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from gridspine.kernel.errors import Conflict, Invalid, Overloaded
from gridspine.kernel.time import US
from gridspine.things.approval import Approvals, asker_of, watts_of
from gridspine.things.command import Command, CommandChanged, CommandEvent, become, may_become, new_command
from gridspine.things.command_table import CommandTable
from gridspine.things.lease import Lease, replaces
from gridspine.things.lease_check import check_lease
from gridspine.things.ordering import Ordering, RuleOf


class Ask(msgspec.Struct, frozen=True):
    """A lease asked for, as `Commander.request` takes it; ``reason`` is the asker's own."""

    lease: Lease
    key: str = ""
    reason: str = ""
    question: str = ""
    batch: str = ""


@dataclass(slots=True)
class Pending:
    """What was decided and is not durable yet: commands, and what principals asked for [W]."""

    commands: int = 0
    asked_w: dict[str, float] = field(default_factory=dict)


Answer = tuple[Command, tuple[CommandEvent, ...]]


class Asking:
    """Judges what is asked for. ``refuses(lease, now)`` gives the reason why a lease may not be now, or ""."""

    def __init__(
        self,
        table: CommandTable,
        rule_of: RuleOf,
        watts_per_unit: Callable[[str, str], float],
        ordering: Ordering,
        approvals: Approvals,
        refuses: Callable[[Lease, int], str],
    ) -> None:
        self._table = table
        self._rule_of = rule_of
        self._watts_per_unit = watts_per_unit
        self._ordering = ordering
        self._approvals = approvals
        self._refuses = refuses

    def request(self, asks: Sequence[Ask], now_us: int, pending: Pending, whole: bool = False) -> list[Answer]:
        """Return an answer to each of ``asks``, which are one order: all are judged before any is answered.

        Raises what `Commander.request` raises, `Invalid` where two ask for the same point, and `Conflict` for a
        ``whole`` order of which one would be refused.
        """
        if len({(ask.lease.thing, ask.lease.point) for ask in asks}) < len(asks):
            raise Invalid("the same point is commanded twice in one order")
        keys = [(ask.lease.principal, ask.key) for ask in asks if ask.key]
        if len(set(keys)) < len(keys):
            raise Invalid("the same idempotency key is used twice in one order")
        refusals = [self._judge(ask, now_us) for ask in asks]
        if whole:
            _check_whole(asks, refusals)
        watts = [0.0 if refused is None or refused else self._watts(ask.lease) for ask, refused in
                 zip(asks, refusals, strict=True)]  # fmt: skip
        principal = asker_of(asks[0].lease.principal) if asks else ""
        approve = self._approvals.needed(principal, pending.asked_w.get(principal, 0.0) + sum(watts), now_us)
        answers: list[Answer] = []
        for ask, refused, w in zip(asks, refusals, watts, strict=True):
            answers.append(self._answer(ask, refused, w, approve if w else "", now_us, pending))
            pending.commands += 1
        pending.asked_w[principal] = pending.asked_w.get(principal, 0.0) + sum(watts)
        return answers

    def approve(self, command: Command, principal: str, now_us: int) -> tuple[CommandEvent, ...]:
        """Return the events by which ``principal`` approves ``command``; raise `Conflict` when it may not be."""
        self._approvals.check(command, principal)
        lease = command.lease
        refused = check_lease(lease, self._rule_of(lease.thing, lease.point), now_us) or self._refuses(lease, now_us)
        if refused:
            raise Conflict(f"command {command.id} cannot be accepted any more: {refused}")
        approved = msgspec.structs.replace(command, approved_by=principal)
        return self._accepted(approved, now_us, f"approved by {principal}")

    def _judge(self, ask: Ask, now_us: int) -> str | None:
        """Return why ``ask`` is refused, "" when it is not, None where it was asked before."""
        lease, before = ask.lease, self._table.find(ask.lease.principal, ask.key)
        if before is not None:
            if not _same(before, ask):
                raise Conflict(f"the idempotency key {ask.key!r} was used for another command, {before.id}")
            return None
        if lease.command in self._table.commands:
            raise Conflict(f"command {lease.command} exists already")
        refused = check_lease(lease, self._rule_of(lease.thing, lease.point), now_us) or self._refuses(lease, now_us)
        if not refused:
            self._check_pace(lease, now_us)
        return refused

    def _answer(self, ask: Ask, refused: str | None, w: float, approve: str, now_us: int, pending: Pending) -> Answer:
        if refused is None:
            before = self._table.find(ask.lease.principal, ask.key)
            assert before is not None
            return before, ()
        command = new_command(ask.lease, ask.key, now_us, ask.reason)
        command = msgspec.structs.replace(command, question=ask.question, batch=ask.batch, watts=w)
        if refused:
            command = become(command, "refused", now_us, refused)
            return command, (CommandChanged(command),)
        if approve:
            self._table.check_room(ask.lease, more=pending.commands)
            by_us = min(ask.lease.until_us, now_us + round(self._approvals.rule.expires_s * US))
            command = become(command, "awaiting-approval", now_us, approve)
            command = msgspec.structs.replace(command, approve_by_us=by_us)
            return command, (CommandChanged(command),)
        freed = len(self._replaced(command.lease, now_us))
        self._table.check_room(ask.lease, more=pending.commands, freed=freed)
        events = self._accepted(command, now_us, "")
        changed = events[0]
        assert isinstance(changed, CommandChanged)
        return changed.command, events

    def _accepted(self, command: Command, now_us: int, reason: str) -> tuple[CommandEvent, ...]:
        replaced = self._replaced(command.lease, now_us)
        superseded = (become(old, "superseded", now_us, f"replaced by {command.id}") for old in replaced)
        accepted = become(command, "accepted", now_us, reason)
        return (CommandChanged(accepted), *(CommandChanged(old) for old in superseded))

    def _replaced(self, lease: Lease, now_us: int) -> list[Command]:
        return [
            self._table.commands[other]
            for other, older in self._table.leases((lease.thing, lease.point)).items()
            if replaces(lease, older, now_us) and may_become(self._table.commands[other], "superseded")
        ]

    def _watts(self, lease: Lease) -> float:
        rule = self._rule_of(lease.thing, lease.point)
        return 0.0 if rule is None else watts_of(lease, rule, self._watts_per_unit(lease.thing, lease.point))

    def _check_pace(self, lease: Lease, now_us: int) -> None:
        """Raise `Overloaded` when so much waits to be moved that ``lease`` would be over before its turn."""
        cap_w = self._ordering.budget.cap_w
        if not cap_w or lease.role != "setpoint" or lease.from_us > now_us:
            return
        waiting_w = self._ordering.line.waiting_w
        wait_s = 60.0 * waiting_w / cap_w
        if wait_s * US >= lease.until_us - now_us:
            raise Overloaded(
                f"at most {cap_w / 1e3:g} kW are moved a minute, and {waiting_w / 1e3:g} kW wait: its time would pass "
                "before its turn comes",
                retry_after_s=max(1, round(wait_s)),
            )


def _check_whole(asks: Sequence[Ask], refusals: Sequence[str | None]) -> None:
    """Raise `Conflict` naming the first point of an order that would be refused."""
    for ask, refused in zip(asks, refusals, strict=True):
        if refused:
            point = ask.lease.point
            raise Conflict(f"{point}: {refused}", errors=[{"field": point, "description": refused}])


def _same(before: Command, ask: Ask) -> bool:
    """Whether ``ask`` repeats what ``before`` was asked for."""
    if before.question and ask.question:
        return before.question == ask.question
    return _question(before.lease) == _question(ask.lease)


def _question(lease: Lease) -> Lease:
    """Return ``lease`` without what differs between two askings of the same thing, chance included."""
    return msgspec.structs.replace(
        lease,
        id="",
        command="",
        issued_us=0,
        from_us=lease.from_us - lease.start_delay_us,
        until_us=lease.until_us + lease.end_advance_us,
        start_delay_us=0,
        end_advance_us=0,
    )
