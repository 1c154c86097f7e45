"""Room that was taken beforehand, and is given back when others have filled the disk.

SQLite needs room even to delete. So orders, and the deletion of what the node has, go on for a while on a disk that is
full to the last block; once there is room again, the ballast is taken anew.
"""

import contextlib
import os
from pathlib import Path


class Ballast:
    """A file of ``size_bytes`` [bytes] in ``folder``; none with 0."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder, self._path, self._size_bytes = folder, folder / "ballast", size_bytes
        self.take()

    def take(self) -> None:
        """Take the room, if it is not taken and there is twice as much."""
        if self.held or not self._size_bytes or self.free_bytes() < 2 * self._size_bytes:
            return
        with contextlib.suppress(OSError), self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._size_bytes)

    def give(self) -> bool:
        """Give the room back; return whether there was any."""
        held = self.held
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        return held

    @property
    def held(self) -> bool:
        """Whether the room is taken."""
        try:
            return self._path.stat().st_size >= self._size_bytes > 0
        except OSError:
            return False

    def free_bytes(self) -> int:
        """Return what is free on the disk [bytes]."""
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize
