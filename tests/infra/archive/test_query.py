"""Strangers' SQL: what is answered, what is refused, and that nothing it does harms the node."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pyarrow as pa
import pytest

from gridspine.infra.archive.query import QueryInput
from gridspine.infra.archive.schema import HANDED_IN, READING_COLUMNS, TABLES
from gridspine.kernel.errors import GridspineError, Invalid, Overloaded, TooLarge, Unavailable

SECOND = 1_000_000
T0 = 1_772_323_200 * SECOND


@pytest.fixture(scope="module")
def small(make_node, tmp_path_factory):
    """A node with an archived hour of four points, a minute apart, and one reading in the tail."""
    node = make_node(tmp_path_factory.mktemp("small"))
    node.bind(1)
    node.append([(n % 4, T0 + n // 4 * 60 * SECOND, float(n), 0) for n in range(240)])
    node.archive_all()
    node.append([(1, T0 + 3600 * SECOND, 1000.0, 0)])
    yield node
    node.log.close()


@pytest.fixture
def pool_of(small):
    """Return a function that opens a pool with given limits; the fixture closes it."""
    opened = []

    def pool_of(**limits):
        opened.append(small.pool(**limits))
        return opened[-1]

    yield pool_of
    for pool in opened:
        pool.close()


@pytest.fixture(scope="module")
def pool(small):
    pool = small.pool(wall_s=20.0)
    yield pool
    pool.close()


ENDLESS = "SELECT sum(a.i * b.i) FROM range(100000000) a(i), range(100000) b(i)"


def rows(result):
    return msgspec.json.decode(result.body)["rows"]


def given():
    return QueryInput(
        points=lambda: [{"point": "urn:dev:ops:32473-meter-0/power", "unit": "W", "interval_s": 900}],
        things=lambda: [{"thing": "urn:dev:ops:32473-meter-0", "title": "Müller's meter", "created": T0}],
        events=lambda: [{"id": "1", "type": "thing.created", "time": T0, "data": '{"a": [1, 2]}'}],
    )


def test_down_sampling_by_time_bucket(pool):
    found = pool.run(
        "SELECT time_bucket(INTERVAL 15 minutes, observed) AS quarter, avg(value) AS mean, count(*) AS n "
        "FROM readings WHERE property = 'power' GROUP BY quarter ORDER BY quarter"
    )
    assert found.columns == [("quarter", "TIMESTAMP WITH TIME ZONE"), ("mean", "DOUBLE"), ("n", "BIGINT")]
    assert rows(found)[0] == ["2026-03-01T00:00:00Z", 29.0, 15]
    assert rows(found)[-1] == ["2026-03-01T01:00:00Z", 1000.0, 1]
    assert found.rows == 5


def test_arrow_answers(pool):
    found = pool.run("SELECT point, observed, value FROM readings ORDER BY observed, point LIMIT 5", format="arrow")
    table = pa.ipc.open_stream(found.body).read_all()
    assert table.schema.types == [pa.string(), pa.timestamp("us", "UTC"), pa.float64()]
    assert table.column("value").to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_tables_handed_in(pool):
    found = pool.run(
        "SELECT t.title, t.created, p.unit, p.interval_s, e.data->'$.a[1]' AS second, count(*) AS n FROM readings r "
        "JOIN points p USING (point) JOIN things t ON t.thing = r.thing, events e GROUP BY ALL",
        given(),
    )
    assert rows(found) == [["Müller's meter", "2026-03-01T00:00:00Z", "W", 900, "2", 61]]


def test_only_the_tables_named_are_asked_for(pool):
    asked = []

    def source():
        asked.append(1)
        return []

    assert rows(pool.run("SELECT 1", QueryInput(source, source, source))) == [[1]]
    assert rows(pool.run("SELECT count(*) FROM things", QueryInput(source, source, source))) == [[0]]
    assert asked == [1]


@pytest.mark.parametrize("row", [{"nonsense": 1}, {"interval_s": "many"}, {"point": 5}])
def test_rows_that_do_not_fit_are_refused(pool, row):
    with pytest.raises(Invalid, match="rows of points"):
        pool.run("SELECT * FROM points", QueryInput(points=lambda: [row]))


def test_the_tables_are_as_they_are_described(pool):
    for table, columns in TABLES.items():
        found = rows(pool.run(f"DESCRIBE {table}", given()))
        assert [(name, kind) for name, kind, *_ in found] == list(columns.items())
    found = rows(pool.run("DESCRIBE SELECT * FROM readings_as_of(now())"))
    assert [(name, kind) for name, kind, *_ in found] == list(READING_COLUMNS.items())


def test_the_reference_describes_the_tables_as_they_are():
    text = (Path(__file__).parents[3] / "docs" / "reference" / "sql.md").read_text()
    for table, columns in TABLES.items():
        section = text.split(f"\n## `{table}`\n")[1].split("\n## ")[0]
        described = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
        assert [(name.strip(" `"), kind.strip(" `")) for name, kind in described] == list(columns.items()), table


def examples():
    text = (Path(__file__).parents[3] / "docs" / "reference" / "sql.md").read_text()
    return [block.split("```")[0] for block in text.split("```sql\n")[1:]]


@pytest.mark.parametrize("sql", examples())
def test_every_example_of_the_reference_runs(pool, sql):
    assert pool.run(sql, given()).columns


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1::HUGEINT * 10000000000000000000000 AS x", [10000000000000000000000]),
        ("SELECT 'nan'::DOUBLE, 'inf'::DOUBLE, NULL", [None, None, None]),
        ("SELECT INTERVAL 90 minutes", None),
        ("SELECT [1, 2], {'a': 1}, MAP {'k': 2}", [[1, 2], {"a": 1}, [["k", 2]]]),
        ("SELECT DATE '2026-01-01', TIME '10:00:00', uuid() IS NOT NULL", ["2026-01-01", "10:00:00", True]),
        ("SELECT 1.50::DECIMAL(9, 2), 'a'::BLOB", [1.5, "YQ=="]),
        ("VALUES (1, 2);", [1, 2]),
        ("SUMMARIZE SELECT 1 AS a", None),
        ("SELECT 1 AS a, 2 AS a", [1, 2]),
    ],
)
def test_every_kind_of_value_has_json(pool, sql, kind):
    (row,) = rows(pool.run(sql))
    assert kind is None or row == kind


ESCAPES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('/tmp/x.parquet')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'https://example.org/x.parquet'",
    "SELECT (SELECT max(content) FROM read_text('/etc/passwd'))",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
    "COPY (SELECT 1) TO '/tmp/escaped.csv'",
    "COPY readings FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/escaped'",
    "ATTACH '/tmp/escaped.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA database_list",
    "SET threads = 8",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "CALL range(3)",
    "EXPLAIN SELECT 1",
    "CREATE TABLE x AS SELECT 1",
    "DROP VIEW readings",
    "INSERT INTO _tail SELECT * FROM _tail",
    "WITH x AS (DELETE FROM _tail RETURNING *) SELECT * FROM x",
    "SELECT * FROM _tail",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM main.readings",
    "SELECT getenv('HOME')",
    "SELECT current_setting('allowed_paths')",
    "SELECT main.current_setting('allowed_paths')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM job",
    "SELECT * FROM files",
    "SHOW TABLES",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW readings",
    "",
    "-- nothing",
    "SELEC 1",
    "SELECT \x00",
    "SELECT " + "(" * 2000 + "1" + ")" * 1999,
    "SELECT " + "+".join(["1"] * 30_000),
    "SELECT '" + "x" * 200_000 + "'",
]


@pytest.mark.parametrize("sql", ESCAPES, ids=lambda sql: sql[:50].replace("\x00", "NUL"))
def test_escapes_are_refused(pool, sql):
    with pytest.raises(Invalid) as caught:
        pool.run(sql)
    assert caught.value.detail
    assert not Path("/tmp/escaped.csv").exists()


def test_even_past_the_guard_the_session_reads_nothing_else(small, tmp_path):
    """The second fence by itself: the same attempts without the first, in a child of their own."""
    script = f"""
