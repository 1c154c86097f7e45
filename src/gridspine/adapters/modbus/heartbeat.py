"""The two heartbeats of SunSpec model 715: the device's, which must move, and the controller's, which is written.

Source: SunSpec model definition 715 as ``pysunspec2`` carries it: each counts seconds, with resets to zero.
"""

import logging

from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.quality import Quality
from gridspine.kernel.time import US

_LOG = logging.getLogger(__name__)
HEARTBEAT_MODEL, HEARTBEAT, CONTROLLER_HEARTBEAT = 715, "DERHb", "ControllerHb"
_STILL_US = 10 * US
"""A device whose count has not moved for so long does not run any more, whatever its registers say [µs]."""
_RESET = 1 << 31


class Heartbeat:
    """Watches the heartbeat of one device, and counts the controller's own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: float | None = None
        self._moved_us = self._began_us = clock.monotonic_us()
        self._said = ""

    def stands(self, count: float | None) -> Quality:
        """Return what the device's ``count`` says of its values: nothing while it moves, or where it has none."""
        now_us = self._clock.monotonic_us()
        if count is None or count != self._last:
            self._last, self._moved_us = count, now_us
        still = now_us - self._moved_us >= _STILL_US
        return Quality.QUESTIONABLE | Quality.OLD_DATA if still else Quality.GOOD

    def beat(self) -> int:
        """Return the controller's count: seconds since this device is served."""
        return (self._clock.monotonic_us() - self._began_us) // US % _RESET

    def refused(self, thing: str, why: str) -> None:
        """Log that a device does not take the controller's heartbeat, once."""
        if why != self._said:
            _LOG.warning("%s does not take the controller's heartbeat: %s", thing, why)
        self._said = why
