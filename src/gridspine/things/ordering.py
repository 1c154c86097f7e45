"""Ordering: from the leases of each point to the orders that go out now; ended commands, ramps and the cap included.

::

    due, changed ─► settle a point: end what is over ─► resolve ─► govern ─► cap ─► order
                                                                              └─► wait in line
"""

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from gridspine.kernel.time import US
from gridspine.things.adapter import Order
from gridspine.things.ahead import Ahead
from gridspine.things.budget import Budget, Line
from gridspine.things.command import CommandChanged, CommandEvent, OrderIssued, finish
from gridspine.things.command_table import CommandedPoint, CommandTable
from gridspine.things.confirm import Key
from gridspine.things.governor import Governed, Held, Situation, govern, held
from gridspine.things.lease import Authority, Effective, Lease, intersect, resolve
from gridspine.things.model import LeaseRule
from gridspine.things.schedule import next_step_us

RuleOf = Callable[[str, str], LeaseRule | None]


class _Move(msgspec.Struct, frozen=True):
    """An order as it would be, what it moves [W], and whether it may wait."""

    event: OrderIssued
    patient: bool
    standing: tuple[int, int]


class Ordering:
    """Decides on orders. ``hurried(thing, point, now)`` tells that a point must go to its fallback at once."""

    def __init__(
        self,
        table: CommandTable,
        rule_of: RuleOf,
        watts_per_unit: Callable[[str, str], float],
        hurried: Callable[[str, str, int], bool],
        cap_w: float,
        by_itself: Callable[[str], bool] = lambda _thing: False,
    ) -> None:
        self._table = table
        self._rule_of = rule_of
        self._watts_per_unit = watts_per_unit
        self._hurried = hurried
        self.budget = Budget(cap_w)
        self.line = Line()
        self.ahead = Ahead(table, rule_of, watts_per_unit, self.budget, by_itself)

    def tick(self, now_us: int, limit: int) -> tuple[CommandEvent, ...]:
        """Return what time has changed: commands that ended, orders to give; at most about ``limit`` events."""
        self._table.fall_due(now_us)
        self.budget.pending_w = 0.0
        events: list[CommandEvent] = []
        for key in list(self._table.dirty):
            changed = self._settle(key, now_us)
            if not changed:
                del self._table.dirty[key]
            events += changed
            if len(events) >= limit:
                return tuple(events)
        return (*events, *self._move(now_us, limit - len(events)))

    def applied(self, event: OrderIssued) -> None:
        """Take note that ``event`` is durable."""
        key = (event.order.thing, event.order.point)
        self._table.point(key).issued = event
        self.budget.note(event.at_us, event.moved_w)
        self.line.leave(key)
        self.ahead.touch(key)
        self._table.dirty[key] = None  # there may be more to come: a ramp, what the cap left over

    def moved(self, step_us: int, before_us: int) -> Iterator[OrderIssued]:
        """Yield the last orders anew as the clock is that was set by ``step_us`` [µs].

        It was ``before_us`` [µs since 1970] then. They are kept together with the leases that move: whoever starts
        right after must not tell a device an end by the clock as it was. Least times and ramps go by them too: else a
        device that was just switched would have to stay so until the clock is there again.
        """
        for key, point in self._table.points.items():
            rule, issued = self._rule_of(*key), point.issued
            if rule is None or issued is None:
                continue
            present, last = held(issued, rule, before_us), issued.order
            holds = last.value is not None and before_us < last.until_us
            least_us = round(max(rule.min_on_s, rule.min_off_s, rule.ramp_step_s) * US)
            if holds or (rule.governed and max(present.since_us, issued.at_us) + least_us > before_us):
                value, until_us = last.value if holds else None, last.until_us + step_us
                yield msgspec.structs.replace(
                    issued,
                    order=msgspec.structs.replace(last, value=value, until_us=until_us, sequence=last.sequence + 1),
                    at_us=issued.at_us + step_us,
                    moved_w=0.0,
                    switched_us=present.since_us + step_us,
                )

    def _settle(self, key: Key, now_us: int) -> list[CommandEvent]:
        """Return what must happen at a point for it to be as it should at ``now_us``."""
        point = self._table.points[key]
        events: list[CommandEvent] = []
        over = [lease.command for lease in point.leases.values() if lease.until_us <= now_us]
        over += [command.id for command in point.awaiting.values() if command.approve_by_us <= now_us]
        for command in [self._table.commands[one] for one in over]:
            if command.final:
                del point.leases[command.id]
                self._table.retire(command.id)
            else:
                events.append(CommandChanged(finish(command, now_us)))
        rule = self._rule_of(*key)
        if rule is None:
            return events
        move = self._next(key, point, rule, now_us)
        self.ahead.touch(key)
        if move is None or not move.patient:
            self.line.leave(key)
            self.budget.pending_w += move.event.moved_w if move else 0.0
            return events if move is None else [*events, move.event]
        self.line.join(key, move.event.moved_w, move.standing)
        return events

    def _move(self, now_us: int, limit: int) -> list[CommandEvent]:
        """Return the orders of those in line that there is room for, in their order."""
        events: list[CommandEvent] = []
        gone: list[Key] = []
        for key in self.line.first():
            rule = self._rule_of(*key)
            move = rule and self._next(key, self._table.points[key], rule, now_us)
            if not move:
                gone.append(key)
                continue
            event = self._fitted(move.event, rule, now_us) if rule else None
            if event is None:
                break
            self.budget.pending_w += event.moved_w
            events.append(event)
            if len(events) >= limit:
                break
        for key in gone:
            self.line.leave(key)
        return events

    def _fitted(self, event: OrderIssued, rule: LeaseRule | None, now_us: int) -> OrderIssued | None:
        """Return ``event`` if there is room for it; a part of it where it is more than the whole cap; else None."""
        budget, order = self.budget, event.order
        if budget.fits(event.moved_w, now_us):
            return event
        part_w = budget.part_w(event.moved_w, now_us)
        if not part_w or rule is None or order.value is None:
            return None
        present = held(self._table.points[(order.thing, order.point)].issued, rule, now_us)
        value = present.value + (order.value - present.value) * part_w / event.moved_w
        part = f"a part of the way: at most {budget.cap_w / 1e3:g} kW are moved a minute"
        return msgspec.structs.replace(
            event,
            order=msgspec.structs.replace(order, value=value),
            moved_w=part_w,
            reasons=(*event.reasons, part),
            switched_us=present.since_us if (value != rule.off) == present.on else now_us,
        )

    def _next(self, key: Key, point: CommandedPoint, rule: LeaseRule, now_us: int) -> _Move | None:
        """Return the order that brings the device nearer to what its leases ask for, or None when it has it."""
        leases = list(point.leases.values())
        wanted = resolve(leases, rule, now_us)
        winner = next((one for one in leases if one.id == wanted.winner), None)
        present = held(point.issued, rule, now_us)
        urgent = self._urgent(key, winner, now_us)
        if urgent or not rule.governed:
            governed = Governed(None if wanted.at_fallback else wanted.value, wanted.until_us)
        else:
            governed = govern(Situation(leases, rule, wanted, present, point.issued, now_us))
        point.why = governed.reason
        event = _order(key, point, rule, governed, wanted, now_us)
        self._table.wake(key, _wake_us(leases, governed.wake_us, now_us))
        if event is None:
            return None
        value = rule.fallback if event.order.value is None else event.order.value
        moved_w = abs(value - present.value) * self._watts_per_unit(*key)
        event = msgspec.structs.replace(
            event, moved_w=moved_w, switched_us=present.since_us if (value != rule.off) == present.on else now_us
        )
        patient = bool(self.budget.cap_w and moved_w) and not (
            urgent or governed.lingers or event.order.value is None or _forced(leases, rule, present, value, now_us)
            or self.ahead.begun(key, now_us)
        )  # fmt: skip
        standing = (winner.authority.rank, winner.priority) if winner else (0, 0)
        return _Move(event, patient, standing)

    def _urgent(self, key: Key, winner: Lease | None, now_us: int) -> bool:
        """Whether a point goes to what its leases come to at once, least times and ramps or not."""
        return (winner is not None and winner.authority is Authority.SAFETY) or self._hurried(*key, now_us)

    def over(self, key: Key, now_us: int) -> bool:
        """Whether the last order of a point stands no more, although what replaces it is not durable yet.

        The command that it carries out has ended, and no least time and no ramp keep the device there. On the point of
        a limit it stands while any other counts: the one that ended was the tightest, so nothing is allowed too early.
        """
        point, rule = self._table.points[key], self._rule_of(*key)
        issued = point.issued
        if issued is None or issued.order.value is None or any(one in point.leases for one in issued.carries[:1]):
            return False
        if rule is None or not rule.governed:
            return rule is None or rule.role == "setpoint" or not point.leases
        leases = list(point.leases.values())
        wanted = resolve(leases, rule, now_us)
        winner = next((one for one in leases if one.id == wanted.winner), None)
        situation = Situation(leases, rule, wanted, held(issued, rule, now_us), issued, now_us)
        return self._urgent(key, winner, now_us) or not govern(situation).lingers

    def capped(self, key: Key) -> bool:
        """Whether what moves at a point counts against a cap."""
        return bool(self.budget.cap_w and self._watts_per_unit(*key))

    def waiting(self, key: Key, now_us: int) -> str:
        """Return what ``key`` waits for, in words; "" when for nothing."""
        if key not in self.line:
            point = self._table.points.get(key)
            return point.why if point else ""
        seconds = max(0, self.budget.free_us(now_us) - now_us) / US
        return (
            f"waits: at most {self.budget.cap_w / 1e3:g} kW are moved a minute, and {self.line.waiting_w / 1e3:g} kW "
            f"wait; there is room again in {seconds:.0f} s"
        )


