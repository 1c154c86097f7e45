"""The data directory: owner-only, one node at a time, with the version of its format.

::

    DATA/format          the format's number
    DATA/lock            held while a node runs
    DATA/registry.db     standing data
    DATA/log/            event log
    DATA/archive/        history
    DATA/keys/           private keys, owner-only
    DATA/twins.npz       snapshot of the twins
    DATA/checkpoints/    commands, alarms and quarantine up to a point of the log
    DATA/ledger.db       hashes of the ledger
    DATA/emulators/      what emulated devices have become
"""

import fcntl
import os
from pathlib import Path
from typing import IO

import structlog

from gridspine.infra.runtime.durable import make_folder, write_whole
from gridspine.kernel.errors import Conflict

FORMAT = 2
"""2: batches with several sources, checkpoints, and topics trimmed behind them. Everything of format 1 is read as it
stands; from the first start on an older release is kept out."""
log = structlog.get_logger(__name__)


class DataDirectory:
    """An opened and locked data directory; close it to let another node in."""

    def __init__(self, path: Path) -> None:
        make_folder(path, mode=0o700)
        _make_private(path)
        self.path = path
        self._lock = self._take_lock()
        try:
            self._check_format()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the lock."""
        self._lock.close()

    def _take_lock(self) -> IO[str]:
        file = (self.path / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip()
            file.close()
            raise Conflict(
                f"{self.path} is in use by another node (process {owner or 'unknown'}): stop it first"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file

    def _check_format(self) -> None:
        marker = self.path / "format"
        if not marker.exists():
            write_whole(marker, f"{FORMAT}\n".encode())
            return
        text = marker.read_text().strip()
        if not text.isdigit():
            raise Conflict(f"{marker} does not hold a number: is {self.path} a data directory of gridspine?")
        if int(text) > FORMAT:
            raise Conflict(f"{self.path} has format {text}, this release knows up to {FORMAT}: upgrade gridspine")
        if int(text) < FORMAT:
            log.info("the data directory is of an older release, and is this one's from now on", was=int(text))
            write_whole(marker, f"{FORMAT}\n".encode())


def _make_private(path: Path) -> None:
    """Shut others out of a directory that was there before: what is in it is readable to whoever can enter."""
    if not path.stat().st_mode & 0o077:
        return
    try:
        path.chmod(0o700)
    except PermissionError:
        log.warning("others can look into the data directory, and it is not ours to close", path=str(path))
