"""The screen against a slow and obvious one, and each rule of the house by name."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from things_plant import NOW_US, Plant, readings
from things_slow_screen import ACCEPTED, DUPLICATE, HELD, NEVER, REFUSED, SUPPRESSED, Known, SlowScreen

from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import MAX_BATCH, Channel, Readings
from gridspine.kernel.time import US
from gridspine.things import exception
from gridspine.things.screen import REASONS, Screen, Screened

OUT = int(Quality.QUESTIONABLE | Quality.OUT_OF_RANGE)
QUALITIES = st.sampled_from([0, 0, 0, 0, 1, 3, OUT, int(Quality.TEST), 0x7FFF, 0x8000])
VALUES = st.integers(-3, 12).map(float) | st.sampled_from(
    [0.5, -0.0, 21.0, 25.0, 51.0, -51.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 2.0**60]
)
TIMES = st.integers(0, 20).map(float) | st.sampled_from([0.5, 106.0, 105.0, -1e6, -1.8e9, 1e10])


@st.composite
def batches(draw: st.DrawFn, points: list[int]) -> Readings:
    rows = draw(st.lists(st.tuples(st.sampled_from(points), TIMES, VALUES, QUALITIES), max_size=25))
    channel = draw(st.sampled_from([Channel.REPORTED] * 5 + list(Channel)))
    return readings(rows, channel=channel, backfill=draw(st.integers(0, 7)) == 0)


@contextmanager
def narrow(width: int) -> Iterator[None]:
    """Rounds down to this width: 1 judges all in rounds, a large one all one after another."""
    before, exception._NARROW = exception._NARROW, width
    try:
        yield
    finally:
        exception._NARROW = before


def check(batch: Readings, got: Screened, slow: SlowScreen) -> None:
    want = slow.screen(batch)
    assert got.verdict.tolist() == want.verdict
    assert got.reason.tolist() == want.reason
    accepted = [at for at, verdict in enumerate(want.verdict) if verdict == ACCEPTED]
    for part, places in (
        (got.accepted, accepted),
        (got.held, [at for at, verdict in enumerate(want.verdict) if verdict == HELD]),
    ):
        assert part.point.tolist() == batch.point[places].tolist()
        assert part.observed_us.tolist() == batch.observed_us[places].tolist()
        assert part.value.tolist() == batch.value[places].tolist()
        assert part.quality.tolist() == [want.quality[at] for at in places]
        assert (part.channel, part.backfill) == (batch.channel, batch.backfill)
    assert got.beyond.tolist() == [want.beyond[at] for at in accepted]
    assert sorted((f.point, f.first_us, f.last_us, f.count) for f in got.flapped) == sorted(want.ended)
    counts = [got.count(code) for code in (ACCEPTED, SUPPRESSED, HELD, DUPLICATE, REFUSED)]
    assert sum(counts) == len(batch)


def check_memory(screen: Screen, slow: SlowScreen, points: int) -> None:
    memory = screen.memory
    for point in range(points):
        known = slow.known.get(point, Known())
        got = [
            float(memory.value.array[point]), int(memory.observed_us.array[point]), int(memory.quality.array[point]),
            bool(memory.pending.array[point]), float(memory.seen_value.array[point]), int(memory.seen_us.array[point]),
        ]  # fmt: skip
        want = [known.value, known.observed_us, known.quality, known.pending, known.seen_value, known.seen_us]
        assert all(a == b or (a != a and b != b) for a, b in zip(got, want, strict=True)), (point, got, want)
        waits = slow.models[point].screen.min_interval_s or known.flapping
        assert not waits or int(memory.until_us.array[point]) == known.until_us


def agree(data: st.DataObject, steps: int, start: int) -> None:
    plant = Plant(start)
    screen, slow = Screen(plant.points), SlowScreen(plant.models)
    # A few points with many readings each, or all points with few.
    few = st.lists(st.integers(0, plant.points.count - 1), min_size=1, max_size=3, unique=True)
    chosen = data.draw(few | st.just([]))
    for _ in range(steps):
        what = data.draw(st.sampled_from(["screen", "screen", "undo", "settle-some", "grow"]))
        if what == "grow":
            plant.add()
            continue
        count = 1 if what == "screen" else data.draw(st.integers(1, 4))
        pending, before = [], []
        for turn in range(count):
            if what == "undo" and turn == 1:
                plant.add()  # the tables grow while a group is on its way
            batch = data.draw(batches(chosen or list(range(plant.points.count))))
            before.append(slow.snapshot())
            pending.append(screen.screen(batch))
            check(batch, pending[-1], slow)
        kept = {"screen": 1, "undo": 0}.get(what, count // 2)
        for screened in reversed(pending[kept:]):
            screen.undo(screened)
        if kept < count:
            slow.restore(before[kept])
        for _ in range(kept):
            screen.settle()
        check_memory(screen, slow, plant.points.count)


@pytest.mark.parametrize("width", [1, 64])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_the_screen_agrees_with_a_slow_and_obvious_one(width: int, data: st.DataObject) -> None:
    with narrow(width):
        agree(data, data.draw(st.integers(1, 6)), start=1)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2, 64])
@given(data=st.data())
@settings(max_examples=3000, deadline=None)
def test_the_screen_agrees_at_length(width: int, data: st.DataObject) -> None:
    with narrow(width):
        agree(data, data.draw(st.integers(1, 10)), start=data.draw(st.integers(1, 3)))
