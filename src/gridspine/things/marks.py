"""Marks the screen leaves on quality."""

import numpy as np

from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.readings import BoolArray, Readings, UInt16Array

OUT_OF_RANGE = np.uint16(Quality.QUESTIONABLE | Quality.OUT_OF_RANGE)
INCONSISTENT = np.uint16(Quality.QUESTIONABLE | Quality.INCONSISTENT)


def marked(readings: Readings, where: BoolArray, bits: np.uint16) -> Readings:
    """Return the readings with quality ``bits`` added; what is invalid already stays invalid, not questionable."""
    if not where.any():
        return readings
    quality: UInt16Array = readings.quality.copy()
    invalid = (quality & VALIDITY_MASK) == np.uint16(Quality.INVALID)
    quality[where] |= np.where(invalid[where], bits & ~np.uint16(VALIDITY_MASK), bits)
    return with_quality(readings, quality)


def with_quality(readings: Readings, quality: UInt16Array) -> Readings:
    """Return the readings with another quality, uint16 (n,)."""
    return Readings(
        readings.point, readings.observed_us, readings.value, quality,
        readings.sources, readings.channel, readings.received_us, readings.backfill, readings.origin,
    )  # fmt: skip
