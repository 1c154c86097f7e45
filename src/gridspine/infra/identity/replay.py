"""A bounded memory of what must be seen only once."""

import hashlib
import threading
from collections import Counter, deque

from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US

_STEPS = 4


class ReplayCache:
    """Remembers names for at least ``window_s`` [s], at most a quarter longer, in generations of digests.

    At most ``capacity`` names are held, at most ``per_owner`` of one owner: with the window of a DPoP proof, 70 s, some
    9,000 a second of all and 4,500 of one for ever. Overload is answered by `Overloaded` (429): forgetting early would
    let a replay through, so a new name is refused instead, first of all to whoever fills the cache. About 100 bytes a
    name.
    """

    def __init__(self, window_s: float, *, capacity: int = 800_000, per_owner: int = 400_000) -> None:
        self.window_s = window_s
        self._step_us = max(1, round(window_s * US / _STEPS))
        self._capacity, self._per_owner = capacity, per_owner
        self._lock = threading.Lock()
        self._since_us: int | None = None
        self._generations = deque([_Generation()], maxlen=_STEPS + 1)
        self._owners: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(len(generation.names) for generation in self._generations)

    def first_time(self, owner: str, name: str, monotonic_us: int) -> bool:
        """Remember ``name`` of ``owner``; return whether it was new. Raises `Overloaded` when there is no room."""
        digest = hashlib.blake2b(f"{owner}\0{name}".encode(), digest_size=16).digest()
        with self._lock:
            self._turn(monotonic_us)
            for generation in self._generations:
                if digest in generation.names:
                    return False
            if self._owners[owner] >= self._per_owner or len(self) >= self._capacity:
                wait_s = max(1, round(self.window_s))
                raise Overloaded("too many signed requests at once to tell a replay: slow down", retry_after_s=wait_s)
            self._generations[0].names.add(digest)
            self._generations[0].owners[owner] += 1
            self._owners[owner] += 1
            return True

    def _turn(self, monotonic_us: int) -> None:
        """Begin a generation each quarter of the window; the oldest of five, over a window old, is forgotten."""
        if self._since_us is None:
            self._since_us = monotonic_us
        turns = (monotonic_us - self._since_us) // self._step_us
        for _ in range(min(turns, _STEPS + 1)):
            if len(self._generations) > _STEPS:
                self._owners -= self._generations[-1].owners  # owners without names are dropped
            self._generations.appendleft(_Generation())
        self._since_us += turns * self._step_us


class _Generation:
    __slots__ = ("names", "owners")

    def __init__(self) -> None:
        self.names: set[bytes] = set()
        self.owners: Counter[str] = Counter()
