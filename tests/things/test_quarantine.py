"""Quarantine: every refused item is kept or, beyond a quota, counted; no record outgrows the log."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.log.port import MAX_RECORD_BYTES
from gridspine.kernel.errors import Corrupt
from gridspine.kernel.readings import ItemProblem, NamedReadings, named_readings
from gridspine.things.adapter import Source
from gridspine.things.quarantine import Quarantined, Quota, decode_quarantined, quarantine_records

SOURCE = Source("p", "org", "s")


def batch(n: int) -> NamedReadings:
    named = named_readings([(f"urn:x:t/{k % 7}", "", k, k / 2, 0) for k in range(n)])
    named.item[:] = named.item * 2 + 1
    return named


def read(named: NamedReadings, problems: list[ItemProblem], left: int = 10**9) -> list[Quarantined]:
    records = quarantine_records(named, problems, SOURCE, 5, left)
    assert all(len(record.body) < MAX_RECORD_BYTES // 2 for record in records)
    assert {record.topic for record in records} <= {"quarantine"}
    return [decode_quarantined(record.body) for record in records]


@given(st.lists(st.integers(0, 40), unique=True, max_size=30), st.integers(0, 40))
def test_every_item_is_kept_with_its_value_or_counted(items: list[int], left: int) -> None:
    problems = [ItemProblem(item, f"r{item % 3}", "d") for item in items]
    parts = read(batch(15), problems, left)
    kept = [row for q in parts for row in zip(q.item, q.reason, q.observed_us, q.value, strict=True)]
    assert [row[:2] for row in kept] == [(p.index, p.reason) for p in problems[:left]]
    for item, _, observed_us, value in kept:
        readable = item % 2 == 1 and item < 30
        assert (observed_us, value) == ((item // 2, item // 2 / 2) if readable else (None, None))
    assert sum(sum(q.beyond.values()) for q in parts) == len(problems[left:])


def test_long_names_of_any_script_never_outgrow_a_record() -> None:
    problems = [ItemProblem(k, "malformed", "é" * 500, "漢" * 1000) for k in range(32_000)]
    parts = read(batch(0), problems)
    assert sum(len(q.item) for q in parts) == 32_000
    assert len(parts[0].name[0].encode()) <= 400


def test_half_a_character_is_no_reason_to_lose_a_batch() -> None:
    (part,) = read(batch(0), [ItemProblem(0, "malformed", "\ud800", "a\udfff" + "é" * 300)])
    assert part.name[0].startswith("a?é")


def test_a_value_that_is_no_number_is_kept_too() -> None:
    named = named_readings([("x", "", 1, math.nan, 0), ("x", "", 1, math.inf, 0)])
    (part,) = read(named, [ItemProblem(0, "not-finite", ""), ItemProblem(1, "not-finite", "")])
    assert math.isnan(part.value[0])
    assert part.value[1] == math.inf


def test_a_quota_fills_and_comes_back_with_the_hour() -> None:
    quota, hour_us = Quota(10), 3600 * 1_000_000
    assert quota.left("p", 0) == 10
    quota.spend("p", 7, 0)
    quota.spend("p", 7, hour_us - 1)
    assert (quota.left("p", hour_us - 1), quota.left("q", 0)) == (0, 10)
    assert quota.left("p", hour_us) == 10
    quota.spend("p", 1, hour_us)
    assert quota.left("p", hour_us) == 9


@given(st.binary(max_size=80))
def test_damage_is_corrupt(body: bytes) -> None:
    with pytest.raises(Corrupt):
        decode_quarantined(b"\xc1" + body)
    with contextlib.suppress(Corrupt):
        decode_quarantined(body)
