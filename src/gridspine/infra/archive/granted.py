"""A consumer's session: the readings of one product, copied into an empty database of its own. Child processes only.

::

    session over the archive ──SELECT what the grant covers──► Arrow ──► new session: readings, points, nothing else
    (trusted, closed before the consumer's SQL is run)                   no file, no view, no other table behind them

What is copied is narrowed by the query's own conditions on time and point (`prune`), so that a day of one point does
not cost the whole product; a query that needs more than a stated number of readings is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from gridspine.infra.archive.manifest import LAST_TEXT, UNKNOWN_US
from gridspine.infra.archive.prune import Span, needed, spans
from gridspine.infra.archive.schema import CHANNELS, GRANTED_TABLES
from gridspine.infra.archive.session import bound, offer_current, open_session
from gridspine.infra.archive.tail import snapshot
from gridspine.infra.archive.wire import Granted, Job
from gridspine.kernel.errors import TooLarge

_LISTED = 64
"""So many points are named in the condition, where DuckDB skips by them; more are joined."""
_OF_PRODUCT = frozenset({"readings"})


def granted_session(job: Job, granted: Granted, tree: Any) -> tuple[Any, dict[int, int]]:
    """Return a session that holds what ``granted`` covers of the archive, and the log's next offsets.

    Raises `TooLarge` when the query needs too many readings.
    """
    archive = Path(job.archive)
    source = open_session()
    bound(source, job.limits)
    source.execute("BEGIN")  # conditions on `now()` are looked at here and run there: a little later, so a little wider
    asked = spans(source, tree, _OF_PRODUCT)
    covered = _covered(granted)
    files, tail, following = snapshot(archive, Path(job.log), job.partitions, job.limits.max_tail_rows)
    offer_current(source, archive, needed(needed(files, asked), [covered]), tail, job.as_of_us)
    session = open_session()
    bound(session, job.limits)
    _copy(source, session, job, granted, asked)
    source.close()
    names = list(granted.points)
    units = list(granted.units)
    rows = {
        "point": names,
        "thing": [name.partition("/")[0] for name in names],
        "property": [name.partition("/")[2] for name in names],
        "unit": units,
    }
    _fill(session, "points", pa.table({name: pa.array(column, pa.string()) for name, column in rows.items()}))
    return session, following


def _copy(source: Any, session: Any, job: Job, granted: Granted, asked: Sequence[Span]) -> None:
    kept = ", ".join(f'"{name}"' for name in GRANTED_TABLES["readings"])
    most = job.limits.max_source_rows
    assert granted.channel in CHANNELS, granted.channel
    sql = (
        f"SELECT {kept} FROM _current WHERE channel = '{granted.channel}' "  # noqa: S608 - constants of our own
        f"AND observed >= make_timestamptz({granted.from_us}) AND observed < make_timestamptz({granted.until_us}) "
        f"AND {_points(source, granted)} AND {_since(granted)} AND {_any_of(asked)} LIMIT {most + 1}"
    )
    reader = source.sql(sql).to_arrow_reader(65_536)
    _fill(session, "readings", reader)
    ((count,),) = session.execute("SELECT count(*) FROM readings").fetchall()
    if count > most:
        raise TooLarge(
            f"the query needs more than {most} readings of the product: give `observed` two bounds, or name the "
            "point, in plain comparisons",
            reason="readings",
        )


def _fill(session: Any, table: str, rows: Any) -> None:
    columns = GRANTED_TABLES[table]
    typed = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in columns.items())
    session.register("_arrived", rows)
    session.execute(f"CREATE TABLE {table} AS SELECT {typed} FROM _arrived")  # noqa: S608 - names of our own
    session.unregister("_arrived")


def _points(source: Any, granted: Granted) -> str:
    if len(granted.points) <= _LISTED:
        return f"point IN ({', '.join(map(_quoted, granted.points))})"
    source.register("_names", pa.table({"name": pa.array(list(granted.points), pa.string())}))
    source.execute("CREATE TABLE _granted AS SELECT name FROM _names")
    source.unregister("_names")
    return "point IN (SELECT name FROM _granted)"


def _since(granted: Granted) -> str:
    if granted.since_us is not None:
        return f"received > make_timestamptz({granted.since_us})"
    if granted.since is None:
        return "true"
    later = [f'("partition" = {part} AND "offset" >= {offset})' for part, offset in granted.since.items()]
    known = ", ".join(str(partition) for partition in granted.since)
    return f'({" OR ".join(later)} OR "partition" NOT IN ({known}))'


def _any_of(asked: Sequence[Span]) -> str:
    """Return a condition for what any of the spans needs, as SQL."""
    parts = []
    for span in asked:
        part = ["true"]
        if span.start_us > -UNKNOWN_US:
            part.append(f"observed >= make_timestamptz({span.start_us})")
        if span.end_us < UNKNOWN_US:
            # `now()` moved on between looking and running: an end that was counted from it may be a little later
            part.append(f"observed <= make_timestamptz({span.end_us + 60_000_000})")
        if span.first_point:
            part.append(f"point >= {_quoted(span.first_point)}")
        if span.last_point != LAST_TEXT:
            part.append(f"point <= {_quoted(span.last_point)}")
        parts.append("(" + " AND ".join(part) + ")")
    return "(" + " OR ".join(parts) + ")" if parts else "false"


def _covered(granted: Granted) -> Span:
    return Span(granted.from_us, granted.until_us, min(granted.points), max(granted.points))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
