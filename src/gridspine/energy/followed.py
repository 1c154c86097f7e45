"""What one Thing follows: its connection point with envelopes, and the programmes that it, or its site, takes part in.

For an adapter whose devices are told themselves what holds (IEEE 2030.5): whoever speaks for a Thing learns what
concerns that Thing, and nothing else of the organisation's sites and programmes.
"""

from typing import Protocol

import msgspec

from gridspine.energy.envelope import Envelope
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.energy.site import Site
from gridspine.things.adapter import Source


class Part(msgspec.Struct, frozen=True):
    """An enrolment that is active, its programme, and the programme's events that are not over."""

    enrolment: ProgrammeEnrolment
    programme: Programme
    events: tuple[ProgrammeEvent, ...] = ()


class Followed(msgspec.Struct, frozen=True):
    """What a Thing follows: ``site`` it is behind, None for none; ``parts`` by their programmes' primacy."""

    site: Site | None = None
    envelopes: tuple[Envelope, ...] = ()
    parts: tuple[Part, ...] = ()


class FollowPort(Protocol):
    """What Things follow, for those who speak for them."""

    def followed(self, source: Source, thing: str) -> Followed:
        """Return what ``thing`` follows; raise `NotFound` unless ``source`` speaks for it."""
        ...

    def answers_for(self, source: Source, thing: str, enrolment: ProgrammeEnrolment) -> bool:
        """Whether what ``source`` answers for ``thing`` is said for all of an enrolment, and nobody else's.

        It is the Thing's own; or its site's, where it is the guard, or alone: nothing else behind the site can be
        commanded, nor has a principal of its own.
        """
        ...

    async def opt(self, source: Source, thing: str, event: str, *, out: bool, reason: str = "") -> bool:
        """Let ``thing`` not take part in ``event``, or take part again; return whether its answer counts.

        It does not when the event is over, nor where the enrolment is others' as well (`answers_for`): nothing changes
        then. Raises `NotFound`, `Forbidden`, `Conflict`.
        """
        ...

    async def opt_out_of(
        self, source: Source, thing: str, programme: str, times: tuple[int, int], *, reason: str = ""
    ) -> str:
        """Let ``thing`` not take part in a programme's events in ``times`` [µs since 1970]; return the opt-out's id.

        It is "", and nothing changes, where the enrolment is others' as well (`answers_for`). Raises `NotFound`,
        `Invalid`, `Conflict`.
        """
        ...

    async def opt_back(self, source: Source, thing: str, opt: str) -> None:
        """Take back the opt-out with the id ``opt``; nothing happens where there is none any more."""
        ...
