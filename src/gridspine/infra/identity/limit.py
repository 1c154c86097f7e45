"""How much one caller may ask for, and how long one who keeps failing must wait.

::

    Rate      a bucket a principal: ``burst`` requests at once, then ``per_s`` a second           every request
    Backoff   failures of a subject: the first few are free, then 1 s, 2 s, 4 s, … up to a cap    those that fail

A failure is counted against the network it comes from, never against the principal that was claimed alone: nobody is
locked out by another's mistakes, and the answer is the same whether or not the one who is named exists.
"""

import hashlib
import threading
import time
from ipaddress import ip_address, ip_network

from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US

MAX_SUBJECTS = 100_000
"""Principals whose buckets are remembered: more than that, and full ones are forgotten."""


class Rate:
    """A token bucket for each principal, as one number each (GCRA): some 0.3 µs a request.

    ``per_s`` requests a second [1/s] go on for ever, ``burst`` at once. 0 a second means no limit.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._step_ns = round(1e9 / per_s) if per_s > 0 else 0
        self._depth_ns = self._step_ns * max(burst, 1)
        self._full_at: dict[str, int] = {}
        self.refused = 0
        """Requests answered by 429 since the start."""

    def take(self, subject: str) -> None:
        """Count one request of ``subject``; raise `Overloaded` when its bucket is empty. Call it on the event loop."""
        if not self._step_ns:
            return
        now_ns = time.monotonic_ns()
        full_at = self._full_at.get(subject, 0)
        full_at = (full_at if full_at > now_ns else now_ns) + self._step_ns
        if full_at - now_ns > self._depth_ns:
            self.refused += 1
            wait_s = -(-(full_at - now_ns - self._depth_ns) // 1_000_000_000)
            raise Overloaded("too many requests: slow down", retry_after_s=max(1, wait_s))
        if len(self._full_at) >= MAX_SUBJECTS and subject not in self._full_at:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now_ns}
        self._full_at[subject] = full_at


class Backoff:
    """Exponential patience with those who fail: ``free`` failures, then ``base_s`` [s] doubling up to ``cap_s`` [s].

    A subject that does not fail for twice its last wait (at least ``cap_s``) begins anew. Subjects share ``slots``
    by a hash keyed at random, so the table never grows and nobody can be pushed out of it.
    """

    def __init__(
        self, clock: Clock, *, free: int = 10, base_s: float = 1.0, cap_s: float = 300.0, slots: int = 16_384
    ) -> None:
        self._clock, self._free, self._base_us, self._cap_us = clock, free, round(base_s * US), round(cap_s * US)
        self._key = clock.randbytes(16)
        self._lock = threading.Lock()
        self._failures = [0] * slots
        self._until_us = [0] * slots
        self.quiet = True
        """Whether nobody has failed yet: then there is nothing to look up."""
        self.refused = 0
        """Attempts answered by 429 since the start."""

    def check(self, subject: str) -> None:
        """Raise `Overloaded` while ``subject`` has to wait."""
        if self.quiet:
            return
        wait_us = self._until_us[self._slot(subject)] - self._clock.monotonic_us()
        if wait_us > 0:
            self.refused += 1
            raise Overloaded("too many failed attempts: wait before the next", retry_after_s=-(-wait_us // US))

    def failed(self, subject: str) -> None:
        """Count a failure of ``subject``."""
        slot = self._slot(subject)
        with self._lock:
            now_us, self.quiet = self._clock.monotonic_us(), False
            if now_us - self._until_us[slot] > self._cap_us:
                self._failures[slot] = 0
            self._failures[slot] += 1
            over = self._failures[slot] - self._free
            wait_us = min(self._cap_us, self._base_us << min(over - 1, 40)) if over > 0 else 0
            self._until_us[slot] = now_us + wait_us

    def succeeded(self, subject: str) -> None:
        """Forgive one failure of ``subject``; not all, or whoever has an account could guess others' for ever."""
        slot = self._slot(subject)
        with self._lock:
            self._failures[slot] = max(0, self._failures[slot] - 1)

    def _slot(self, subject: str) -> int:
        raw = subject.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(raw, key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big") % len(self._until_us)


def network(address: str) -> str:
    """Return what one person can be expected to own of ``address``: a /64 of IPv6, else the address itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))
