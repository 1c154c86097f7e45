"""What is kept of a VTN that is followed: programs and events that were read, and what was made of them."""

import msgspec

from gridspine.energy.upstream.record import BegunProgramme, KnownProgramme
from gridspine.things.adapter import PrivateStore

PREFIX = "remote/"
"""What all keys begin with that are kept of VTNs that are followed."""


class Due(msgspec.Struct, frozen=True):
    """A report that an event asks for: ``intervals`` are (id, from [µs], until [µs])."""

    payload_type: str
    units: str
    intervals: tuple[tuple[int, int, int], ...]


class KnownEvent(msgspec.Struct, frozen=True):
    """An event that was read: its ``program``, the event made of it ("" for none), by what ``digest`` of its words.

    ``first_us`` [µs since 1970] is when these came first, which *now* means in it; from ``again_us`` on more of its
    intervals are to be published, 0 where all are. ``due`` are reports to come; ``opted``: the VTN was told that the
    owner opted out of it. ``terms`` is what besides its words it was read by: its program's, and the consent.
    """

    program: str
    noun: str
    digest: str
    first_us: int
    again_us: int = 0
    due: tuple[Due, ...] = ()
    opted: bool = False
    terms: str = ""


class Kept:
    """The record of one Thing (`Notes`), by the ids of programs and events; durable when a call has returned."""

    def __init__(self, store: PrivateStore, thing: str) -> None:
        self._store, self._prefix = store, f"{PREFIX}{thing}/"
        self._begun: dict[str, BegunProgramme] = {}
        self.programs: dict[str, KnownProgramme] = {}
        self.events: dict[str, KnownEvent] = {}

    async def load(self) -> None:
        """Read what was kept."""
        for key, value in (await self._store.items()).items():
            kind, _, id_ = key.removeprefix(self._prefix).partition("/") if key.startswith(self._prefix) else ("",) * 3
            if kind == "program":
                self.programs[id_] = msgspec.json.decode(value, type=KnownProgramme)
            elif kind == "begun":
                self._begun[id_] = msgspec.json.decode(value, type=BegunProgramme)
            elif kind == "event":
                self.events[id_] = msgspec.json.decode(value, type=KnownEvent)

    async def keep(self, id: str, event: KnownEvent | None) -> None:
        """Keep what is known of an event; None forgets it."""
        await self._put("event", id, event)
        if event is None:
            self.events.pop(id, None)
        else:
            self.events[id] = event

    def begun(self, id: str) -> BegunProgramme | None:
        """Return the programme of a program that is being made."""
        return self._begun.get(id)

    def all_begun(self) -> list[str]:
        """Return the programs whose programmes are being made."""
        return list(self._begun)

    async def begin(self, id: str, begun: BegunProgramme) -> None:
        """Note that the programme of a program is being made."""
        await self._put("begun", id, begun)
        self._begun[id] = begun

    async def give_up(self, id: str) -> None:
        """Note that a programme is being made no more."""
        await self._put("begun", id, None)
        self._begun.pop(id, None)

    async def note(self, id: str, known: KnownProgramme) -> None:
        """Note the programme of a program: it is made."""
        await self._put("program", id, known)
        self.programs[id] = known
        if id in self._begun:
            await self.give_up(id)

    async def forget(self, id: str) -> None:
        """Forget the programme of a program."""
        await self._put("program", id, None)
        self.programs.pop(id, None)

    async def noted(self) -> frozenset[str]:
        """Return the programmes that are noted of any Thing."""
        kept = (await self._store.items()).items()
        notes = [value for key, value in kept if key.startswith(PREFIX) and "/program/" in key]
        return frozenset(msgspec.json.decode(value, type=KnownProgramme).noun for value in notes)

    async def _put(self, kind: str, id: str, value: msgspec.Struct | None) -> None:
        await self._store.put(f"{self._prefix}{kind}/{id}", None if value is None else msgspec.json.encode(value))
