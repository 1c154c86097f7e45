"""Compaction of a day in a child process of the worker: ``python -m gridspine.infra.archive.compact``.

It runs beside the worker, at the lowest priority: readings go on being archived meanwhile, in files of their own, and
the worker commits what it wrote in place of exactly the files it read. Killed, it leaves litter that is swept away.
Its memory is bounded by the readings it holds at a time, and given back when it ends.
"""

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gridspine.infra.archive.due import inputs
from gridspine.infra.archive.manifest import DataFile
from gridspine.infra.archive.settle import SLICE_ROWS, settle
from gridspine.infra.archive.table import ReadingsTable


def compact_day(table: ReadingsTable, day: int, *, slice_rows: int = SLICE_ROWS) -> None:
    """Rewrite the files of ``day``; its readings stay the same, each now knowing when it was superseded."""
    old = inputs(table.files(), day)
    table.replace(old, settle(table.archive, day, old, table.now_ms(), slice_rows=slice_rows))


class InlineCompactor:
    """Compacts at once, in this process: for tests and tools."""

    def __init__(self, archive: Path, *, slice_rows: int = SLICE_ROWS) -> None:
        self._archive, self._slice_rows = archive, slice_rows
        self._made: list[DataFile] | None = None

    def start(self, day: int, files: Sequence[DataFile]) -> None:
        """Rewrite ``files`` before this returns."""
        self._made = settle(self._archive, day, files, time.time_ns() // 1_000_000, slice_rows=self._slice_rows)

    def done(self) -> list[DataFile] | None:
        """Return the new files."""
        made, self._made = self._made, None
        return made

    def close(self) -> None:
        """Nothing is ever under way."""


def main(argv: list[str] | None = None) -> int:
    """Rewrite the files named on standard input; the new ones are named on standard output."""
    parser = argparse.ArgumentParser(prog="python -m gridspine.infra.archive.compact", description=__doc__)
    parser.add_argument("--archive", type=Path, required=True, help="folder of the archive")
    parser.add_argument("--day", type=int, required=True, help="days since 1970")
    parser.add_argument("--slice-rows", type=int, default=SLICE_ROWS, help="readings held in memory at a time")
    options = parser.parse_args(argv)
    parent = os.getppid()
    os.nice(19)
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    files = msgspec.json.decode(sys.stdin.buffer.read(), type=list[DataFile])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    now_ms = time.time_ns() // 1_000_000
    made = settle(options.archive, options.day, files, now_ms, slice_rows=options.slice_rows)
    sys.stdout.buffer.write(msgspec.json.encode(made))
    return 0


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
