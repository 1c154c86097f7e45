"""What happened in a run: lines to read, their hash to compare, and counts."""

import hashlib
from collections import Counter


class Violation(Exception):
    """An invariant does not hold: its name, and what was seen."""

    def __init__(self, invariant: str, seen: str) -> None:
        super().__init__(f"{invariant}: {seen}")
        self.invariant, self.seen = invariant, seen


class Story:
    """The lines of a run, each with its time; the last ``keep`` are kept, all of them are in the hash."""

    def __init__(self, keep: int = 100_000) -> None:
        self.lines: list[str] = []
        self.faults: Counter[str] = Counter()
        """Faults by kind."""
        self.checked: Counter[str] = Counter()
        """How often each invariant was looked at."""
        self.steps: Counter[str] = Counter()
        """Steps by kind."""
        self._keep = keep
        self._hash = hashlib.sha256()

    def tell(self, now_s: float, line: str) -> None:
        """Note what happened at ``now_s`` [s]."""
        text = f"{now_s:12.6f}  {line}"
        self._hash.update(text.encode() + b"\n")
        self.lines.append(text)
        del self.lines[: -self._keep]

    def fault(self, now_s: float, kind: str, line: str = "") -> None:
        """Note a fault."""
        self.faults[kind] += 1
        self.tell(now_s, f"! {kind} {line}".rstrip())

    def check(self, invariant: str, holds: bool, seen: str = "") -> None:
        """Raise `Violation` unless ``holds``."""
        self.checked[invariant] += 1
        if not holds:
            raise Violation(invariant, seen)

    @property
    def digest(self) -> str:
        """The hash of every line so far."""
        return self._hash.hexdigest()
