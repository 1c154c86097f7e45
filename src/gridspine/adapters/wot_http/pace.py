"""How often an origin is asked: spread over the hour in which it allows so many requests, first come first served.

::

    per_hour 12     │ 1st │ 2nd │ 3rd │ …      5 min apart
    asked at once   1 2 3                      1: at once, 2: in 5 min, 3: in 10 min, 4: come again later
"""

from collections.abc import Mapping

from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.web_place import origin_of
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.kernel.time import US

MAX_WAIT_S = 600.0
"""Who would have to wait for longer is told to come again."""


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
