"""An adapter's keyring: secrets that change while it runs, each a private file beside the node's own keys.

A backup has them as they were: what a vendor has replaced meanwhile is of no use any more, and is logged in for again.
"""

import asyncio
import re
from collections.abc import Mapping

from gridspine.infra.identity.custody import Custody
from gridspine.kernel.errors import Invalid

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class AdapterKeyring:
    """The `gridspine.things.adapter.PrivateStore` of one adapter's changing secrets."""

    def __init__(self, custody: Custody, adapter: str) -> None:
        self._custody = custody
        self._prefix = f"account.{adapter}."

    async def get(self, key: str) -> bytes | None:
        """Return what is kept under ``key``, or None."""
        return await asyncio.to_thread(self.read, key)

    async def put(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key``, durably; None forgets it."""
        await asyncio.to_thread(self.write, key, value)

    async def items(self) -> Mapping[str, bytes]:
        """Return all that is kept, by key."""
        found = {name: await self.get(name) for name in self.names()}
        return {name: value for name, value in found.items() if value is not None}

    def names(self) -> list[str]:
        """Return the keys there are."""
        folder = self._custody.path("").resolve()
        files = sorted(folder.glob(f"{self._prefix}*.json"))
        return [file.name.removeprefix(self._prefix).removesuffix(".json") for file in files]

    def read(self, key: str) -> bytes | None:
        """Return what is kept under ``key``; blocks."""
        return self._custody.read(self._file(key))

    def write(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key``; blocks."""
        if value is None:
            self._custody.path(self._file(key)).unlink(missing_ok=True)
        else:
            self._custody.replace(self._file(key), value)

    def _file(self, key: str) -> str:
        if not _NAME.fullmatch(key):
            raise Invalid("an account is called by letters, digits, - and _, 64 at most")
        return f"{self._prefix}{key}.json"
