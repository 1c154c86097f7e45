"""How runs went: of one seed, and of many together."""

import datetime
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


@dataclass(slots=True)
class Result:
    """How a run went: ``broken`` names the invariant, "" when all hold; ``lines`` tell what happened."""

    seed: int
    digest: str
    broken: str = ""
    seen: str = ""
    lines: list[str] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)
    virtual_s: float = 0.0
    readings: int = 0
    delivered: int = 0


@dataclass(slots=True)
class Sum:
    """What many runs come to."""

    seeds: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    """Seed → how many; by the invariant's name."""
    virtual_s: float = 0.0
    readings: int = 0
    delivered: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """Add one run."""
        self.seeds += 1
        self.virtual_s += result.virtual_s
        self.readings += result.readings
        self.delivered += result.delivered
        self.steps.update(result.steps)
        self.faults.update(result.faults)
        self.checked.update(result.checked)
        if result.broken:
            self.broken[result.broken] = self.broken.get(result.broken, 0) + 1

    def text(self) -> str:
        """Return the sum for a person to read."""
        faults = ", ".join(f"{count} × {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.seeds} seeds, {self.steps.total()} steps, {self.virtual_s / 3600:.1f} h of virtual time, "
            f"{self.readings} readings kept, {self.delivered} delivered; faults: {faults or 'none'}; "
            f"{self.checked.total()} checks of {len(self.checked)} invariants; "
            f"{sum(self.broken.values())} seeds break one"
        )

    def write(self, path: Path) -> None:
        """Put the counts into ``path``, beside what else is there."""
        add_counts(
            path,
            {
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "seeds": self.seeds,
                "seeds_that_break_an_invariant": sum(self.broken.values()),
                "steps": self.steps.total(),
                "virtual_hours": round(self.virtual_s / 3600),
                "readings_kept": self.readings,
                "readings_delivered": self.delivered,
                "faults": self.faults.total(),
                "invariants": len(self.checked),
                "checks": self.checked.total(),
                "faults_by_kind": dict(sorted(self.faults.items())),
                "checks_by_invariant": dict(sorted(self.checked.items())),
                "broken_by_invariant": dict(sorted(self.broken.items())),
            },
        )


def add_counts(path: Path, counts: dict[str, Any]) -> None:
    """Put ``counts`` into ``path``, in the place of older ones of the same names."""
    known: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(known | counts), indent=2) + b"\n")
