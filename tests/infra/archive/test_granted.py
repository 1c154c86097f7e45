"""A consumer's SQL over what was granted: it sees that and nothing else, and nothing it does harms the node."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from gridspine.infra.archive.query import QueryInput, Stop, Stopped
from gridspine.infra.archive.schema import GRANTED_TABLES
from gridspine.infra.archive.wire import Granted
from gridspine.kernel.errors import GridspineError, Invalid, TooLarge
from gridspine.kernel.readings import Channel

SECOND = 1_000_000
T0 = 1_772_323_200 * SECOND
DAY = 86_400 * SECOND
MINE, OTHERS = "urn:dev:ops:32473-meter-0/power", "urn:dev:ops:32473-meter-1/power"
SECRET = 987654.25
EVER = Granted([MINE], ["W"], T0, T0 + 10 * DAY)
ENDLESS = "SELECT sum(a.i * b.i) FROM range(100000000) a(i), range(100000) b(i)"


@pytest.fixture(scope="module")
def shop(make_node, tmp_path_factory):
    """Two organisations' meters: readings archived, compacted, late, revised and in the log, on two channels."""
    node = make_node(tmp_path_factory.mktemp("shop"))
    node.bind(2)
    node.append([(1, T0 + n * 3600 * SECOND, float(n), 0) for n in range(48)], received_us=T0 + 3 * DAY)
    node.append([(5, T0 + n * 3600 * SECOND, SECRET, 0) for n in range(48)], source="urn:secret")
    node.append([(1, T0, SECRET, 0)], channel=Channel.COMMANDED)
    node.append([(1, T0 - DAY, SECRET, 0), (1, T0 + 20 * DAY, SECRET, 0)])  # before and after the grant
    node.archive_all()
    node.append([(1, T0, 1000.0, 0)], received_us=T0 + 4 * DAY)
    yield node
    node.log.close()


@pytest.fixture(scope="module")
def pool(shop):
    made = shop.pool(wall_s=10.0, memory_bytes=512 << 20, max_bytes=1 << 20, max_rows=1000)
    yield made
    made.close()


def asked(pool, sql, granted=EVER, **options):
    found = pool.run(sql, granted=granted, **options)
    return [tuple(row) for row in msgspec.json.decode(found.body)["rows"]]


def test_it_sees_the_points_times_and_channel_that_were_granted(pool):
    assert asked(pool, "SELECT count(*), sum(value), min(point), max(point) FROM readings") == [
        (48, sum(range(1, 48)) + 1000.0, MINE, MINE)
    ]
    assert asked(pool, "SELECT * FROM points") == [(MINE, MINE.partition("/")[0], "power", "W")]
    narrow = msgspec.structs.replace(EVER, from_us=T0 + 2 * 3600 * SECOND, until_us=T0 + 5 * 3600 * SECOND)
    assert asked(pool, "SELECT value FROM readings ORDER BY observed", narrow) == [(2.0,), (3.0,), (4.0,)]
    for table, columns in GRANTED_TABLES.items():
        found = asked(pool, f"DESCRIBE {table}")
        assert [(name, kind) for name, kind, *_ in found] == list(columns.items())


def test_nothing_of_others_is_in_any_answer(pool):
    for sql in ("SELECT * FROM readings", "SELECT * FROM points", "SUMMARIZE readings", "DESCRIBE readings"):
        body = pool.run(sql, granted=EVER).body
        for secret in (b"987654", b"meter-1", b"urn:secret", b"energy"):
            assert secret not in body, (sql, secret)


def test_as_of_and_changed_since(pool, shop):
    latest = "SELECT epoch_us(observed), value FROM readings ORDER BY observed LIMIT 1"
    assert asked(pool, latest) == [(T0, 1000.0)]
    assert asked(pool, latest, as_of_us=T0 + 3 * DAY) == [(T0, 0.0)]
    assert asked(pool, "SELECT count(*) FROM readings", as_of_us=T0 + 2 * DAY) == [(0,)]
    changed = msgspec.structs.replace(EVER, since_us=T0 + 3 * DAY)
    assert asked(pool, "SELECT value FROM readings", changed) == [(1000.0,)]
    result = pool.run("SELECT 1 FROM readings", granted=EVER)
    assert result.following == {0: 5}
    later = msgspec.structs.replace(EVER, since=result.following)
    assert asked(pool, "SELECT value FROM readings", later) == []
    assert asked(pool, "SELECT value FROM readings", msgspec.structs.replace(EVER, since={0: 4})) == [(1000.0,)]


