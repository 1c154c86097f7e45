"""Posts that were taken: none is taken twice while it is recent enough to be taken at all.

::

    made ◄── max age ──► now        older, or ahead: refused by its time; within: by its mark, 16 bytes

The marks are kept, by the minute a post was made in, before its readings are handed in: also a restart forgets none. A
minute that is too old goes. There is room for so many of a Thing: more at once are refused, never forgotten.
"""

from collections.abc import Mapping

from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import PrivateStore

MAX_MARKS = 20_000
"""Posts of one Thing that are remembered at most: 16 bytes each."""
_MINUTE_US, _MARK = 60 * US, 16
_PREFIX = "post:"


class Replays:
    """The posts of all Things that were taken."""

    def __init__(self, store: PrivateStore) -> None:
        self._store = store
        self._known: dict[str, dict[int, set[bytes]]] = {}

    async def load(self) -> None:
        """Read what was kept."""
        kept: Mapping[str, bytes] = await self._store.items()
        for key, body in kept.items():
            if key.startswith(_PREFIX):
                minute, _, thing = key.removeprefix(_PREFIX).partition(":")
                marks = {body[at : at + _MARK] for at in range(0, len(body), _MARK)}
                self._known.setdefault(thing, {})[int(minute)] = marks

    def has(self, thing: str, made_us: int, mark: bytes) -> bool:
        """Whether a post of a Thing, made then [µs since 1970], was taken."""
        return mark in self._known.get(thing, {}).get(made_us // _MINUTE_US, ())

    async def take(self, thing: str, made_us: int, mark: bytes, oldest_us: int) -> None:
        """Remember a post before it is taken, and let go of those made before ``oldest_us`` [µs since 1970].

        Raises `Overloaded` where too many of the Thing are recent.
        """
        minutes = self._known.setdefault(thing, {})
        for gone in [one for one in minutes if (one + 1) * _MINUTE_US <= oldest_us]:
            del minutes[gone]
            await self._store.put(f"{_PREFIX}{gone}:{thing}", None)
        if sum(map(len, minutes.values())) >= MAX_MARKS:
            raise Overloaded(f"{MAX_MARKS} posts of this Thing are recent", retry_after_s=60)
        minute = made_us // _MINUTE_US
        marks = minutes.setdefault(minute, set())
        marks.add(mark)
        await self._store.put(f"{_PREFIX}{minute}:{thing}", b"".join(sorted(marks)))

    async def give_back(self, thing: str, made_us: int, mark: bytes) -> None:
        """Forget a post that could not be taken after all: its sender comes again with it."""
        minute = made_us // _MINUTE_US
        marks = self._known.get(thing, {}).get(minute, set())
        marks.discard(mark)
        await self._store.put(f"{_PREFIX}{minute}:{thing}", b"".join(sorted(marks)) or None)
