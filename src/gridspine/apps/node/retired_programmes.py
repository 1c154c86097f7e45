"""Programmes that are retired: they stay known for a while, and the oldest are let go with all that hangs on them.

::

    retired ─► a day ─► more than `KEPT` of the organisation are ─► reports, enrolments, events and itself are let go

A server that is followed, or a client, may make and end them for years: none of it grows by that. The ledger keeps what
was told of them, and bids and settlement lines say by themselves what they were.
"""

from gridspine.apps.node.programme_enrolments import ProgrammeEnrolments
from gridspine.apps.node.programme_reports import ProgrammeReports
from gridspine.apps.node.programmes import KEPT_OVER_US, Programmes
from gridspine.infra.runtime.clock import Clock

KEPT = 1_000
"""Those of an organisation that are kept; one that was retired within a day is kept beyond that."""
_AT_ONCE = 3
"""Those that are let go before one more programme is made: it is not to wait for many."""


class RetiredProgrammes:
    """Lets them go. Lives on the event loop."""

    def __init__(
        self, programmes: Programmes, enrolments: ProgrammeEnrolments, reports: ProgrammeReports, clock: Clock
    ) -> None:
        self._programmes, self._enrolments, self._reports, self._clock = programmes, enrolments, reports, clock
        programmes.make_room = self.make_room

    async def make_room(self, organisation: str) -> None:
        """Let the oldest go of which nobody needs anything any more, where more are kept than may be."""
        since_us = self._clock.now_us() - KEPT_OVER_US
        kept = self._programmes.book.kept.values()
        own = [one for one in kept if one.organisation == organisation and one.retired_us]
        own.sort(key=lambda one: one.retired_us)
        for one in own[: min(_AT_ONCE, max(0, len(own) - KEPT))]:
            if one.retired_us > since_us:
                break
            # The programme last: what is left of it after a stop amid this goes with it the next time.
            await self._reports.forget(one.id)
            await self._enrolments.forget(one.id)
            await self._programmes.forget(one)
