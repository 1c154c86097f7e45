"""The snapshot of all Things: what a start reads instead of a million documents.

It is a projection of the registry: delete it, and the Things are read one by one. Its ``stamp`` is known to the
registry it was taken of, and to no other; from ``offset`` of topic ``points`` on Things may be missing.
"""

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gridspine.kernel.names import PADDING, PackedNames
from gridspine.things.column import Column
from gridspine.things.point import Block
from gridspine.things.roll import Roll
from gridspine.things.roll_columns import COLUMNS, RollColumns, fits

FORMAT = 2
_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, TypeError, OverflowError, MemoryError, NotImplementedError, RuntimeError,
    SyntaxError, IndexError, struct.error, zlib.error, zipfile.BadZipFile, msgspec.MsgspecError,
)  # fmt: skip
"""What numpy and zipfile raise for a damaged file."""


class Head(msgspec.Struct, frozen=True):
    """What a snapshot says of itself; ``bound`` is one above the highest point number bound below ``offset``."""

    format: int
    stamp: str
    offset: int
    bound: int
    models: dict[str, tuple[str, ...]]
    organisations: list[str]
    adapters: list[str]


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot as it was read: columns by name, of one length as far as they belong together."""

    head: Head
    columns: dict[str, Any]

    @property
    def count(self) -> int:
        """How many Things it has."""
        return len(self.columns["first"])


_NAMED = {"ids": np.uint8, "offsets": np.int64, "first": np.int32, "model": np.int32, "organisation": np.int32}
"""What the point table knows of the Things."""


def save_roll(path: Path, roll: Roll, stamp: str, offset: int, bound: int) -> None:
    """Write a snapshot of ``roll`` atomically; Things may be added meanwhile, they are not in it."""
    rows, block = roll.copy()
    models = {id_: tuple(p.name for p in model.points) for id_ in block.models if (model := roll.points.model(id_))}
    head = Head(FORMAT, stamp, offset, bound, models, list(block.organisations), rows.adapters)
    columns = {
        "ids": block.ids.data, "offsets": block.ids.offsets, "first": block.first, "model": block.model,
        "organisation": block.organisation, **{name: rows[name] for name in COLUMNS},
    }  # fmt: skip
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, head=np.frombuffer(msgspec.json.encode(head), np.uint8), **columns)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # half a snapshot only takes room on a full disk
        raise


def read_roll(path: Path) -> Snapshot | None:
    """Read a snapshot; None where there is none, a damaged one, or one of another format."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            head = msgspec.json.decode(stored["head"].tobytes(), type=Head)
            snapshot = Snapshot(head, {name: stored[name] for name in (*_NAMED, *COLUMNS)})
    except _UNREADABLE:
        return None
    return snapshot if head.format == FORMAT and _fits(snapshot) else None


def take_up(snapshot: Snapshot, roll: Roll) -> bool:
    """Make ``roll`` what the snapshot says; False, and nothing done, when it has models that have changed."""
    head, columns = snapshot.head, snapshot.columns
    for id_, names in head.models.items():
        model = roll.points.model(id_)
        if model is None or tuple(point.name for point in model.points) != names:
            return False
    ids = PackedNames(columns["ids"], columns["offsets"])
    roll.points.bind_all(
        Block(ids, columns["first"], list(head.models), columns["model"], head.organisations, columns["organisation"])
    )
    rows = {name: Column.of(columns[name]) for name in COLUMNS}
    roll.restore(RollColumns(rows, head.adapters))
    return True


def _fits(snapshot: Snapshot) -> bool:
    """Whether the columns are of their types and lengths, and point into each other."""
    columns, head, count = snapshot.columns, snapshot.head, snapshot.count
    if any(columns[name].dtype != kind or columns[name].ndim != 1 for name, kind in _NAMED.items()):
        return False
    if not fits(columns, len(head.adapters)) or len(columns["created_us"]) != count:
        return False
    at = columns["offsets"]
    if len(at) != count + 1 or at[0] != 0 or (np.diff(at) < 0).any() or at[-1] + PADDING != len(columns["ids"]):
        return False
    for name, words in (("model", head.models), ("organisation", head.organisations)):
        if len(columns[name]) != count or (count and not 0 <= columns[name].min() <= columns[name].max() < len(words)):
            return False
    return not count or bool(columns["first"].min() >= 0)
