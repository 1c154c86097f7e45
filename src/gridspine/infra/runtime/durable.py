"""Files and folders that survive a power cut: bytes are durable once their file was synced, a name once its folder was.

::

    write_whole   beside ─ bytes ─ fsync ─ rename ─ fsync of the folder      the old file or the new one, never half
    make_folder   mkdir ─ fsync of the folder above

Source: POSIX.1-2017, fsync() and rename(); what ext4 and others promise beyond that is not relied upon.
"""

import os
from pathlib import Path


def sync(path: Path, *, flags: int = 0) -> None:
    """Force a file's bytes, or a folder's names, to the disk; ``flags`` are more of open(2)."""
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable; raise `NotADirectoryError` for anything else."""
    sync(folder, flags=os.O_DIRECTORY)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make ``folder``, and those above it that are missing, durably; nothing happens when it is there."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of ``path`` in one step; on return it survives a power cut."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)
