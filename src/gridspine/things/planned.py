"""Plans as twins hold them: what the points of Things are to be, step by step, as far as it is known.

A plan is planned readings. Each holds from its observed time until the next one of the same point; another value for
the same point and time revises it, and the one received last counts. Steps that a new plan does not name stay.

::

    received 1    ├── 5 ──┬── 6 ──┬── 7 ──►
    received 2    ├── 3 ──────────┬── 2 ──►       (10:00 and 10:30 only)
    plan          ├── 3 ──┬── 6 ──┬── 2 ──►
                 10:00   10:15   10:30

They are kept as sorted runs of arrays, merged by size: no Python object for a step.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gridspine.kernel.readings import Readings

MAX_STEPS = 2_000_000
"""Steps the twins hold at most (30 bytes each); beyond, those farthest ahead are in log and archive only."""
Step = tuple[float, int, int, int]
"""Value, since when [µs], quality, received [µs]."""
_NAMES = ("point", "value", "observed_us", "quality", "received_us")
_KINDS = ("i4", "f8", "i8", "u2", "i8")
_Run = tuple[npt.NDArray[Any], ...]
"""The five columns, sorted by point, time and arrival; one row a point and time."""


class Plans:
    """The plans of all points. One caller at a time."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._known_us = 0

    def __len__(self) -> int:
        return sum(len(run[0]) for run in self._runs)

    def add(self, planned: Readings) -> None:
        """Take up planned readings, later revisions after earlier ones."""
        received = np.full(len(planned), planned.received_us, np.int64)
        self._runs.append(_settled((planned.point, planned.value, planned.observed_us, planned.quality, received)))
        self._known_us = max(self._known_us, planned.received_us)
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            self._merge(2)
        if len(self) > MAX_STEPS:
            self._merge(len(self._runs))
            self._bound()

    def at(self, point: int, now_us: int) -> tuple[Step | None, Step | None]:
        """Return the step of ``point`` that holds at ``now_us`` and the one after it, None where there is none."""
        found = [part for part in (_of_point(run, point) for run in self._runs) if len(part[0])]
        if not found:
            return None, None
        whole = found[0] if len(found) == 1 else _settled(_joined(found))
        after = int(np.searchsorted(whole[2], now_us, side="right"))
        return _step(whole, after - 1), _step(whole, after)

    def rows(self) -> dict[str, npt.NDArray[Any]]:
        """Return all steps as columns (k,)."""
        self._merge(len(self._runs))
        run = self._runs[0] if self._runs else tuple(np.zeros(0, kind) for kind in _KINDS)
        return dict(zip(_NAMES, run, strict=True))

    def put(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Hold ``rows`` from now on."""
        run = _settled(tuple(rows[name] for name in _NAMES))
        self._runs = [run] if len(run[0]) else []
        self._known_us = int(run[4].max(initial=0))

    def _merge(self, count: int) -> None:
        """Make one of the newest ``count`` runs, without the steps that are over."""
        if len(self._runs) > 1:
            merged = _settled(_joined(self._runs[-count:]))
            self._runs[-count:] = [_without_past(merged, self._known_us)]

    def _bound(self) -> None:
        """Forget the steps farthest ahead, until half of the room is free: it is not asked again for each posting."""
        run = self._runs[0]
        if len(run[0]) > MAX_STEPS:
            nearest = np.sort(np.argpartition(run[2], MAX_STEPS // 2)[: MAX_STEPS // 2])
            self._runs = [tuple(column[nearest] for column in run)]


def _joined(runs: list[_Run]) -> _Run:
    return tuple(np.concatenate(columns) for columns in zip(*runs, strict=True))


def _settled(run: _Run) -> _Run:
    """Return ``run`` sorted by point and time, the last received of each only (rows stand in the order of arrival)."""
    point, _, observed_us, _, received_us = run
    order = np.lexsort((received_us, observed_us, point))  # stable: of those received together the later stands last
    point, observed_us = point[order], observed_us[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (point[1:] != point[:-1]) | (observed_us[1:] != observed_us[:-1])
    return tuple(column[order[last]] for column in run)


def _without_past(run: _Run, now_us: int) -> _Run:
    """Drop what another step of the same point has followed by ``now_us``."""
    point, _, observed_us, _, _ = run
    over = np.zeros(len(point), np.bool_)
    over[:-1] = (point[1:] == point[:-1]) & (observed_us[1:] <= now_us)
    return tuple(column[~over] for column in run) if over.any() else run


def _of_point(run: _Run, point: int) -> _Run:
    start, end = np.searchsorted(run[0], [point, point + 1])
    return tuple(column[start:end] for column in run)


def _step(run: _Run, at: int) -> Step | None:
    if not 0 <= at < len(run[0]):
        return None
    _, value, observed_us, quality, received_us = (column[at] for column in run)
    return float(value), int(observed_us), int(quality), int(received_us)
