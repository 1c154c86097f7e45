"""The condition of a node's parts: how each does, since when, what to do; looked at when asked and every few seconds.

::

    checks (one for each part) ──► findings ──► conditions: state, since ──► /status, /ready, /metrics, the portal, logs
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
import structlog

from gridspine.infra.runtime.clock import Clock

State = Literal["ok", "warn", "fail"]
SEVERITY: dict[State, int] = {"ok": 0, "warn": 1, "fail": 2}
LOOK_EVERY_S = 5.0
CRITICAL = ("disk", "log", "registry")
"""Parts without which no reading is taken."""
log = structlog.get_logger(__name__)


class Finding(msgspec.Struct, frozen=True):
    """What a check found of a part: how it does, in words, and what somebody should do about it."""

    part: str
    state: State
    what: str
    to_do: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """A finding, and since when [µs since 1970] the part is in that state."""

    finding: Finding
    since_us: int


class Conditions:
    """How the parts do, as last looked at."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Condition] = {}

    def note(self, findings: Iterable[Finding]) -> None:
        """Take up what was found now; parts that are not among ``findings`` are gone."""
        now_us = self._clock.now_us()
        fresh: dict[str, Condition] = {}
        for finding in findings:
            before = self._known.get(finding.part)
            if before is not None and before.finding.state == finding.state:
                fresh[finding.part] = Condition(finding, before.since_us)
            else:
                fresh[finding.part] = Condition(finding, now_us)
                if before is not None or finding.state != "ok":
                    _say(finding)
        self._known = fresh

    @property
    def all(self) -> list[Condition]:
        """Every part, the worst first, then by name."""
        return sorted(self._known.values(), key=lambda one: (-SEVERITY[one.finding.state], one.finding.part))

    @property
    def wrong(self) -> list[str]:
        """In words, what needs somebody: the worst first."""
        found = (one.finding for one in self.all)
        return [f"{one.what}: {one.to_do}" if one.to_do else one.what for one in found if one.state != "ok"]

    def state(self, part: str) -> State:
        """Return how a part does; *ok* where nobody looked yet."""
        known = self._known.get(part)
        return "ok" if known is None else known.finding.state


def _say(finding: Finding) -> None:
    if finding.state == "ok":
        log.info("a part is well again", part=finding.part, what=finding.what)
    else:
        log.warning("a part needs somebody", part=finding.part, state=finding.state, what=finding.what,
                    to_do=finding.to_do)  # fmt: skip
