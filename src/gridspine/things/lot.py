"""A lot: postings of one organisation that are screened, kept and published together, as one batch of the log.

A small posting costs little this way: what the steps of the screen and a record of the log cost by themselves is
shared by all that wait while the writer is busy. What a posting brings counts as coming before the next one's.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gridspine.infra.log.port import Position, Record
from gridspine.infra.log.topics import READINGS
from gridspine.infra.log.writer import Priority
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.kernel.readings import Channel, ItemProblem, Readings, UInt16Array
from gridspine.things.adapter import Outcome
from gridspine.things.books import Books, Committed
from gridspine.things.flap import flap_records
from gridspine.things.held import HELD_TOPIC
from gridspine.things.offence import Counted
from gridspine.things.posting import Posting
from gridspine.things.quarantine import quarantine_records
from gridspine.things.screen import ACCEPTED, DUPLICATE, HELD, REFUSED, SUPPRESSED, Screened
from gridspine.things.steps import steps_of

MAX_PROBLEMS = 1_000
"""Refused items that an answer lists one by one; all of them are counted and kept."""
_CODES = 5
_NONE: Counter[str] = Counter()
"""Nothing beyond what is listed; not to be changed."""


class LotPart:
    """A posting in the writer's queue; see `gridspine.infra.log.writer.Part`."""

    __slots__ = ("backfill", "books", "channel", "kin", "posting", "priority", "source", "weight")

    def __init__(self, books: Books, posting: Posting, channel: Channel, *, backfill: bool) -> None:
        self.priority = Priority.BACKFILL if backfill else Priority.LIVE
        self.weight = max(posting.named.received, 1)
        self.source = posting.source.session
        self.kin = (posting.source.organisation, channel, backfill)
        self.posting = posting
        self.books = books
        self.channel = channel
        self.backfill = backfill

    def together(self, parts: "Sequence[LotPart]") -> "Lot":
        """Return the lot of parts of the same kin, this one among them."""
        return Lot(self.books, [part.posting for part in parts], self.channel, backfill=self.backfill)


