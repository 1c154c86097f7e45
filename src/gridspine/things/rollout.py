"""Roll-out: which version of a behaviour a Thing has; canaries, their health, and the way back.

::

    deploy 1.1 ─► canary: a share of the Things, by a hash of their ids ─┬─ healthy for long enough ─► all
                                                                        └─ faults, or too many steps ─► back to 1.0
    all ─► faults, beyond what was agreed ─► back to the version before; without one: stopped

Everything here is pure: counts in, a decision out.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import msgspec

from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.time import US

State = Literal["canary", "running", "stopped"]
MAX_CHANGES = 50
EARLY_CALLS = 20
"""So many calls are enough to see that a version is bad; to see that it is good takes longer."""


class Plan(msgspec.Struct, frozen=True, rename="camel"):
    """How a version is let out: to a ``share`` of the Things (0 … 1] for ``observe_s`` [s] and ``min_calls`` calls.

    More than ``max_fault_rate`` faults a call, or more than ``max_step_use`` of the steps a call may take on average,
    are unhealthy. With the share 1 it goes to all at once, and is watched all the same.
    """

    share: float = 0.05
    observe_s: float = 600.0
    min_calls: int = 100
    max_fault_rate: float = 0.01
    max_step_use: float = 0.8

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < self.share <= 1:
            raise Invalid("share: more than 0, at most 1")
        if not 0 <= self.observe_s <= 30 * 86_400:
            raise Invalid("observeS: 0 to 2592000 s")
        if not 1 <= self.min_calls <= 1_000_000:
            raise Invalid("minCalls: 1 to 1000000")
        if not (0 <= self.max_fault_rate <= 1 and 0 < self.max_step_use <= 1):
            raise Invalid("maxFaultRate, maxStepUse: 0 to 1")


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """What happened to a deployment, when [µs since 1970], by whom and why."""

    at_us: int
    what: Literal["deployed", "promoted", "rolled-back", "stopped"]
    version: str
    by: str
    reason: str = ""


class Deployment(msgspec.Struct, frozen=True, rename="camel"):
    """Which versions of behaviour ``name`` the Things of ``model`` of an organisation have.

    ``version`` is what all have, "" none; ``canary`` what a share of them has since ``since_us`` [µs since 1970];
    ``before`` the version to go back to. ``bad`` versions are not let out again.
    """

    organisation: str
    name: str
    model: str
    state: State = "stopped"
    version: str = ""
    canary: str = ""
    before: str = ""
    since_us: int = 0
    plan: Plan = msgspec.field(default_factory=Plan)
    bad: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def id(self) -> str:
        """Its name among all organisations'."""
        return f"{self.organisation}/{self.name}"

    def of(self, thing: str) -> str:
        """Return the version that ``thing`` has, "" for none."""
        if self.state == "canary" and share_of(self.name, thing) < self.plan.share:
            return self.canary
        return "" if self.state == "stopped" else self.version


@dataclass(slots=True)
class Health:
    """How a version does: calls, faults and steps since it was let out."""

    calls: int = 0
    faults: int = 0
    steps: int = 0

    @property
    def fault_rate(self) -> float:
        """Faults a call."""
        return self.faults / self.calls if self.calls else 0.0

    def step_use(self, max_steps: int) -> float:
        """Which part of the steps a call may take it takes on average."""
        return self.steps / (self.calls * max_steps) if self.calls else 0.0


def share_of(name: str, thing: str) -> float:
    """Return where a Thing stands between 0 and 1, the same for every version of behaviour ``name``."""
    digest = hashlib.sha256(f"{name}\0{thing}".encode()).digest()
    return int.from_bytes(digest[:6]) / float(1 << 48)


def deploy(now: Deployment, version: str, plan: Plan, now_us: int, by: str, reason: str = "") -> Deployment:
    """Let ``version`` out by ``plan``; raise `Conflict` when it is out already, or was found bad."""
    plan.check()
    if version in now.bad:
        raise Conflict(f"version {version} was rolled back here: publish a better one under a new number")
    if version in {now.version, now.canary} and now.state != "stopped":
        raise Conflict(f"version {version} is out already")
    changed = _noted(now, Change(now_us, "deployed", version, by, reason))
    if plan.share >= 1:
        before = now.version if now.state != "stopped" else now.before
        return msgspec.structs.replace(
            changed, state="running", version=version, canary="", before=before, since_us=now_us, plan=plan
        )
    stable = now.version if now.state != "stopped" else ""
    return msgspec.structs.replace(changed, state="canary", version=stable, canary=version, since_us=now_us, plan=plan)


def promote(now: Deployment, now_us: int, by: str, reason: str) -> Deployment:
    """Give the canary to all."""
    if now.state != "canary":
        raise Conflict("there is no canary to promote")
    changed = _noted(now, Change(now_us, "promoted", now.canary, by, reason))
    return msgspec.structs.replace(
        changed, state="running", version=now.canary, canary="", before=now.version, since_us=now_us
    )


def roll_back(now: Deployment, now_us: int, by: str, reason: str) -> Deployment:
    """Go back to what was before; where there is nothing, stop. The version left is bad from now on."""
    if now.state == "stopped":
        raise Conflict("nothing is deployed")
    left, to = (now.canary, now.version) if now.state == "canary" else (now.version, now.before)
    to = "" if to in {left, *now.bad} else to
    changed = _noted(now, Change(now_us, "rolled-back", left, by, reason))
    return msgspec.structs.replace(
        changed, state="running" if to else "stopped", version=to, canary="", before="", since_us=now_us,
        bad=(*now.bad, left)[-MAX_CHANGES:],
    )  # fmt: skip


def stop(now: Deployment, now_us: int, by: str, reason: str) -> Deployment:
    """Let no version run; what was found bad stays so."""
    if now.state == "stopped":
        raise Conflict("nothing is deployed")
    changed = _noted(now, Change(now_us, "stopped", now.canary or now.version, by, reason))
    return msgspec.structs.replace(
        changed, state="stopped", version="", canary="", before=now.version or now.before, since_us=now_us
    )


def judge(now: Deployment, health: Health, max_steps: int, now_us: int) -> tuple[Literal["", "promote", "back"], str]:
    """Return what the health of the version that is watched (the canary, else the one all have) asks for, and why."""
    if now.state == "stopped" or health.calls == 0:
        return "", ""
    enough = min(EARLY_CALLS, now.plan.min_calls)
    if health.calls >= enough and health.fault_rate > now.plan.max_fault_rate:
        rate = f"{health.faults} faults in {health.calls} calls"
        return "back", f"{rate}: more than {now.plan.max_fault_rate:.1%}"
    if health.calls >= enough and health.step_use(max_steps) > now.plan.max_step_use:
        use = health.step_use(max_steps)
        return "back", f"it takes {use:.0%} of its steps on average: more than {now.plan.max_step_use:.0%}"
    healthy = health.calls >= now.plan.min_calls and now_us - now.since_us >= now.plan.observe_s * US
    if now.state == "canary" and healthy:
        return "promote", f"{health.faults} faults in {health.calls} calls"
    return "", ""


def _noted(now: Deployment, change: Change) -> Deployment:
    return msgspec.structs.replace(now, changes=(*now.changes, change)[-MAX_CHANGES:])
