"""The archive's files as the worker last committed them: one small file, read by whoever asks. No engine needed.

It says what the Delta log says, so that a query need not replay that log: each file with the bounds of what it holds,
and up to where of the event log they reach. The Delta log is the truth; a lost or old manifest is made from it again.
"""

from pathlib import Path

import msgspec

from gridspine.infra.runtime.durable import write_whole
from gridspine.kernel.errors import Corrupt

FILE_NAME = "manifest.json"
TABLE_FOLDER = "readings"
"""Folder of the Delta table within the archive's."""
DAILY_FOLDER = "daily"
"""Folder of the daily sums; each file of it has the name of the data file it sums up."""
LAST_TEXT = "\U0010ffff"
"""Later than any point's id."""
UNKNOWN_US = (1 << 62) - 1


class DataFile(msgspec.Struct, frozen=True, array_like=True):
    """One data file of the table: bounds are of what it holds, all inclusive; times [µs since 1970].

    ``path`` is within the table's folder, ``day`` in days since 1970, ``pending`` the most of its rows,
    ``received_us`` the latest, ``written_ms`` [ms since 1970] when and ``version`` of the table by which it came;
    ``daily`` tells whether there are daily sums of it.
    """

    path: str
    day: int
    rows: int
    size_bytes: int
    first_us: int
    latest_us: int
    first_point: str
    last_point: str
    pending: int
    received_us: int
    written_ms: int
    version: int = 0
    daily: bool = False

    @property
    def name(self) -> str:
        """The file's own name, without its folder."""
        return self.path.rpartition("/")[2]


class Retired(msgspec.Struct, frozen=True, array_like=True):
    """A file that left the table at ``time_ms`` [ms since 1970]: queries that began before may still read it."""

    path: str
    time_ms: int


class Manifest(msgspec.Struct, frozen=True):
    """The files of one ``version`` of the table, next ``offsets`` of the log's partitions, and what was retired."""

    version: int = -1
    offsets: dict[int, int] = {}
    files: list[DataFile] = []
    retired: list[Retired] = []


def read_manifest(archive: Path) -> Manifest | None:
    """Return the manifest of folder ``archive``, None when there is none; raise `Corrupt`."""
    try:
        return msgspec.json.decode((archive / FILE_NAME).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{archive / FILE_NAME} cannot be read: {error}") from error


def write_manifest(archive: Path, manifest: Manifest) -> None:
    """Replace the manifest in one step; on return it survives power loss."""
    write_whole(archive / FILE_NAME, msgspec.json.encode(manifest))
