"""The notes of the shim, read."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_HEADER = struct.Struct("=IIiIIIq")


class Op(IntEnum):
    """What was done; see ``shim.c``."""

    OPEN = 1
    CLOSE = 2
    WRITE = 3
    RESIZE = 4
    SYNCING = 5
    SYNCED = 6
    RENAME = 7
    LINK = 8
    UNLINK = 9
    MKDIR = 10
    RMDIR = 11
    SEND = 12


@dataclass(frozen=True, slots=True)
class Note:
    """One thing a process did.

    ``at`` is a place in the file, a size, flags of an opening, or a sync's number; ``first`` a path, or what was
    written or sent; ``second`` the other path.
    """

    op: Op
    process: int
    file: int
    at: int
    first: bytes
    second: bytes


class Trace:
    """A file of notes, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0

    def read(self) -> Iterator[Note]:
        """Yield what was noted since the last call."""
        with self.path.open("rb") as file:
            file.seek(self._at)
            body = file.read()
        at = 0
        while at + _HEADER.size <= len(body):
            op, process, number, one, two, _, where = _HEADER.unpack_from(body, at)
            end = at + _HEADER.size + one + two
            if end > len(body):
                break
            start = at + _HEADER.size
            yield Note(Op(op), process, number, where, body[start : start + one], body[start + one : end])
            at = end
            self._at += _HEADER.size + one + two

    def clear(self) -> None:
        """Forget all notes; nothing may be noted meanwhile."""
        os.truncate(self.path, 0)
        self._at = 0
