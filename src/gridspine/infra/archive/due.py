"""When a day is compacted, and the child process that does it, as the worker sees them. No engine is imported here."""

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from gridspine.infra.archive.manifest import DataFile
from gridspine.infra.archive.schema import LATE, SETTLED
from gridspine.kernel.errors import Unavailable

LATE_ROWS = 1_000_000
"""So many unsettled readings that may supersede others are worth a compaction: each query joins them."""
MAX_FILES = 96
"""New files rewritten at a time; those that came first, so that no reading is settled before what it replaces."""
BASE_BYTES, ROW_BYTES = 190 << 20, 560
"""What a compaction weighs without readings, and with each reading it holds at a time [bytes]; measured, rounded up."""
_FEW, _MANY = 8, 48
_QUIET_S = 600.0


def slice_rows_within(memory_bytes: int) -> int:
    """Return how many readings a compaction may hold at a time to stay within ``memory_bytes``."""
    return max(20_000, (memory_bytes - BASE_BYTES) // ROW_BYTES)


def due_day(files: Sequence[DataFile], now_ms: int) -> int | None:
    """Return the day [days since 1970] that most needs compaction, or None.

    A day that still grows is rewritten when its new files hold a quarter of its rows, or are very many; a quiet one
    when anything in it is not settled. When all days together have `LATE_ROWS`, the one with most of them is next.
    """
    days: dict[int, list[DataFile]] = {}
    late: Counter[int] = Counter()
    for file in files:
        days.setdefault(file.day, []).append(file)
        late[file.day] += file.rows if file.pending == LATE else 0
    if late.total() >= LATE_ROWS:
        return late.most_common(1)[0][0]
    waiting = [(sum(f.pending != SETTLED for f in found), day) for day, found in days.items() if _is_due(found, now_ms)]
    return max(waiting)[1] if waiting else None


def _is_due(files: list[DataFile], now_ms: int) -> bool:
    new = [file for file in files if file.pending != SETTLED]
    if not new:
        return False
    if now_ms - max(file.written_ms for file in new) > _QUIET_S * 1000:
        return len(files) > 1 or any(file.pending == LATE or not file.daily for file in files)
    new_rows = sum(file.rows for file in new)
    return len(new) >= _MANY or (len(new) >= _FEW and 4 * new_rows >= sum(file.rows for file in files))


def inputs(files: Sequence[DataFile], day: int) -> list[DataFile]:
    """Return the files of ``day`` to rewrite: of the new ones not too many, and none before those that came earlier."""
    mine = sorted((file for file in files if file.day == day), key=lambda file: file.version)
    new = [file for file in mine if file.pending != SETTLED]
    if len(new) <= MAX_FILES:
        return mine
    last = new[MAX_FILES - 1].version
    return [file for file in mine if file.version <= last]


class Compactor(Protocol):
    """Rewrites the files of one day at a time."""

    def start(self, day: int, files: Sequence[DataFile]) -> None:
        """Begin; only when nothing is under way."""
        ...

    def done(self) -> list[DataFile] | None:
        """Return the new files, None while they are not there; raise `Unavailable` when it failed."""
        ...

    def close(self) -> None:
        """Give up what is under way."""
        ...


class ChildCompactor:
    """Compacts in a child process within ``memory_bytes``, at the lowest priority."""

    def __init__(self, archive: Path, *, memory_bytes: int) -> None:
        self._archive, self._slice_rows = archive, slice_rows_within(memory_bytes)
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, day: int, files: Sequence[DataFile]) -> None:
        """Start the child."""
        module = "gridspine.infra.archive.compact"
        asked = ["--archive", str(self._archive), "--day", str(day), "--slice-rows", str(self._slice_rows)]
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module, *asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(msgspec.json.encode(list(files)))
            self._child.stdin.close()
        except BrokenPipeError:
            return  # it ended at once: `done` tells

    def done(self) -> list[DataFile] | None:
        """Return the new files when the child has ended."""
        child = self._child
        if child is None or child.poll() is None:
            return None
        self._child = None
        assert child.stdout is not None
        with child.stdout:
            body = child.stdout.read()
        if child.returncode != 0:
            raise Unavailable(f"a compaction ended with code {child.returncode}")
        return msgspec.json.decode(body, type=list[DataFile])

    def close(self) -> None:
        """Kill the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
