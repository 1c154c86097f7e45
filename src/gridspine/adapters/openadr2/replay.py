"""What was signed is taken once: who signed it with which nonce is remembered as long as it could be shown again.

::

         ◄─ window ─►now◄─ window ─►
    ─────[══════════════════════════]─────► timestamp: others are refused, nonces within are remembered
       ▲ what was signed before this began is refused, too, and before a step of the clock: its nonce may be forgotten

Bounded: so many of one signer, so many of all. Lives on the event loop.
"""

from collections import Counter, deque
from hashlib import blake2b

from gridspine.adapters.openadr2.problem import BadSignature
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US

MAX_OF_ONE, MAX_OF_ALL = 5_000, 500_000
"""Nonces of one signer that are remembered at once, and of all."""


class Replays:
    """Nonces of the last while; ``window_s`` [s] is how far from now a timestamp may be."""

    def __init__(self, clock: Clock, window_s: float) -> None:
        self._clock, self._window_us = clock, round(window_s * US)
        self._began_us = clock.now_us()
        self._seen: set[bytes] = set()
        self._order: deque[tuple[int, str, bytes]] = deque()
        self._of: Counter[str] = Counter()

    def take(self, who: str, at_us: int, nonce: str) -> None:
        """Note what ``who`` signed at ``at_us`` [µs since 1970]; raise `BadSignature`, `Overloaded`."""
        now_us = self._clock.now_us()
        self._forget(now_us)
        if abs(now_us - at_us) > self._window_us:
            off_s = (at_us - now_us) / US
            raise BadSignature(f"ReplayProtect: the timestamp is {off_s:+.0f} s from this clock's time")
        if at_us < self._began_us:
            raise BadSignature("ReplayProtect: this was signed before what is remembered here begins: sign it anew")
        digest = blake2b(f"{len(who)} {who} {nonce}".encode(), digest_size=16).digest()
        if digest in self._seen:
            raise BadSignature("ReplayProtect: this nonce was used before")
        if self._of[who] >= MAX_OF_ONE or len(self._seen) >= MAX_OF_ALL:
            raise Overloaded("too many signed messages at once: send them again later")
        self._seen.add(digest)
        self._order.append((now_us, who, digest))
        self._of[who] += 1

    def _forget(self, now_us: int) -> None:
        # A timestamp was at most one window ahead when it came: after two it is refused by itself.
        while self._order and self._order[0][0] < now_us - 2 * self._window_us:
            came_us, who, digest = self._order.popleft()
            self._began_us = max(self._began_us, came_us + self._window_us)  # also where the clock is set back then
            self._seen.discard(digest)
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]
