"""History: a Delta table by day, asked with DuckDB. The heavy engines run in child processes only.

::

    log "readings", "points" ──► worker (child) ──► Delta table, one partition a UTC day, and daily sums
                                  │    ▲            │   published.json: how far trim may go
                                  ▼    │            │   manifest.json: which files hold what
                             compaction (child)     │
    operator's SELECT ──► pool ──► query child ◄────┘ + tail of the log
    consumer's SELECT ──►          └► rows, as Arrow or JSON; a consumer's from a copy of what was granted

In the node's own process: `published` (how far the archive is), `command` (how to start the worker), `pool` (run a
query). In child processes only, because they import engines: `rows`, `parquet`, `table`, `worker`; `settle`, `daily`,
`compact`; `upkeep`; `tail`, `prune`, `session`, `granted`, `guard`, `child`.

History is bitemporal: a reading has its observed and its received time, and is never overwritten. Readings of one
(point, observed, channel) are revisions of each other; the one that stands later in the log is the later revision.
All records of a point lie in one partition of the log, whose order is therefore theirs.
"""
