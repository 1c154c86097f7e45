"""Report by exception at the node, for sources that cannot do it themselves.

A value is compared with the last *reported* one, so that a slow drift is still seen; changes of quality always pass,
and so does another value for the time last reported, which is a revision; registers, interval energy, states and
settings never wait. A minimum interval *holds the latest*: once one is held, the next replaces it whatever its value.

::

    reported ──┬── within the deadband ──► suppressed (the point was heard of)
               ├── within the interval ──► held: replaces an older held one; released when due
               └── else ───────────────► accepted, and the new reference

Points are judged in rounds, each point at most once a round and in order of time. Points with many readings come
first, so that every round is the front part of the round before it and nothing need be gathered again::

    round 0   p7 p3 p9 p1 p4
    round 1   p7 p3 p9
    round 2   p7 p3
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gridspine.kernel.readings import BoolArray, Float64Array, Int32Array, Int64Array, Readings, UInt16Array
from gridspine.things.memory import NEVER_US, Memory
from gridspine.things.point import PointTable
from gridspine.things.runs import Runs

_ACCEPTED, _SUPPRESSED, _HELD = 0, 1, 4
_NARROW = 64
"""A round of fewer points than this costs more than looking at their readings one after another."""


@dataclass(slots=True, eq=False)
class _References:
    """What readings are compared with: one row for each point of the batch, those with most readings first.

    ``band`` is -1 where there is no deadband: no difference lies within it. ``held_us`` is the newest time seen: where
    a reading is held, its own.
    """

    point: Int32Array
    value: Float64Array
    observed_us: Int64Array
    quality: UInt16Array
    pending: BoolArray
    held_us: Int64Array
    until_us: Int64Array
    band: Float64Array
    interval_us: Int64Array


def report_by_exception(
    points: PointTable, memory: Memory, ordered: Readings, runs: Runs
) -> npt.NDArray[np.uint8] | None:
    """Return the verdict (accepted, suppressed or held) on readings sorted by point, then time; None: all accepted.

    ``memory`` moves on to what is accepted. Late readings are history: accepted, and no reference.
    """
    rule = points.rule.array[runs.point]
    band, interval_us = points.rules.deadband.array[rule], points.rules.min_interval_us.array[rule]
    if not (band.any() or interval_us.any()):
        _report_last(memory, ordered, runs)
        return None
    most_first = np.argsort(-runs.count, kind="stable")
    at = runs.point[most_first]
    references = _References(
        at,
        memory.value.array[at],
        memory.observed_us.array[at],
        memory.quality.array[at],
        memory.pending.array[at],
        memory.seen_us.array[at],
        np.where(interval_us[most_first] > 0, memory.until_us.array[at], NEVER_US),
        np.where(band > 0, band, -1.0)[most_first],
        interval_us[most_first],
    )
    first, count = runs.first[most_first], runs.count[most_first]
    verdict = np.zeros(len(ordered), np.uint8)
    done = _rounds(references, ordered, first, count, verdict)
    for row in range(int(np.count_nonzero(count > done))):
        _one_after_another(references, row, ordered, first[row] + done, first[row] + count[row], verdict)
    _put_back(memory, references)
    return verdict


def _rounds(
    refs: _References, ordered: Readings, first: Int64Array, count: Int64Array, verdict: npt.NDArray[np.uint8]
) -> int:
    """Judge rounds while they are wide; return how many there were."""
    widths = np.searchsorted(-count, -np.arange(1, count[0] + 1), side="right")  # points with at least 1, 2, … readings
    done = int(np.count_nonzero(widths >= _NARROW))
    holds = bool(refs.interval_us.any())
    with np.errstate(over="ignore", invalid="ignore"):
        for turn in range(done):
            width = int(widths[turn])
            verdict[first[:width] + turn] = _judge(refs, ordered, first[:width] + turn, width, holds=holds)
    return done


def _judge(refs: _References, ordered: Readings, at: Int64Array, width: int, *, holds: bool) -> npt.NDArray[np.uint8]:
    """Judge the readings ``at``, one of each of the first ``width`` points, and move their references on."""
    value, time_us, quality = ordered.value[at], ordered.observed_us[at], ordered.quality[at]
    late = time_us < refs.observed_us[:width]
    must = (time_us == refs.observed_us[:width]) & (value != refs.value[:width])
    must |= quality != refs.quality[:width]
    passes = ~(np.abs(value - refs.value[:width]) <= refs.band[:width]) | must
    verdict = np.where(passes | late, np.uint8(_ACCEPTED), np.uint8(_SUPPRESSED))
    moves = passes & ~late
    if holds:
        pending = refs.pending[:width]
        held = (passes | pending) & (time_us < refs.until_us[:width]) & ~must & ~late
        verdict[pending & ~late] = _ACCEPTED
        verdict[held] = _HELD
        moves = (moves | (pending & ~late)) & ~held
        newer = refs.held_us[:width] > time_us  # what is held, when an older one is revised
        refs.pending[:width] = (pending & (~moves | newer)) | held
        np.maximum(refs.held_us[:width], time_us, out=refs.held_us[:width], where=held)
        np.copyto(refs.until_us[:width], time_us + refs.interval_us[:width], where=moves)
    np.copyto(refs.value[:width], value, where=moves)
    np.copyto(refs.observed_us[:width], time_us, where=moves)
    np.copyto(refs.quality[:width], quality, where=moves)
    return verdict


def _one_after_another(
    refs: _References, row: int, ordered: Readings, start: int, end: int, verdict: npt.NDArray[np.uint8]
) -> None:
    """Judge readings ``start`` to ``end``, all of the point in ``row``, as `_judge` would."""
    value, reported_us, reported = float(refs.value[row]), int(refs.observed_us[row]), int(refs.quality[row])
    pending, until_us, held_us = bool(refs.pending[row]), int(refs.until_us[row]), int(refs.held_us[row])
    band, interval_us = float(refs.band[row]), int(refs.interval_us[row])
    outcome = []
    rows = zip(
        ordered.value[start:end].tolist(),
        ordered.observed_us[start:end].tolist(),
        ordered.quality[start:end].tolist(),
        strict=True,
    )
    for number, time_us, quality in rows:
        if time_us < reported_us:
            outcome.append(_ACCEPTED)
            continue
        must = quality != reported or (time_us == reported_us and number != value)
        if not (must or pending or not abs(number - value) <= band):
            outcome.append(_SUPPRESSED)
        elif time_us < until_us and not must:
            outcome.append(_HELD)
            pending, held_us = True, max(held_us, time_us)
        else:
            outcome.append(_ACCEPTED)
            value, reported_us, reported = number, time_us, quality
            pending = pending and held_us > time_us
            if interval_us:
                until_us = time_us + interval_us
    verdict[start:end] = outcome
    refs.value[row], refs.observed_us[row], refs.quality[row] = value, reported_us, reported
    refs.pending[row], refs.until_us[row] = pending, until_us


def _put_back(memory: Memory, refs: _References) -> None:
    memory.value.array[refs.point] = refs.value
    memory.observed_us.array[refs.point] = refs.observed_us
    memory.quality.array[refs.point] = refs.quality
    memory.pending.array[refs.point] = refs.pending
    memory.until_us.array[refs.point] = np.where(refs.interval_us > 0, refs.until_us, NEVER_US)


def _report_last(memory: Memory, ordered: Readings, runs: Runs) -> None:
    """Take the last reading of each point as its reference, unless it is late."""
    last = runs.last
    newer = ordered.observed_us[last] >= memory.observed_us.array[runs.point]
    if not newer.all():
        last = last[newer]
    at = ordered.point[last]
    memory.value.array[at] = ordered.value[last]
    memory.observed_us.array[at] = ordered.observed_us[last]
    memory.quality.array[at] = ordered.quality[last]
