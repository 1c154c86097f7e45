"""The screen at its edges: the largest code, the words of refusals, batches that settle, points that are new."""

from collections.abc import Iterable

import numpy as np
import pytest
from things_plant import Plant, readings
from things_slow_screen import ACCEPTED, DUPLICATE, REFUSED, SUPPRESSED

from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import Channel
from gridspine.kernel.time import MAX_US, MIN_US
from gridspine.things.posting import _SCREENING
from gridspine.things.screen import REASONS, Screen

INCONSISTENT = int(Quality.INCONSISTENT)


def of(plant: Plant, name: str, values: Iterable[float], quality: int = 0) -> tuple[list[int], list[str]]:
    got = Screen(plant.points).screen(readings([(plant.number(name), t, v, quality) for t, v in enumerate(values)]))
    return got.verdict.tolist(), [REASONS[code] for code in got.reason.tolist()]


def test_the_largest_code_is_the_largest_whole_number_that_is_exact() -> None:
    """Above it, neighbours are the same float64: IEEE 754, binary64."""
    verdict, reason = of(Plant(), "jFlaps", [107.0, 2.0**53, -(2.0**53), 2.0**53 + 2, -(2.0**53) - 2, 2.0**54])
    assert verdict[:3] == [ACCEPTED] * 3
    assert verdict[3:] == [REFUSED] * 3
    assert reason == [""] * 3 + ["not-a-code"] * 3


@pytest.mark.parametrize(
    ("name", "value", "quality", "reason"),
    [("jFlaps", 1.5, 0, "not-a-code"), ("bDeadband", 1.0, 0x8000, "bad-quality"), ("aPlain", 51.0, 0, "impossible"),
     ("aPlain", float("nan"), 0, "not-finite")],
)  # fmt: skip
def test_a_refusal_names_its_reason(name: str, value: float, quality: int, reason: str) -> None:
    assert of(Plant(), name, [value], quality) == ([REFUSED], [reason])


def test_a_bound_itself_is_possible_and_within_its_limit_also_beside_what_is_not() -> None:
    plant = Plant()
    point = plant.number("aPlain")
    rows = [(point, t, value, 0) for t, value in enumerate([-50.0, -20.0, 20.0, 50.0, 51.0])]
    got = Screen(plant.points).screen(readings(rows))
    assert got.verdict.tolist() == [ACCEPTED] * 4 + [REFUSED]
    assert got.beyond.tolist() == [True, False, False, True]


def test_a_plan_may_reach_to_the_ends_of_time_and_no_further() -> None:
    plant = Plant()
    batch = readings([(plant.number("bDeadband"), 0, 1.0, 0)] * 4, channel=Channel.PLANNED)
    batch.observed_us[:] = [MIN_US, MAX_US, MIN_US - 1, MAX_US + 1]
    got = Screen(plant.points).screen(batch)
    assert got.verdict.tolist() == [ACCEPTED, ACCEPTED, REFUSED, REFUSED]
    assert [REASONS[code] for code in got.reason.tolist()][2:] == ["future-time"] * 2


def test_a_register_that_falls_within_a_microsecond_has_fallen() -> None:
    plant = Plant()
    point = plant.number("gRegister")
    got = Screen(plant.points).screen(readings([(point, 0, 10.0, 0), (point, 1e-6, 5.0, 0)]))
    assert [bool(quality & INCONSISTENT) for quality in got.accepted.quality.tolist()] == [False, True]


def test_every_reason_has_words() -> None:
    assert set(_SCREENING) == set(REASONS) - {""}


def test_a_settled_batch_is_not_taken_back_with_the_next() -> None:
    """Only what is settled counts in the horizon, and each batch once."""
    plant = Plant()
    screen, point = Screen(plant.points), plant.number("bDeadband")
    first = readings([(point, 5, 1, 0)])
    screen.screen(first)
    assert len(screen.horizon) == 0
    screen.settle()
    assert len(screen.horizon) == 1
    screen.undo(screen.screen(readings([(point, 6, 50, 0)])))
    assert len(screen.horizon) == 1
    assert screen.screen(first).verdict.tolist() == [DUPLICATE]


def test_a_held_reading_of_a_point_that_the_screen_has_not_met_is_released() -> None:
    """After a restart what was held may be the first that the screen hears of a point."""
    plant = Plant()
    screen = Screen(plant.points)
    plant.add()
    point = plant.number("dInterval", 1)
    released = screen.release(readings([(point, 5, 7, 0)]))
    assert released.verdict.tolist() == [ACCEPTED]
    assert len(released.held) == len(released.held_until_us) == 0, "what was released is held no more"
    assert screen.memory.value.array[point] == 7


def test_what_was_released_is_what_the_next_is_compared_with() -> None:
    """Its time and its quality too: a change of quality always passes, none does not."""
    plant = Plant()
    screen, point = Screen(plant.points), plant.number("bDeadband")
    screen.screen(readings([(point, 1, 7.0, 0)]))
    screen.settle()
    screen.release(readings([(point, 5, 7.0, 64)]))
    screen.settle()
    assert screen.memory.observed_us.array[point] == readings([(point, 5, 7.0, 64)]).observed_us[0]
    assert screen.screen(readings([(point, 6, 7.5, 64)])).verdict.tolist() == [SUPPRESSED]
    assert screen.screen(readings([(point, 7, 7.5, 0)])).verdict.tolist() == [ACCEPTED]


def test_a_batch_of_the_log_is_settled_when_it_is_taken_up() -> None:
    """Nobody says later that it is durable, and no later batch that fails takes it along."""
    plant = Plant()
    screen, point = Screen(plant.points), plant.number("bDeadband")
    known = readings([(point, 5, 1.0, 0)])
    screen.remember(known)
    assert len(screen.horizon) == 1
    screen.undo(screen.screen(readings([(point, 6, 50.0, 0)])))
    assert screen.screen(known).verdict.tolist() == [DUPLICATE]


def test_backfill_has_no_latest_of_its_own() -> None:
    plant = Plant()
    rows = [(plant.number("aPlain"), t, 1.0, 0) for t in range(3)]
    assert len(Screen(plant.points).screen(readings(rows, backfill=True)).latest) == 0
    latest = Screen(plant.points).screen(readings(rows)).latest
    assert np.array_equal(latest.value, [1.0])
    assert len(latest) == 1
