"""What is kept of a VTN that is followed: who the node is there, what it published, what it asked to be told."""

import msgspec

from gridspine.things.adapter import PrivateStore

PREFIX = "remote/"
"""What all keys begin with that are kept of VTNs that are followed."""


class KnownMarket(msgspec.Struct, frozen=True):
    """A marketContext: the programme made of it, the enrolment in it, and what consent that rests on."""

    noun: str
    enrolment: str = ""
    consent: str = ""


class BegunMarket(msgspec.Struct, frozen=True):
    """A marketContext whose programme, of that ``title``, is being made since ``from_us`` [µs since 1970]."""

    title: str
    from_us: int


class KnownEvent(msgspec.Struct, frozen=True):
    """An event: of which ``market``, the node's event ("" for none), its modification, and what was answered to it.

    ``answered`` is the optType the VTN has, "" for none. ``commands``: whether it asks for something to be done.
    ``unmet``: whether some of that is more than the owner consented to.
    """

    market: str
    noun: str
    number: int
    answered: str = ""
    code: int = 200
    commands: bool = False
    unmet: bool = False


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
    """All that is kept of one VTN. ``polls_us`` is how often it wishes to be polled, 0 where it did not say."""

    ven_id: str = ""
    registration_id: str = ""
    vtn_id: str = ""
    polls_us: int = 0
    markets: dict[str, KnownMarket] = {}
    events: dict[str, KnownEvent] = {}
    reports: dict[str, KnownReport] = {}
    begun: dict[str, BegunMarket] = {}


class Kept:
    """The record of one Thing; durable when `change` has returned."""

    def __init__(self, store: PrivateStore, thing: str) -> None:
        self._store, self._key = store, f"{PREFIX}{thing}"
        self.now = Followed()

    async def nouns(self) -> frozenset[str]:
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
