"""When a charge point was heard with nothing left to tell: what it tells of later began no earlier.

::

    messages of now ──── CAUGHT_UP_US ───► it has told all that it had: it was heard, kept once an hour
    a message of before ─► all over again: it was offline, or its clock is behind
    its next connection ─► a transaction that is new began after it was heard; its clock is behind where it says not

A charge point without a clock of its own comes up at some time long ago. What began while it was cut off began after it
was heard last, however late it is told of.
"""

from collections.abc import Mapping
from typing import Any

from gridspine.adapters.ocpp.transaction import AHEAD_US, Transaction
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, parse_rfc3339

CAUGHT_UP_US = 900 * US
"""For how long a charge point says nothing of before, when it has told all that it had [µs]."""
KEPT_US = 3600 * US
"""How often it is kept that it was heard [µs]."""


class Hearing:
    """A connection: ``heard_us`` is what was kept of those before, which began ``begun`` transactions."""

    def __init__(self, heard_us: int, begun: int, now_us: int) -> None:
        self._not_before_us = heard_us - AHEAD_US if 0 < heard_us <= now_us else 0
        self._begun = begun
        self._kept_us = heard_us
        self._live_since_us: int | None = None

    def not_before(self, transaction: Transaction) -> int:
        """Return when a transaction began at the earliest [µs since 1970]; 0 of one that was told of before."""
        return self._not_before_us if transaction.slot >= self._begun else 0

    def hear(self, said: Mapping[str, Any], now_us: int) -> int:
        """Take note of a message that came; return when it was heard, where that is to be kept now, else 0."""
        observed_us = _time(said)
        if said.get("offline") is True or (observed_us is not None and observed_us < now_us - AHEAD_US):
            self._live_since_us = None
        elif observed_us is not None and self._live_since_us is None:
            self._live_since_us = now_us
        if self._live_since_us is None or now_us - self._live_since_us < CAUGHT_UP_US:
            return 0
        if 0 <= now_us - self._kept_us < KEPT_US:
            return 0
        self._kept_us = now_us
        return now_us


def _time(said: Mapping[str, Any]) -> int | None:
    """Return what time a message is of, as far as it says."""
    values = said.get("meterValue") or [{}]
    try:
        return parse_rfc3339(said.get("timestamp") or values[0]["timestamp"])
    except (Invalid, KeyError, TypeError, AttributeError):
        return None
