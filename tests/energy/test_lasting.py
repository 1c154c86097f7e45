"""Values that still hold in intervals in which nothing was read."""

import pytest

from gridspine.energy.lasting import Lasting, Slot, lasted

NEVER = -(1 << 62)
STEP = 60
SILENT = Lasting(90, NEVER, NEVER)  # it was not heard of since


def told(slots, before, rule, count=4):
    values, earlier = lasted(slots, before, rule, 0, STEP, count)
    return list(values), earlier


def test_a_value_lasts_as_long_as_its_point_may_be_silent():
    assert told({0: Slot(5, 31, 6)}, None, SILENT) == ([5, 6, None, None], (1,))
    assert told({0: Slot(5, 29, 6)}, None, SILENT) == ([5, None, None, None], ())


def test_a_value_lasts_while_its_point_is_heard_of():
    heard = Lasting(90, -500, 100)
    assert told({}, Slot(None, -5_000, 7), heard) == ([7, 7, 7, None], (0, 1, 2))


def test_what_was_heard_after_a_silence_says_nothing_of_the_time_before():
    assert told({}, Slot(None, -5_000, 7), Lasting(90, 61, 1_000)) == ([None, None, 7, 7], (2, 3))


def test_a_value_that_never_ages_lasts():
    assert told({}, Slot(None, -5_000, 7), Lasting(0, NEVER, NEVER)) == ([7, 7, 7, 7], (0, 1, 2, 3))


@pytest.mark.parametrize("rule", [SILENT, Lasting(90, -500, 1_000), Lasting(0, NEVER, NEVER)])
def test_what_is_not_valid_does_not_last(rule):
    assert told({1: Slot(None, 70, None)}, Slot(None, -1, 7), rule)[0][1:] == [None, None, None]
    assert told({}, None, rule) == ([None] * 4, ())


def test_what_is_read_anew_is_told_and_lasts_from_then_on():
    slots = {0: Slot(5, 59, 6), 2: Slot(8, 179, 9)}
    assert told(slots, Slot(None, -1, 7), Lasting(90, -500, 1_000)) == ([5, 6, 8, 9], (1, 3))
