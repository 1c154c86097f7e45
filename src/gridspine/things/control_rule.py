"""Control rules: small programs that an edge runs beside the devices, with or without the node.

::

    def control(inputs, state, now_s):
        pv = inputs["urn:example:pv/activePower"]
        if pv == None or pv["age_s"] > 60 or not pv["good"]:
            return {}                                         # nothing asked for: what was runs out by itself
        return {"setpoints": {"urn:example:battery/activePowerSetpoint": -pv["value"]}, "state": state}

A rule is bounded Starlark (`gridspine.infra.runtime.starlark`): it sees its ``inputs``, may set its ``outputs``, and
nothing else. What it asks for is a lease of ``lease_s`` with authority *service*, the weakest: whatever the node, the
owner or the network operator orders goes before it, and every limit holds. The node signs a rule for the edge; an edge
runs no other. A rule that faults `MAX_FAULTS` times in a row gives way to its version before, or stops.
"""

import math

import msgspec

from gridspine.infra.runtime.starlark_wire import MAX_STEPS, MAX_TEXT_BYTES
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_urn
from gridspine.things.model import LeaseRule

FUNCTION = "control"
"""What a rule's program must define: ``control(inputs, state, now_s)``."""
MAX_POINTS = 100
MAX_FAULTS = 3
MIN_EVERY_S, MAX_EVERY_S = 1.0, 86_400.0
MAX_STATE_BYTES = 64 << 10
_MAX_NAME = 64
_DOMAIN = b"gridspine control rule 1\n"
"""Goes before what is signed: a signature for a rule is good for nothing else."""


class ControlRule(msgspec.Struct, frozen=True, rename="camel"):
    """One version of a rule of ``edge``, a principal. ``inputs`` and ``outputs`` are point ids.

    It runs every ``every_s`` [s]; each set-point holds for ``lease_s`` [s]. A call takes at most ``max_steps``.
    """

    name: str
    version: int
    edge: str
    organisation: str
    text: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    every_s: float = 5.0
    lease_s: float = 30.0
    max_steps: int = MAX_STEPS
    author: str = ""
    at_us: int = 0

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong; whether ``text`` is a program is asked elsewhere."""
        if not 0 < len(self.name) <= _MAX_NAME or not all(c.isalnum() or c in "-_." for c in self.name):
            raise Invalid(f"name: 1 to {_MAX_NAME} letters, digits, '-', '_' or '.'")
        if len(self.text.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise Invalid(f"text: at most {MAX_TEXT_BYTES} bytes")
        if not self.outputs or max(len(self.inputs), len(self.outputs)) > MAX_POINTS:
            raise Invalid(f"outputs: 1 to {MAX_POINTS} points; inputs: at most {MAX_POINTS}")
        if not MIN_EVERY_S <= self.every_s <= MAX_EVERY_S:
            raise Invalid(f"everyS: {MIN_EVERY_S:g} to {MAX_EVERY_S:g} seconds")
        if not self.every_s <= self.lease_s <= MAX_EVERY_S:
            raise Invalid(f"leaseS: everyS to {MAX_EVERY_S:g} seconds")
        if not 0 < self.max_steps <= 10 * MAX_STEPS:
            raise Invalid(f"maxSteps: 1 to {10 * MAX_STEPS}")
        for point in (*self.inputs, *self.outputs):
            check_urn(split_point(point)[0])

    @property
    def things(self) -> set[str]:
        """The Things it reads or commands."""
        return {split_point(point)[0] for point in (*self.inputs, *self.outputs)}


class PublishedRule(msgspec.Struct, frozen=True):
    """A rule's present version, as the registry keeps it; ``before`` is the text of versions before, newest first."""

    rule: ControlRule
    before: tuple[ControlRule, ...] = ()


def split_point(point: str) -> tuple[str, str]:
    """Return the Thing and the name of a point id; raise `Invalid` for anything else."""
    thing, slash, name = point.rpartition("/")
    if not slash or not thing or not name:
        raise Invalid(f"{point[:100]!r} is not a point: <thing>/<name>")
    return thing, name


def most_w_per_minute(rule: ControlRule, lease: LeaseRule, watts_per_unit: float) -> float:
    """Return what ``rule`` may move at one of its outputs within 60 s at most [W], whatever its program asks for.

    Each run may take the point from one end of its range to the other; a ramp bounds it where that is less.
    """
    runs = math.ceil(60 / rule.every_s)
    swing = (lease.maximum - lease.minimum) * runs
    ramped = lease.ramp_per_s * (60 + lease.ramp_step_s) if lease.ramp_per_s else math.inf
    return min(swing, ramped) * watts_per_unit


def rule_body(rule: ControlRule) -> str:
    """Return the text that is signed, and sent."""
    return msgspec.json.encode(rule).decode()


def to_sign(body: str) -> bytes:
    """Return the bytes that a rule's signature is over."""
    return _DOMAIN + body.encode()


def parse_rule(body: str) -> ControlRule:
    """Read a rule's text; raise `Invalid`."""
    try:
        rule = msgspec.json.decode(body, type=ControlRule)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"this is no control rule: {error}") from error
    rule.check()
    return rule
