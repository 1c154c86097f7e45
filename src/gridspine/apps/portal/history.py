"""The recent past of a few points, from the log's tail, thinned to what a chart can show."""

from dataclasses import dataclass

import numpy as np

from gridspine.infra.log.port import EventLog
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import READINGS
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.errors import Gone
from gridspine.kernel.quality import VALIDITY_MASK
from gridspine.kernel.readings import Float64Array, Int32Array, Int64Array, Readings, UInt16Array
from gridspine.sharing.cursor import Offsets
from gridspine.sharing.parcel import Mask

MAX_RECORDS = 4_000
"""Records of a partition read at most; on a busy node they reach back less far than asked for."""

_AT_ONCE = 200


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Readings of several points, by observed time; all arrays of shape (n,). ``point`` is a place in a mask."""

    point: Int32Array
    observed_us: Int64Array
    value: Float64Array
    quality: UInt16Array

    def __len__(self) -> int:
        return len(self.point)


def samples(batches: list[Readings]) -> Samples:
    """Return the readings of ``batches`` by observed time; of equal times the later one stays behind."""
    if not batches:
        return Samples(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.uint16))
    observed_us = np.concatenate([batch.observed_us for batch in batches])
    order = np.argsort(observed_us, kind="stable")
    point = np.concatenate([batch.point for batch in batches])[order]
    value = np.concatenate([batch.value for batch in batches])[order]
    quality = np.concatenate([batch.quality for batch in batches])[order]
    return Samples(point, observed_us[order], value, quality)


def recent(log: EventLog, mask: Mask, since_us: int) -> tuple[list[Readings], Offsets]:
    """Return the readings of a mask received since ``since_us`` [µs since 1970], and the offsets after them; blocks."""
    found: list[Readings] = []
    offsets: Offsets = {}
    for partition, (first, following) in enumerate(log.bounds(READINGS)):
        offsets[partition] = following
        try:
            at = max(first, following - MAX_RECORDS, _first_since(log, partition, first, following, since_us))
            for record in scan(log, READINGS, partition, at, following, max_records=_AT_ONCE):
                picked = mask.pick(decode_batch(record.body))
                if len(picked):
                    found.append(picked)
        except Gone:
            continue  # trimmed while it was read: the live part follows all the same
    return found, offsets


def _first_since(log: EventLog, partition: int, first: int, following: int, since_us: int) -> int:
    """Return the offset of the first record written since ``since_us``, by halving."""
    low, high = first, following
    while low < high:
        middle = (low + high) // 2
        records = log.read(READINGS, partition, middle, max_records=1)
        if records and records[0].time_us < since_us:
            low = records[0].position.offset + 1
        else:
            high = middle
    return low


def thin(of: Samples, point: int, most: int) -> Samples:
    """Return about ``most`` samples of ``point`` at most: of each stretch its lowest, highest and worst."""
    rows = np.flatnonzero(of.point == point)
    if len(rows) > most:
        stretches = np.array_split(rows, max(1, most // 3))
        chosen = [
            stretch[[of.value[stretch].argmin(), of.value[stretch].argmax(), _badness(of.quality[stretch]).argmax()]]
            for stretch in stretches
        ]
        rows = np.unique(np.concatenate(chosen))
    return Samples(of.point[rows], of.observed_us[rows], of.value[rows], of.quality[rows])


def _badness(quality: UInt16Array) -> Int64Array:
    validity = (quality & VALIDITY_MASK).astype(np.int64)
    return np.where(validity == 1, 1 << 20, validity << 16) + (quality > 0)
