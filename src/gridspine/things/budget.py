"""A cap on the power that a node moves in a minute, and who is waiting for room beneath it.

::

    moved [W]   ▁▁▂▂▅▅▅   over the last 60 s; never more than the cap by set-points
    waiting     safety never · authority, priority, then who came first

Limits, all-stop, ended leases and safety never wait: holding them back would be the greater danger. What they move is
counted, so that others wait for longer.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterator

from gridspine.kernel.time import US
from gridspine.things.confirm import Key

WINDOW_US = 60 * US
_DUST_W = 1e-6


class Budget:
    """Power moved over the last minute; ``cap_w`` [W] is how much it may be, 0 for no cap."""

    def __init__(self, cap_w: float = 0.0) -> None:
        self.cap_w = cap_w
        self._moves: deque[tuple[int, float]] = deque()
        self._sum_w = 0.0
        self.pending_w = 0.0
        """What orders that are not yet durable will move."""

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
        return max(0.0, self.cap_w - self.moved_w(now_us))

    def fits(self, w: float, now_us: int) -> bool:
        """Whether ``w`` [W] may be moved now."""
        return not self.cap_w or w <= self.room_w(now_us) + _DUST_W

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
