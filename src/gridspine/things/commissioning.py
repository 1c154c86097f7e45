"""Commissioning: does a device answer, can its values be, and if something is wrong, what it is by name.

::

    answers ─► clock ─► scale ─► sign ─► phases          each check: faults, doubts, or why it could not be made
       │         │        │        │        └ V·I of which phase does each power follow?
       │         │        │        └ against what the device is, its registers, another meter
       │         │        └ powers of ten, against nominal values, nameplate, V·I, registers, another meter
       │         └ observed against received, values that stand still
       └ every point the model says is there

A *fault* is said only upon evidence that a healthy device does not give; what only looks strange is a *doubt*.
Everything here is pure: arrays in, findings out.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import numpy as np

from gridspine.kernel.readings import Float64Array
from gridspine.things.observed import Device, Observed

Code = Literal[
    "no-answer", "implausible", "stale-clock", "frozen", "wrong-scale", "reversed-ct", "swapped-phase", "no-effect"
]
MIN_READINGS = 5
_CLOCK_S = 30.0
_ZONE_S = 900.0


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """Something wrong: ``code`` names it, ``points`` where; ``words`` for a person, ``evidence`` the figures, the cure.

    A *fault* keeps the device from being commissioned unless a person overrules it; a *doubt* is for the eyes.
    """

    code: Code
    severity: Literal["fault", "doubt"]
    points: tuple[str, ...]
    words: str
    cure: str
    evidence: dict[str, float] = {}


class Unchecked(msgspec.Struct, frozen=True):
    """A check that could not be made, and what it lacked."""

    check: str
    why: str


class Examination(msgspec.Struct, frozen=True):
    """What the checks found; ``made`` names those that were made."""

    findings: tuple[Finding, ...]
    made: tuple[str, ...]
    unchecked: tuple[Unchecked, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What keeps the device from being commissioned."""
        return tuple(one for one in self.findings if one.severity == "fault")


Check = Callable[[Device], Iterator[Finding | Unchecked]]


def examine(device: Device, checks: dict[str, Check]) -> Examination:
    """Make ``checks``, each by its name, and gather what they say."""
    findings: list[Finding] = []
    unchecked: list[Unchecked] = []
    made = []
    for name, check in checks.items():
        said = list(check(device))
        lacking = [one for one in said if isinstance(one, Unchecked)]
        unchecked += lacking
        findings += [one for one in said if isinstance(one, Finding)]
        if not lacking or len(lacking) < len(said):
            made.append(name)
    return Examination(tuple(findings), tuple(made), tuple(unchecked))


def answers(device: Device) -> Iterator[Finding | Unchecked]:
    """Does every point that the model says is there report, and are its values possible?"""
    for point in device.points:
        if not len(point):
            severity: Literal["fault", "doubt"] = "fault" if point.needed else "doubt"
            words = f"{point.name} has not reported" + ("" if point.needed else " (the model says it may be missing)")
            yield Finding("no-answer", severity, (point.name,), words, "look at the connection and at its address map")
            continue
        impossible = int(np.count_nonzero(point.refused | ~np.isfinite(point.value)))
        if impossible and impossible >= 0.5 * len(point):
            yield Finding(
                "implausible",
                "fault",
                (point.name,),
                f"{impossible} of {len(point)} values of {point.name} cannot be",
                "other findings may say why: a scale, a sign, a clock; else compare the address map with the device",
                {"impossible": float(impossible), "readings": float(len(point)), "median": _median(point)},
            )


def clock(device: Device) -> Iterator[Finding | Unchecked]:
    """Does the device's clock agree with the node's, does it move, and do its values?"""
    offsets, spacings, standing = [], [], []
    for point in device.points:
        if len(point) < MIN_READINGS or point.kind == "interval":
            continue
        arrived, first = np.unique(point.received_us, return_inverse=True)
        if len(arrived) < MIN_READINGS:
            continue
        newest = np.full(len(arrived), np.iinfo(np.int64).min)
        np.maximum.at(newest, first, point.observed_us)
        offsets.append((arrived - newest) / 1e6)
        spacings.append(float(np.median(np.diff(arrived))) / 1e6)
        if len(np.unique(newest)) == 1:
            standing.append(point.name)
    if not offsets:
        yield Unchecked("clock", f"no point has {MIN_READINGS} deliveries yet")
        return
    if standing:
        yield _clock_finding("the device's clock stands still: its time stamps do not advance", tuple(standing), {})
        return
    # Each delivery's newest reading: what was gathered before it was sent is no sign of a wrong clock.
    offset_s, spread_s = float(np.median(np.concatenate(offsets))), _spread(np.concatenate(offsets))
    allowed_s = max(_CLOCK_S, 1.5 * max(spacings), 3 * spread_s)
    if abs(offset_s) > allowed_s:
        side = "behind" if offset_s > 0 else "ahead of"
        words = f"the device's clock is {abs(offset_s):.0f} s {side} the node's"
        zones = round(offset_s / _ZONE_S)
        if zones and abs(offset_s - zones * _ZONE_S) < 60 and abs(offset_s) >= 2 * _ZONE_S:
            words += f": {zones / 4:+g} h, as if local time were sent as UTC"
        yield _clock_finding(words, (), {"offsetS": offset_s, "allowedS": allowed_s})
    yield from _frozen(device)


def _clock_finding(words: str, points: tuple[str, ...], evidence: dict[str, float]) -> Finding:
    cure = "set the device's clock to UTC and let it follow a time server; or let the adapter stamp what it polls"
    return Finding("stale-clock", "fault", points, words, cure, evidence)


def _frozen(device: Device) -> Iterator[Finding]:
    """Several measured quantities that do not move at all: the last values are sent again and again."""
    analog = {"active_power", "reactive_power", "apparent_power", "voltage", "current", "frequency"}
    seen = [
        one
        for one in device.points
        if one.kind == "instantaneous" and one.quantity in analog and len(one) >= 60 and np.any(one.value != 0)
    ]
    long = [one for one in seen if one.observed_us[-1] - one.observed_us[0] >= 900_000_000]
    still = [one for one in long if np.ptp(one.value) == 0]
    if len(still) >= 3 and len(still) == len(long):
        names = tuple(one.name for one in still)
        yield Finding(
            "frozen",
            "fault",
            names,
            f"{', '.join(names)} have not changed at all for {len(still[0])} readings, each with a new time",
            "the device, or a gateway before it, repeats what it read last: restart it, and look at its polling",
            {"readings": float(len(still[0]))},
        )


def _median(point: Observed) -> float:
    finite = point.value[np.isfinite(point.value)]
    return float(np.median(finite)) if len(finite) else 0.0


def _spread(values: Float64Array) -> float:
    low, high = np.percentile(values, [25, 75])
    return float(high - low)
