"""Commissioning: a reversed current transformer, and phases that are swapped.

::

    what it is      a source that imports, or a load that exports, far beyond its own use
    V·I by phase    cos φ of each phase, steady:   one at −1, the others at +1      ─► that CT is reversed
                                                   two at cos(φ ± 120°), one at cos φ ─► those two CTs are swapped
                    each power follows V·I of another phase                          ─► labels are swapped

Two phases whose currents are exchanged see each other's current 120° off: their power factors add up to minus that of
the third. Source: phasors of a symmetrical three-phase system.
"""

from collections.abc import Iterator
from itertools import permutations
from typing import Literal

import numpy as np

from gridspine.kernel.reading_type import Phase
from gridspine.kernel.readings import Float64Array
from gridspine.things.commissioning import Finding, Unchecked
from gridspine.things.observed import Device, Observed, aligned

PHASES: tuple[Phase, ...] = ("a", "b", "c")
_OWN_USE = 0.1
"""The part of its nameplate that a source may take, or a load give."""
_MIN_ALIGNED = 30
_STEADY = 0.15
_REVERSED = "turn the current transformer round, or the sign in the address map: import is positive"
_SWAPPED = "exchange the current transformers, or the phases in the address map, until each power goes with its phase"


def sign(device: Device) -> Iterator[Finding | Unchecked]:
    """Does a source give, and a load take?"""
    if device.role not in {"source", "load"}:
        yield Unchecked("sign", "the device may both give and take: only registers, phases or a reference tell")
        return
    power = device.find("active_power")
    plate = device.nameplate_w or (None if power is None else _bound(power))
    if power is None or not plate:
        yield Unchecked("sign", "active power or the nameplate's power is not known")
        return
    value = power.finite().value
    much = value[np.abs(value) > _OWN_USE * plate]
    if len(much) < 10:
        yield Unchecked("sign", f"the device has hardly worked: fewer than 10 readings over {_OWN_USE * plate:.0f} W")
        return
    wrong_way = float(np.mean(much > 0 if device.role == "source" else much < 0))
    if wrong_way >= 0.9:
        does = "gives" if device.role == "source" else "takes"
        words = f"{power.name}: a device that only {does} power is seen to do the opposite"
        evidence = {"readings": float(len(much)), "wrongWay": wrong_way, "medianW": float(np.median(much))}
        yield Finding("reversed-ct", "fault", (power.name,), words, _REVERSED, evidence)


def phases(device: Device) -> Iterator[Finding | Unchecked]:
    """Does each phase's power go with its own voltage and current?"""
    found = [
        [device.find(quantity, phase=phase) for phase in PHASES] for quantity in ("active_power", "voltage", "current")
    ]
    present = [one for row in found for one in row if one is not None and len(one.finite())]
    if len(present) < 9:
        yield Unchecked("phases", "power, voltage and current of each of three phases are not all reported")
        return
    columns = aligned(present[0].finite(), *(one.finite() for one in present[1:]))
    p, v, i = (np.stack(columns[at : at + 3]) for at in (0, 3, 6))
    names = tuple(one.name for one in present)
    va = np.abs(v * i)
    loaded = (va > max(20.0, 0.05 * float(va.max(initial=0.0)))).all(axis=0)
    if np.count_nonzero(loaded) < _MIN_ALIGNED:
        yield Unchecked("phases", f"all three phases must have been loaded for {_MIN_ALIGNED} readings")
        return
    p, v, i = p[:, loaded], v[:, loaded], i[:, loaded]
    said = list(_labels(p, v, i, names)) or list(_angles(p / np.abs(v * i), names, device))
    yield from said


def _labels(p: Float64Array, v: Float64Array, i: Float64Array, names: tuple[str, ...]) -> Iterator[Finding]:
    """Find powers that follow another phase's current."""
    if np.any(np.std(i, axis=1) < 0.05 * np.mean(np.abs(i), axis=1)):
        return  # what does not vary is like anything

    def likeness(order: tuple[int, ...]) -> float:
        return min(abs(float(np.corrcoef(p[at], v[at] * i[other])[0, 1])) for at, other in enumerate(order))

    own = likeness((0, 1, 2))
    best = max(permutations(range(3)), key=likeness)
    if best == (0, 1, 2) or own > 0.8 or likeness(best) < 0.97:
        return
    moved = [at for at, other in enumerate(best) if at != other]
    which = ", ".join(f"{PHASES[at]} follows the current of {PHASES[best[at]]}" for at in moved)
    points = tuple(names[row + at] for row in (0, 6) for at in moved)
    evidence = {"ownCorrelation": own, "swappedCorrelation": likeness(best)}
    yield Finding("swapped-phase", "fault", points, f"power of phase {which}", _SWAPPED, evidence)


def _angles(factor: Float64Array, names: tuple[str, ...], device: Device) -> Iterator[Finding]:
    """Find power factors (3, n) that no load gives, but a wrong current does."""
    middle = np.median(factor, axis=1)
    low, high = np.percentile(factor, [10, 90], axis=1)
    if np.any(high - low > 2 * _STEADY):
        return  # what comes and goes on a phase can look like anything
    evidence = {f"powerFactor{phase.upper()}": float(middle[at]) for at, phase in enumerate(PHASES)}
    for third in range(3):
        one, other = (at for at in range(3) if at != third)
        off = [middle[one], middle[other]]
        if middle[third] >= 0.8 and all(-0.9 < f < -0.05 for f in off) and abs(sum(off) + middle[third]) < 0.2:
            points = (names[6 + one], names[6 + other])
            words = f"phases {PHASES[one]} and {PHASES[other]} see each other's current: their angles are 120° off"
            yield Finding("swapped-phase", "fault", points, words, _SWAPPED, evidence)
            return
    if (
        np.all((middle > -0.9) & (middle < 0.1))
        and np.ptp(middle) < 0.35
        and abs(abs(float(np.mean(middle))) - 0.5) < 0.3
    ):
        words = "all three phases see another phase's current: their angles are 120° off"
        yield Finding("swapped-phase", "doubt", names[6:], words, _SWAPPED, evidence)
        return
    backward = [at for at in range(3) if middle[at] < -0.7]
    if backward and len(backward) < 3 and all(middle[at] > 0.7 for at in range(3) if at not in backward):
        severity: Literal["fault", "doubt"] = "fault" if device.role == "load" else "doubt"
        which = " and ".join(PHASES[at] for at in backward)
        words = f"phase {which} gives power while the others take it" + (
            "" if severity == "fault" else ": something generates there, or its current transformer is reversed"
        )
        yield Finding("reversed-ct", severity, tuple(names[at] for at in backward), words, _REVERSED, evidence)


def _bound(power: Observed) -> float | None:
    highest = max(abs(power.possible[0]), abs(power.possible[1]))
    return highest if np.isfinite(highest) else None
