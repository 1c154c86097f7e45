"""Quotas: how much of the node one principal, or one organisation, may take; each refusal says which it was.

::

    readings_per_s   of a principal, 10 s of it at once     429, Retry-After: when the bucket holds enough again
    things           of an organisation                     429
    principals       of an organisation                     429
    grants           of a consumer, those that are over     429
                     not counted

Streams have theirs in ``http.max_streams``: a principal may have a share of them. What is over a quota changes
nothing of what is there.
"""

from collections import Counter

from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.settings import Quotas as Settings
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US

NAMES = ("grants", "principals", "readings_per_s", "things")
BURST_S = 10.0
_NEVER_S = 86_400
_MAX_PRINCIPALS = 100_000


class Quotas:
    """The quotas of a node. Lives on the event loop."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._full_at_us: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        """How often each quota was met."""

    def readings(self, principal: str, count: int) -> None:
        """Count ``count`` readings of ``principal``; raise `Overloaded` when its bucket does not hold so many.

        A bucket that is full gives out more than it holds once, so that no single request is refused for ever.
        """
        rate = self._settings.readings_per_s
        if not rate:
            return
        now_us = float(self._clock.monotonic_us())
        full_at_us = max(self._full_at_us.get(principal, 0.0), now_us)
        after_us = full_at_us + count / rate * US
        if full_at_us > now_us and after_us - now_us > BURST_S * US:
            wait_s = int(min(after_us - now_us - BURST_S * US, full_at_us - now_us) / US) + 1
            detail = f"more than {rate:g} readings a second: send these again later"
            self._refuse("readings_per_s", detail, wait_s)
        if len(self._full_at_us) >= _MAX_PRINCIPALS and principal not in self._full_at_us:
            self._full_at_us = {name: at for name, at in self._full_at_us.items() if at > now_us}
        self._full_at_us[principal] = after_us

    def things(self, present: int) -> None:
        """Raise `Overloaded` when an organisation with ``present`` Things may have no more."""
        self._whole("things", present, self._settings.things)

    def principals(self, present: int) -> None:
        """Raise `Overloaded` when an organisation with ``present`` principals may have no more."""
        self._whole("principals", present, self._settings.principals)

    def grants(self, present: int) -> None:
        """Raise `Overloaded` when a consumer with ``present`` grants that are not over may have no more."""
        self._whole("grants", present, self._settings.grants)

    def _whole(self, quota: str, present: int, most: int) -> None:
        if most and present >= most:
            self._refuse(quota, f"your organisation has {present} {quota}, and {most} at most", _NEVER_S)

    def _refuse(self, quota: str, detail: str, retry_after_s: int) -> None:
        self.refused[quota] += 1
        text = f"{detail} (quotas.{quota}; the node's operator sets it)"
        raise Overloaded(text, retry_after_s=retry_after_s, quota=quota)
