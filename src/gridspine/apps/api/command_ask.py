"""What a caller asks of a Thing, in words of the API, and the lease it comes to."""

import hashlib
from typing import Any, Literal

import msgspec

from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, parse_rfc3339
from gridspine.things.asking import Ask
from gridspine.things.command import Command
from gridspine.things.directory import Thing
from gridspine.things.lease import Authority
from gridspine.things.scatter import scatter
from gridspine.things.schedule import MAX_STEPS, Step

MAX_KEY = 200
MAX_REASON = 500
_AUTHORITY = {"owner": Authority.OWNER, "safety": Authority.SAFETY}


class NewStep(msgspec.Struct, frozen=True, rename={"after_s": "afterS"}, forbid_unknown_fields=True):
    """From ``after_s`` [s] after the start of the command on, ``value`` [the point's unit]."""

    after_s: float
    value: float


class NewCommand(
    msgspec.Struct,
    frozen=True,
    rename={
        "duration_s": "durationS",
        "from_": "from",
        "randomise_start_s": "randomiseStartS",
        "randomise_end_s": "randomiseEndS",
    },
    forbid_unknown_fields=True,
):
    """Ask that ``point`` of ``thing`` hold ``value`` [the point's unit] until ``until`` (RFC 3339), or for a duration.

    ``steps`` make a schedule of it: what follows ``value``, within the same command. ``priority`` decides between
    several set-points. ``key`` makes a repetition harmless. ``randomise_start_s`` and ``randomise_end_s`` [s] let it
    begin later, and end sooner, by chance, so that a fleet does not move at one moment. ``authority`` *safety* passes
    blocking tags, ramps, least times and the cap; it takes a right of its own. ``reason`` is kept with it.
    """

    thing: str
    point: str
    value: float
    until: str = ""
    duration_s: float = 0.0
    from_: str = ""
    priority: int = 0
    key: str = ""
    reason: str = ""
    steps: list[NewStep] = []
    randomise_start_s: float = 0.0
    randomise_end_s: float = 0.0
    authority: Literal["owner", "safety"] = "owner"


async def ask(node: Node, thing: Thing, wanted: NewCommand, principal: str) -> Command:
    """Ask for the lease that ``wanted`` describes, as ``principal``."""
    (command,) = await node.commands.request_all([ask_for(node, thing, wanted, principal)])
    return command


def check_safety(node: Node, caller: Caller, thing: Thing, wanted: NewCommand) -> None:
    """Raise `Forbidden` when safety is claimed by somebody who may not."""
    if wanted.authority == "safety":
        node.authority.on_thing(caller, "thing.safety", thing)


def ask_for(node: Node, thing: Thing, wanted: NewCommand, principal: str, batch: str = "") -> Ask:
    """Return the lease that ``wanted`` describes; raise `Invalid` naming the field that is wrong."""
    rule = next((p.lease for p in node.things.model(thing).points if p.name == wanted.point), None)
    if rule is None:
        raise Invalid(f"point: {wanted.point[:64]!r} of {thing.title} cannot be commanded")
    if len(wanted.key) > MAX_KEY:
        raise Invalid(f"key: at most {MAX_KEY} characters")
    if len(wanted.steps) >= MAX_STEPS:
        raise Invalid(f"steps: at most {MAX_STEPS - 1} after the first value")
    from_us, until_us = _times(wanted, node.clock.now_us())
    lease = node.commands.new_lease(
        thing=thing.id,
        point=wanted.point,
        value=wanted.value,
        role=rule.role,
        authority=_AUTHORITY[wanted.authority],
        priority=wanted.priority,
        from_us=from_us,
        until_us=until_us,
        principal=principal,
        steps=_steps(wanted, from_us),
    )
    drawn = scatter(lease, wanted.randomise_start_s, wanted.randomise_end_s, node.clock.randbytes)
    return Ask(drawn, wanted.key, wanted.reason[:MAX_REASON], _digest(wanted), batch)


def _times(wanted: NewCommand, now_us: int) -> tuple[int, int]:
    from_us = parse_rfc3339(wanted.from_) if wanted.from_ else now_us
    if wanted.until:
        return from_us, parse_rfc3339(wanted.until)
    if 0 < wanted.duration_s < 1e9:
        return from_us, from_us + round(wanted.duration_s * US)
    raise Invalid("until: say until when, or for how long with durationS")


def _steps(wanted: NewCommand, from_us: int) -> tuple[Step, ...]:
    """Return the schedule; none where there is one value only."""
    if not wanted.steps:
        return ()
    for at, step in enumerate(wanted.steps):
        if not 0 < step.after_s < 1e9:
            raise Invalid(f"steps[{at}].afterS: seconds after the start are needed")
    later = (Step(from_us + round(step.after_s * US), step.value) for step in wanted.steps)
    return (Step(from_us, wanted.value), *later)


def _digest(wanted: NewCommand) -> str:
    """Return what a repetition under the same key is known by: the words as they were sent."""
    said: dict[str, Any] = msgspec.to_builtins(wanted)
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:32]
