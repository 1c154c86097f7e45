"""Files left out never change an answer; and those that cannot matter are left out."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridspine.infra.archive.guard import check
from gridspine.infra.archive.prune import Span, needed, spans
from gridspine.infra.archive.session import offer_daily, offer_readings, open_session
from gridspine.infra.archive.settle import settle
from gridspine.infra.archive.tail import snapshot

SECOND = 1_000_000
DAY = 86_400 * SECOND
T0 = 1_772_323_200 * SECOND
TABLES = frozenset({"readings", "revisions", "daily", "readings_as_of"})
METER = "urn:dev:ops:32473-meter-"


@pytest.fixture(scope="module")
def many(make_node, tmp_path_factory):
    """An archive of many small files: six days of sixteen points, some compacted by few points a file, some late."""
    node = make_node(tmp_path_factory.mktemp("many"))
    node.bind(4)
    for day in range(6):
        for part in range(2):
            start = T0 + day * DAY + part * 12 * 3600 * SECOND
            node.append([(p, start + p * 60 * SECOND, float(p + day), 0) for p in range(16)])
            node.archive_all()
    table, _ = node.archiver()
    for day in sorted({file.day for file in table.files()})[:3]:
        old = [file for file in table.files() if file.day == day]
        table.replace(old, settle(node.archive, day, old, 0, slice_rows=4, file_rows=4))
    table.close()
    node.append([(3, T0 + 3 * 60 * SECOND, 100.0, 0), (5, T0 + 4 * DAY + 5 * 60 * SECOND, 200.0, 0)])
    node.archive_all()
    yield node
    node.log.close()


def answered(node, sql, *, prune):
    files, tail, _ = snapshot(node.archive, node.log_folder, 1, 10_000)
    connection = open_session()
    connection.execute("BEGIN")
    _, tree = check(connection, sql)
    kept = needed(files, spans(connection, tree, TABLES)) if prune else files
    offer_readings(connection, node.archive, kept, tail, None)
    offer_daily(connection, node.archive, kept, tail, None)
    try:
        return sorted(connection.execute(sql).fetchall()), len(kept), len(files)
    finally:
        connection.close()


def moment(step):
    return f"make_timestamptz({T0 + step * 6 * 3600 * SECOND})"


COMPARISONS = st.sampled_from(["=", "<", "<=", ">", ">="])
TIMES = st.integers(-2, 26).map(moment)
NAMES = st.sampled_from(
    [f"'{METER}{n}/{name}'" for n in range(5) for name in ("energy", "power")] + [f"'{METER}1'", "''", "'z'"]
)
THINGS = st.sampled_from([f"'{METER}{n}'" for n in range(5)] + [f"'{METER}'", "'urn:dev:ops:32473-meter-1x'", "'z'"])
CONDITIONS = st.one_of(
    st.builds("{a}observed {} {}".format, COMPARISONS, TIMES, a=st.just("{a}")),
    st.builds("{1} {0} {a}observed".format, COMPARISONS, TIMES, a=st.just("{a}")),
    st.builds("{a}point {} {}".format, COMPARISONS, NAMES, a=st.just("{a}")),
    st.builds("{a}thing {} {}".format, COMPARISONS, THINGS, a=st.just("{a}")),
    st.builds("{a}observed BETWEEN {} AND {}".format, TIMES, TIMES, a=st.just("{a}")),
    st.builds("{a}point IN ({}, {})".format, NAMES, NAMES, a=st.just("{a}")),
    st.builds("{a}thing NOT IN ({})".format, THINGS, a=st.just("{a}")),
    st.builds("NOT ({a}observed > {})".format, TIMES, a=st.just("{a}")),
    st.builds("({a}thing = {} OR {a}observed < {})".format, THINGS, TIMES, a=st.just("{a}")),
)
WHERE = st.lists(CONDITIONS, min_size=1, max_size=3).map(" AND ".join)
SHAPES = [
    "SELECT count(*), sum(value) FROM readings WHERE {w}",
    "SELECT count(*), sum(value) FROM revisions r WHERE {r}",
    "SELECT value FROM (SELECT value, observed, point, thing FROM readings) WHERE {w}",
    "SELECT a.point, b.value FROM readings a JOIN readings b USING (point, observed) WHERE {a}",
    "SELECT a.point, b.value FROM readings a LEFT JOIN readings b ON a.point = b.point AND b.value > 3 WHERE {b}",
    "SELECT a.value FROM readings a ANTI JOIN readings b ON a.point = b.point AND a.observed < b.observed WHERE {a}",
    "SELECT x.value FROM (SELECT * FROM readings) x ASOF JOIN readings b USING (point, observed) WHERE {x}",
    "WITH q AS (SELECT * FROM readings WHERE {w}) SELECT count(*) FROM q, (SELECT min(value) FROM readings)",
    "SELECT count(*) FROM readings WHERE {w} UNION ALL SELECT count(*) FROM revisions",
    "SELECT value FROM readings r WHERE {r} AND observed = (SELECT max(observed) FROM readings WHERE point = r.point)",
    "SELECT count(*) FROM readings_as_of(now()) r WHERE {r}",
    "WITH readings_ AS (SELECT observed + INTERVAL 2 days AS observed, point, thing, value FROM readings) "
    "SELECT count(*) FROM readings_ WHERE {w}",
]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SHAPES), WHERE)
def test_an_answer_is_the_same_without_the_files_left_out(many, shape, where):
    sql = shape.format(**{"w": where.format(a=""), **{alias: where.format(a=f"{alias}.") for alias in "abrx"}})
    pruned, _, _ = answered(many, sql, prune=True)
    whole, _, _ = answered(many, sql, prune=False)
    assert pruned == whole, sql


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["day", "first_observed", "last_observed"]), COMPARISONS, st.integers(-2, 26), st.booleans())
def test_daily_sums_are_whole_without_the_files_left_out(many, column, comparison, step, named):
    bound = f"CAST({moment(step)} AS DATE)" if column == "day" else moment(step)
    more = f" AND point = '{METER}1/power'" if named else ""
    sql = f"SELECT day, point, readings, value_sum FROM daily WHERE {column} {comparison} {bound}{more}"
    assert answered(many, sql, prune=True)[0] == answered(many, sql, prune=False)[0], sql


@pytest.mark.parametrize(
    ("sql", "most"),
    [
        (f"SELECT value FROM readings WHERE observed >= {moment(4)} AND observed < {moment(8)}", 8),
        (f"SELECT value FROM readings WHERE point = '{METER}1/power' AND observed < {moment(4)}", 2),
        (f"SELECT value FROM readings r WHERE r.observed < {moment(4)} AND r.thing IN ('{METER}0')", 3),
        ("SELECT value FROM readings WHERE observed BETWEEN '2026-03-06' AND TIMESTAMP '2026-03-06 01:00:00'", 1),
        ("SELECT value FROM readings WHERE observed > now() - INTERVAL 1 day", 0),
        (f"SELECT a.value FROM readings a, readings b WHERE a.observed < {moment(4)} AND b.observed < {moment(4)}", 9),
        ("SELECT value_sum FROM daily WHERE day = DATE '2026-03-06'", 5),
    ],
)
def test_what_cannot_matter_is_left_out(many, sql, most):
    _, kept, every = answered(many, sql, prune=True)
    assert kept <= most < every


@pytest.mark.parametrize(
    "condition",
    [
        "observed > make_timestamptz(CAST(random() * 1e15 AS BIGINT))",
        "point = 5::VARCHAR COLLATE NOCASE",
        "point COLLATE NOCASE = 'URN:X'",
        "observed > (SELECT max(created) FROM things)",
        "observed > received",
        "point LIKE 'urn%'",
        "observed > TIMESTAMPTZ 'infinity' - INTERVAL 1 day OR true",
    ],
)
def test_what_is_not_understood_leaves_everything_in(condition):
    connection = open_session()
    _, tree = check(connection, f"SELECT value FROM readings WHERE {condition}")
    assert spans(connection, tree, TABLES) == [Span()]
    connection.close()
