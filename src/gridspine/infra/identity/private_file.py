"""Files that only their owner can read: made whole, never replacing another by accident, refused when others may look.

A file is written beside its place (``O_EXCL``, 0600), made durable, and then linked or moved to it, so that it is there
whole or not at all.
"""

import os
import stat
from pathlib import Path

from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.durable import sync_folder
from gridspine.kernel.errors import Invalid


def read_private(path: Path) -> bytes | None:
    """Return the bytes of ``path``, None when there is no file; raise `Invalid` when others may reach it."""
    try:
        # O_NOFOLLOW: a link could point to where others write.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        check_private(path, os.fstat(descriptor), "600")
        return file.read()


def create_private(path: Path, content: bytes, clock: Clock) -> bool:
    """Keep ``content`` as ``path`` unless that exists; return whether it did not."""
    temporary = _write_beside(path, content, clock)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
        sync_folder(path.parent)
    return True


def replace_private(path: Path, content: bytes, clock: Clock) -> None:
    """Put ``content`` in the place of ``path``, whether it exists or not."""
    _write_beside(path, content, clock).replace(path)
    sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Delete what was being written when a process died: it was never in its place, so nothing depends on it."""
    for leftover in folder.glob(".*.new"):
        leftover.unlink(missing_ok=True)


def check_private(path: Path, found: os.stat_result, mode: str) -> None:
    """Raise `Invalid`, saying what to do, unless ``path`` is its owner's alone; ``mode`` is how it should be."""
    if found.st_uid != os.geteuid():
        raise Invalid(f"{path} belongs to another user: give it to the one who runs this (chown)")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Invalid(f"{path} can be reached by others than its owner: run chmod {mode} {path}, and replace its keys")


def _write_beside(path: Path, content: bytes, clock: Clock) -> Path:
    temporary = path.parent / f".{path.name}.{clock.randbytes(8).hex()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary
