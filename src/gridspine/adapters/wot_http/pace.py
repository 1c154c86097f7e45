"""How often an origin, or an account there, is asked: what settings allow, and what answers say is left.

::

    per_hour 12     │ 1st │ 2nd │ 3rd │ …      5 min apart
    asked at once   1 2 3                      1: at once, 2: in 5 min, 3: in 10 min, 4: come again later

    account         ●●●○ ○ ○ ○                 a bucket: ``burst`` at once, then ``per_hour``, spread over it
    held            ✕✕✕✕│ …                    until a ``Retry-After`` or ``RateLimit-Reset`` has passed
"""

import re
from collections.abc import Mapping

import msgspec

from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.web_place import origin_of, retry_after_s
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.kernel.time import US

MAX_WAIT_S = 600.0
"""Who would have to wait for longer is told to come again."""


_REMAINING = re.compile(r"(?:\br|remaining)\s*=\s*(\d{1,9})")
_RESET = re.compile(r"(?:\bt|reset)\s*=\s*(\d{1,9})")
_MAX_HELD = 10_000


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an account may ask: ``per_hour`` requests, of which ``burst`` at once."""

    per_hour: float
    burst: int = 1

    def check(self, name: str) -> None:
        """Raise `Invalid` when it cannot be so."""
        if not 0.0 < self.per_hour <= 3_600_000.0 or not 1 <= self.burst <= 10_000:
            raise Invalid(f"adapters.settings.wot_http.accounts.{name[:60]}: per_hour is more than 0, burst at least 1")


class Buckets:
    """The budget of each account, and until when it is left alone."""

    def __init__(self, limits: Mapping[str, Limit], clock: Clock) -> None:
        for name, limit in limits.items():
            limit.check(name)
        self._limits, self._clock = limits, clock
        self._full_us: dict[str, int] = {}
        """When the bucket of an account is full again [µs]."""
        self._held_us: dict[str, int] = {}

    def take(self, account: str, place: str) -> None:
        """Take a request to ``place`` out of ``account``'s budget, if it has one.

        Raises `Overloaded` when the budget is spent, or the place is held.
        """
        now_us = self._clock.monotonic_us()
        held_us = self._held_us.get(place, 0)
        if held_us > now_us:
            raise Overloaded("it has asked for a pause", retry_after_s=-(-(held_us - now_us) // US))
        self._held_us.pop(place, None)
        limit = self._limits.get(account)
        if limit is None:
            return
        apart_us = round(3600.0 * US / limit.per_hour)
        full_us = max(now_us, self._full_us.get(account, 0))
        over_us = full_us + apart_us - limit.burst * apart_us - now_us
        if over_us > 0:
            raise Overloaded(f"the budget of {account} is spent", retry_after_s=-(-over_us // US))
        self._full_us[account] = full_us + apart_us

    def hold(self, place: str, pause_s: float) -> None:
        """Leave a place alone for ``pause_s`` [s]."""
        if len(self._held_us) >= _MAX_HELD:
            self._held_us.clear()
        self._held_us[place] = self._clock.monotonic_us() + round(pause_s * US)


def exhausted_s(headers: Mapping[str, str]) -> int:
    """Return for how long [s] nothing is left to ask, as an answer's ``RateLimit`` headers say; 0 where something is.

    ``RateLimit-Remaining`` and ``-Reset``, or both in ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers; which of its
    forms a vendor has is told by what is there). ``X-RateLimit-Reset`` is not read: a time to some, seconds to others.
    """
    joined = headers.get("ratelimit", "")
    remaining, reset = _REMAINING.search(joined), _RESET.search(joined)
    left = headers.get("ratelimit-remaining", "").strip() or (remaining[1] if remaining else "")
    again = headers.get("ratelimit-reset", "").strip() or (reset[1] if reset else "")
    return retry_after_s(again) if left.isdecimal() and int(left) == 0 else 0


class Paces:
    """The next turn at each origin with a limit; ``per_hour`` are requests an hour."""

    def __init__(self, per_hour: Mapping[str, float], clock: Clock) -> None:
        for origin, limit in per_hour.items():
            if not 0.0 < limit <= 3_600_000.0:
                raise Invalid(f"adapters.settings.wot_http.per_hour: {origin[:100]}: requests an hour, more than 0")
        self._apart_us = {origin_of(origin): round(3600.0 * US / limit) for origin, limit in per_hour.items()}
        self._next_us: dict[str, int] = {}
        self._clock = clock

    async def turn(self, href: str) -> None:
        """Return when ``href`` may be asked; raise `Overloaded` when that is too far away."""
        if not self._apart_us:
            return
        origin = origin_of(href)
        apart_us = self._apart_us.get(origin)
        if apart_us is None:
            return
        now_us = self._clock.monotonic_us()
        turn_us = max(now_us, self._next_us.get(origin, 0))
        wait_s = (turn_us - now_us) / US
        if wait_s > MAX_WAIT_S:
            raise Overloaded(
                "so many requests an hour are not allowed there", retry_after_s=round(wait_s - MAX_WAIT_S) + 1
            )
        self._next_us[origin] = turn_us + apart_us
        if wait_s > 0.0:
            await self._clock.sleep(wait_s)
