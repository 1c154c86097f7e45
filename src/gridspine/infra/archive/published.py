"""How far the archive is: a small file the worker replaces after each durable commit, for the node to read."""

from pathlib import Path

import msgspec

from gridspine.infra.runtime.durable import write_whole
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
    write_whole(archive / FILE_NAME, msgspec.json.encode(published))
