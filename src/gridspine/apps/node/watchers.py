"""Watchers: who waits for news of points; told on the event loop after a commit, never in its way.

::

    commit ─► which points are watched? ─► marked as changed ─► watcher wakes, looks at the twin, tells its client

A watcher keeps which points changed, not what they said: a slow one gets the newest value of each, and none holds more
than its points. Whoever needs every reading follows a data product. While nobody watches, a commit costs nothing more.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Iterable

import numpy as np

from gridspine.kernel.readings import Channel, Int32Array, Int64Array
from gridspine.things.books import Committed

MAX_TOLD = 10_000
"""Long polls of which it is remembered what they were told last."""


class Watcher:
    """Somebody who waits for news of points; begins with all of them as news."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = tuple(numbers)
        self.wake = asyncio.Event()
        self.wake.set()
        self._changed = dict.fromkeys(self.numbers)

    def mark(self, number: int) -> None:
        """Note that there is news of a point."""
        self._changed[number] = None
        self.wake.set()

    def take(self) -> list[int]:
        """Return the points of which there is news since the last time, in the order in which it came."""
        changed = list(self._changed)
        self._changed.clear()
        return changed


class Watchers:
    """All watchers of a node; lives on the event loop."""

    def __init__(self) -> None:
        self._by_number: dict[int, dict[Watcher, None]] = {}  # in order, so that a simulation repeats itself
        self._numbers: Int32Array | None = None
        self._told: OrderedDict[Hashable, object] = OrderedDict()

    def watch(self, numbers: Iterable[int]) -> Watcher:
        """Return a watcher of points; `leave` ends it."""
        watcher = Watcher(numbers)
        for number in watcher.numbers:
            self._by_number.setdefault(number, {})[watcher] = None
        self._numbers = None
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Let a watcher go."""
        for number in watcher.numbers:
            members = self._by_number.get(number, {})
            members.pop(watcher, None)
            if not members:
                self._by_number.pop(number, None)
        self._numbers = None

    def on_committed(self, committed: Committed) -> None:
        """Wake those who wait for the points of a batch: live reported readings only."""
        accepted = committed.screened.accepted
        if not self._by_number or accepted.backfill or accepted.channel != Channel.REPORTED or not len(accepted):
            return
        self._tell(accepted.point)

    def on_silent(self, silent: Int64Array) -> None:
        """Wake those who wait for points (numbers) that have been silent for too long: their quality changed."""
        if self._by_number:
            self._tell(silent)

    def told(self, key: Hashable) -> object:
        """Return what a long poll was told last; None for one that is not remembered."""
        return self._told.get(key)

    def tell(self, key: Hashable, what: object) -> None:
        """Remember what a long poll was told: between two polls nothing is to be missed."""
        self._told[key] = what
        self._told.move_to_end(key)
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)

    def _tell(self, point: Int32Array | Int64Array) -> None:
        if self._numbers is None:
            self._numbers = np.fromiter(self._by_number, np.int32, len(self._by_number))
        for number in np.unique(point[np.isin(point, self._numbers)]).tolist():
            for watcher in self._by_number.get(number, ()):
                watcher.mark(number)
