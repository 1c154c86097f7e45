"""Confirming: which commands wait for a reading now, and which of them a posting of readings shows to be applied."""

from collections.abc import Callable

from gridspine.kernel.readings import Channel, Readings
from gridspine.things.command import Command, CommandChanged, CommandEvent, become
from gridspine.things.command_table import CommandedPoint, CommandTable
from gridspine.things.confirm import Awaited, Key, Watchlist
from gridspine.things.ordering import RuleOf


class Confirming:
    """Waits for readings on behalf of the points of ``table``; see `Commander` for the others."""

    def __init__(self, table: CommandTable, rule_of: RuleOf, number_of: Callable[[str, str], int | None]) -> None:
        self._table = table
        self._rule_of = rule_of
        self._number_of = number_of
        self._watchlist = Watchlist()

    def watch(self, key: Key) -> None:
        """Wait for what the commands of a point wait for now, which may be nothing."""
        point = self._table.points.get(key)
        if point is None:
            return
        rule = self._rule_of(*key) if self._waiting(point) else None
        number = self._number_of(key[0], rule.confirm_point) if rule and rule.confirm_point else None
        self._watchlist.set(key, number)

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

    def _awaiting(self, key: Key) -> list[tuple[Command, Awaited]]:
        """Return the commands of a point's present order that wait for a reading, and the reading they wait for."""
        point, rule = self._table.points[key], self._rule_of(*key)
        issued = point.issued
        if issued is None or issued.order.value is None or rule is None:
            return []
        value = issued.order.value
        return [
            (command, Awaited(value, rule.tolerance, max(issued.at_us, command.sent_us or 0)))
            for command in self._waiting(point)
        ]

    def _waiting(self, point: CommandedPoint) -> list[Command]:
        """Return the commands of a point's present order that a reading would show to be applied."""
        issued = point.issued
        if issued is None or issued.order.value is None:
            return []
        return [one for one in self._table.known(issued.carries) if one.state in {"sent", "acknowledged"}]