ESCAPES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_parquet('/**/*.parquet')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/proc/self/environ')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'http://127.0.0.1:1/x.parquet'",
    "COPY (SELECT 1) TO '/tmp/escaped-by-consumer.csv'",
    "COPY readings FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/escaped-by-consumer'",
    "IMPORT DATABASE '/tmp'",
    "ATTACH '/tmp/escaped-by-consumer.db'",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 8",
    "SET VARIABLE x = 1",
    "PRAGMA database_list",
    "RESET ALL",
    "CHECKPOINT",
    "VACUUM",
    "CREATE TABLE x AS SELECT 1",
    "CREATE MACRO x() AS 1",
    "INSERT INTO readings SELECT * FROM readings",
    "DELETE FROM readings",
    "UPDATE readings SET value = 0",
    "DROP TABLE readings",
    "WITH x AS (DELETE FROM readings RETURNING *) SELECT * FROM x",
    "PREPARE x AS SELECT 1",
    "BEGIN",
    "SELECT 1; SELECT 2",
    "SELECT getenv('HOME')",
    "SELECT current_setting('memory_limit')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('readings')",
    "FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM duckdb_tables()",
    "SELECT * FROM duckdb_functions()",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_table_info('readings')",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM memory.main.readings",
    "SHOW ALL TABLES",
    # tables an operator has
    "SELECT * FROM revisions",
    "SELECT * FROM daily",
    "SELECT * FROM things",
    "SELECT * FROM events",
    "SELECT * FROM readings_as_of(now())",
    "SELECT * FROM readings_as_of_other(now())",
    "SELECT * FROM _tail",
    "SELECT * FROM _current",
    "SELECT * FROM _files",
    "SELECT * FROM _arrived",
    "SELECT source FROM readings",
    "SELECT channel FROM readings",
]


READING = [sql for sql in ESCAPES if not sql.startswith(("UPDATE", "INSERT", "DELETE", "CREATE", "DROP", "BEGIN"))]


@pytest.mark.parametrize("sql", ESCAPES, ids=lambda sql: sql[:50])
def test_escapes_are_refused(pool, sql):
    with pytest.raises(Invalid) as caught:
        asked(pool, sql)
    for secret in ("meter-1", "987654", "/readings/day="):
        assert secret not in caught.value.detail
    assert not list(Path("/tmp").glob("escaped-by-consumer*"))


