"""What all requests share: the book, the port, and who is told of changes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence

from gridspine.adapters.openadr3.book import Book, no_such
from gridspine.adapters.openadr3.wire import Kind, Operation, Record, ReportRequest
from gridspine.energy.control_port import Controls
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import NotFound
from gridspine.things.adapter import Source

_URN = "urn:uuid:"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
Told = Callable[[Record, Operation, frozenset[str]], None]
"""Hears of an object, what became of it, and the targets of its programme: who does not see that does not see it."""


class Vtn:
    """One VTN; those ``told`` hear of each change of an object."""

    def __init__(self, book: Book, controls: Controls, clock: Clock) -> None:
        self.book, self.controls, self.clock = book, controls, clock
        self.told: list[Told] = []
        self.check_callback: Callable[[str], None] = lambda _url: None
        """Raises `Invalid` for an address that is never posted to."""
        self.brokers: Callable[[str], list[str]] = lambda _host: []
        """Where notifications are read by MQTT, by who knows this host by that name; nowhere without a broker."""
        self.take: Callable[[Source, ReportRequest], Awaitable[None]] = _taken
        """Takes what a report tells of Things, and returns when that is durable."""
        self.done: set[tuple[str, int]] = set()
        """Nouns that were changed for a request, by id and version: what is told of them was told."""
        self.ends: dict[tuple[str, int], int] = {}
        """When events without a noun are over [µs since 1970], by id and when they changed."""
        self.writing = asyncio.Lock()
        """Held by each request that writes, from its looking up to its answer: what it found holds until then."""
        self._modified_us: dict[str, int] = {}

    @property
    def revision(self) -> tuple[int, int]:
        """What was read at the same is the same."""
        return self.book.revision, self.controls.revision

    def new_id(self) -> str:
        """Return a new id of the wire."""
        return new_id(self.clock)

    def modified_us(self, noun: str, otherwise_us: int) -> int:
        """Return when a noun that was made elsewhere changed last, as far as it was seen [µs since 1970]."""
        return self._modified_us.get(noun, otherwise_us)

    def note(self, noun: str) -> None:
        """Note that a noun changed now."""
        if len(self._modified_us) >= 100_000:
            self._modified_us.clear()
        self._modified_us[noun] = self.clock.now_us()

    def tell(self, record: Record, operation: Operation, guard: frozenset[str]) -> None:
        """Tell of a change that is durable."""
        for one in self.told:
            one(record, operation, guard)

    async def kept(self, record: Record, operation: Operation) -> Record:
        """Keep a record, and tell of it."""
        await self.book.keep(record)
        self.tell(record, operation, self.guard(record))
        return record

    async def gone(self, records: Sequence[Record]) -> None:
        """Let records go, and tell of it."""
        guards = [self.guard(record) for record in records]
        await self.book.forget(records)
        for record, guard in zip(records, guards, strict=True):
            self.tell(record, "DELETE", guard)

    def guard(self, record: Record) -> frozenset[str]:
        """Return the targets of the programme that an object is of, none where it is of none."""
        try:
            return self.book.get("PROGRAM", record.parent).targets
        except NotFound:
            return frozenset()


async def _taken(_source: Source, _report: ReportRequest) -> None:
    """Nobody listens."""


def wire_id(noun: str) -> str:
    """Return the id of a noun as the wire has it: without what all have in common."""
    return noun.removeprefix(_URN)


def noun_id(id: str, kind: Kind) -> str:
    """Return the id of the noun behind an id of the wire; raise `NotFound` for what is none."""
    if not _UUID.fullmatch(id):
        raise no_such(kind)
    return _URN + id
