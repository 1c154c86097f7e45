"""What is kept of an EndDevice over a restart: which nouns its server's words became, and what is to be answered yet.

In the adapter's private store, a document each Thing; written whole, and durable when ``put`` returns.
"""

import msgspec

from gridspine.things.adapter import PrivateStore

MAX_ANSWERS = 1_000
"""Responses that wait for a server that is away; the oldest go."""


class ControlRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A DERControl that was seen: the event it became ("" for none), and what was said of it.

    ``until_us`` [µs since 1970] is when it is over at the latest; ``reply_to`` and ``required`` are as its server said.
    ``gone_us`` [µs since 1970] is since when its server lists it no more, 0 while it does.
    """

    event: str = ""
    until_us: int = 0
    reply_to: str = ""
    required: int = 0
    problem: int = 0
    told: tuple[int, ...] = ()
    gone_us: int = 0


class ProgramRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A DERProgram that was seen, by the programme and the enrolment that it became.

    ``gone`` is that its server lists it no more: the programme is retired, and its controls wait for what is due.
    """

    programme: str
    enrolment: str = ""
    controls: dict[str, ControlRecord] = {}
    gone: bool = False


class Answer(msgspec.Struct, frozen=True):
    """A response that waits: to the control ``subject``, said at ``at_us`` [µs since 1970]."""

    reply_to: str
    subject: str
    status: int
    at_us: int


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of one EndDevice: ``programs`` by the mRIDs of their server.

    ``subject`` is the site or Thing that it is followed for, in the name of ``organisation``. ``mirror`` is the
    programme by which its readings are had, ``mirrored`` where its usage points are, by their Things; ``posted_us``
    until when readings were posted [µs since 1970].
    """

    subject: str = ""
    organisation: str = ""
    programs: dict[str, ProgramRecord] = {}
    answers: tuple[Answer, ...] = ()
    mirror: ProgramRecord | None = None
    mirrored: dict[str, str] = {}
    posted_us: int = 0


class Book:
    """The records of the EndDevices at the server of ``utility``."""

    def __init__(self, store: PrivateStore, utility: str) -> None:
        self._store, self._prefix = store, f"client/{utility}/"

    async def get(self, thing: str) -> Record:
        """Return what is kept of the EndDevice that ``thing`` stands for."""
        raw = await self._store.get(self._prefix + thing)
        return Record() if raw is None else msgspec.msgpack.decode(raw, type=Record)

    async def put(self, thing: str, record: Record) -> None:
        """Keep it."""
        await self._store.put(self._prefix + thing, msgspec.msgpack.encode(record))

    async def forget(self, thing: str) -> None:
        """Keep nothing of it."""
        await self._store.put(self._prefix + thing, None)

    async def known(self) -> list[str]:
        """Return the Things of which anything is kept."""
        items = await self._store.items()
        return [key.removeprefix(self._prefix) for key in items if key.startswith(self._prefix)]
