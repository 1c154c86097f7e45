"""Set-points that are handed out before they begin: what they move counts in the minute in which it is moved.

::

    edge holds      a [───5 kW──┬──1 kW──)   b      [──────)          it begins, steps and ends by its own clock
    to come             5        4                5                   W, by the second: at most half of the cap a minute

Whoever holds leases carries them out with or without the node, so their power must have room before they are handed
out, not when it moves. What has none is handed out as to any other device, order by order, each when its turn has come.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from gridspine.things.budget import Budget
from gridspine.things.command import Command, OrderIssued
from gridspine.things.command_table import CommandedPoint, CommandTable
from gridspine.things.confirm import Key
from gridspine.things.lease import Authority, Lease, moments_after, resolve, value_at
from gridspine.things.model import LeaseRule

Move = tuple[int, float]
"""When [µs since 1970], and how much [W]."""


class Ahead:
    """The moves to come of points whose leases are handed out ahead: where ``by_itself(thing)``.

    Nothing is kept of it: it follows from leases and orders, in the order in which they came.
    """

    def __init__(
        self,
        table: CommandTable,
        rule_of: Callable[[str, str], LeaseRule | None],
        watts_per_unit: Callable[[str, str], float],
        budget: Budget,
        by_itself: Callable[[str], bool],
    ) -> None:
        self._table, self._rule_of, self._watts_per_unit = table, rule_of, watts_per_unit
        self._budget, self._by_itself = budget, by_itself
        self._stale: dict[Key, None] = {}
        self._moves: dict[Key, list[Move]] = {}
        """Moves there is room for, by point; without a point that has to wait for its turn."""

    def touch(self, key: Key) -> None:
        """Look at a point anew: its leases or its order are others."""
        if self._budget.cap_w:
            self._stale[key] = None

    def begun(self, key: Key, now_us: int) -> bool:
        """Whether a point moved by itself since its last order, as it had room to: such an order does not wait."""
        if not self._budget.cap_w:
            return False
        self._refresh(now_us)
        point = self._table.points.get(key)
        return point is not None and self._moved(key, point, now_us)

    def handed(self, command: Command, now_us: int) -> Command | None:
        """Return what may be handed out of ``command``: all of it, what was ordered by it, or (None) nothing yet."""
        lease = command.lease
        key = (lease.thing, lease.point)
        if not self._budget.cap_w or lease.role != "setpoint" or lease.authority is Authority.SAFETY:
            return command
        if key in self._table.dirty:  # it changed, and no tick has looked at it yet
            self._stale[key] = None
        self._refresh(now_us)
        if key in self._moves:
            return command
        issued = self._table.point(key).issued
        if issued is None or command.id not in issued.carries or issued.order.value is None:
            return None
        until_us = min(lease.until_us, issued.order.until_us)
        if until_us <= now_us:
            return None
        part = msgspec.structs.replace(lease, value=issued.order.value, until_us=until_us, steps=())
        return msgspec.structs.replace(command, lease=part)

    # -- inside -------------------------------------------------------------------------------------------------

    def _refresh(self, now_us: int) -> None:
        while self._stale:
            key = next(iter(self._stale))
            del self._stale[key]
            self._look(key, now_us)

    def _look(self, key: Key, now_us: int) -> None:
        """Take up the moves to come of a point, or none where it has to wait for its turn."""
        point, rule = self._table.points.get(key), self._rule_of(*key)
        before = self._moves.pop(key, None)
        for at_us, w in before or ():
            self._budget.expect(at_us, -w)
        if point is None or rule is None or not (point.leases and self._by_itself(key[0])):
            return
        if rule.role != "setpoint" or not self._watts_per_unit(*key):
            self._moves[key] = []
            return
        leases = list(point.leases.values())
        since_us = self._known_since(point, leases, now_us) if before is None else now_us
        to_come = list(self._to_come(key, leases, rule, since_us))
        if before is not None and point.issued is not None:
            to_come = [one for one in before if point.issued.at_us < one[0] <= now_us] + to_come
        self._moves[key] = to_come
        its_turn = self._moved(key, point, now_us) or not _waits(point, leases, rule, now_us)
        if not its_turn or not self._budget.take([one for one in to_come if one[0] > now_us], now_us):
            del self._moves[key]
            return
        for at_us, w in to_come:
            if at_us <= now_us:
                self._budget.expect(at_us, w)

    def _moved(self, key: Key, point: CommandedPoint, now_us: int) -> bool:
        after_us = point.issued.at_us if point.issued else 0
        return any(after_us < at_us <= now_us for at_us, _ in self._moves.get(key, ()))

    def _known_since(self, point: CommandedPoint, leases: Sequence[Lease], now_us: int) -> int:
        """Return since when whoever holds the leases had them, as far as the node knows after a start."""
        wanted = [one for one in leases if one.role == "setpoint" and one.in_force(now_us)]
        winner = max(wanted, key=lambda one: one.standing, default=None)
        sent_us = self._table.commands[winner.command].sent_us if winner else None
        if sent_us is None:
            return now_us
        return min(now_us, max(sent_us, point.issued.at_us if point.issued else 0))

    def _to_come(self, key: Key, leases: Sequence[Lease], rule: LeaseRule, since_us: int) -> Iterator[Move]:
        """Yield the moves after ``since_us`` [µs since 1970] but those to the fallback, which never wait."""
        watts, before = self._watts_per_unit(*key), value_at(leases, rule, since_us)
        for moment in moments_after(leases, since_us):
            value = value_at(leases, rule, moment)
            if value is not None and value != before:
                present = rule.fallback if before is None else before
                yield moment, abs(value - present) * watts
            before = value


def _waits(point: CommandedPoint, leases: Sequence[Lease], rule: LeaseRule, now_us: int) -> bool:
    """Whether what the leases come to now has not been ordered yet, or a part of the way only."""
    wanted = resolve(leases, rule, now_us)
    winner = next((one for one in leases if one.id == wanted.winner), None)
    if winner is None or winner.authority is Authority.SAFETY:
        return False
    issued: OrderIssued | None = point.issued
    if issued is None or winner.command not in issued.carries:
        return True
    return not rule.governed and issued.order.value != wanted.value
