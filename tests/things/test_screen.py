"""The screen against a slow and obvious one, and each rule of the house by name."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from things_plant import NOW_US, Plant, readings
from things_slow_screen import ACCEPTED, DUPLICATE, HELD, REFUSED, SUPPRESSED, Known, SlowScreen

from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import MAX_BATCH, Channel, Readings
from gridspine.kernel.time import US
from gridspine.things import exception
from gridspine.things.screen import REASONS, Screen, Screened
from gridspine.things.twin import TwinState

OUT = int(Quality.QUESTIONABLE | Quality.OUT_OF_RANGE)
ODD_QUALITIES = [1, 3, OUT, int(Quality.TEST), 0x7FFF, 0x8000]
ODD_VALUES = [0.5, -0.0, 21.0, 25.0, 51.0, -51.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 2.0**60]
ODD_TIMES = [0.5, 106.0, 105.0, -1e6, -1.8e9, 1e10]


@st.composite
def batches(draw: st.DrawFn, points: list[int]) -> Readings:
    """Small numbers, so that readings meet each other often, and odd ones now and then.

    Short batches are drawn one by one, so that a failure shrinks; long ones come from a seed.
    """
    odd = draw(st.integers(0, 3)) == 0
    qualities = [0] * 30 + ODD_QUALITIES if odd else [0] * 15 + [OUT]
    values = [float(v) for v in (*range(10), *range(4), *range(4))] + (ODD_VALUES if odd else [])
    times = [float(t) for t in (*range(15), *range(12, 40))] + (ODD_TIMES if odd else [])
    if draw(st.booleans()):
        row = st.tuples(*(st.sampled_from(column) for column in (points, times, values, qualities)))
        rows = draw(st.lists(row, max_size=12))
    else:
        rng = random.Random(draw(st.integers(0, 2**32)))
        rows = [tuple(map(rng.choice, (points, times, values, qualities))) for _ in range(rng.randrange(80))]
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
@settings(max_examples=300, deadline=None)
def test_the_screen_agrees_with_a_slow_and_obvious_one(width: int, data: st.DataObject) -> None:
    with narrow(width):
        agree(data, data.draw(st.integers(1, 6)), start=1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("width", [1, 2, 64])
@given(data=st.data())
@settings(max_examples=700, deadline=None)
def test_the_screen_agrees_at_length(width: int, data: st.DataObject) -> None:
    with narrow(width):
        agree(data, data.draw(st.integers(1, 10)), start=data.draw(st.integers(1, 3)))


def screened(rows: list[tuple[str, float, float, int]], **more: object) -> Screened:
    """Screen one batch of (point name, time [s], value, quality) on a fresh screen."""
    plant = Plant()
    batch = readings([(plant.number(name), *rest) for name, *rest in rows], **more)
    return Screen(plant.points).screen(batch)


def verdicts(rows: list[tuple[str, float, float, int]], **more: object) -> list[int]:
    return screened(rows, **more).verdict.tolist()


def test_impossible_is_refused_and_beyond_a_limit_is_delivered_marked_and_alarmed() -> None:
    got = screened([("aPlain", 0, 51, 0), ("aPlain", 1, 21, 0), ("aPlain", 2, 5, 0), ("aPlain", 3, -21, 1)])
    assert [REASONS[code] for code in got.reason] == ["impossible", "", "", ""]
    assert got.accepted.value.tolist() == [21, 5, -21]
    invalid_and_out = int(Quality.INVALID | Quality.OUT_OF_RANGE)
    assert got.accepted.quality.tolist() == [OUT, 0, invalid_and_out]  # invalid stays invalid
    assert got.beyond.tolist() == [True, False, True]


def test_a_slow_drift_is_seen_because_the_reference_is_what_was_reported() -> None:
    rows = [("bDeadband", t, t * 0.5, 0) for t in range(21)]
    got = screened(rows)
    assert got.accepted.value.tolist() == [0, 2.5, 5, 7.5, 10]


def test_a_relative_deadband_is_per_cent_of_span() -> None:
    assert verdicts([("cSpan", 0, 1, 0), ("cSpan", 1, 2.9, 0), ("cSpan", 2, 3.1, 0)]) == [0, SUPPRESSED, 0]


def test_changes_of_quality_and_limit_pass_a_deadband() -> None:
    rows = [("cSpan", 0, 19.5, 0), ("cSpan", 1, 20.5, 0), ("cSpan", 2, 19.9, 0), ("cSpan", 3, 19.9, 1)]
    assert verdicts(rows) == [ACCEPTED] * 4


def test_what_is_no_instantaneous_quantity_never_waits() -> None:
    for name in ("gRegister", "hEnergy", "iState", "kSetting", "lSettled"):
        assert verdicts([(name, t, 5, 0) for t in range(9)]) == [ACCEPTED] * 9


def test_a_minimum_interval_holds_the_latest_also_when_it_came_back() -> None:
    rows = [("dInterval", 0, 0, 0), ("dInterval", 1, 9, 0), ("dInterval", 2, 0.5, 0), ("dInterval", 6, 0.6, 0)]
    got = screened(rows)
    assert got.verdict.tolist() == [ACCEPTED, HELD, HELD, ACCEPTED]
    assert got.held_until_us.tolist() == [NOW_US + 11 * US] * 2


def test_a_revision_is_kept_although_the_deadband_would_hide_it() -> None:
    assert verdicts([("bDeadband", 0, 5, 0), ("bDeadband", 0, 5.5, 0), ("bDeadband", 0, 5, 0)]) == [0, 0, DUPLICATE]


def test_channels_never_mix() -> None:
    plant = Plant()
    screen, row = Screen(plant.points), [(plant.number("bDeadband"), 5, 1, 0)]
    for channel in Channel:
        for _ in range(2):
            got = screen.screen(readings(row, channel=channel))
            screen.settle()
            expected = ACCEPTED if _ == 0 else DUPLICATE
            assert got.verdict.tolist() == [expected]
    assert screen.screen(readings([(row[0][0], 6, 1.5, 0)])).verdict.tolist() == [SUPPRESSED]


def test_a_plan_may_lie_ahead_and_a_report_may_not() -> None:
    row = [("aPlain", 1e6, 1, 0)]
    assert verdicts(row) == [REFUSED]
    assert verdicts(row, channel=Channel.EMULATED) == [REFUSED]
    assert verdicts(row, channel=Channel.PLANNED) == [ACCEPTED]
    assert verdicts(row, channel=Channel.COMMANDED) == [ACCEPTED]
    assert verdicts([("aPlain", 1e12, 1, 0)], channel=Channel.PLANNED) == [REFUSED]


def test_a_marked_reading_sent_again_is_a_duplicate() -> None:
    plant = Plant()
    screen, rate, register = Screen(plant.points), plant.number("fRate"), plant.number("gRegister")
    rows = [(rate, 0, 0, 0), (rate, 1, 9, 0), (register, 0, 50, 0), (register, 1, 40, 0)]
    first = screen.screen(readings(rows))
    screen.settle()
    assert first.accepted.quality.tolist() == [0, OUT, 0, OUT | int(Quality.QUESTIONABLE | Quality.INCONSISTENT)]
    assert screen.screen(readings(rows)).verdict.tolist() == [DUPLICATE] * 4


def test_what_was_suppressed_or_held_and_is_sent_again_is_a_duplicate() -> None:
    plant = Plant()
    screen, point = Screen(plant.points), plant.number("dInterval")
    rows = [(point, 0, 0, 0), (point, 1, 1, 0), (point, 2, 9, 0)]
    assert screen.screen(readings(rows)).verdict.tolist() == [ACCEPTED, SUPPRESSED, HELD]
    screen.settle()
    screen.screen(readings([(point, 20, 30, 0)]))
    screen.settle()
    assert screen.screen(readings(rows)).verdict.tolist() == [DUPLICATE] * 3


def test_backfill_moves_no_reference_and_is_known_when_sent_again() -> None:
    plant = Plant()
    screen, point = Screen(plant.points), plant.number("bDeadband")
    screen.screen(readings([(point, 5, 1, 0)]))
    screen.settle()
    history = readings([(point, t, 50, 0) for t in (1, 8)], backfill=True)
    assert screen.screen(history).verdict.tolist() == [ACCEPTED] * 2
    screen.settle()
    assert screen.screen(readings([(point, 9, 1.5, 0)])).verdict.tolist() == [SUPPRESSED]
    screen.settle()
    assert screen.screen(history).verdict.tolist() == [DUPLICATE] * 2


def test_alarms_of_a_flapping_state_pass() -> None:
    rows = [("jFlaps", t * 0.5, value, 0) for t, value in enumerate([0, 1, 0, 1, 0, 9, 9, 10, 1])]
    got = screened(rows)
    assert got.verdict.tolist() == [0, 0, 0, 0, HELD, 0, 0, 0, 0]
    assert got.beyond.tolist() == [False, False, False, False, True, True, True, False]
    oscillatory = int(Quality.QUESTIONABLE | Quality.OSCILLATORY)
    assert got.accepted.quality.tolist() == [0, 0, 0, oscillatory, *[oscillatory | OUT] * 3, oscillatory]


def test_a_failure_halfway_leaves_the_memory_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant()
    screen, point = Screen(plant.points), plant.number("bDeadband")
    screen.screen(readings([(point, 5, 1, 0)]))
    screen.settle()
    monkeypatch.setattr(screen.memory, "remember_newest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        screen.screen(readings([(point, 6, 50, 0)]))
    monkeypatch.undo()
    assert screen.screen(readings([(point, 7, 1.5, 0)])).verdict.tolist() == [SUPPRESSED]
    screen.settle()


@pytest.mark.parametrize("name", ["bDeadband", "dInterval", "eWaits", "fRate", "gRegister", "jFlaps"])
def test_a_large_batch_of_one_point_agrees_by_every_path(name: str) -> None:
    plant = Plant()
    rng = np.random.default_rng(11)
    times, values = rng.integers(0, 20_000, MAX_BATCH) / 2, np.rint(np.cumsum(rng.normal(0, 1, MAX_BATCH))) % 12
    rows = [(plant.number(name), float(t), float(v), 0) for t, v in zip(times, values, strict=True)]
    batch = readings(rows, received_s=20_000)
    outcomes = []
    for width in (1, 64):
        with narrow(width):
            screen = Screen(plant.points)
            got = screen.screen(batch)
            check(batch, got, slow := SlowScreen(plant.models))
            check_memory(screen, slow, plant.points.count)
            outcomes.append(got.verdict)
    assert (outcomes[0] == outcomes[1]).all()
    assert len(np.unique(outcomes[0])) >= (2 if name != "gRegister" else 1)


def test_splitting_a_batch_changes_nothing() -> None:
    plant = Plant(3)
    rng = random.Random(5)
    columns = (list(range(plant.points.count)), [float(v) for v in range(8)], [0, 0, 0, OUT])
    rows = sorted((t / 4, *(rng.choice(column) for column in columns)) for t in range(400))
    batch = readings([(point, t, value, quality) for t, point, value, quality in rows])
    whole, parts = Screen(plant.points), Screen(plant.points)
    expected = whole.screen(batch).verdict.tolist()
    got = [parts.screen(batch.take(slice(at, at + 7))).verdict.tolist() for at in range(0, len(batch), 7)]
    assert [verdict for part in got for verdict in part] == expected


def test_restarted_it_knows_what_the_log_holds() -> None:
    plant = Plant()
    screen, point = Screen(plant.points), plant.number("dInterval")
    got = screen.screen(readings([(point, 0, 25, 0), (plant.number("aPlain"), 0, 25, 0)]))
    twins = TwinState()
    twins.apply(got.accepted)
    again = Screen(plant.points)
    again.restore(twins)
    again.remember(got.accepted)
    rows = [(point, 0, 25, 0), (plant.number("aPlain"), 0, 25, 0), (point, 1, 26, 0), (point, 2, 50, 0)]
    assert again.screen(readings(rows)).verdict.tolist() == [DUPLICATE, DUPLICATE, SUPPRESSED, HELD]