import sys
from pathlib import Path
from gridspine.infra.archive import session, tail
connection = session.open_session()
archive = Path({str(small.archive)!r})
files, rows, _ = tail.snapshot(archive, Path({str(small.log_folder)!r}), 1, 1000)
session.offer_readings(connection, archive, files, rows, None)
session.lock(connection, session.data_paths(archive, files))
attempts = {[sql for sql in ESCAPES if any(word in sql for word in ("/", "SET", "INSTALL", "LOAD", "job", "files"))]!r}
for sql in attempts:
    try:
        connection.execute(sql).fetchall()
    except Exception:
        continue
    sys.exit("escaped: " + sql)
assert connection.execute("SELECT count(*) FROM readings").fetchall() == [(241,)]
print("held", len(attempts))
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("held ")
    assert list(tmp_path.glob("*.csv")) == []


def test_the_childs_environment_holds_no_secrets(pool, monkeypatch):
    monkeypatch.setenv("GRIDSPINE_TEST_SECRET", "hunter2")
    pool.run("SELECT 1")
    pool.warm()
    children = [child for child in psutil.Process().children() if "archive.child" in " ".join(child.cmdline())]
    assert children
    assert all("GRIDSPINE_TEST_SECRET" not in child.environ() for child in children)


BOMBS = [
    "SELECT repeat('x', 1000000000) || repeat('y', 1000000000) AS x",
    "SELECT list(i) FROM range(1000000000) t(i)",
    "SELECT count(*) FROM (SELECT DISTINCT i, repeat('x', 50) || i FROM range(1000000000) t(i))",
    "SELECT string_agg(repeat('x', 1000), '') FROM range(10000000)",
]


