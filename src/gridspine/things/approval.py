"""Two persons for large orders: what one principal asked for lately, and when a second one must agree.

What counts is the sum over a window, so that an order cut into small pieces is still one order. All behaviours of an
organisation are one asker: whoever may let one out may let out many.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from gridspine.kernel.errors import Conflict
from gridspine.kernel.time import US
from gridspine.things.command import Command
from gridspine.things.lease import Lease
from gridspine.things.model import LeaseRule


class ApprovalRule(msgspec.Struct, frozen=True):
    """A second person must agree above ``above_w`` [W; 0: never] asked for within ``window_s`` [s] by one principal.

    After ``expires_s`` [s] nobody need agree any more: the command has expired.
    """

    above_w: float = 0.0
    window_s: float = 600.0
    expires_s: float = 900.0


BEHAVIOUR = "behaviour:"
"""How the principal of a lease begins that a behaviour asked for: ``behaviour:<organisation>/<name>@<version>``."""


def asker_of(principal: str) -> str:
    """Return whose orders are summed up: the principal itself, or all behaviours of its organisation."""
    return principal.partition("/")[0] if principal.startswith(BEHAVIOUR) else principal


def watts_of(lease: Lease, rule: LeaseRule, watts_per_unit: float) -> float:
    """Return how far ``lease`` may move its device from the fallback [W]."""
    values = lease.values
    if lease.bounding and lease.role == rule.role:  # it never lets a device do more than its fallback
        tighter = max if rule.role == "limit_min" else min
        values = tuple(tighter(one, rule.fallback) for one in values)
    return max(abs(value - rule.fallback) for value in values) * watts_per_unit


class Approvals:
    """What each principal asked for within the window."""

    def __init__(self, rule: ApprovalRule) -> None:
        self.rule = rule
        self._asked: dict[str, deque[tuple[int, float]]] = {}
        self._sums: dict[str, float] = {}

    def note(self, principal: str, at_us: int, w: float) -> None:
        """Count ``w`` [W] that ``principal`` asked for at ``at_us`` [µs since 1970]."""
        if self.rule.above_w and w > 0:
            principal = asker_of(principal)
            self._asked.setdefault(principal, deque()).append((at_us, w))
            self._sums[principal] = self._sums.get(principal, 0.0) + w

    def asked_w(self, principal: str, now_us: int) -> float:
        """Return what ``principal`` asked for within the window before ``now_us`` [W]."""
        principal = asker_of(principal)
        asked = self._asked.get(principal)
        if asked is None:
            return 0.0
        while asked and asked[0][0] <= now_us - self.rule.window_s * US:
            self._sums[principal] -= asked.popleft()[1]
        if not asked:
            del self._asked[principal], self._sums[principal]
            return 0.0
        return self._sums[principal]

    def needed(self, principal: str, w: float, now_us: int) -> str:
        """Return why a second person must agree to ``w`` [W] more, or "" when nobody need."""
        if not self.rule.above_w or not w:
            return ""
        asked_w = self.asked_w(principal, now_us) + w
        if asked_w <= self.rule.above_w:
            return ""
        return (
            f"{asked_w / 1e3:g} kW asked for within {self.rule.window_s:g} s by one principal: above "
            f"{self.rule.above_w / 1e3:g} kW a second person must approve"
        )

    def check(self, command: Command, principal: str) -> None:
        """Raise `Conflict` when ``command`` waits for nobody, or ``principal`` is the one who asked."""
        if command.state != "awaiting-approval":
            raise Conflict(f"command {command.id} is {command.state}: it waits for nobody's approval")
        if principal == command.lease.principal:
            raise Conflict("whoever asked cannot approve: a second person must")

    def snapshot(self) -> Iterator[tuple[str, int, float]]:
        """Yield what was asked: by whom, when [µs since 1970], W."""
        for principal, asked in self._asked.items():
            for at_us, w in asked:
                yield principal, at_us, w

    def replace(self, asked: Iterable[tuple[str, int, float]]) -> None:
        """Count exactly ``asked``."""
        self._asked.clear()
        self._sums.clear()
        for principal, at_us, w in asked:
            self.note(principal, at_us, w)
