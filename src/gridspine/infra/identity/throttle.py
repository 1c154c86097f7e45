"""A bounded table of patience: how many more attempts a name or an address may make."""

import hashlib
import threading

from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US


class Throttle:
    """``burst`` attempts at once, then one every ``refill_s`` [s], for each subject.

    Subjects share ``slots`` buckets by a hash keyed at random, so the table never grows and nobody can be pushed out
    of it; two that meet in one bucket share its patience. Overload is answered by `Overloaded` (429).
    """

    def __init__(self, clock: Clock, *, burst: int, refill_s: float, slots: int = 8192) -> None:
        self._clock, self._refill_us = clock, round(refill_s * US)
        self._depth_us = burst * self._refill_us
        self._key = clock.randbytes(16)
        self._lock = threading.Lock()
        # Each slot holds the time at which it would be full again: a bucket in one number (GCRA).
        self._full_at = [0] * slots

    def attempt(self, subject: str) -> None:
        """Count one attempt; raise `Overloaded` when the subject has to wait."""
        slot = self._slot(subject)
        with self._lock:
            now_us = self._clock.monotonic_us()
            full_at = max(self._full_at[slot], now_us) + self._refill_us
            if full_at - now_us > self._depth_us:
                wait_s = -(-(full_at - now_us - self._depth_us) // US)
                raise Overloaded("too many attempts: wait before the next", retry_after_s=max(1, wait_s))
            self._full_at[slot] = full_at

    def forgive(self, subject: str) -> None:
        """Give back the attempt that succeeded."""
        slot = self._slot(subject)
        with self._lock:
            self._full_at[slot] -= self._refill_us

    def _slot(self, subject: str) -> int:
        raw = subject.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(raw, key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big") % len(self._full_at)
