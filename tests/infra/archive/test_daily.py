"""Daily sums equal what the readings come to, whatever is late, revised, compacted or still in the log."""

import datetime
import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridspine.infra.archive.compact import compact_day
from gridspine.infra.archive.session import offer_daily, offer_readings, open_session
from gridspine.infra.archive.settle import settle
from gridspine.infra.archive.tail import snapshot
from gridspine.kernel.readings import Channel

SECOND = 1_000_000
DAY = 86_400 * SECOND
T0 = 1_772_323_200 * SECOND
SQL = (
    "SELECT CAST(day AS VARCHAR), point, thing, property, channel, unit, readings, valid, value_sum, value_min, "
    "value_max, value_mean, epoch_us(first_observed), epoch_us(last_observed) FROM daily ORDER BY ALL"
)


def model(node, as_of_us=None):
    """The sums as a person would work them out."""
    groups = defaultdict(list)
    for point, thing, name, at, _, value, unit, quality, channel, _, _ in node.latest(as_of_us):
        day = datetime.datetime.fromtimestamp(at // SECOND, datetime.UTC).date().isoformat()
        groups[day, point, thing, name, channel, unit].append((at, value, quality & 3 == 0))
    rows = []
    for key, found in groups.items():
        valid = [value for _, value, good in found if good]
        values = (sum(valid), min(valid), max(valid), sum(valid) / len(valid)) if valid else (None,) * 4
        times = [at for at, _, _ in found]
        rows.append((*key, len(found), len(valid), *values, min(times), max(times)))
    return sorted(rows)


def asked_here(node, sql, as_of_us=None):
    """Ask in this process: a child for each example would take a second each."""
    files, tail, _ = snapshot(node.archive, node.log_folder, 1, 10_000)
    connection = open_session()
    offer_readings(connection, node.archive, files, tail, as_of_us)
    offer_daily(connection, node.archive, files, tail, as_of_us)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


READING = st.tuples(
    st.integers(0, 3),
    st.integers(0, 2).flatmap(lambda day: st.integers(0, 5).map(lambda at: T0 + day * DAY + at * 7201 * SECOND)),
    st.integers(-50, 50).map(float),
    st.sampled_from([0, 1, 3, 0x2000]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(READING, min_size=1, max_size=12), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("archive"), st.integers(5, 20)),
        st.tuples(st.just("compact"), st.integers(0, 2), st.integers(2, 30)),
    ),
    min_size=2,
    max_size=12,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_daily_sums_are_those_of_the_readings(make_node, tmp_path_factory, steps):
    check_sums(make_node, tmp_path_factory, steps)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_daily_sums_of_many_more(make_node, tmp_path_factory, steps):
    check_sums(make_node, tmp_path_factory, steps)


def check_sums(make_node, tmp_path_factory, steps):
    node = make_node(tmp_path_factory.mktemp("daily"))
    node.bind(1)
    try:
        for number, (kind, *step) in enumerate(steps):
            if kind == "append":
                rows, channel, late = step
                node.append(rows, received_us=T0 + (20 - number if late else number) * DAY, channel=Channel(channel))
            elif kind == "archive":
                node.archive_all(max_rows=step[0])
            else:
                table, _ = node.archiver()
                for day in sorted({file.day for file in table.files()})[step[0] : step[0] + 1]:
                    compact_day(table, day, slice_rows=step[1])
                table.close()
        assert asked_here(node, SQL) == model(node)
        moment = T0 + 3 * DAY
        assert asked_here(node, SQL, moment) == model(node, moment)
    finally:
        node.log.close()


def test_sums_that_are_kept_are_used_and_those_of_days_with_late_readings_are_not(node, ask):
    """What is in the files of sums is what is answered: so it must never be asked for a day that still moves."""
    node.bind(1)
    node.append([(0, T0 + n * 3600 * SECOND, float(n), 0) for n in range(48)])
    node.archive_all()
    table, _ = node.archiver()
    days = sorted({file.day for file in table.files()})
    for day in days:
        compact_day(table, day)
    table.close()
    kept = sorted((node.archive / "daily").glob("*.parquet"))
    assert len(kept) == 2
    node.append([(0, T0, 1000.0, 0)])  # a revision, on the first day
    assert ask(SQL) == model(node)
    used = ask("SELECT CAST(day AS VARCHAR), value_sum FROM daily ORDER BY day")
    assert [total for _, total in used] == [sum(range(24)) + 1000.0, sum(range(24, 48))]
    node.archive_all()
    assert ask(SQL) == model(node)
    table, _ = node.archiver()
    compact_day(table, days[0])
    table.vacuum(retention_s=0.0)
    table.close()
    assert len(list((node.archive / "daily").glob("*.parquet"))) == 2
    assert ask(SQL) == model(node)


def test_lost_files_of_sums_are_noticed_by_an_archive_that_is_opened_anew(node, ask):
    node.bind(1)
    node.append([(0, T0 + n * 3600 * SECOND, float(n), 0) for n in range(24)])
    node.archive_all()
    table, _ = node.archiver()
    compact_day(table, table.files()[0].day)
    table.close()
    for path in (node.archive / "daily").glob("*.parquet"):
        path.unlink()
    (node.archive / "manifest.json").unlink()
    node.archive_all()
    assert ask(SQL) == model(node)


@pytest.mark.parametrize("slice_rows", [7, 1000])
def test_many_files_with_several_row_groups_keep_their_sums(node, ask, slice_rows):
    source = np.random.default_rng(1)
    node.bind(4)
    for _ in range(6):
        at = source.integers(0, 24 * 3600, 60) * SECOND + T0
        rows = [(int(source.integers(0, 16)), int(when), float(source.integers(0, 9)), 0) for when in at]
        node.append(rows)
        node.archive_all()
    table, _ = node.archiver()
    (day,) = {file.day for file in table.files()}
    old = table.files()
    new = settle(node.archive, day, old, 0, slice_rows=slice_rows, file_rows=50)
    assert (len(new) > 1) is (slice_rows == 7)
    assert sum(file.rows for file in new) == sum(file.rows for file in old) == 360
    assert all(first.last_point <= second.first_point for first, second in itertools.pairwise(new))
    table.replace(old, new)
    table.close()
    found, wanted = ask(SQL), model(node)
    assert [row[:8] for row in found] == [row[:8] for row in wanted]
    assert all(math.isclose(a[8], b[8]) for a, b in zip(found, wanted, strict=True))
    assert ask.readings() == node.latest()