def _order(
    key: Key, point: CommandedPoint, rule: LeaseRule, governed: Governed, wanted: Effective, now_us: int
) -> OrderIssued | None:
    """Return the order that says what is ``governed``, unless the last one does."""
    last = point.issued.order if point.issued else None
    if governed.value is None:
        if last is None or last.value is None:
            return None
        order = msgspec.structs.replace(last, value=None, fallback=rule.fallback, sequence=last.sequence + 1, plan=())
        return OrderIssued(order, now_us, ())
    carries: tuple[str, ...] = ()
    principals = last.principals if last else ()
    if not governed.lingers:
        shaped_by = [wanted.winner, *wanted.clamped_by] if wanted.winner else list(wanted.clamped_by)
        leases = {lease.id: lease for lease in point.leases.values()}
        carries = tuple(leases[lease].command for lease in shaped_by)
        principals = tuple(dict.fromkeys(leases[lease].principal for lease in shaped_by))
    command = carries[0] if carries else last.command if last else ""
    if last and (last.command, last.value, last.until_us) == (command, governed.value, governed.until_us):
        return None
    sequence = last.sequence + 1 if last else 1
    order = Order(command, *key, governed.value, governed.until_us, rule.fallback, sequence, principals=principals)
    reasons = wanted.reasons if governed.lingers or not governed.reason else (*wanted.reasons, governed.reason)
    return OrderIssued(order, now_us, carries, reasons)


def _wake_us(leases: list[Lease], wake_us: int, now_us: int) -> int:
    """Return when to look again: ``wake_us``, or the next step of a schedule if that is sooner; 0 for never."""
    moments = [step for lease in leases if lease.steps and (step := next_step_us(lease.steps, now_us))]
    return min([*moments, wake_us] if wake_us else moments, default=0)


_SIGN: dict[Literal["limit_max", "limit_min"], float] = {"limit_max": 1.0, "limit_min": -1.0}


def _forced(leases: list[Lease], rule: LeaseRule, present: Held, value: float, now_us: int) -> bool:
    """Whether limits in force want the device elsewhere than it is."""
    if rule.role != "setpoint":
        return _SIGN[rule.role] * value < _SIGN[rule.role] * present.value
    bounds = intersect(leases, rule, now_us)
    return not bounds.low <= present.value <= bounds.high
