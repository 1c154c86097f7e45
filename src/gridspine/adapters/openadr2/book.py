"""What is kept of VENs beside the node's documents, in the adapter's private store: durable before it is answered.

Of a VEN: its registration, which events it was told at which modification, what it answered, its opts, and which
reports it was asked for. Of events: by which eventID the wire knows one that took another's place.
"""

import msgspec

from gridspine.adapters.openadr2.message import OPT_OUT
from gridspine.things.adapter import PrivateStore

MAX_KEPT = 500
"""Events that are remembered of a VEN: told, answered; and its opts."""
MAX_GONE = 1_000
"""VENs that no Thing is any more, and that are remembered until they heard so."""


class Registration(msgspec.Struct, frozen=True):
    """A VEN's registration; ``address`` is where it is pushed to, "" for one that polls.

    ``certificate`` (DER) is what one that is pushed to registered by: while that is worth anything, it may be told.
    """

    id: str
    at_us: int
    name: str = ""
    address: str = ""
    report_only: bool = False
    signed: bool = False
    certificate: bytes = b""


class Answered(msgspec.Struct, frozen=True):
    """What a VEN answered to a modification of an event."""

    number: int
    opt: str
    code: int = 200

    @property
    def out(self) -> bool:
        """Whether it takes no part: it said so, or could not do what is asked."""
        return self.opt == OPT_OUT or self.code != 200


class Opt(msgspec.Struct, frozen=True):
    """An opt of a VEN's own: of the event ``event_id``, or times that were opted out of, by their ids at the node."""

    event_id: str = ""
    times: tuple[str, ...] = ()
    digest: str = ""


class Column(msgspec.Struct, frozen=True):
    """What a value of a report is: a point of a Thing, in ``unit``, after it was multiplied by ``factor``."""

    thing: str
    point: str
    unit: str
    factor: float


class Asked(msgspec.Struct, frozen=True):
    """A report that a VEN was asked for: its columns, by rID."""

    specifier_id: str
    columns: dict[str, Column]


class VenRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a VEN that is ``thing``. ``numbered``: how many reports were asked for."""

    thing: str = ""
    registration: Registration | None = None
    told: dict[str, int] = {}
    answered: dict[str, Answered] = {}
    opts: dict[str, Opt] = {}
    asked: dict[str, Asked] = {}
    numbered: int = 0


class Link(msgspec.Struct, frozen=True):
    """By which event the wire knows one, and how many came before it."""

    root: str
    number: int
    until_us: int


class Gone(msgspec.Struct, frozen=True):
    """A VEN that no Thing is any more since ``at_us`` [µs since 1970], and that was not told so yet."""

    registration: Registration
    at_us: int


class Book:
    """All that is kept; in memory, and durable when a ``put`` has returned."""

    def __init__(self, store: PrivateStore) -> None:
        self._store = store
        self._vens: dict[str, VenRecord] = {}
        self._links: dict[str, Link] = {}
        self._gone: dict[str, Gone] = {}

    async def load(self) -> None:
        """Read all of it when the adapter starts."""
        for key, value in (await self._store.items()).items():
            kind, _, id_ = key.partition("/")
            if kind == "ven":
                self._vens[id_] = msgspec.msgpack.decode(value, type=VenRecord)
            elif kind == "link":
                self._links[id_] = msgspec.msgpack.decode(value, type=Link)
            elif kind == "gone":
                self._gone[id_] = msgspec.msgpack.decode(value, type=Gone)

    def ven(self, id: str, thing: str) -> VenRecord:
        """Return what is kept of a VEN that is ``thing``: nothing of what it was as another Thing."""
        found = self._vens.get(id)
        return found if found is not None and found.thing == thing else VenRecord(thing)

    async def put_ven(self, id: str, record: VenRecord) -> VenRecord:
        """Keep a VEN's record."""
        await self._store.put(f"ven/{id}", msgspec.msgpack.encode(record))
        self._vens[id] = record
        if id in self._gone:
            await self.forget_gone(id)  # it is back
        return record

    async def forget(self, id: str, now_us: int) -> None:
        """Keep nothing any more of a VEN, as no Thing is it; but of one that is pushed to, that it is to hear so."""
        found = self._vens.get(id)
        if found is None:
            return
        registration = found.registration
        if registration is not None and registration.address and len(self._gone) < MAX_GONE:
            gone = Gone(registration, now_us)
            await self._store.put(f"gone/{id}", msgspec.msgpack.encode(gone))
            self._gone[id] = gone
        await self._store.put(f"ven/{id}", None)
        del self._vens[id]

    def gone(self) -> dict[str, Gone]:
        """Return the VENs that no Thing is any more, and that are to hear so."""
        return dict(self._gone)

    async def forget_gone(self, id: str) -> None:
        """Keep nothing any more of a VEN that was gone."""
        if self._gone.pop(id, None) is not None:
            await self._store.put(f"gone/{id}", None)

    def vens(self) -> list[str]:
        """Return the venIDs of which something is kept."""
        return list(self._vens)

    def link(self, event: str) -> Link | None:
        """Return by which event the wire knows ``event``, None for itself."""
        return self._links.get(event)

    async def put_link(self, event: str, link: Link, now_us: int) -> None:
        """Keep a link; those of events that are long over go."""
        for old in [one for one, found in self._links.items() if found.until_us < now_us - 7 * 86_400_000_000]:
            await self._store.put(f"link/{old}", None)
            del self._links[old]
        await self._store.put(f"link/{event}", msgspec.msgpack.encode(link))
        self._links[event] = link


def latest(kept: dict[str, msgspec.Struct] | dict[str, int], wanted: set[str]) -> dict[str, object]:
    """Return what is kept of ``wanted``, and the newest of the rest, `MAX_KEPT` together."""
    others = [key for key in kept if key not in wanted]
    gone = set(others[: max(0, len(kept) - MAX_KEPT)])
    return {key: value for key, value in kept.items() if key not in gone}
