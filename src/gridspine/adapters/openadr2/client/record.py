"""What is kept of a VTN that is followed: who the node is there, what it published, what it asked to be told."""

import msgspec

from gridspine.energy.upstream.record import BegunProgramme, KnownProgramme
from gridspine.things.adapter import PrivateStore

PREFIX = "remote/"
"""What all keys begin with that are kept of VTNs that are followed."""


class KnownEvent(msgspec.Struct, frozen=True):
    """An event: of which ``market``, the node's event ("" for none), its modification, and what was answered to it.

    ``answered`` is the optType the VTN has, "" for none. ``commands``: whether it asks for something to be done.
    ``unmet``: whether some of that is more than the owner consented to, and ``terms`` what that was when it was read.
    """

    market: str
    noun: str
    number: int
    answered: str = ""
    code: int = 200
    commands: bool = False
    unmet: bool = False
    terms: str = ""


class KnownReport(msgspec.Struct, frozen=True):
    """A report that was asked for: points by rID, each value of ``step_us``, sent every ``every_us`` from ``from_us``.

    ``every_us`` 0 is once.
    """

    specifier_id: str
    points: dict[str, str]
    step_us: int
    every_us: int
    from_us: int


class Followed(msgspec.Struct, frozen=True):
    """All that is kept of one VTN. ``polls_us`` is how often it wishes to be polled, 0 where it did not say.

    ``markets`` are the programmes of its marketContexts, ``begun`` those that are being made.
    """

    ven_id: str = ""
    registration_id: str = ""
    vtn_id: str = ""
    polls_us: int = 0
    markets: dict[str, KnownProgramme] = {}
    events: dict[str, KnownEvent] = {}
    reports: dict[str, KnownReport] = {}
    begun: dict[str, BegunProgramme] = {}


class Kept:
    """The record of one Thing (`Notes`); durable when `change` has returned."""

    def __init__(self, store: PrivateStore, thing: str) -> None:
        self._store, self._key = store, f"{PREFIX}{thing}"
        self.now = Followed()

    def begun(self, id: str) -> BegunProgramme | None:
        """Return the programme of a marketContext that is being made."""
        return self.now.begun.get(id)

    async def begin(self, id: str, begun: BegunProgramme) -> None:
        """Note that the programme of a marketContext is being made."""
        await self.change(begun={**self.now.begun, id: begun})

    async def note(self, id: str, known: KnownProgramme) -> None:
        """Note the programme of a marketContext: it is made."""
        others = {name: one for name, one in self.now.begun.items() if name != id}
        await self.change(markets={**self.now.markets, id: known}, begun=others)

    async def noted(self) -> frozenset[str]:
        """Return the programmes that are noted of any Thing."""
        kept = [value for key, value in (await self._store.items()).items() if key.startswith(PREFIX)]
        all_ = [msgspec.msgpack.decode(value, type=Followed) for value in kept]
        return frozenset(market.noun for one in all_ for market in one.markets.values())

    async def load(self) -> None:
        """Read what was kept."""
        raw = await self._store.get(self._key)
        self.now = Followed() if raw is None else msgspec.msgpack.decode(raw, type=Followed)

    async def change(self, **fields: object) -> None:
        """Keep other values of these fields."""
        after = msgspec.structs.replace(self.now, **fields)
        if after != self.now:
            await self._store.put(self._key, msgspec.msgpack.encode(after))
            self.now = after
