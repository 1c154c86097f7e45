"""The port by which an energy-native adapter reaches sites, programmes and what hangs on them: in somebody's name.

::

    adapter ─► controls_of(context) ─► of(source) ─► sites · programmes · enrolments · reports
                       └► changes(): what was kept, by whomever                the policies are asked first

Every call asks the policies what the API's routes ask, in the name of the source, and does what they do: what a
document commands is asked for, or ended, before the call returns. What a source may not know of is not found.

All calls raise `Unauthenticated` when the source's proof holds no more, `Forbidden` where a policy says no, `NotFound`
for what there is not (or is not to be seen), and as their names say `Invalid`, `Conflict`, `Overloaded`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from gridspine.energy.envelope import Envelope
from gridspine.energy.followed import FollowPort
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment, Verb
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.energy.programme_report import ProgrammeReport, ReportValues
from gridspine.energy.site import Site
from gridspine.energy.timeline import Together
from gridspine.things.adapter import AdapterContext, Source

Action = Literal[
    "site.read", "site.manage", "programme.read", "programme.manage", "programme.enrol", "programme.opt",
    "programme.report",
]  # fmt: skip
Match = Callable[[int], None]
"""Is called with the version of the document that is to be replaced, or ended; what it raises prevents it."""
Beside = Callable[[ProgrammeEvent], Awaitable[None]]
Kept = Site | Envelope | Programme | ProgrammeEvent | ProgrammeEnrolment | ProgrammeReport


class Change(msgspec.Struct, frozen=True):
    """A document that was kept or removed: ``type`` is that of its event in the ledger (``programme.changed`` …).

    ``document`` is as it is now, or was at last; ``removed`` says that it is gone.
    """

    type: str
    document: Kept
    actor: str
    removed: bool = False


class SitePort(Protocol):
    """Sites and envelopes of the source's organisation."""

    def all(self) -> Sequence[Site]:
        """Return its sites, by title."""
        ...

    def get(self, id: str) -> Site:
        """Return one."""
        ...

    async def register(self, site: Site) -> Site:
        """Keep a new site; its id and organisation are given here."""
        ...

    async def change(self, id: str, site: Site, *, match: Match = ...) -> Site:
        """Replace what is said of a site."""
        ...

    async def remove(self, id: str, *, match: Match = ...) -> None:
        """Forget a site and its envelopes."""
        ...

    def envelopes(self, site: str) -> Sequence[Envelope]:
        """Return the envelopes of a site, the oldest first."""
        ...

    def envelope(self, site: str, id: str) -> Envelope:
        """Return one."""
        ...

    async def set_envelope(self, site: str, envelope: Envelope, *, match: Match = ...) -> Envelope:
        """Keep an envelope of a site: a new one (its ``id`` is ""), or a changed one."""
        ...

    async def lift_envelope(self, site: str, id: str, *, match: Match = ...) -> None:
        """Forget an envelope."""
        ...

    def held(self, site: str, from_us: int, until_us: int) -> Sequence[Together]:
        """Return what holds at a site in ``[from_us, until_us)`` [µs since 1970], in order and without gaps."""
        ...


class ProgrammePort(Protocol):
    """Programmes that the source's organisation runs, takes part in or may see, and their events."""

    def all(self) -> Sequence[Programme]:
        """Return them, by title."""
        ...

    def get(self, id: str) -> Programme:
        """Return one."""
        ...

    def own(self, id: str) -> Programme:
        """Return one that the organisation runs, if the source may manage it."""
        ...

    async def create(self, programme: Programme) -> Programme:
        """Keep a new programme; its id and organisation are given here."""
        ...

    async def change(self, id: str, programme: Programme, *, match: Match = ...) -> Programme:
        """Replace what is said of an own programme."""
        ...

    async def retire(self, id: str, *, match: Match = ...) -> Programme:
        """End an own programme; its events are cancelled."""
        ...

    def events(self, programme: str) -> Sequence[ProgrammeEvent]:
        """Return the events of a programme, the newest first: of one not the organisation's, those that are for it."""
        ...

    def event(self, programme: str, id: str) -> ProgrammeEvent:
        """Return one, under the same rule."""
        ...

    def find_event(self, id: str) -> ProgrammeEvent:
        """Return one of whichever programme, under the same rule."""
        ...

    async def publish(self, event: ProgrammeEvent, beside: Beside | None = None) -> ProgrammeEvent:
        """Keep a new event of an own programme; its id, seed and organisation are given here.

        ``beside`` is called with the event as it will be, and does its own work meanwhile: this returns when both are
        done. Where either fails this raises, and what the other kept may be there.
        """
        ...

    async def cancel(self, programme: str, id: str, reason: str = "") -> ProgrammeEvent:
        """Cancel an event of an own programme."""
        ...


