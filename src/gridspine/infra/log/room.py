"""Room on the disk: data is refused before the disk is full, so that commands, grants and audit still fit.

::

    free space   ├── ballast (a file of ours) ──┼── floor ──┼───────── data may be written ────────▶
                 released when data meets the     data is
                 floor: control topics use it     refused
"""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from gridspine.kernel.errors import DiskFull

DEFAULT_RESERVE_BYTES = 32 << 20
_CHECK_EVERY_BYTES = 4 << 20


class Room:
    """Watches free space under ``directory``; keeps ``reserve_bytes`` back for what must never be refused.

    ``free_bytes`` is asked for the free space; tests inject it. Once full, data is taken again when twice the room
    kept back is free.
    """

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int = DEFAULT_RESERVE_BYTES,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._reserve = reserve_bytes
        self._ballast = directory / "ballast"
        self._free = free_bytes or (lambda: shutil.disk_usage(directory).free)
        self._lock = threading.Lock()
        self._unchecked_bytes = _CHECK_EVERY_BYTES
        self._full = False
        self.withheld = ""
        """Why data is refused though the disk has room; "" when it is not."""
        self._take_ballast()

    @property
    def full(self) -> bool:
        """Whether data is being refused."""
        return self._full or bool(self.withheld)

    def admit(self, size_bytes: int) -> None:
        """Raise `DiskFull` when ``size_bytes`` of data would eat into the room kept back."""
        with self._lock:
            if self.withheld:
                raise DiskFull(self.withheld)
            self._unchecked_bytes += size_bytes
            if self._full or self._unchecked_bytes >= _CHECK_EVERY_BYTES:
                self._look(size_bytes)
            if self._full:
                raise DiskFull("the disk is nearly full: free some room; new readings are taken again by themselves")

    def overrun(self) -> None:
        """Note that a write failed for want of room, and give the ballast to control topics."""
        with self._lock:
            self._full = True
            self._ballast.unlink(missing_ok=True)

    def _look(self, size_bytes: int) -> None:
        self._unchecked_bytes = 0
        free = self._free()
        floor = self._reserve + size_bytes
        if free < floor:
            self._full = True
            self._ballast.unlink(missing_ok=True)
        elif free >= 2 * floor or not self._full:
            self._full = False
            self._take_ballast()

    def _take_ballast(self) -> None:
        if self._ballast.exists() or self._free() < 3 * self._reserve:
            return
        try:
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._reserve)
        except OSError:
            self._ballast.unlink(missing_ok=True)
