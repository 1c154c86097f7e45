"""How far the archive is: a small file the worker replaces after each durable commit, for the node to read."""

import os
from pathlib import Path

import msgspec

from gridspine.kernel.errors import Corrupt

FILE_NAME = "published.json"


class Published(msgspec.Struct, frozen=True, rename="camel"):
    """What of the log is durably in the archive.

    ``offsets`` is the next offset of each partition of topic ``readings`` (trim may go so far, and no farther);
    ``version`` and ``checkpoint`` are the Delta table's, -1 when there is none; ``time_us`` [µs since 1970].
    """

    offsets: dict[int, int] = {}
    version: int = -1
    checkpoint: int = -1
    time_us: int = 0


def read_published(archive: Path) -> Published:
    """Return what is published in folder ``archive``; nothing at all when there is no file yet."""
    try:
        body = (archive / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return Published()
    try:
        return msgspec.json.decode(body, type=Published)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{archive / FILE_NAME} cannot be read: {error}") from error


def write_published(archive: Path, published: Published) -> None:
    """Replace the file in one step; on return it survives power loss."""
    temporary = archive / (FILE_NAME + ".new")
    temporary.write_bytes(msgspec.json.encode(published))
    sync(temporary)
    temporary.replace(archive / FILE_NAME)
    sync(archive)


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
