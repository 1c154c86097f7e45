"""Intake: from named readings to the log, and back to whoever sent them with what became of each.

::

    submit (event loop) ── names → numbers ──► LogWriter ── screen ── append ── twin ──► listeners, answer
                            │ unknown, not yours, wrong unit    └ a lot of postings      (event loop)
                            └──────────► refused: answered, counted, kept in topic "quarantine"

The answer comes after the commit. ``received = accepted + suppressed + duplicate + refused`` for every posting and for
the totals. A reading counts as received when it is screened.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import nullcontext

from gridspine.infra.log.writer import LogWriter
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.readings import MAX_BATCH, Channel, NamedReadings
from gridspine.things.adapter import Outcome, Source
from gridspine.things.books import Books, Totals
from gridspine.things.held import Held
from gridspine.things.lot import MAX_PROBLEMS, LotPart
from gridspine.things.offence import Offences
from gridspine.things.point import PointTable
from gridspine.things.posting import Posting
from gridspine.things.screen import Screen
from gridspine.things.standing import Standings
from gridspine.things.twin import TwinState


class Intake:
    """Takes readings in. One for a node."""

    def __init__(
        self, points: PointTable, screen: Screen, twins: TwinState, writer: LogWriter, offences: Offences, clock: Clock
    ) -> None:
        self.books = Books(points, screen, twins, offences, clock, Held(points))
        self.writer = writer
        self.standings = Standings(points)

    async def submit(
        self,
        readings: NamedReadings,
        source: Source,
        *,
        channel: Channel = Channel.REPORTED,
        backfill: bool = False,
        only: Collection[str] | None = None,
    ) -> Outcome:
        """Take ``readings`` in and return what became of them once that is durable.

        ``only`` narrows the source to some Things. Raises `Overloaded` or `DiskFull`: then nothing of the batch
        was kept, unless it was larger than `MAX_BATCH` and the disk filled up between its parts.
        """
        return await self.hand_in(readings, source, channel=channel, backfill=backfill, only=only)

    def hand_in(
        self,
        readings: NamedReadings,
        source: Source,
        *,
        channel: Channel = Channel.REPORTED,
        backfill: bool = False,
        only: Collection[str] | None = None,
    ) -> asyncio.Future[Outcome]:
        """Queue ``readings`` now, and return what `submit` waits for. Raises `Overloaded`: then nothing was queued."""
        trace = self.books.trace
        with trace.span("names") if trace.on and trace.current() else nullcontext():
            resolved = self.books.points.resolve(readings.names, readings.units, source.organisation, only)
            resolved = self.standings.admit(resolved, readings.names, source.organisation)
        context = trace.current()
        if len(readings) <= MAX_BATCH:
            posting = Posting(readings, source, resolved, context)
            self.writer.submit(LotPart(self.books, posting, channel, backfill=backfill))
            return posting.done
        slices = (slice(start, start + MAX_BATCH) for start in range(0, len(readings), MAX_BATCH))
        postings = [Posting(readings.take(part), source, resolved, context) for part in slices]
        self.writer.submit(*(LotPart(self.books, posting, channel, backfill=backfill) for posting in postings))
        return asyncio.ensure_future(_all(postings))


async def _all(postings: Sequence[Posting]) -> Outcome:
    return _sum(await asyncio.gather(*(posting.done for posting in postings)))


def _sum(outcomes: Sequence[Outcome]) -> Outcome:
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems)[:MAX_PROBLEMS]
    totals = Totals()
    for outcome in outcomes:
        totals.add(outcome)
    return Outcome(totals.received, totals.accepted, totals.suppressed, totals.duplicate, totals.refused, problems)
