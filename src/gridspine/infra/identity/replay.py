"""A bounded memory of what must be seen only once."""

import hashlib
import threading
from collections import Counter

from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US


class ReplayCache:
    """Remembers names for at least ``window_s`` [s], at most twice as long, in two generations of digests.

    At most ``capacity`` names are held, at most ``per_owner`` of one owner. Overload is answered by `Overloaded`
    (429): forgetting early would let a replay through, so a new name is refused instead, first of all to whoever
    fills the cache. About 100 bytes a name.
    """

    def __init__(self, window_s: float, *, capacity: int = 500_000, per_owner: int = 150_000) -> None:
        self.window_s = window_s
        self._window_us = round(window_s * US)
        self._capacity, self._per_owner = capacity, per_owner
        self._lock = threading.Lock()
        self._since_us: int | None = None
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self._young_owners: Counter[str] = Counter()
        self._old_owners: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def first_time(self, owner: str, name: str, monotonic_us: int) -> bool:
        """Remember ``name`` of ``owner``; return whether it was new. Raises `Overloaded` when there is no room."""
        digest = hashlib.blake2b(f"{owner}\0{name}".encode(), digest_size=16).digest()
        with self._lock:
            self._turn(monotonic_us)
            if digest in self._young or digest in self._old:
                return False
            if self._young_owners[owner] + self._old_owners[owner] >= self._per_owner or len(self) >= self._capacity:
                wait_s = max(1, round(self.window_s))
                raise Overloaded("too many signed requests at once to tell a replay: slow down", retry_after_s=wait_s)
            self._young.add(digest)
            self._young_owners[owner] += 1
            return True

    def _turn(self, monotonic_us: int) -> None:
        if self._since_us is None:
            self._since_us = monotonic_us
        age_us = monotonic_us - self._since_us
        if age_us < self._window_us:
            return
        fresh = age_us >= 2 * self._window_us
        self._old, self._old_owners = (set(), Counter()) if fresh else (self._young, self._young_owners)
        self._young, self._young_owners = set(), Counter()
        self._since_us = monotonic_us
