"""Files kept under the hash of what they hold: written once, never changed, each content once.

::

    put ─► folder/3f/3fa9…   named by SHA-256; on return it survives a power cut
    get ─► bytes             checked against the name: damage is said, never handed out
"""

import errno
import hashlib
import re
from pathlib import Path

from gridspine.infra.runtime.durable import make_folder, sync_folder, write_whole
from gridspine.kernel.errors import Corrupt, DiskFull, Gone

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def digest_of(content: bytes) -> str:
    """Return the name of a content: its SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()


class ContentStore:
    """Contents in ``folder``. Calls block; any thread may make them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep ``content`` durably and return its name; raise `DiskFull`."""
        digest = digest_of(content)
        path = self._path(digest)
        if path.exists() and path.stat().st_size == len(content):
            return digest
        try:
            make_folder(path.parent, mode=0o700)
            write_whole(path, content)
        except OSError as error:
            path.with_name(path.name + ".new").unlink(missing_ok=True)
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise DiskFull("there is no room for the file: free some") from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return the content of that name; raise `Gone` when it is not here, `Corrupt` when it is damaged."""
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise Gone("the file is not here any more: it was removed, or a restored backup is from before") from None
        if digest_of(content) != digest:
            raise Corrupt(f"the file {digest[:12]}… is damaged: restore it from a backup, or attach it again")
        return content

    def remove(self, digest: str) -> None:
        """Let go of a content; nothing happens when it is not here."""
        path = self._path(digest)
        path.unlink(missing_ok=True)
        if path.parent.exists():
            sync_folder(path.parent)

    def _path(self, digest: str) -> Path:
        assert _DIGEST.fullmatch(digest), "a name made here is 64 hex digits"
        return self._folder / digest[:2] / digest
