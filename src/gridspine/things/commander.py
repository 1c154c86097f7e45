"""The `Commander`: every command and lease of a node, in memory, rebuilt from its events.

::

    request · cancel · on_progress · on_readings · tick · all_stop ──► events ──► log (durable) ──► apply ──► orders

Nothing changes until `Commander.apply` is given an event. So the caller appends events first, applies them, and only
then sends the orders among them; when the append fails, nothing has happened. Replay is the same ``apply``. No I/O
here, no clock; one caller at a time, applying what one call returned before the next.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from gridspine.kernel.errors import Conflict, NotFound, Overloaded
from gridspine.kernel.readings import Channel, Readings
from gridspine.things.adapter import Order, ProgressState
from gridspine.things.command import (
    Command,
    CommandChanged,
    CommandEvent,
    OrderIssued,
    StopChanged,
    become,
    finish,
    may_become,
    new_command,
)
from gridspine.things.confirm import Awaited, Key, Watchlist
from gridspine.things.lease import MAX_LEASES_PER_POINT, Effective, Lease, check_lease, replaces, resolve
from gridspine.things.model import LeaseRule


@dataclass(slots=True)
class _Point:
    leases: dict[str, Lease] = field(default_factory=dict)
    """By command."""
    issued: OrderIssued | None = None


class Commander:
    """Commands, leases and orders of all Things.

    ``rule_of(thing, point)`` gives the lease rule of a point, or None when it cannot be commanded; ``number_of``
    gives the number under which readings of a point arrive, or None. At most ``max_live`` commands are running or to
    come (more: `Overloaded`); the last ``keep_finished`` finished ones are remembered, and their idempotency keys.
    """

    def __init__(
        self,
        rule_of: Callable[[str, str], LeaseRule | None],
        number_of: Callable[[str, str], int | None],
        *,
        max_live: int = 100_000,
        keep_finished: int = 10_000,
    ) -> None:
        self._rule_of = rule_of
        self._number_of = number_of
        self._max_live = max_live
        self._keep_finished = keep_finished
        self._commands: dict[str, Command] = {}
        self._finished: dict[str, None] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._points: dict[Key, _Point] = {}
        self._due: list[tuple[int, Key]] = []
        self._dirty: dict[Key, None] = {}
        self._watchlist = Watchlist()
        self._stop: StopChanged | None = None
        self.late_progress = 0
        """Progress that came for a command already final, or unknown."""

    # -- asking -------------------------------------------------------------------------------------------------

    def request(self, lease: Lease, key: str, now_us: int) -> tuple[Command, tuple[CommandEvent, ...]]:
        """Ask for ``lease``; return the command, accepted or refused with its reason, and the events to keep.

        The same principal with the same ``key`` ("" is none) gets the command it made before, and no event. Raises
        `Invalid` for a lease without meaning, `Conflict` for a key used for something else or an id in use,
        `Overloaded` when too many leases run.
        """
        before = self.find(lease.principal, key)
        if before is not None:
            if _question(before.lease) != _question(lease):
                raise Conflict(f"the idempotency key {key!r} was used for another command, {before.id}")
            return before, ()
        if lease.command in self._commands:
            raise Conflict(f"command {lease.command} exists already")
        command = new_command(lease, key, now_us)
        refusal = check_lease(lease, self._rule_of(lease.thing, lease.point), now_us) or self._stop_refuses(lease)
        if refusal:
            command = become(command, "refused", now_us, refusal)
            return command, (CommandChanged(command),)
        replaced = [
            self._commands[other]
            for other, older in self._leases(lease.thing, lease.point).items()
            if replaces(lease, older, now_us) and may_become(self._commands[other], "superseded")
        ]
        self._check_room(lease, len(replaced))
        command = become(command, "accepted", now_us)
        superseded = (become(old, "superseded", now_us, f"replaced by {command.id}") for old in replaced)
        return command, (CommandChanged(command), *(CommandChanged(old) for old in superseded))

    def cancel(self, id: str, now_us: int, reason: str) -> tuple[CommandEvent, ...]:
        """End command ``id`` before its time; raise `NotFound`, or `Conflict` when it is final."""
        command = self._commands.get(id)
        if command is None:
            raise NotFound(f"there is no command {id}")
        return (CommandChanged(become(command, "cancelled", now_us, reason)),)

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

    # -- hearing ------------------------------------------------------------------------------------------------

    def on_progress(self, id: str, state: ProgressState, now_us: int, reason: str = "") -> tuple[CommandEvent, ...]:
        """Take note of how far the order of command ``id`` got; late or repeated notes change nothing.

        A limit that shaped the order shares ``sent`` and ``acknowledged``; ``rejected`` and ``failed`` end the
        command only. A limit that could not be delivered still limits what the node orders, until its time is over.
        """
        command = self._commands.get(id)
        if command is None or command.final:
            self.late_progress += 1
            return ()
        concerned = [command]
        issued = self._point(command.lease).issued
        if state in {"sent", "acknowledged"} and issued is not None and issued.order.command == id:
            concerned = list(self._known(issued.carries))
        return tuple(CommandChanged(become(one, state, now_us, reason)) for one in concerned if may_become(one, state))

    def on_readings(self, readings: Readings) -> tuple[CommandEvent, ...]:
        """Return the commands that ``readings`` show to be applied; costs nothing while nothing is awaited.

        Only live readings on the reported channel count: nothing emulated, planned or from the past.
        """
        if not len(self._watchlist) or readings.channel is not Channel.REPORTED or readings.backfill:
            return ()
        now_us = readings.received_us
        applied: dict[str, CommandEvent] = {}
        for at in self._watchlist.hits(readings.point):
            value, quality = float(readings.value[at]), int(readings.quality[at])
            for key in self._watchlist.keys(int(readings.point[at])):
                for command, awaited in self._awaiting(key):
                    if awaited.shown_by(value, quality, int(readings.observed_us[at]), now_us):
                        reason = f"a reading of {value:g} shows it"
                        applied.setdefault(command.id, CommandChanged(become(command, "applied", now_us, reason)))
        return tuple(applied.values())

    def on_step(self, step_us: int, now_us: int) -> tuple[CommandEvent, ...]:
        """Let leases in force last as long as they would have: the clock was set by ``step_us``, to ``now_us``.

        Those to come keep their times, which somebody else's clock may share.
        """
        events: list[CommandEvent] = []
        for command in self._commands.values():
            lease = command.lease
            if _counts(command) and lease.in_force(now_us - step_us):
                lease = msgspec.structs.replace(
                    lease, from_us=lease.from_us + step_us, until_us=lease.until_us + step_us
                )
                events.append(CommandChanged(msgspec.structs.replace(command, lease=lease)))
        return tuple(events)

    def tick(self, now_us: int, *, limit: int = 10_000) -> tuple[CommandEvent, ...]:
        """Return what time has changed by ``now_us``: commands that ended, orders to give.

        At most about ``limit`` events; call again after applying them, until none comes. Called twice without
        applying, it says the same.
        """
        while self._due and self._due[0][0] <= now_us:
            self._dirty[heapq.heappop(self._due)[1]] = None
        events: list[CommandEvent] = []
        for key in list(self._dirty):
            changed = self._settle(key, now_us)
            if not changed:
                del self._dirty[key]
            events += changed
            if len(events) >= limit:
                break
        return tuple(events)

    # -- remembering --------------------------------------------------------------------------------------------

    def apply(self, event: CommandEvent) -> None:
        """Let ``event`` have happened: after it was made durable, and in replay."""
        if isinstance(event, CommandChanged):
            self._put(event.command)
        elif isinstance(event, OrderIssued):
            key = (event.order.thing, event.order.point)
            self._points.setdefault(key, _Point()).issued = event
            self._watch(key)
        else:
            self._stop = event if event.stopped else None
            if event.stopped:
                self._cancel_setpoints(event)

    def snapshot(self) -> Iterator[CommandEvent]:
        """Yield events from which another commander becomes as this one is."""
        if self._stop is not None:
            yield self._stop
        for command in self._commands.values():
            yield CommandChanged(command)
        for point in self._points.values():
            if point.issued is not None:
                yield point.issued

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> StopChanged | None:
        """The all-stop in force, or None."""
        return self._stop

    def command(self, id: str) -> Command:
        """Return command ``id``; raise `NotFound` when it is unknown or long finished."""
        try:
            return self._commands[id]
        except KeyError:
            raise NotFound(f"there is no command {id}") from None

    def find(self, principal: str, key: str) -> Command | None:
        """Return the command ``principal`` made with idempotency ``key``, or None."""
        known = self._keys.get((principal, key)) if key else None
        return self._commands[known] if known else None

    def commands(self, thing: str | None = None) -> list[Command]:
        """Return the commands known, of ``thing`` only when it is given, the oldest first."""
        return [one for one in self._commands.values() if thing is None or one.lease.thing == thing]

    def effective(self, thing: str, point: str, now_us: int) -> Effective:
        """Return what the leases of a point come to; raise `NotFound` when it cannot be commanded."""
        rule = self._rule_of(thing, point)
        if rule is None:
            raise NotFound(f"{point} of {thing} cannot be commanded")
        return resolve(list(self._leases(thing, point).values()), rule, now_us)

    def in_force(self, now_us: int) -> list[Order]:
        """Return the orders an adapter must be told after a start.

        The ending of a lease is among them as long as the device may not have heard of it: until the lease's own
        end where devices revert by themselves, for good where they do not.
        """
        orders = (point.issued.order for point in self._points.values() if point.issued is not None)
        return [order for order in orders if order.until_us > now_us or self._persists(order)]

    # -- inside -------------------------------------------------------------------------------------------------

    def _persists(self, order: Order) -> bool:
        rule = self._rule_of(order.thing, order.point)
        return rule is not None and order.value is None and rule.reversion == "safe-to-persist"

    def _stop_refuses(self, lease: Lease) -> str:
        if self._stop is None or lease.role != "setpoint":
            return ""
        return f"all-stop by {self._stop.principal}: {self._stop.reason}"

    def _check_room(self, lease: Lease, freed: int) -> None:
        if len(self._commands) - len(self._finished) - freed >= self._max_live:
            raise Overloaded(f"{self._max_live} commands are running or to come: wait for some to end")
        if len(self._leases(lease.thing, lease.point)) - freed >= MAX_LEASES_PER_POINT:
            raise Overloaded(f"{lease.point} holds {MAX_LEASES_PER_POINT} leases: wait for some to end")

    def _point(self, lease: Lease) -> _Point:
        return self._points.setdefault((lease.thing, lease.point), _Point())

    def _leases(self, thing: str, point: str) -> dict[str, Lease]:
        found = self._points.get((thing, point))
        return found.leases if found else {}

    def _put(self, command: Command) -> None:
        lease, key = command.lease, (command.lease.thing, command.lease.point)
        self._commands[command.id] = command
        if command.key:
            self._keys[(lease.principal, command.key)] = command.id
        if command.state == "refused":
            self._retire(command.id)
            return
        point = self._point(lease)
        if _counts(command):
            self._finished.pop(command.id, None)
            if point.leases.get(command.id) != lease:
                point.leases[command.id] = lease
                self._remind(key, lease)
        else:
            point.leases.pop(command.id, None)
            self._retire(command.id)
        self._dirty[key] = None
        self._watch(key)

    def _remind(self, key: Key, lease: Lease) -> None:
        heapq.heappush(self._due, (lease.from_us, key))
        heapq.heappush(self._due, (lease.until_us, key))
        live = len(self._commands) - len(self._finished)
        if len(self._due) > 4 * (live + 256):  # reminders of what was cancelled: begin afresh
            pairs = [(key, one) for key, point in self._points.items() for one in point.leases.values()]
            self._due = [(moment, key) for key, one in pairs for moment in (one.from_us, one.until_us)]
            heapq.heapify(self._due)

    def _retire(self, id: str) -> None:
        self._finished[id] = None
        while len(self._finished) > self._keep_finished:
            oldest = next(iter(self._finished))
            del self._finished[oldest]
            command = self._commands.pop(oldest)
            self._keys.pop((command.lease.principal, command.key), None)

    def _cancel_setpoints(self, stop: StopChanged) -> None:
        reason = f"all-stop by {stop.principal}: {stop.reason}"
        for command in list(self._commands.values()):
            if command.lease.role == "setpoint" and may_become(command, "cancelled"):
                self._put(become(command, "cancelled", stop.at_us, reason))

    def _settle(self, key: Key, now_us: int) -> list[CommandEvent]:
        """Return what must happen at a point for it to be as it should at ``now_us``."""
        point = self._points[key]
        events: list[CommandEvent] = []
        for command in [self._commands[lease.command] for lease in point.leases.values() if lease.until_us <= now_us]:
            if command.final:
                del point.leases[command.id]
                self._retire(command.id)
            else:
                events.append(CommandChanged(finish(command, now_us)))
        rule = self._rule_of(*key)
        if rule is not None:
            events += self._order(key, point, rule, now_us)
        return events

    def _order(self, key: Key, point: _Point, rule: LeaseRule, now_us: int) -> list[CommandEvent]:
        """Return the order that brings the device to the effective value, unless it has it."""
        effective = resolve(list(point.leases.values()), rule, now_us)
        last = point.issued.order if point.issued else None
        if effective.at_fallback:
            if last is None or last.value is None:
                return []
            order = msgspec.structs.replace(last, value=None, fallback=rule.fallback, sequence=last.sequence + 1)
            return [OrderIssued(order, now_us, ())]
        shaped_by = [effective.winner, *effective.clamped_by] if effective.winner else list(effective.clamped_by)
        commands = {lease.id: lease.command for lease in point.leases.values()}
        carries = tuple(commands[lease] for lease in shaped_by)
        if last and (last.command, last.value, last.until_us) == (carries[0], effective.value, effective.until_us):
            return []
        sequence = last.sequence + 1 if last else 1
        order = Order(carries[0], *key, effective.value, effective.until_us, rule.fallback, sequence)
        return [OrderIssued(order, now_us, carries, effective.reasons)]

    def _watch(self, key: Key) -> None:
        rule = self._rule_of(*key)
        wanted = rule is not None and rule.confirm_point and self._awaiting(key)
        self._watchlist.set(key, self._number_of(key[0], rule.confirm_point) if rule and wanted else None)

    def _awaiting(self, key: Key) -> list[tuple[Command, Awaited]]:
        """Return the commands of a point's present order that wait for a reading, and the reading they wait for."""
        issued, rule = self._points[key].issued, self._rule_of(*key)
        if issued is None or issued.order.value is None or rule is None:
            return []
        waiting = []
        for command in self._known(issued.carries):
            if command.state in {"sent", "acknowledged"}:
                after_us = max(issued.at_us, command.sent_us or 0)
                waiting.append((command, Awaited(issued.order.value, rule.tolerance, after_us)))
        return waiting

    def _known(self, ids: Iterable[str]) -> Iterator[Command]:
        return (self._commands[one] for one in ids if one in self._commands)


def _counts(command: Command) -> bool:
    """Whether a command's lease counts: while it runs, and a limit also where its own delivery failed."""
    undelivered = command.state in {"rejected", "failed"} and command.lease.role != "setpoint"
    return undelivered or not command.final


def _question(lease: Lease) -> Lease:
    """Return ``lease`` without what differs between two askings of the same thing."""
    return msgspec.structs.replace(lease, id="", command="", issued_us=0)
