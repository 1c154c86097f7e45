"""Counters of the adapter, by name: calls in and out, what was refused, ignored, left out, late."""

import logging
from collections import Counter

log = logging.getLogger(__name__)
MAX_NAMES = 200


class Counters:
    """Counts; the names are few and bounded, whatever charge points send."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._reported: dict[str, int] = {}

    def add(self, name: str, by: int = 1) -> None:
        """Count ``by`` of ``name``."""
        if name in self._counts or len(self._counts) < MAX_NAMES:
            self._counts[name] += by

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def report(self) -> None:
        """Log what moved since the last time."""
        now = dict(self._counts)
        if now != self._reported:
            log.info("counters: %s", " ".join(f"{name}={count}" for name, count in sorted(now.items())))
            self._reported = now