def test_even_past_the_guard_there_is_nothing_else(shop, tmp_path):
    """The other fences by themselves: the same attempts without the guard, and the system's calls without DuckDB."""
    script = f"""
import os, socket, subprocess, sys
from gridspine.infra.archive import child, granted, session, wire
from gridspine.infra.runtime import confine
part = wire.Granted([{MINE!r}], ["W"], {T0}, {T0 + 10 * DAY})
job = wire.Job("", {str(shop.archive)!r}, {str(shop.log_folder)!r}, 1, "json", None, wire.QueryLimits(), part)
child.prepare()
connection, _ = granted.granted_session(job, part, {{}})
session.lock(connection, [])
filtered = confine.shut(files=True)
reading = {READING!r}
for sql in reading:
    try:
        found = connection.execute(sql).fetchall()
    except Exception:
        continue
    if any(word in repr(found) for word in ("root:", "meter-1", "987654", "/readings/", "httpfs")):
        sys.exit("escaped: " + sql + repr(found)[:200])
names = str(connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1 DESC").fetchall())
assert names == "[('readings',), ('points',)]", names
assert connection.execute("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchall() == [(0,)]
if filtered:
    for attempt in (lambda: open("/etc/passwd"), lambda: socket.socket(), lambda: os.fork(), lambda: os.kill(1, 0),
                    lambda: os.execv("/bin/true", ["true"]), lambda: os.mkdir("x"), lambda: os.listdir("/")):
        try:
            attempt()
        except PermissionError:
            continue
        sys.exit("the system let it")
print("held", len(reading), filtered)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("held ")
    if sys.platform == "linux":
        assert done.stdout.strip().endswith("True")
    assert list(tmp_path.iterdir()) == []


BOMBS = [
    "SELECT repeat('x', 1000000000) || repeat('y', 1000000000) AS x",
    "SELECT lpad('x', 2000000000, 'y')",
    "SELECT list(i) FROM generate_series(1, 1000000000) t(i)",
    "SELECT range(1000000000)",
    "WITH RECURSIVE t AS (SELECT 1 AS i, 'x' AS s UNION ALL SELECT i + 1, s || s FROM t) SELECT max(length(s)) FROM t",
    "SELECT count(*) FROM (SELECT DISTINCT a.i * b.i FROM range(100000) a(i), range(100000) b(i))",
    "SELECT string_agg(repeat('x', 1000), '') FROM range(10000000)",
    "SELECT * FROM range(1000000000000)",
    "SELECT repeat('x', 2000) FROM range(900)",
]


@pytest.mark.parametrize("sql", BOMBS, ids=lambda sql: sql[:50])
def test_bombs_end_in_a_clear_refusal(pool, sql):
    before = psutil.Process().memory_info().rss
    with pytest.raises(GridspineError) as caught:
        asked(pool, sql)
    assert isinstance(caught.value, TooLarge | Invalid), caught.value.detail
    if isinstance(caught.value, TooLarge):
        assert caught.value.extra["reason"] in {"memory", "time", "bytes", "rows"}
    assert psutil.Process().memory_info().rss - before < 100 << 20


ENDLESS_ONES = [
    ENDLESS,
    "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT 1 - i FROM t) SELECT count(*) FROM t",
    "SELECT count(*) FROM range(100000000) t(i) WHERE regexp_matches(repeat('a', 5000) || i, '(a+)+(a+)+b')",
]


@pytest.mark.parametrize("sql", ENDLESS_ONES, ids=lambda sql: sql[:50])
def test_what_never_ends_is_cut(shop, sql):
    pool = shop.pool(wall_s=4.0, cpu_s=8, memory_bytes=512 << 20)
    with pytest.raises(TooLarge) as caught:
        asked(pool, sql)
    assert caught.value.extra["reason"] in {"time", "memory"}
    pool.close()


def test_a_query_that_needs_too_much_of_the_product_is_told_how_to_need_less(shop):
    pool = shop.pool(max_source_rows=10)
    with pytest.raises(TooLarge, match="two bounds") as caught:
        asked(pool, "SELECT count(*) FROM readings")
    assert caught.value.extra["reason"] == "readings"
    near = "observed >= TIMESTAMPTZ '2026-03-01 02:00Z' AND observed < TIMESTAMPTZ '2026-03-01 05:00Z'"
    assert asked(pool, f"SELECT sum(value) FROM readings WHERE {near}") == [(9.0,)]
    pool.close()


def test_a_running_query_is_ended(shop):
    pool = shop.pool(wall_s=60.0, cpu_s=60)
    stop = Stop()
    raised = []

    def run():
        try:
            pool.run(ENDLESS, QueryInput(), granted=EVER, stop=stop)
        except GridspineError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    before = {child.pid for child in psutil.Process().children()}
    thread.start()
    deadline = time.monotonic() + 60
    while not any(c.pid not in before and c.cpu_times().user > 0.5 for c in psutil.Process().children()):
        assert time.monotonic() < deadline, "the query did not start"
        time.sleep(0.02)
    stop.now("revoked")
    thread.join(20)
    assert isinstance(raised[0], Stopped)
    assert raised[0].extra["reason"] == "revoked"
    with pytest.raises(Stopped):  # one that was ended before it began
        pool.run("SELECT 1", granted=EVER, stop=stop)
    pool.close()


def test_spare_children_end_when_no_query_comes(shop):
    from gridspine.infra.archive.query import QueryPool

    pool = QueryPool(shop.archive, shop.log_folder, idle_s=0.5)
    before = set(psutil.Process().children())
    assert asked(pool, "SELECT count(*) FROM readings") == [(48,)]
    spares = set(psutil.Process().children()) - before
    assert len(spares) == 1
    gone, alive = psutil.wait_procs(spares, timeout=30)
    assert not alive and gone
    assert asked(pool, "SELECT count(*) FROM readings") == [(48,)]
    pool.close()
