"""What an adapter keeps, durably, of the programmes that it makes of what a server says."""

from typing import Protocol

import msgspec


class KnownProgramme(msgspec.Struct, frozen=True):
    """The programme ``noun`` that was made, the enrolment in it ("" for none), and what consent that rests on."""

    noun: str
    enrolment: str = ""
    consent: str = ""


class BegunProgramme(msgspec.Struct, frozen=True):
    """A programme of that ``title``, which is being made since ``from_us`` [µs since 1970]."""

    title: str
    from_us: int


class Notes(Protocol):
    """The record of one Thing; its programmes by their ids at the server. What was noted is durable."""

    def begun(self, id: str) -> BegunProgramme | None:
        """Return what was begun and is not noted yet."""
        ...

    async def begin(self, id: str, begun: BegunProgramme) -> None:
        """Note that a programme is being made."""
        ...

    async def note(self, id: str, known: KnownProgramme) -> None:
        """Note one that was made: it is begun no more."""
        ...

    async def noted(self) -> frozenset[str]:
        """Return the programmes that are noted of any Thing of the adapter."""
        ...
