"""The SQLite files that a log is made of: each commit is durable, readers never wait for the writer."""

import sqlite3
from pathlib import Path


def open_file(path: Path, schema: str, *, writable: bool) -> sqlite3.Connection:
    """Return a connection for any thread, without transactions of its own; ``schema`` is made where it may be written.

    Raises `sqlite3.Error`.
    """
    found = sqlite3.connect(
        f"file:{path}?mode={'rwc' if writable else 'ro'}", uri=True, check_same_thread=False, isolation_level=None,
        timeout=10.0,
    )  # fmt: skip
    if writable:
        try:
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=FULL")
            found.executescript(schema)
        except BaseException:
            found.close()
            raise
    return found
