"""Checkpoints: what a projection made of a topic, so that a start reads only the tail and the topic can be trimmed.

::

    topic ──────┬───────────────┬───────────► next
             older           newer checkpoint: state up to here
                └─ what lies before may be trimmed: the newer one may prove damaged

A file holds the state as records of the projection's own, in its own encoding; its name says up to which offset.
The newest two are kept.
"""

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
import zstandard

from gridspine.infra.runtime.durable import make_folder, sync_folder
from gridspine.kernel.errors import Conflict, Corrupt

_MAGIC = b"gridspine checkpoint\n"
_FORMAT = 1
_KEPT = 2


class _Content(msgspec.Struct, array_like=True):
    format: int
    offset: int
    items: tuple[bytes, ...]


class Checkpoints:
    """The checkpoints of one projection (``name``) of one partition, in ``folder``. Calls block."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    @property
    def offset(self) -> int:
        """The next offset after the newest checkpoint; 0 where there is none."""
        return max((_offset(path) for path in self._paths()), default=0)

    @property
    def floor(self) -> int:
        """How far the topic may be trimmed: to the oldest checkpoint kept, once there are two."""
        paths = self._paths()
        return _offset(paths[0]) if len(paths) == _KEPT else 0

    def save(self, offset: int, items: Iterable[bytes]) -> None:
        """Keep the state that the records below ``offset`` made, durably; older checkpoints but one go."""
        make_folder(self._folder, mode=0o700)
        body = zstandard.ZstdCompressor(level=1).compress(
            msgspec.msgpack.encode(_Content(_FORMAT, offset, tuple(items)))
        )
        path = self._folder / f"{self._name}-{offset:020d}.checkpoint"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(_MAGIC + zlib.crc32(body).to_bytes(4, "big") + body)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(self._folder)
        for old in self._paths()[:-_KEPT]:
            old.unlink()

    def load(self, first: int) -> tuple[int, tuple[bytes, ...]]:
        """Return where to go on reading and the state up to there; ``first`` is the oldest offset the topic holds.

        A damaged checkpoint is passed over for the one before. Raises `Corrupt` when none reaches what the topic
        still holds: then its state is lost, and must not be taken for empty.
        """
        for path in self._folder.glob(f"{self._name}-*.tmp"):
            path.unlink()  # a crash came while it was written
        damaged = ""
        for path in reversed(self._paths()):
            if _offset(path) < first:
                break
            try:
                return _offset(path), _read(path)
            except Corrupt as error:
                damaged = error.detail
        if first == 0:
            return 0, ()
        raise Corrupt(
            f"topic {self._name} is trimmed up to {first}, and no checkpoint in {self._folder} says what came before"
            f"{': ' + damaged if damaged else ''}; restore a backup"
        )

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._name}-*.checkpoint"))


def _offset(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _read(path: Path) -> tuple[bytes, ...]:
    whole = path.read_bytes()
    body = whole[len(_MAGIC) + 4 :]
    if not whole.startswith(_MAGIC) or zlib.crc32(body).to_bytes(4, "big") != whole[len(_MAGIC) : len(_MAGIC) + 4]:
        raise Corrupt(f"{path} is damaged")
    plain = zstandard.ZstdDecompressor().decompress(body)
    found_format = msgspec.msgpack.decode(plain, type=tuple)[0]
    if found_format != _FORMAT:
        raise Conflict(f"{path} has format {found_format}, this release knows {_FORMAT}: upgrade gridspine")
    content = msgspec.msgpack.decode(plain, type=_Content)
    if content.offset != _offset(path):
        raise Corrupt(f"{path} is damaged: it holds offset {content.offset}")
    return content.items
