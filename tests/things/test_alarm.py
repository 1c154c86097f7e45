"""Alarms: raised once, counted, ended, acknowledged; the table against one written row by row."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.errors import Conflict, Corrupt, NotFound
from gridspine.things.alarm import (
    PRIORITY_OF,
    Alarm,
    AlarmChanged,
    AlarmKind,
    AlarmTable,
    Priority,
    decode_change,
    encode_change,
)

HIGH = AlarmKind.HIGH


def table(**given: Any) -> AlarmTable:
    return AlarmTable(lambda number: f"urn:x:{number}/p", **given)


def hear(alarms: AlarmTable, *rows: tuple[int, bool, int], kind: AlarmKind = HIGH, **given: Any) -> list[AlarmChanged]:
    point, met, time = (list(column) for column in zip(*rows, strict=True))
    return alarms.update(
        kind,
        np.array(point, np.int32),
        np.array(met, np.bool_),
        np.array(time, np.int64),
        np.array(time, np.float64) * 10,
        **given,
    )


def test_raised_once_counted_and_ended() -> None:
    alarms = table()
    assert hear(alarms, (5, False, 1)) == []
    (raised,) = hear(alarms, (5, True, 2), (6, False, 2))
    assert raised.alarm == Alarm(5, "urn:x:5/p", HIGH, Priority.HIGH, 2, 2, 1, 20.0)
    assert hear(alarms, (5, True, 3), (5, True, 4)) == []
    assert alarms.alarm(5, HIGH).count == 3
    (ended,) = hear(alarms, (5, False, 5))
    assert (ended.alarm.over_us, ended.alarm.count, ended.alarm.last_us, ended.alarm.value) == (5, 3, 4, 40.0)
    assert hear(alarms, (5, False, 6)) == []
    assert alarms.alarms(active=True) == [] and len(alarms.alarms(active=False)) == 1


def test_met_and_over_within_one_batch_is_seen() -> None:
    alarms = table()
    changes = hear(alarms, (5, False, 1), (5, True, 2), (5, False, 3))
    assert [change.alarm.active for change in changes] == [True, False]
    changes = hear(alarms, (5, True, 4), (5, False, 5), (5, True, 6))
    assert [change.alarm.active for change in changes] == [True]
    assert alarms.alarm(5, HIGH).count == 3


def test_an_acknowledged_alarm_goes_when_it_is_over_and_needs_a_person() -> None:
    alarms = table()
    hear(alarms, (5, True, 1))
    with pytest.raises(Conflict, match="named person"):
        alarms.acknowledge(5, HIGH, "", 2)
    change = alarms.acknowledge(5, HIGH, "ann", 2, "looking")
    assert not alarms.alarm(5, HIGH).acknowledged_by, "not before it is durable"
    alarms.apply(change)
    with pytest.raises(Conflict, match="ann"):
        alarms.acknowledge(5, HIGH, "bob", 3)
    hear(alarms, (5, False, 4))
    with pytest.raises(NotFound):
        alarms.alarm(5, HIGH)
    assert [one.alarm.count for one in hear(alarms, (5, True, 5))] == [1], "a new alarm, not the old one"


def test_an_alarm_that_is_over_waits_for_a_person() -> None:
    alarms = table()
    hear(alarms, (5, True, 1), (5, False, 2))
    alarms.apply(alarms.acknowledge(5, HIGH, "ann", 3))
    assert len(alarms) == 0


def test_met_again_asks_for_a_person_again() -> None:
    alarms = table()
    hear(alarms, (5, True, 1))
    change = alarms.acknowledge(5, HIGH, "ann", 2)
    hear(alarms, (5, True, 3))
    hear(alarms, (5, False, 4))
    alarms.apply(change)
    assert len(alarms) == 0, "ended while the acknowledgement was on its way: seen and over"
    hear(alarms, (5, True, 5), (5, False, 6))
    (back,) = hear(alarms, (5, True, 7))
    assert (back.alarm.active, back.alarm.acknowledged_by, back.alarm.count) == (True, "", 2)


def test_kinds_do_not_meet() -> None:
    alarms = table()
    hear(alarms, (5, True, 1))
    hear(alarms, (5, True, 1), kind=AlarmKind.SILENCE)
    hear(alarms, (5, False, 2))
    assert [one.kind for one in alarms.alarms(active=True)] == [AlarmKind.SILENCE]
    assert set(PRIORITY_OF) == set(AlarmKind)


def test_a_full_table_keeps_what_matters_and_counts_the_rest() -> None:
    alarms = table(max_alarms=2)
    hear(alarms, (1, True, 1), priority=Priority.LOW)
    hear(alarms, (2, True, 2), priority=Priority.MEDIUM)
    assert hear(alarms, (3, True, 3), priority=Priority.LOW)[0].dropped, "the older of two low ones gives way"
    assert [one.number for one in alarms.alarms()] == [2, 3]
    assert hear(alarms, (4, True, 1), priority=Priority.LOW) == [], "no more than what is there: it waits"
    changes = hear(alarms, (5, True, 5), priority=Priority.CRITICAL)
    assert [(one.alarm.number, one.dropped) for one in changes] == [(3, True), (5, False)]
    hear(alarms, (2, False, 6))
    assert [one.alarm.number for one in hear(alarms, (4, True, 7), priority=Priority.LOW)] == [2, 4]
    assert alarms.overflowed == 4 and len(alarms) == 2
    assert [one.alarm.number for one in hear(alarms, (3, True, 8), priority=Priority.HIGH)] == [4, 3], "met again"


batches = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 9)), min_size=1, max_size=12), max_size=6
)


@given(batches)
def test_the_table_is_what_row_by_row_would_give(given_batches: list[list[tuple[int, bool, int]]]) -> None:
    alarms = table()
    plain: dict[int, dict[str, Any]] = {}
    told: list[AlarmChanged] = []
    time = 0
    for batch in given_batches:
        rows = []
        for number, met, step in batch:
            time += step
            rows.append((number, met, time))
            one = plain.get(number)
            if met:
                one = plain.setdefault(number, {"first": time, "count": 0})
                one |= {"count": one["count"] + 1, "last": time, "active": True}
            elif one is not None:
                one["active"] = False
        told += hear(alarms, *rows)
    assert {one.number: (one.first_us, one.last_us, one.count, one.active) for one in alarms.alarms()} == {
        number: (one["first"], one["last"], one["count"], one["active"]) for number, one in plain.items()
    }
    again = table()
    for change in told:
        again.apply(decode_change(encode_change(change)))
    assert [(one.number, one.active) for one in again.alarms()] == [(one.number, one.active) for one in alarms.alarms()]
    for earlier, later in itertools.pairwise(told):
        assert earlier != later


def test_damaged_changes_are_named_so() -> None:
    with pytest.raises(Corrupt):
        decode_change(b"{}")


def test_an_empty_batch_says_nothing() -> None:
    empty = np.zeros(0)
    assert table().update(HIGH, empty.astype(np.int32), empty.astype(bool), empty.astype(np.int64), empty) == []
