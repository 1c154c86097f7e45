"""What a partner deleted: how old that was, so that an older word of it that arrives late does not bring it back.

::

    DELETE tariff ─► its last_updated is kept ─► PUT, not newer: changes nothing │ PUT, newer: it is there again

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Tariffs module" (DELETE: it is not used any more, nor will be).
"""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from gridspine.things.adapter import PrivateStore

MAX_GONE = 500
"""How many are remembered of one module of a partner; the first that were deleted are forgotten first."""
_PREFIX = "gone/"
Own = tuple[str, str]
"""The partner's Thing and the module."""


class Gone:
    """All that is remembered, in memory and in the adapter's private store, by names that the book gives."""

    def __init__(self, store: PrivateStore) -> None:
        self._store = store
        self._gone: dict[Own, dict[str, int]] = {}

    def load(self, items: Mapping[str, bytes]) -> None:
        """Take up what is kept."""
        found = [
            (msgspec.json.decode(value, type=tuple[Own, int]), key.removeprefix(_PREFIX))
            for key, value in items.items() if key.startswith(_PREFIX)
        ]  # fmt: skip
        for (own, updated_us), name in sorted(found, key=lambda one: one[0][1]):
            self._gone.setdefault(own, {})[name] = updated_us

    def updated_us(self, own: Own, name: str) -> int:
        """Return when what was deleted had last been updated [µs since 1970], -1 for what was not."""
        return self._gone.get(own, {}).get(name, -1)

    async def note(self, own: Own, name: str, updated_us: int) -> None:
        """Remember that it was deleted; durable when this returns."""
        known = self._gone.setdefault(own, {})
        known.pop(name, None)
        oldest = next(iter(known)) if len(known) >= MAX_GONE else ""
        if oldest:
            await self.forget(own, oldest)
        known[name] = updated_us
        await self._store.put(_PREFIX + name, msgspec.json.encode((own, updated_us)))

    async def forget(self, own: Own, name: str) -> None:
        """Remember it no more."""
        if self._gone.get(own, {}).pop(name, None) is not None:
            await self._store.put(_PREFIX + name, None)

    async def forget_all(self, own: Own) -> None:
        """Remember nothing of a partner's module."""
        for name in list(self._gone.get(own, {})):
            await self.forget(own, name)
        self._gone.pop(own, None)


def name_of(place: tuple[str, str, str, str], id: str) -> str:
    """Return what an object is kept under, below what it is kept as."""
    thing, module, country, party = place
    return f"{quote(thing, safe=':')}/{module}/{country}/{party}/{quote(id.casefold(), safe='')}"
