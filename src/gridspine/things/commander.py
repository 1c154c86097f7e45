"""The `Commander`: every command and lease of a node, in memory, rebuilt from its events.

::

    request · approve · cancel · on_progress · on_readings · tick · all_stop ─► events ─► log ─► apply ─► orders

Nothing changes until `Commander.apply` is given an event. So the caller appends events first, applies them, and only
then sends the orders among them; when the append fails, nothing has happened. Replay is the same ``apply``. No I/O
here, no clock; one caller at a time, applying what one call returned before the next.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from gridspine.kernel.errors import Conflict, NotFound
from gridspine.kernel.readings import Readings
from gridspine.things.adapter import Order, ProgressState
from gridspine.things.approval import ApprovalRule, Approvals
from gridspine.things.asking import Answer, Ask, Asking, Pending
from gridspine.things.blocking_tag import BlockingTag
from gridspine.things.blocks import Blocks
from gridspine.things.command import (
    Command,
    CommandChanged,
    CommandEvent,
    Counted,
    LocalChanged,
    OrderIssued,
    StopChanged,
    TagChanged,
    become,
    may_become,
)
from gridspine.things.command_table import CommandTable
from gridspine.things.confirming import Confirming
from gridspine.things.lease import Authority, Effective, Lease, resolve, shifted
from gridspine.things.model import LeaseRule
from gridspine.things.ordering import Ordering
from gridspine.things.plan import plan


class Commander:
    """Commands, leases and orders of all Things.

    ``rule_of(thing, point)`` gives the lease rule of a point, or None when it cannot be commanded; ``number_of``
    gives the number under which readings of a point arrive, or None; ``watts_per_unit`` [W/unit] what power a unit of
    a point moves; ``gate(thing, safety)`` why a Thing takes no commands, or none but those of safety, or "". At most
    ``max_live`` commands are running or to come (more: `Overloaded`); the last ``keep_finished`` finished ones are
    remembered, and their idempotency keys. ``cap_w`` [W] is what set-points may move in a minute, 0 for no cap.
    ``by_itself(thing)`` says whose leases are handed out before they begin, and carried out without the node.
    ``organisation_of(thing)`` says whose commands they are: none may fill all of ``max_live``.
    """

    def __init__(
        self,
        rule_of: Callable[[str, str], LeaseRule | None],
        number_of: Callable[[str, str], int | None],
        *,
        max_live: int = 100_000,
        keep_finished: int = 10_000,
        watts_per_unit: Callable[[str, str], float] = lambda _thing, _point: 0.0,
        gate: Callable[[str, bool], str] = lambda _thing, _safety: "",
        cap_w: float = 0.0,
        approval: ApprovalRule | None = None,
        by_itself: Callable[[str], bool] = lambda _thing: False,
        organisation_of: Callable[[str], str] = lambda _thing: "",
    ) -> None:
        self._rule_of = rule_of
        self._gate = gate
        self._table = CommandTable(max_live, keep_finished, organisation_of, self._is_limit)
        self._confirming = Confirming(self._table, rule_of, number_of)
        self._stop: StopChanged | None = None
        self._blocks = Blocks()
        self._approvals = Approvals(approval or ApprovalRule())
        self._ordering = Ordering(self._table, rule_of, watts_per_unit, self._hurried, cap_w, by_itself)
        self._asking = Asking(self._table, rule_of, watts_per_unit, self._ordering, self._approvals, self._refuses)
        self.late_progress = 0
        """Progress that came for a command already final, or unknown, or of an order that was replaced."""

    # -- asking -------------------------------------------------------------------------------------------------

    def request(self, lease: Lease, key: str, now_us: int) -> Answer:
        """Ask for ``lease``; return the command, accepted or refused with its reason, and the events to keep.

        The same principal with the same ``key`` ("" is none) gets the command it made before, and no event. Raises
        `Invalid` for a lease without meaning, `Conflict` for a key used for something else or an id in use,
        `Overloaded` when too many leases run. What is too large for one person is ``awaiting-approval``.
        """
        (answer,) = self.request_all([Ask(lease, key)], now_us)
        return answer

    def request_all(
        self, asks: Sequence[Ask], now_us: int, pending: Pending | None = None, whole: bool = False
    ) -> list[Answer]:
        """Ask for many leases of one principal in one order, each answered; raise for all when one has no meaning.

        ``pending`` is what other calls decided that is not applied yet; it is added to. ``whole``: raise `Conflict`
        where one would be refused, so that all are taken or none.
        """
        return self._asking.request(asks, now_us, pending or Pending(), whole)

    def approve(self, id: str, principal: str, now_us: int) -> tuple[CommandEvent, ...]:
        """Let ``principal`` agree to command ``id``; raise `NotFound`, or `Conflict` when it cannot be accepted."""
        return self._asking.approve(self.command(id), principal, now_us)

    def cancel(self, id: str, now_us: int, reason: str) -> tuple[CommandEvent, ...]:
        """End command ``id`` before its time; raise `NotFound`, or `Conflict` when it is final."""
        return (CommandChanged(become(self.command(id), "cancelled", now_us, reason)),)

    def end(self, id: str, now_us: int, reason: str) -> tuple[CommandEvent, ...]:
        """End what command ``id`` still holds: also a limit that could not be delivered, and limits all the same."""
        command = self.command(id)
        if not command.final:
            return self.cancel(id, now_us, reason)
        lease = msgspec.structs.replace(command.lease, until_us=min(command.lease.until_us, now_us))
        return (CommandChanged(msgspec.structs.replace(command, lease=lease)),)

    def all_stop(self, principal: str, reason: str, now_us: int) -> tuple[CommandEvent, ...]:
        """Cancel every set-point, running or to come, and take no new one until `release`.

        One event does it, however many there are. Limits stay in force: ending them would only allow more.
        """
        return (StopChanged(True, now_us, principal, reason),)

    def release(self, principal: str, reason: str, now_us: int) -> tuple[CommandEvent, ...]:
        """Take set-points again; raise `Conflict` when nothing is stopped. What was cancelled stays cancelled."""
        if self._stop is None:
            raise Conflict("nothing is stopped")
        return (StopChanged(False, now_us, principal, reason),)

    def take_local(self, thing: str, principal: str, reason: str, now_us: int) -> tuple[CommandEvent, ...]:
        """Take ``thing`` into local control: its set-points end, and it takes none until `give_remote`."""
        if self._blocks.local(thing) is not None:
            raise Conflict(f"{thing} is in local control already")
        return (LocalChanged(thing, True, now_us, principal, reason),)

    def give_remote(self, thing: str, principal: str, reason: str, now_us: int) -> tuple[CommandEvent, ...]:
        """Give ``thing`` back to remote control; raise `Conflict` when it is there."""
        if self._blocks.local(thing) is None:
            raise Conflict(f"{thing} is in remote control already")
        return (LocalChanged(thing, False, now_us, principal, reason),)

    def hang(self, tag: BlockingTag) -> tuple[CommandEvent, ...]:
        """Hang ``tag``: set-points beneath it end, but those of safety; raise `Conflict` when too many hang there."""
        self._blocks.check_room(tag.thing, tag.at_us)
        return (TagChanged(tag, True, tag.at_us, tag.principal, tag.reason),)

    def take_down(self, thing: str, tag: str, principal: str, reason: str, now_us: int) -> tuple[CommandEvent, ...]:
        """Take a tag down; raise `NotFound` when it does not hang on ``thing``."""
        return (TagChanged(self._blocks.tag(thing, tag, now_us), False, now_us, principal, reason),)

    def withdraw(self, thing: str, reason: str, now_us: int) -> tuple[CommandEvent, ...]:
        """End the set-points of a Thing that is to take none any more (it is retired, suspended, quarantined)."""
        return tuple(
            CommandChanged(become(command, "cancelled", now_us, reason))
            for command in self._table.of_thing(thing)
            if command.lease.role == "setpoint" and may_become(command, "cancelled")
        )

    # -- hearing ------------------------------------------------------------------------------------------------

    def on_progress(
        self, id: str, state: ProgressState, now_us: int, reason: str = "", *, sequence: int = 0
    ) -> tuple[CommandEvent, ...]:
        """Take note of how far the order of command ``id`` got; late or repeated notes change nothing.

        A note with the ``sequence`` of an order that a later one has replaced is late. A limit that shaped the order
        shares ``sent`` and ``acknowledged``; ``rejected`` and ``failed`` end the command only. A limit that could not
        be delivered still limits what the node orders, until its time is over; see `counts`.
        """
        command = self._table.commands.get(id)
        if command is None or command.final:
            self.late_progress += 1
            return ()
        concerned = [command]
        issued = self._table.point((command.lease.thing, command.lease.point)).issued
        if issued is not None and 0 < sequence < issued.order.sequence:
            self.late_progress += 1
            return ()
        if state in {"sent", "acknowledged"} and issued is not None and issued.order.command == id:
            concerned = list(self._table.known(issued.carries))
        return tuple(CommandChanged(become(one, state, now_us, reason)) for one in concerned if may_become(one, state))

    def on_readings(self, readings: Readings) -> tuple[CommandEvent, ...]:
        """Return the commands that ``readings`` show to be applied; see `Confirming.on_readings`."""
        return self._confirming.on_readings(readings)

    def on_step(self, step_us: int, before_us: int) -> tuple[CommandEvent, ...]:
        """Let leases that have begun last as long as they would have: the clock was set by ``step_us`` [µs].

        They had begun by ``before_us``, as the clock was before it was set [µs since 1970].

        Those to come keep their times, which somebody else's clock may share. One whose time had just passed is moved
        too: by a clock put back it would begin anew.
        """
        events: list[CommandEvent] = []
        for command in self._table.commands.values():
            living = self._table.counts(command) or command.state == "awaiting-approval"
            if living and command.lease.from_us <= before_us:
                lease = shifted(command.lease, step_us)
                events.append(CommandChanged(msgspec.structs.replace(command, lease=lease)))
        return (*events, *self._ordering.moved(step_us, before_us))

    def tick(self, now_us: int, *, limit: int = 10_000) -> tuple[CommandEvent, ...]:
        """Return what time has changed by ``now_us``: commands that ended, orders to give.

        At most about ``limit`` events; call again after applying them, until none comes. Called twice without
        applying, it says the same.
        """
        return self._ordering.tick(now_us, limit)

    # -- remembering --------------------------------------------------------------------------------------------

    def apply(self, event: CommandEvent) -> None:
        """Let ``event`` have happened: after it was made durable, and in replay."""
        if isinstance(event, CommandChanged):
            self._put(event.command)
        elif isinstance(event, OrderIssued):
            self._ordering.applied(event)
            self._confirming.watch((event.order.thing, event.order.point))
        elif isinstance(event, StopChanged):
            self._stop = event if event.stopped else None
            if event.stopped:
                self._end_setpoints(self.commands(), event.at_us, f"all-stop by {event.principal}: {event.reason}")
        elif isinstance(event, Counted):
            for at_us, w in event.moves:
                self._ordering.budget.note(at_us, w)
            self._approvals.replace(event.asked)
        else:
            self._apply_block(event)

    def snapshot(self) -> Iterator[CommandEvent]:
        """Yield events from which another commander becomes as this one is."""
        if self._stop is not None:
            yield self._stop
        yield from self._blocks.snapshot()
        for command in self._table.commands.values():
            yield CommandChanged(command)
        for point in self._table.points.values():
            if point.issued is not None:
                yield msgspec.structs.replace(point.issued, moved_w=0.0)
        yield Counted(self._ordering.budget.snapshot(), tuple(self._approvals.snapshot()))

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> StopChanged | None:
        """The all-stop in force, or None."""
        return self._stop

    def command(self, id: str) -> Command:
        """Return command ``id``; raise `NotFound` when it is unknown or long finished."""
        return self._table.get(id)

    def find(self, principal: str, key: str) -> Command | None:
        """Return the command ``principal`` made with idempotency ``key``, or None."""
        return self._table.find(principal, key)

    def commands(self, thing: str | None = None) -> list[Command]:
        """Return the commands known, of ``thing`` only when it is given, the oldest first."""
        return list(self._table.commands.values()) if thing is None else self._table.of_thing(thing)

    def awaiting(self) -> list[Command]:
        """Return the commands that wait for a second person, the oldest first."""
        return list(self._table.known(self._table.awaiting))

    def counts(self, command: Command) -> bool:
        """Whether a command's lease counts; see `CommandTable.counts`."""
        return self._table.counts(command)

    def local(self, thing: str) -> LocalChanged | None:
        """Return who took ``thing`` into local control, or None while it is remote."""
        return self._blocks.local(thing)

    def tags(self, thing: str, now_us: int) -> list[BlockingTag]:
        """Return the blocking tags that hang on ``thing``."""
        return self._blocks.tags(thing, now_us)

    def leases(self, thing: str, point: str) -> list[Lease]:
        """Return the leases of a point that count, running and to come."""
        return list(self._table.leases((thing, point)).values())

    def waiting(self, thing: str, point: str, now_us: int) -> str:
        """Return what holds the orders of a point back, or shapes them, in words; "" when nothing does."""
        return self._ordering.waiting((thing, point), now_us)

    def issued(self, thing: str, point: str) -> OrderIssued | None:
        """Return the last order of a point, or None."""
        found = self._table.points.get((thing, point))
        return found.issued if found else None

    def handed(self, command: Command, now_us: int) -> Command | None:
        """Return what of ``command`` may be handed to who carries it out by itself; None while it waits its turn."""
        return self._ordering.ahead.handed(command, now_us)

    def closed(self, thing: str, point: str, now_us: int) -> bool:
        """Whether a point takes no set-points but those of safety: stopped, blocked, or its Thing out of control."""
        return self._hurried(thing, point, now_us)

    def set_aside(self, w: float) -> None:
        """Keep ``w`` [W] of the cap free for those that move without being asked."""
        self._ordering.budget.aside_w = w

    def planned(self, order: Order, now_us: int) -> Order:
        """Return ``order`` with what follows it; nothing where a device that goes on by itself would pass the cap."""
        rule = self._rule_of(order.thing, order.point)
        if rule is None or order.value is None or self._ordering.capped((order.thing, order.point)):
            return order
        leases = list(self._table.leases((order.thing, order.point)).values())
        return msgspec.structs.replace(order, plan=plan(leases, rule, now_us))

    def effective(self, thing: str, point: str, now_us: int) -> Effective:
        """Return what the leases of a point come to; raise `NotFound` when it cannot be commanded."""
        rule = self._rule_of(thing, point)
        if rule is None:
            raise NotFound(f"{point} of {thing} cannot be commanded")
        return resolve(list(self._table.leases((thing, point)).values()), rule, now_us)

    def in_force(self, now_us: int) -> list[Order]:
        """Return the orders an adapter must be told after a start.

        The ending of a lease is among them as long as the device may not have heard of it: until the lease's own
        end where devices revert by themselves, for good where they do not. An order whose command was ended is not,
        also before what replaces it could be kept: nothing is sent again that was answered as over.
        """
        points = self._table.points.items()
        last = ((key, point.issued.order) for key, point in points if point.issued is not None)
        due = ((key, order) for key, order in last if order.until_us > now_us or self._persists(order))
        return [self.planned(order, now_us) for key, order in due if not self._ordering.over(key, now_us)]

    # -- inside -------------------------------------------------------------------------------------------------

    def _is_limit(self, thing: str, point: str) -> bool:
        rule = self._rule_of(thing, point)
        return rule is not None and rule.role != "setpoint"

    def _persists(self, order: Order) -> bool:
        rule = self._rule_of(order.thing, order.point)
        return rule is not None and order.value is None and rule.reversion == "safe-to-persist"

    def _refuses(self, lease: Lease, now_us: int) -> str:
        """Return why nothing like ``lease`` is taken now, or ""."""
        if self._stop is not None and lease.role == "setpoint":
            return f"all-stop by {self._stop.principal}: {self._stop.reason}"
        return self._blocks.refuse(lease, now_us) or self._gate(lease.thing, lease.authority is Authority.SAFETY)

    def _hurried(self, thing: str, point: str, now_us: int) -> bool:
        """Whether a point goes to its fallback at once: stopped, blocked, or its Thing out of control."""
        if self._stop is not None or self._blocks.local(thing) is not None or self._gate(thing, False):
            return True
        return any(tag.blocks(point, now_us) for tag in self._blocks.tags(thing, now_us))

    def _put(self, command: Command) -> None:
        if command.id not in self._table.commands and command.state != "refused":
            self._approvals.note(command.lease.principal, command.changes[0].at_us, command.watts)
        self._table.put(command)
        self._confirming.watch((command.lease.thing, command.lease.point))

    def _apply_block(self, event: LocalChanged | TagChanged) -> None:
        self._blocks.apply(event)
        if isinstance(event, LocalChanged):
            if event.local:
                reason = f"in local control since {event.principal} took it: {event.reason}"
                self._end_setpoints(self.commands(event.thing), event.at_us, reason)
        elif event.hung:
            beneath = [
                command
                for command in self.commands(event.tag.thing)
                if event.tag.point in {"", command.lease.point} and command.lease.authority is not Authority.SAFETY
            ]
            self._end_setpoints(beneath, event.at_us, f"blocked by a tag of {event.principal}: {event.reason}")

    def _end_setpoints(self, commands: Iterable[Command], at_us: int, reason: str) -> None:
        for command in commands:
            if command.lease.role == "setpoint" and may_become(command, "cancelled"):
                self._put(become(command, "cancelled", at_us, reason))