@pytest.mark.parametrize("sql", BOMBS)
def test_memory_bombs_end_in_a_clean_error(pool_of, sql):
    pool = pool_of(memory_bytes=512 << 20, wall_s=60.0)
    before = psutil.Process().memory_info().rss
    with pytest.raises(GridspineError) as caught:
        pool.run(sql)
    assert isinstance(caught.value, TooLarge), caught.value.detail
    assert caught.value.extra["reason"] in {"memory", "time", "bytes"}
    assert psutil.Process().memory_info().rss - before < 200 << 20
    assert rows(pool.run("SELECT count(*) FROM readings")) == [[241]]


def test_endless_queries_are_cut(pool_of):
    pool = pool_of(wall_s=3.0)
    with pytest.raises(TooLarge, match="more than 3 s") as caught:
        pool.run(ENDLESS)
    assert caught.value.extra["reason"] == "time"


def test_processor_time_is_cut(pool_of):
    pool = pool_of(wall_s=60.0, cpu_s=2)
    with pytest.raises(TooLarge, match="processor time"):
        pool.run(ENDLESS)


def test_too_many_rows_and_bytes(pool_of):
    pool = pool_of(max_rows=100, max_bytes=10_000)
    assert pool.run("SELECT * FROM range(100)").rows == 100
    for sql, reason in [
        ("SELECT * FROM range(101)", "rows"),
        ("SELECT * FROM range(1000000000000)", "rows"),
        ("SELECT repeat('x', 20000)", "bytes"),
        ("SELECT repeat('x', 2000) FROM range(50)", "bytes"),
    ]:
        with pytest.raises(TooLarge) as caught:
            pool.run(sql)
        assert caught.value.extra["reason"] == reason
    with pytest.raises(TooLarge):
        pool.run("SELECT * FROM range(11)", max_rows=10)


def test_a_tail_too_long_to_read_is_said(node):
    node.append([(n % 4, T0 + n, 0.0, 0) for n in range(200)])
    pool = node.pool(max_tail_rows=100)
    with pytest.raises(Unavailable, match="wait to be archived"):
        pool.run("SELECT count(*) FROM readings")
    pool.close()


@pytest.mark.slow
def test_places_are_bounded(pool_of):
    pool = pool_of(wall_s=8.0)
    errors = []

    def slow():
        try:
            pool.run(ENDLESS)
        except TooLarge as error:
            errors.append(error)

    threads = [threading.Thread(target=slow) for _ in range(2)]
    for thread in threads:
        thread.start()
    with pytest.raises(Overloaded):
        while True:
            assert not errors, "both queries ended before a third was refused"
            pool.run("SELECT 1")
    for thread in threads:
        thread.join()
    assert len(errors) == 2
    assert rows(pool.run("SELECT 1")) == [[1]]


def test_children_do_not_outlive_their_pool(pool_of):
    before = set(psutil.Process().children())
    pool = pool_of()
    pool.warm()
    pool.run("SELECT 1")
    assert set(psutil.Process().children()) - before
    pool.close()
    assert not set(psutil.Process().children()) - before
    with pytest.raises(Unavailable):
        pool.run("SELECT 1")


@pytest.mark.slow
def test_a_child_ends_with_its_parent(small):
    """A node killed outright leaves no query running."""

    script = f"""
import threading, time
from pathlib import Path
from gridspine.infra.archive.query import QueryPool
pool = QueryPool(Path({str(small.archive)!r}), Path({str(small.log_folder)!r}))
sql = {ENDLESS!r}
threading.Thread(target=pool.run, args=(sql,)).start()
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    children = []
    try:
        deadline = time.monotonic() + 60
        while not any(child.cpu_times().user > 1.5 for child in children):
            assert time.monotonic() < deadline, "the query did not start"
            time.sleep(0.2)
            children = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_columns_named_in_the_schema_are_all_handed_in():
    assert set(QueryInput.__dataclass_fields__) == set(HANDED_IN)
