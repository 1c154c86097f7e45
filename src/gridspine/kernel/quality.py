"""Quality of a reading: the 13 bits of IEC 61850-7-3 and two of our own, in one ``uint16``.

Source: IEC 61850-7-3 (Quality, common data attribute class). The clause numbers differ by edition and were not
checked; the meaning of each bit was taken from the published overview of the quality type.

::

    bit  0-1  validity   0 good · 1 invalid · 2 reserved · 3 questionable
    bit  2    overflow           6  failure            10  source: substituted (else process)
         3    out-of-range       7  old-data           11  test
         4    bad-reference      8  inconsistent       12  operator-blocked
         5    oscillatory        9  inaccurate         13  clock-unsynchronised (ours)
                                                       14  estimated (ours)
"""

from enum import IntFlag
from functools import lru_cache


class Quality(IntFlag):
    """Bits of the quality of a reading; ``GOOD`` is no bit at all."""

    GOOD = 0
    INVALID = 0x1
    QUESTIONABLE = 0x3
    OVERFLOW = 1 << 2
    OUT_OF_RANGE = 1 << 3
    BAD_REFERENCE = 1 << 4
    OSCILLATORY = 1 << 5
    FAILURE = 1 << 6
    OLD_DATA = 1 << 7
    INCONSISTENT = 1 << 8
    INACCURATE = 1 << 9
    SUBSTITUTED = 1 << 10
    TEST = 1 << 11
    OPERATOR_BLOCKED = 1 << 12
    CLOCK_UNSYNCHRONISED = 1 << 13
    ESTIMATED = 1 << 14


VALIDITY_MASK = 0x3
ALL_BITS = 0x7FFF

_DETAIL_NAMES = {
    Quality.OVERFLOW: "overflow",
    Quality.OUT_OF_RANGE: "out-of-range",
    Quality.BAD_REFERENCE: "bad-reference",
    Quality.OSCILLATORY: "oscillatory",
    Quality.FAILURE: "failure",
    Quality.OLD_DATA: "old-data",
    Quality.INCONSISTENT: "inconsistent",
    Quality.INACCURATE: "inaccurate",
    Quality.SUBSTITUTED: "substituted",
    Quality.TEST: "test",
    Quality.OPERATOR_BLOCKED: "operator-blocked",
    Quality.CLOCK_UNSYNCHRONISED: "clock-unsynchronised",
    Quality.ESTIMATED: "estimated",
}
_VALIDITY_NAMES = ("good", "invalid", "reserved", "questionable")


def describe(quality: int) -> list[str]:
    """Return the words for a quality, validity first: ``["questionable", "out-of-range"]``."""
    return list(_words(quality))


@lru_cache(maxsize=1024)
def _words(quality: int) -> tuple[str, ...]:
    details = (name for bit, name in _DETAIL_NAMES.items() if quality & bit)
    return (_VALIDITY_NAMES[quality & VALIDITY_MASK], *details)
