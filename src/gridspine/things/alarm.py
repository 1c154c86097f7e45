"""Alarms: conditions an operator must know of, one for each point and kind, however often it is met.

::

    condition met ──► active, unacknowledged ──acknowledge──► active, acknowledged
                            │  ▲                                     │
                          ends  met again                          ends
                            ▼  │                                     ▼
                      over, unacknowledged ──acknowledge──────────► gone

An alarm is raised once; while the condition lasts its count, last time and last value follow, without an event each.
It is told when it is raised, when its condition ends or returns, and when a person acknowledges it.
"""

from collections.abc import Callable, Iterable
from enum import Enum, IntEnum

import msgspec
import numpy as np

from gridspine.kernel.errors import Conflict, Corrupt, NotFound
from gridspine.kernel.readings import BoolArray, Float64Array, Int32Array, Int64Array

ALARMS = "alarms"
"""The topic of the log that has the changes of alarms."""


class AlarmKind(Enum):
    """The condition."""

    HIGH = "high"
    LOW = "low"
    RATE = "rate"
    SILENCE = "silence"
    FLAPPING = "flapping"
    QUARANTINE = "quarantine"
    COMMAND = "command"
    BEHAVIOUR = "behaviour"


class Priority(IntEnum):
    """How soon someone must look."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


PRIORITY_OF: dict[AlarmKind, Priority] = {
    AlarmKind.HIGH: Priority.HIGH,
    AlarmKind.LOW: Priority.HIGH,
    AlarmKind.RATE: Priority.MEDIUM,
    AlarmKind.SILENCE: Priority.MEDIUM,
    AlarmKind.FLAPPING: Priority.LOW,
    AlarmKind.QUARANTINE: Priority.HIGH,
    AlarmKind.COMMAND: Priority.HIGH,
    AlarmKind.BEHAVIOUR: Priority.MEDIUM,
}
"""The priority of each kind where none is given."""


class Alarm(msgspec.Struct, frozen=True, rename="camel"):
    """One condition of one point.

    ``point`` is the point's id; ``first_us`` and ``last_us`` [µs since 1970, observed] when the condition was first
    and last met since it was raised, ``count`` how often; ``value`` [the point's unit] the last one that met it.
    ``over_us`` is when the condition ended (None while it lasts). ``acknowledged_by`` names a person.
    """

    number: int
    point: str
    kind: AlarmKind
    priority: Priority
    first_us: int
    last_us: int
    count: int
    value: float | None
    over_us: int | None = None
    acknowledged_by: str = ""
    acknowledged_us: int | None = None
    note: str = ""

    @property
    def active(self) -> bool:
        """Whether the condition lasts."""
        return self.over_us is None

    @property
    def gone(self) -> bool:
        """Whether it is over and someone has seen it."""
        return not self.active and bool(self.acknowledged_by)


class AlarmChanged(msgspec.Struct, frozen=True, tag="alarm", rename="camel"):
    """An alarm as it now is; ``dropped`` when it had to leave the full table unseen."""

    alarm: Alarm
    dropped: bool = False


class _Tally(msgspec.Struct, frozen=True):
    """What one batch says about one point: rows that met the condition, and how it stands after the last row."""

    number: int
    met: int
    first_us: int
    last_us: int
    value: float
    ends_active: bool
    ends_us: int


Key = tuple[int, AlarmKind]


class AlarmTable:
    """The alarms of a node; at most ``max_alarms``.

    When the table is full, the least of its alarms (over before active, low priority before high, old before new)
    gives way to a new one that is more than it; otherwise the new one waits outside until it is met again with room.
    Either way ``overflowed`` counts it. ``id_of`` gives the id of a point's number.
    """

    def __init__(self, id_of: Callable[[int], str], *, max_alarms: int = 10_000) -> None:
        self._id_of = id_of
        self._max_alarms = max_alarms
        self._alarms: dict[Key, Alarm] = {}
        self._active: dict[AlarmKind, BoolArray] = {kind: np.zeros(0, np.bool_) for kind in AlarmKind}
        self.overflowed = 0

    def __len__(self) -> int:
        return len(self._alarms)

    def alarms(self, *, active: bool | None = None) -> list[Alarm]:
        """Return the alarms, the most pressing first; only (in)active ones when ``active`` is given."""
        found = (one for one in self._alarms.values() if active is None or one.active is active)
        return sorted(found, key=lambda one: (-one.priority, one.first_us, one.number, one.kind.value))

    def alarm(self, number: int, kind: AlarmKind) -> Alarm:
        """Return one alarm; raise `NotFound` when there is none."""
        try:
            return self._alarms[(number, kind)]
        except KeyError:
            raise NotFound(f"there is no {kind.value} alarm of that point") from None

    def update(
        self,
        kind: AlarmKind,
        point: Int32Array,
        met: BoolArray,
        observed_us: Int64Array,
        value: Float64Array,
        *,
        priority: Priority | None = None,
    ) -> list[AlarmChanged]:
        """Hear whether readings met a condition; return the alarms raised, returned or ended by them.

        All arrays have shape (n,), rows of one point in the order in which they count: ``point`` int32 numbers,
        ``met`` bool, ``observed_us`` int64 [µs since 1970], ``value`` float64 [the point's unit]. Rows that neither
        meet a condition nor end one cost no Python object. Declared history must not be given.
        """
        if not len(point):
            return []
        current = self._room_for(kind, int(point.max()))
        concerned = met | current[point]
        if not concerned.any():
            return []
        rows = np.flatnonzero(concerned | np.isin(point, point[concerned]))
        changes: list[AlarmChanged] = []
        for tally in _tallies(point[rows], met[rows], observed_us[rows], value[rows]):
            changes += self._follow((tally.number, kind), tally, PRIORITY_OF[kind] if priority is None else priority)
        return changes

    def acknowledge(self, number: int, kind: AlarmKind, person: str, now_us: int, note: str = "") -> AlarmChanged:
        """Return the change by which ``person`` acknowledges an alarm; `apply` it once it is durable.

        Raises `NotFound` when there is no such alarm, `Conflict` when someone did before.
        """
        alarm = self.alarm(number, kind)
        if alarm.acknowledged_by:
            raise Conflict(f"{alarm.acknowledged_by} has acknowledged this alarm")
        if not person:
            raise Conflict("an alarm is acknowledged by a named person")
        return AlarmChanged(msgspec.structs.replace(alarm, acknowledged_by=person, acknowledged_us=now_us, note=note))

    def apply(self, change: AlarmChanged) -> None:
        """Let ``change`` have happened: after it was made durable, and in replay."""
        alarm = change.alarm
        key = (alarm.number, alarm.kind)
        present = self._alarms.get(key)
        if present is not None and _has_moved_on(present, alarm):
            alarm = msgspec.structs.replace(
                present, acknowledged_by=alarm.acknowledged_by, acknowledged_us=alarm.acknowledged_us, note=alarm.note
            )
        if alarm.gone or change.dropped:
            self._forget(key)
        else:
            self._alarms[key] = alarm
            self._room_for(alarm.kind, alarm.number)[alarm.number] = alarm.active

    def _room_for(self, kind: AlarmKind, highest: int) -> BoolArray:
        """Return the marks of active points, long enough for point number ``highest``."""
        marks = self._active[kind]
        if highest >= len(marks):
            grown = np.zeros(max(highest + 1, 2 * len(marks)), np.bool_)
            grown[: len(marks)] = marks
            self._active[kind] = marks = grown
        return marks

    def _follow(self, key: Key, tally: _Tally, priority: Priority) -> list[AlarmChanged]:
        before = self._alarms.get(key)
        if before is None:
            if not tally.met:
                self._active[key[1]][key[0]] = False
                return []
            after = Alarm(
                key[0], self._id_of(key[0]), key[1], priority, tally.first_us, tally.last_us, tally.met, tally.value
            )
            changes = self._make_room(after)
            if changes is None:
                return []
        else:
            after, changes = _met_again(before, tally), []
        if not tally.ends_active and after.active:
            if before is None or not before.active:
                changes.append(AlarmChanged(after))
            after = msgspec.structs.replace(after, over_us=tally.ends_us)
        if before is None or before.active is not after.active or changes:
            changes.append(AlarmChanged(after))
        self._set(key, after)
        return changes

    def _set(self, key: Key, alarm: Alarm) -> None:
        if alarm.gone:
            self._forget(key)
            return
        self._alarms[key] = alarm
        self._active[key[1]][key[0]] = alarm.active

    def _forget(self, key: Key) -> None:
        self._alarms.pop(key, None)
        self._room_for(key[1], key[0])[key[0]] = False

    def _make_room(self, new: Alarm) -> list[AlarmChanged] | None:
        """Return the alarm that gives way to ``new``, if one must; None when ``new`` finds no room."""
        if len(self._alarms) < self._max_alarms:
            return []
        self.overflowed += 1
        least = min(self._alarms.values(), key=_weight)
        if _weight(least) >= _weight(new):
            return None
        self._forget((least.number, least.kind))
        return [AlarmChanged(least, dropped=True)]


def _has_moved_on(present: Alarm, change: Alarm) -> bool:
    """Whether the alarm was met again, or ended, between an acknowledgement's making and its taking effect."""
    return present.count > change.count or (present.count == change.count and not present.active)


def _weight(alarm: Alarm) -> tuple[bool, int, int]:
    return alarm.active, alarm.priority, alarm.last_us


def _met_again(before: Alarm, tally: _Tally) -> Alarm:
    if not tally.met:
        return before
    after = msgspec.structs.replace(
        before, last_us=max(before.last_us, tally.last_us), count=before.count + tally.met, value=tally.value
    )
    if before.active:
        return after
    return msgspec.structs.replace(after, over_us=None, acknowledged_by="", acknowledged_us=None)


def _tallies(point: Int32Array, met: BoolArray, observed_us: Int64Array, value: Float64Array) -> Iterable[_Tally]:
    """Yield what the rows of each point say together, in the order of point numbers."""
    order = np.argsort(point, kind="stable")
    point, met, observed_us, value = point[order], met[order], observed_us[order], value[order]
    starts = np.flatnonzero(np.r_[True, point[1:] != point[:-1]])
    ends = np.r_[starts[1:], len(point)]
    place = np.arange(len(point))
    counts = np.add.reduceat(met.astype(np.int64), starts)
    first = np.minimum.reduceat(np.where(met, place, len(point)), starts)
    last = np.maximum.reduceat(np.where(met, place, -1), starts)
    for group, (start, end) in enumerate(zip(starts, ends, strict=True)):
        count = int(counts[group])
        yield _Tally(
            int(point[start]),
            count,
            int(observed_us[first[group]]) if count else 0,
            int(observed_us[last[group]]) if count else 0,
            float(value[last[group]]) if count else 0.0,
            bool(met[end - 1]),
            int(observed_us[end - 1]),
        )


def encode_change(change: AlarmChanged) -> bytes:
    """Return ``change`` as the body of a log record."""
    return msgspec.json.encode(change)


def decode_change(body: bytes) -> AlarmChanged:
    """Return the change in a log record's body; raise `Corrupt` when it is none."""
    try:
        return msgspec.json.decode(body, type=AlarmChanged)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"an alarm cannot be read: {error}") from error
