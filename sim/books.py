"""What the node has promised: every record its log took, every answer it gave; and whether it keeps to them."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gridspine.infra.log.port import Position, Record
from gridspine.infra.log.scan import scan
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.readings import Channel
from gridspine.things.adapter import Outcome
from sim.story import Story

READINGS = "readings"
SUPPRESSIBLE = "/activePower"
"""Ending of the names of points with a deadband; all others never wait."""
Row = tuple[str, float, int]
"""Point id, value, observed [µs]."""


@dataclass(slots=True)
class Asked:
    """A batch that was sent, and how often it arrived."""

    rows: list[Row]
    backfill: bool
    arrivals: int = 0


@dataclass(eq=False)
class Books:
    """The oracle of a run. It outlives every start of the node."""

    story: Story
    point_id: Callable[[int], str] = str
    promised: dict[Position, bytes] = field(default_factory=dict)
    """Place → hash of what is there."""
    following: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    logged: set[Row] = field(default_factory=set)
    marked: set[Row] = field(default_factory=set)
    suppressed: set[Row] = field(default_factory=set)
    batches: dict[int, list[Row]] = field(default_factory=dict)
    """Offset → its readings on the channel reported, in order."""
    twins: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Point id → value, observed [µs], as the log alone makes them."""
    retired: set[str] = field(default_factory=set)
    """Things answered to be retired."""
    barred: set[Row] = field(default_factory=set)
    """Readings that arrived only after that."""
    _rows: list[Row] = field(default_factory=list)
    """What was kept last."""
    outcomes: list[Outcome] = field(default_factory=list)
    """What was answered since the start of the node."""

    # -- the log ------------------------------------------------------------------------------------------------

    def appended(self, records: Sequence[Record], positions: Iterable[Position]) -> None:
        """Take up what the log has promised by returning."""
        for record, position in zip(records, positions, strict=True):
            self._promise(position, record.key, record.body)

    def _promise(self, position: Position, key: bytes, body: bytes) -> None:
        place = (position.topic, position.partition)
        following = self.following[place]
        self.story.check("no offset for two records", position not in self.promised, f"{position} was given before")
        self.story.check("offsets never go back", position.offset >= following, f"{position} after {following}")
        self._take(position, key, body)
        if position.topic == READINGS and self.retired:
            taken = [row for row in self._rows if row in self.barred]
            self.story.check("who is retired gives no readings", not taken, f"{taken[:3]} at {position}")

    def _take(self, position: Position, key: bytes, body: bytes) -> None:
        place = (position.topic, position.partition)
        self.following[place] = max(self.following[place], position.offset + 1)
        self.promised[position] = _digest(key, body)
        if position.topic == READINGS:
            self._read(position.offset, body)

    def _read(self, offset: int, body: bytes) -> None:
        readings = decode_batch(body)
        columns = (readings.point.tolist(), readings.value.tolist(), readings.observed_us.tolist())
        rows = [(self.point_id(point), value, at_us) for point, value, at_us in zip(*columns, strict=True)]
        self._rows = rows
        for row, quality in zip(rows, readings.quality.tolist(), strict=True):
            # What the node marked itself is not recognised after a restart, when it comes without the mark.
            again = row in self.logged and row not in self.marked
            self.story.check("no reading is kept twice", not again, f"{row} again, at offset {offset}")
            self.logged.add(row)
            if quality:
                self.marked.add(row)
        self.batches[offset] = rows if readings.channel is Channel.REPORTED else []
        if readings.channel is not Channel.REPORTED or readings.backfill:
            return
        for name, value, at_us in rows:
            if name not in self.twins or at_us >= self.twins[name][1]:
                self.twins[name] = (value, at_us)

    def survey(self, log: SqliteEventLog) -> None:
        """Read the whole log: what was promised is there, each in its place; more is taken up as promised now."""
        found: set[Position] = set()
        firsts: dict[tuple[str, int], int] = {}
        for topic in sorted(log.topics):
            for partition, (first, following) in enumerate(log.bounds(topic)):
                self.story.check(
                    "offsets never go back",
                    following >= self.following[topic, partition],
                    f"{topic} goes on at {following}, after {self.following[topic, partition]}",
                )
                firsts[topic, partition] = first
                for record in scan(log, topic, partition, first, following):
                    known = self.promised.get(record.position)
                    same = known in {None, _digest(record.key, record.body)}
                    self.story.check("the log keeps what it took", same, f"{record.position} differs")
                    found.add(record.position)
                    if known is None:  # of an append that raised in a later topic, or that a crash cut off
                        self._take(record.position, record.key, record.body)
        lost = sorted(
            one for one in self.promised if one not in found and one.offset >= firsts[one.topic, one.partition]
        )
        self.story.check("the log keeps what it took", not lost, f"{len(lost)} records are gone, such as {lost[:3]}")

    def arrived(self, asked: Asked) -> None:
        """Take note that a batch arrived at the node."""
        asked.arrivals += 1
        if asked.arrivals == 1:
            self.barred.update(row for row in asked.rows if row[0].rpartition("/")[0] in self.retired)

    # -- answers ------------------------------------------------------------------------------------------------

    def answered(self, asked: Asked, outcome: Outcome) -> None:
        """Check an answer to a batch, as the node gives it."""
        o = outcome
        self.outcomes.append(o)
        self.story.check(
            "counts add up",
            o.received == len(asked.rows) == o.accepted + o.suppressed + o.duplicate + o.refused,
            f"{o} for {len(asked.rows)} readings",
        )
        refused = {problem.index for problem in o.problems}
        self.story.check("counts add up", len(refused) == o.refused, f"{o.refused} refused, {len(refused)} named")
        if asked.arrivals == 1:
            kept = [asked.rows[place] for place in refused if asked.rows[place] in self.logged]
            self.story.check("nothing refused is kept", not kept, f"answered {o}, in the log: {kept[:3]}")
        missing = [row for place, row in enumerate(asked.rows) if place not in refused and row not in self.logged]
        fresh = [row for row in missing if row not in self.suppressed]  # the others repeat what was suppressed before
        self.suppressed.update(fresh)
        lost = len(fresh) > o.suppressed or any(not row[0].endswith(SUPPRESSIBLE) for row in missing)
        self.story.check("nothing accepted is lost", not lost, f"answered {o}, not in the log: {missing[:3]}")

    def turned_away(self, asked: Asked, status: int) -> None:
        """Check a batch that was answered with an error, the only time it arrived."""
        if asked.arrivals == 1:
            kept = [row for row in asked.rows if row in self.logged]
            self.story.check("nothing refused is kept", not kept, f"answered {status}, in the log: {kept[:3]}")

    def delivered(self, rows: Iterable[Row]) -> None:
        """Check readings handed to a consumer: each one is in the log."""
        for row in rows:
            self.story.check("nothing refused is delivered", row in self.logged, f"{row} was delivered, not accepted")


def _digest(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(key + b"\0" + body, digest_size=12).digest()