class Lot:
    """Postings on their way through the writer; see `gridspine.infra.log.writer.Job`."""

    def __init__(self, books: Books, postings: Sequence[Posting], channel: Channel, *, backfill: bool) -> None:
        self._books = books
        self._postings = postings
        self._steps = steps_of(books.trace, [posting.trace for posting in postings]) if books.trace.on else None
        self._channel = channel
        self._backfill = backfill
        self._readings: Readings | None = None
        self._screened: Screened | None = None
        self._outcomes: list[Outcome] = []
        self._counted: list[Counted] = []
        self._refused: Counter[str] = Counter()
        self._position: Position | None = None

    def prepare(self) -> Sequence[Record]:
        """Screen, and encode what is to be kept."""
        books, now_us = self._books, self._books.clock.now_us()
        self._mark("screen")
        taken = [not books.offences.quarantined(posting.source.principal) for posting in self._postings]
        sizes, self._readings = self._gather(taken, now_us)
        screened = self._screened = books.screen.screen(self._readings)
        records = self._kept(screened, now_us)
        records += self._answer(taken, sizes, screened, now_us)
        records += flap_records(books.points, screened.flapped, books.clock, now_us)
        self._mark("commit")
        return records

    def committed(self, positions: Sequence[Position]) -> None:
        """Publish: the twins move, the totals grow."""
        assert self._screened is not None
        self._mark("twin")
        with self._books.moving():
            self._move(self._screened, positions)
        self._mark("handover")

    def undone(self) -> None:
        """Forget what the screen remembered of these readings."""
        if self._screened is not None:
            self._books.screen.undo(self._screened)
        for counted in reversed(self._counted):
            self._books.offences.undo(counted)

    def finished(self, error: BaseException | None) -> None:
        """Answer the senders and tell the listeners."""
        if error is not None:
            for posting in self._postings:
                if not posting.done.done():
                    posting.done.set_exception(error)
            return
        assert self._screened is not None
        self._mark("delivery")
        self._books.tell(Committed(self._position, self._screened))
        if self._steps is not None:
            self._steps.tell(len(self._screened.verdict))
        for posting, outcome in zip(self._postings, self._outcomes, strict=True):
            if not posting.done.done():
                posting.done.set_result(outcome)

    def _move(self, screened: Screened, positions: Sequence[Position]) -> None:
        assert self._readings is not None
        readings, books = self._readings, self._books
        books.screen.settle()
        if self._channel is Channel.REPORTED:
            books.twins.move(screened.latest)
        else:
            books.twins.channels.apply(screened.accepted)
        if len(screened.accepted) < len(screened.verdict):
            waits = (screened.verdict == SUPPRESSED) | (screened.verdict == HELD)  # of live reported readings only
            books.twins.heard(readings.point[waits], readings.received_us)
        books.held.keep(self._organisation, screened)
        for principal, items in self._refused.items():
            books.quota.spend(principal, items, readings.received_us)
        if len(screened.accepted):
            self._position = positions[0]
            books.passed(self._position)
        for outcome in self._outcomes:
            books.totals.add(outcome)

    def _mark(self, step: str) -> None:
        if self._steps is not None:
            self._steps.mark(step)

    @property
    def _organisation(self) -> str:
        return self._postings[0].source.organisation

    def _gather(self, taken: Sequence[bool], now_us: int) -> tuple[npt.NDArray[np.int64], Readings]:
        """Return how many readings each posting brings, and all of them as one batch."""
        chosen = [posting for posting, wanted in zip(self._postings, taken, strict=True) if wanted]
        number: dict[str, int] = {}
        origins = [number.setdefault(posting.source.principal, len(number)) for posting in chosen]
        columns = [posting.columns() for posting in chosen]
        sizes = np.zeros(len(taken), np.int64)
        sizes[taken] = [len(point) for point, *_ in columns]
        if len(columns) == 1:
            point, observed_us, value, quality = columns[0]
        else:
            empty = (np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.uint16))
            point, observed_us, value, quality = (np.concatenate(parts) for parts in zip(empty, *columns, strict=True))
        origin: UInt16Array | None = None
        if len(number) > 1:
            origin = np.repeat(np.array(origins, np.uint16), sizes[taken])
        sources = tuple(number) or (self._postings[0].source.principal,)
        return sizes, Readings(
            point, observed_us, value, quality, sources, self._channel, now_us, self._backfill, origin
        )

    def _kept(self, screened: Screened, now_us: int) -> list[Record]:
        key = self._organisation.encode()
        records = []
        if len(screened.accepted):
            records.append(Record(READINGS, key, encode_batch(screened.accepted), now_us))
        if len(screened.held):
            records.append(Record(HELD_TOPIC, key, encode_batch(screened.held), now_us))
        return records

    def _answer(
        self, taken: Sequence[bool], sizes: npt.NDArray[np.int64], screened: Screened, now_us: int
    ) -> list[Record]:
        """Find what became of each posting; return the records of what was refused, and of sources quarantined."""
        records: list[Record] = []
        ends = np.cumsum(sizes).tolist()
        which = np.repeat(np.arange(len(sizes)) * _CODES, sizes) + screened.verdict
        counts = np.bincount(which, minlength=len(sizes) * _CODES).reshape(-1, _CODES).tolist()
        for posting, wanted, size, end, count in zip(self._postings, taken, sizes.tolist(), ends, counts, strict=True):
            problems: list[ItemProblem] = []
            beyond = _NONE
            if not wanted:
                problems, beyond = posting.quarantined(max(self._left(posting, now_us), MAX_PROBLEMS))
            elif count[REFUSED] or posting.known is not None or posting.named.problems:
                problems = posting.problems(screened.verdict[end - size : end], screened.reason[end - size : end])
            outcome = Outcome(
                received=posting.named.received,
                accepted=count[ACCEPTED],
                suppressed=count[SUPPRESSED] + count[HELD],
                duplicate=count[DUPLICATE],
                refused=len(problems) + beyond.total(),
                problems=tuple(problems[:MAX_PROBLEMS]),
            )
            self._outcomes.append(outcome)
            if problems:
                records += self._quarantine(posting, problems, beyond, now_us)
            counted = self._books.offences.count(posting.source, outcome, now_us)
            self._counted.append(counted)
            records += counted.records
        return records

    def _quarantine(
        self, posting: Posting, problems: list[ItemProblem], beyond: Counter[str], now_us: int
    ) -> list[Record]:
        """Return the records of refused items, within what its quota leaves of the source's."""
        left = self._left(posting, now_us)
        self._refused[posting.source.principal] += min(len(problems), left)
        return quarantine_records(posting.named, problems, posting.source, now_us, left, beyond)

    def _left(self, posting: Posting, now_us: int) -> int:
        """Return how many refused items of the posting's source its quota leaves room for."""
        principal = posting.source.principal
        return max(self._books.quota.left(principal, now_us) - self._refused[principal], 0)
