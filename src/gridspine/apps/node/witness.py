"""What a device was seen to report: its latest readings from the log, and what the screen refused of them.

Bounded: the newest records of a stretch of time, so many of them at most; older ones are left out, and it is said.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gridspine.infra.log.age import first_since
from gridspine.infra.log.port import EventLog
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import READINGS
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.readings import Channel, Float64Array, Int64Array
from gridspine.kernel.units import unit
from gridspine.things.model import PointModel, ThingModel
from gridspine.things.observed import Observed, si
from gridspine.things.quarantine import QUARANTINE, decode_quarantined
from gridspine.things.thing import Thing

MAX_RECORDS = 20_000
MAX_REFUSED_RECORDS = 5_000
MAX_READINGS = 200_000
"""Readings of one point that are looked at, at most."""
_AT_ONCE = 1_000


@dataclass(slots=True)
class Seen:
    """Readings of one point as they are gathered: times [µs since 1970] and values, a part each."""

    observed_us: list[Int64Array] = field(default_factory=list)
    received_us: list[Int64Array] = field(default_factory=list)
    value: list[Float64Array] = field(default_factory=list)
    count: int = 0

    def add(self, observed_us: Int64Array, received_us: int, value: Float64Array) -> None:
        """Take readings that came together."""
        if self.count < MAX_READINGS:
            self.observed_us.append(observed_us)
            self.received_us.append(np.full(len(value), received_us, np.int64))
            self.value.append(value)
            self.count += len(value)

    def columns(self) -> tuple[Int64Array, Int64Array, Float64Array]:
        """Return observed and received times, and values."""
        empty = np.zeros(0, np.int64)
        return (
            np.concatenate([empty, *self.observed_us]), np.concatenate([empty, *self.received_us]),
            np.concatenate([np.zeros(0), *self.value]),
        )  # fmt: skip


def accepted(log: EventLog, organisation: str, numbers: Sequence[int], since_us: int) -> tuple[dict[int, Seen], bool]:
    """Return the live reported readings of an organisation's points since a time, and whether there was more. Blocks.

    What is looked at are the newest `MAX_RECORDS` records.
    """
    own = organisation.encode()
    wanted = np.array(sorted(numbers), np.int32)
    seen: dict[int, Seen] = defaultdict(Seen)
    cut = False
    for partition, (_, following) in enumerate(log.bounds(READINGS)):
        start = first_since(log, READINGS, partition, since_us)
        cut = cut or following - start > MAX_RECORDS
        for record in scan(
            log, READINGS, partition, max(start, following - MAX_RECORDS), following, max_records=_AT_ONCE
        ):
            if record.key != own:  # a batch is of one organisation
                continue
            batch = decode_batch(record.body)
            if batch.channel is not Channel.REPORTED or batch.backfill:
                continue
            mine = np.isin(batch.point, wanted)
            for number in np.unique(batch.point[mine]).tolist():
                its = batch.point == number
                seen[number].add(batch.observed_us[its], batch.received_us, batch.value[its])
    return seen, cut


def refused(log: EventLog, point_ids: Sequence[str], since_us: int) -> dict[str, Seen]:
    """Return the readings of points that the screen refused since a time, where they could be read. Blocks."""
    wanted, seen = set(point_ids), defaultdict[str, Seen](Seen)
    _, following = log.bounds(QUARANTINE)[0]
    start = max(first_since(log, QUARANTINE, 0, since_us), following - MAX_REFUSED_RECORDS)
    for record in scan(log, QUARANTINE, 0, start, following):
        items = decode_quarantined(record.body)
        columns = zip(items.name, items.reason, items.observed_us, items.value, strict=True)
        for name, reason, observed_us, value in columns:
            if name in wanted and reason in {"impossible", "future-time"} and None not in (observed_us, value):
                seen[name].add(np.array([observed_us], np.int64), items.time_us, np.array([value], np.float64))
    return seen


def observed(log: EventLog, thing: Thing, model: ThingModel, since_us: int) -> tuple[list[Observed], bool]:
    """Return what each point of a Thing was seen to report since a time [µs since 1970]; blocks.

    The flag says that there was more than is looked at.
    """
    first = thing.first
    taken, cut = accepted(log, thing.organisation, range(first, first + len(model.points)), since_us)
    turned = refused(log, [f"{thing.id}/{point.name}" for point in model.points], since_us)
    missing = set(model.document.get("tm:optional", ()))
    found = []
    for at, point in enumerate(model.points):
        needed = f"/properties/{point.name}" not in missing and point.reading_type.kind != "setting"
        seen = (taken.get(first + at, Seen()), turned.get(f"{thing.id}/{point.name}", Seen()))
        found.append(_joined(point, *seen, needed=needed))
    return found, cut


def _joined(point: PointModel, taken: Seen, turned: Seen, *, needed: bool) -> Observed:
    columns = [np.concatenate(pair) for pair in zip(taken.columns(), turned.columns(), strict=True)]
    was_refused = np.repeat([False, True], [taken.count, turned.count])
    order = np.argsort(columns[0], kind="stable")
    meaning, screen = point.reading_type, point.screen
    return Observed(
        point.name, unit(meaning.unit).quantity, meaning.kind, meaning.flow, meaning.phase, columns[0][order],
        columns[1][order], si(columns[2][order], meaning.unit), was_refused[order], needed,
        _bounds(screen.possible_min, screen.possible_max, meaning.unit),
        _bounds(screen.limit_min, screen.limit_max, meaning.unit),
    )  # fmt: skip


def _bounds(low: float | None, high: float | None, symbol: str) -> tuple[float, float]:
    ends = si(np.array([-np.inf if low is None else low, np.inf if high is None else high]), symbol)
    return float(ends[0]), float(ends[1])