class EnrolmentPort(Protocol):
    """Enrolments: all in an own programme, the organisation's own in others'."""

    def all(self, programme: str) -> Sequence[ProgrammeEnrolment]:
        """Return them."""
        ...

    def get(self, programme: str, id: str) -> ProgrammeEnrolment:
        """Return one."""
        ...

    async def ask(self, enrolment: ProgrammeEnrolment) -> ProgrammeEnrolment:
        """Ask for one, and so consent; its id and organisations are given here."""
        ...

    async def decide(
        self, programme: str, id: str, verb: Verb, reason: str = "", targets: tuple[str, ...] | None = None
    ) -> ProgrammeEnrolment:
        """Admit, refuse or end one in an own programme; *withdraw* an own one."""
        ...

    async def aim(self, programme: str, id: str, targets: tuple[str, ...]) -> ProgrammeEnrolment:
        """Let an own programme know one by other words."""
        ...

    async def opt_out(
        self, programme: str, id: str, reason: str = "", *, event: str = "", from_us: int = 0, until_us: int = 0
    ) -> ProgrammeEnrolment:
        """Let an own one not take part in ``event``, or in a time [µs since 1970], from now where ``from_us`` is 0."""
        ...

    async def opt_in(self, programme: str, id: str, *, opt: str = "", event: str = "") -> ProgrammeEnrolment:
        """Take an opt-out back."""
        ...


class ReportPort(Protocol):
    """Reports: all to an own programme, the organisation's own to others'."""

    def all(self, programme: str) -> Sequence[ProgrammeReport]:
        """Return them, the newest first."""
        ...

    def get(self, programme: str, id: str) -> ProgrammeReport:
        """Return one."""
        ...

    async def values(self, report: ProgrammeReport) -> ReportValues:
        """Return what one told."""
        ...

    async def deliver(
        self, programme: str, enrolment: str, payload_type: str, from_us: int, until_us: int, *, point: str = "",
        event: str = "",
    ) -> ProgrammeReport:  # fmt: skip
        """Make one of the history of an own enrolment in ``[from_us, until_us)`` [µs since 1970], and keep it."""
        ...


class ControlPort(Protocol):
    """All that one source may do; made anew for each request, it costs nothing."""

    source: Source
    sites: SitePort
    programmes: ProgrammePort
    enrolments: EnrolmentPort
    reports: ReportPort

    def check(self, action: Action) -> None:
        """Raise `Forbidden` unless the policies permit ``action`` in the own organisation; it is recorded."""
        ...

    def may(self, action: Action) -> bool:
        """Whether the policies would permit ``action`` in the own organisation: to offer it, nothing is recorded."""
        ...


class Controls(Protocol):
    """The port itself; ``following``: what single Things follow, for those who speak for them."""

    following: FollowPort

    @property
    def revision(self) -> int:
        """A number that rises with each document that is kept or removed: what was read at the same is the same."""
        ...

    def of(self, source: Source) -> ControlPort:
        """Return the port in the name of ``source``; raise `Unauthenticated` when its proof holds no more.

        An adapter that acts for a Thing it serves (`AdapterContext.source_of`) acts in the name of the application
        among that Thing's devices, as owner and operator at most.
        """
        ...

    def changes(self) -> AsyncIterator[Change]:
        """Yield what is kept and removed from this call on, by whomever: what of it a source may see, ask its port.

        It ends when the listener is too slow: then read anew what is there.
        """
        ...


def controls_of(context: AdapterContext) -> Controls:
    """Return the port of an adapter's context; on an edge it raises `Unavailable`, as there are no documents there."""
    port: Any = context.controls
    found: Controls = port
    return found
