"""Names and types of what the archive keeps, and of the tables a query sees. No engine is imported here.

Types are DuckDB's. `STORED` is the Delta table; ``day`` is its partition column.
"""

DAY_US = 86_400_000_000

CHANNELS = ("reported", "commanded", "planned", "emulated")
"""Names of `gridspine.kernel.readings.Channel`, in the order of its numbers."""
REPORTED = "reported"
OTHER_CHANNELS = frozenset({"planned", "emulated"})
"""Channels with a table of their own beside ``readings``; what was commanded are no readings, but commands."""

SETTLED, FRESH, LATE = 0, 1, 2
"""Values of ``pending``: compacted, so that ``superseded`` says all; not yet compacted; and able to supersede."""

REVISION_COLUMNS = {
    "point": "VARCHAR",
    "thing": "VARCHAR",
    "property": "VARCHAR",
    "observed": "TIMESTAMP WITH TIME ZONE",
    "received": "TIMESTAMP WITH TIME ZONE",
    "value": "DOUBLE",
    "unit": "VARCHAR",
    "quality": "INTEGER",
    "channel": "VARCHAR",
    "source": "VARCHAR",
    "backfill": "BOOLEAN",
    "partition": "INTEGER",
    "offset": "BIGINT",
    "item": "INTEGER",
}
"""Columns of table ``revisions``: every reading ever accepted, on whatever channel."""

READING_COLUMNS = {name: kind for name, kind in REVISION_COLUMNS.items() if name not in {"partition", "offset", "item"}}
"""Columns of table ``readings``: the latest revision of each (point, observed), reported ones only.

Tables ``planned`` and ``emulated`` have them too: no sum over one table ever mixes channels.
"""

STORED = {**REVISION_COLUMNS, "superseded": "TIMESTAMP WITH TIME ZONE", "pending": "TINYINT"}
"""What the archive's files hold.

``superseded`` is when a later revision was received (the earliest of them), settled by compaction; ``pending`` is
one of `SETTLED`, `FRESH`, `LATE`.
"""

HANDED_IN = {
    "points": {
        "point": "VARCHAR",
        "thing": "VARCHAR",
        "property": "VARCHAR",
        "title": "VARCHAR",
        "organisation": "VARCHAR",
        "unit": "VARCHAR",
        "kind": "VARCHAR",
        "flow": "VARCHAR",
        "phase": "VARCHAR",
        "commodity": "VARCHAR",
        "interval_s": "INTEGER",
    },
    "things": {
        "thing": "VARCHAR",
        "title": "VARCHAR",
        "organisation": "VARCHAR",
        "model": "VARCHAR",
        "form": "VARCHAR",
        "state": "VARCHAR",
        "created": "TIMESTAMP WITH TIME ZONE",
        "modified": "TIMESTAMP WITH TIME ZONE",
    },
    "events": {
        "id": "VARCHAR",
        "type": "VARCHAR",
        "time": "TIMESTAMP WITH TIME ZONE",
        "subject": "VARCHAR",
        "actor": "VARCHAR",
        "data": "JSON",
    },
}
"""Tables whose rows the caller hands in: dicts by column. Times are µs since 1970, JSON is text; a column left out of
a row is NULL."""

DAILY_COLUMNS = {
    "day": "DATE",
    "point": "VARCHAR",
    "thing": "VARCHAR",
    "property": "VARCHAR",
    "channel": "VARCHAR",
    "unit": "VARCHAR",
    "readings": "BIGINT",
    "valid": "BIGINT",
    "value_sum": "DOUBLE",
    "value_min": "DOUBLE",
    "value_max": "DOUBLE",
    "value_mean": "DOUBLE",
    "first_observed": "TIMESTAMP WITH TIME ZONE",
    "last_observed": "TIMESTAMP WITH TIME ZONE",
}
"""Columns of table ``daily``: what ``readings`` comes to, a row for each UTC day, point and unit; reported only."""

TABLES = {
    "readings": READING_COLUMNS,
    "planned": READING_COLUMNS,
    "emulated": READING_COLUMNS,
    "revisions": REVISION_COLUMNS,
    "daily": DAILY_COLUMNS,
    **HANDED_IN,
}
"""Every table a query may name, with its columns and their types."""

TABLE_MACROS = {"readings_as_of": READING_COLUMNS}
"""Table functions of our own: ``readings_as_of(t)`` is ``readings`` as it was known at ``t``."""

GRANTED_TABLES = {
    "readings": {
        name: REVISION_COLUMNS[name]
        for name in ("point", "thing", "property", "observed", "received", "value", "unit", "quality")
    },
    "points": dict.fromkeys(("point", "thing", "property", "unit"), "VARCHAR"),
}
"""Tables of a consumer's query over a product that was granted: its own readings as they stand, and its points."""
