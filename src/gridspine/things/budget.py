"""A cap on the power that a node moves in a minute, and who is waiting for room beneath it.

::

    moved [W]   ▁▁▂▂▅▅▅   over the last 60 s; never more than the cap by set-points
    waiting     safety never · authority, priority, then who came first

Limits, all-stop, ended leases and safety never wait: holding them back would be the greater danger. What they move is
counted, so that others wait for longer. What will begin by itself, at an edge, counts in the minute in which it begins;
it takes at most half of the cap, so that nobody who plans far ahead keeps everybody else waiting.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Sequence

from gridspine.kernel.time import US
from gridspine.kernel.units import UNITS
from gridspine.things.confirm import Key
from gridspine.things.model import PointModel

WINDOW_US = 60 * US
AHEAD_SHARE = 0.5
"""Share of the cap that what begins by itself may take in any minute."""
_DUST_W = 1e-6
_SECONDS = WINDOW_US // US


def unit_power_w(point: PointModel) -> float:
    """Return what power a unit of ``point`` moves [W]: 0 where its unit is none of power and its model says nothing."""
    unit = UNITS.get(point.reading_type.unit)
    if unit and unit.quantity == "active_power":
        return unit.factor
    return point.lease.watts_per_unit if point.lease else 0.0


class Budget:
    """Power moved over the last minute; ``cap_w`` [W] is how much it may be, 0 for no cap."""

    def __init__(self, cap_w: float = 0.0) -> None:
        self.cap_w = cap_w
        self._moves: deque[tuple[int, float]] = deque()
        self._sum_w = 0.0
        self.pending_w = 0.0
        """What orders that are not yet durable will move."""
        self.aside_w = 0.0
        """What is kept free of the cap for those that move without being asked: rules at edges."""
        self._to_come: dict[int, float] = {}
        """What will begin by itself [W], by the second [s since 1970]."""

    def note(self, at_us: int, w: float) -> None:
        """Count ``w`` [W] moved at ``at_us`` [µs since 1970]."""
        if self.cap_w and w > 0:
            self._moves.append((at_us, w))
            self._sum_w += w

    def moved_w(self, now_us: int) -> float:
        """Return what was moved in the minute before ``now_us``, and is about to be [W]."""
        if self._moves and self._moves[-1][0] > now_us:  # the clock was set back
            self._moves = deque((min(at_us, now_us), w) for at_us, w in self._moves)
        while self._moves and self._moves[0][0] <= now_us - WINDOW_US:
            self._sum_w -= self._moves.popleft()[1]
        if not self._moves:
            self._sum_w = 0.0
        return self._sum_w + self.pending_w

    def room_w(self, now_us: int) -> float:
        """Return how much may be moved now [W]."""
        return max(0.0, self.cap_w - self.aside_w - self.moved_w(now_us))

    def fits(self, w: float, now_us: int) -> bool:
        """Whether ``w`` [W] may be moved now, and all that begins by itself within a minute still has room."""
        if not self.cap_w:
            return True
        room_w = self.room_w(now_us) + _DUST_W - w
        if room_w < 0 or not self._to_come:
            return room_w >= 0
        left, moves = 0, list(self._moves)
        for second in range(now_us // US, now_us // US + _SECONDS):
            while left < len(moves) and moves[left][0] <= second * US - WINDOW_US:
                room_w += moves[left][1]
                left += 1
            room_w -= self._to_come.get(second, 0.0)
            if room_w < 0:
                return False
        return True

    def part_w(self, w: float, now_us: int) -> float:
        """Return what part of ``w`` [W], which is too much for a whole minute, may be moved now [W]; 0 for none."""
        most_w = self.cap_w - self.aside_w
        parts = [most_w, most_w * (1 - AHEAD_SHARE)] if self._to_come else [most_w]
        return next((part for part in parts if part < w and self.fits(part, now_us)), 0.0)

    def expect(self, at_us: int, w: float) -> None:
        """Count ``w`` [W] that will begin by itself at ``at_us`` [µs since 1970]; a negative one is taken back."""
        second = at_us // US
        left_w = self._to_come.pop(second, 0.0) + w
        if left_w > _DUST_W:
            self._to_come[second] = left_w

    def take(self, moves: Sequence[tuple[int, float]], now_us: int) -> bool:
        """Count ``moves`` to come, (when [µs since 1970], W), if there is room for each of them; else none."""
        for taken, (at_us, w) in enumerate(moves):
            self.expect(at_us, w)
            if not self._has_room(at_us // US, now_us):
                for at_us, w in moves[: taken + 1]:
                    self.expect(at_us, -w)
                return False
        return True

    def _has_room(self, second: int, now_us: int) -> bool:
        """Whether no minute around ``second`` is too full: by whole seconds."""
        cap_w = self.cap_w - self.aside_w + _DUST_W
        around = [self._to_come.get(one, 0.0) for one in range(second - _SECONDS + 1, second + _SECONDS)]
        sum_w = sum(around[:_SECONDS])
        if second * US < now_us + WINDOW_US:  # what was moved lately is out of the window later on
            lately_w = sum(w for at_us, w in self._moves if at_us > second * US - WINDOW_US) + self.pending_w
            if lately_w + sum_w > cap_w:
                return False
        most_w = AHEAD_SHARE * cap_w
        for first, following in zip(around, [*around[_SECONDS:], 0.0], strict=False):
            if sum_w > most_w:
                return False
            sum_w += following - first
        return True

    def free_us(self, now_us: int) -> int:
        """Return when the oldest move leaves the window [µs since 1970]."""
        return self._moves[0][0] + WINDOW_US if self._moves else now_us

    def snapshot(self) -> tuple[tuple[int, float], ...]:
        """Return the moves counted, (when [µs since 1970], W), the oldest first."""
        return tuple(self._moves)


class Line:
    """Points that wait for room: the higher authority first, then the higher priority, then who came first."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, int], int, Key]] = []
        self._waiting: dict[Key, tuple[int, float, tuple[int, int]]] = {}
        self._number = itertools.count()
        self.waiting_w = 0.0
        """What those that wait want to move together [W]."""

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, key: Key, w: float, standing: tuple[int, int]) -> None:
        """Let ``key`` wait for ``w`` [W]; whoever waits already keeps its place while its standing is the same."""
        known = self._waiting.get(key)
        self.waiting_w += w - (known[1] if known else 0.0)
        if known and known[2] == standing:
            self._waiting[key] = (known[0], w, standing)
            return
        number = next(self._number)
        self._waiting[key] = (number, w, standing)
        heapq.heappush(self._heap, ((-standing[0], -standing[1]), number, key))

    def leave(self, key: Key) -> None:
        """Let ``key`` wait no more."""
        known = self._waiting.pop(key, None)
        if known:
            self.waiting_w = self.waiting_w - known[1] if self._waiting else 0.0

    def first(self) -> Iterator[Key]:
        """Yield those that wait, in their order, as far as is asked for; nobody joins or leaves meanwhile."""
        looked = []
        try:
            while self._heap:
                entry = heapq.heappop(self._heap)
                _, number, key = entry
                if self._waiting.get(key, (-1,))[0] == number:
                    looked.append(entry)
                    yield key
        finally:
            for entry in looked:
                heapq.heappush(self._heap, entry)
