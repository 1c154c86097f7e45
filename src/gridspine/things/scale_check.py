"""Commissioning: a wrong scale factor shows as a power of ten against something that is known.

::

    voltage, frequency ─► nominal            power ─► nameplate (too large only: little power proves nothing)
    power ─► V·I at load                     power ─► registers: ∫P dt against what they moved
    power ─► another meter

Sources: the ratio of active power to V·I is the power factor, between 0 and 1 for one phase; ``sqrt(P² + Q²) = V·I``
for sinusoids (IEEE Std 1459, definitions; the clause was not read). Aggregates of three phases give up to three times.
"""

from collections.abc import Iterator

import numpy as np

from gridspine.kernel.readings import Float64Array, Int64Array
from gridspine.things.commissioning import MIN_READINGS, Finding, Unchecked
from gridspine.things.observed import Device, Observed, aligned

MIN_ENERGY_J = 3600.0 * 20
"""Energy that must have passed before registers are compared with power [J]: 20 Wh."""
_NEAR = 0.1
"""How near a ratio's logarithm to base ten must be to a whole number: within a quarter of it."""
_LOAD_VA = 200.0
_MAX_HOLD_S = 1_800.0
"""How long a value is believed to hold [s]: reporting by exception says nothing while nothing changes."""
_CURE = "compare the scale factor, the CT and VT ratios and the unit in the address map with the device"


def nominal(device: Device) -> Iterator[Finding | Unchecked]:
    """Are voltages and frequency those of the network?"""
    known = {"voltage": device.nominal_v, "frequency": device.nominal_hz}
    for point in device.points:
        wanted = known.get(point.quantity) or (_middle(point) if point.quantity in known else None)
        if point.quantity not in known or point.kind != "instantaneous" or len(point.finite()) < MIN_READINGS:
            continue
        if not wanted:
            yield Unchecked("nominal", f"no nominal {point.quantity} is known: give it with the request")
            continue
        ratio = float(np.median(np.abs(point.finite().value))) / wanted
        power = power_of_ten(ratio)
        if power:
            evidence = {"median": ratio * wanted, "nominal": wanted, "factor": 10.0**power}
            yield wrong((point.name,), power, f"against the nominal {point.quantity} of {wanted:g}", evidence)


def nameplate(device: Device) -> Iterator[Finding | Unchecked]:
    """Is there more power than the device can have?"""
    power = device.find("active_power")
    if power is None or len(power.finite()) < MIN_READINGS:
        yield Unchecked("nameplate", "there are too few readings of active power")
        return
    if not device.nameplate_w:
        yield Unchecked("nameplate", "the nameplate's power is not known: give it with the request")
        return
    high = float(np.percentile(np.abs(power.finite().value), 95))
    ratio = high / device.nameplate_w
    if ratio > 3.0:
        exponent = max(1, round(float(np.log10(ratio / 0.6))))
        evidence = {"high95W": high, "nameplateW": device.nameplate_w, "factor": 10.0**exponent}
        yield wrong((power.name,), exponent, f"against the nameplate of {device.nameplate_w:g} W", evidence)


def apparent(device: Device) -> Iterator[Finding | Unchecked]:
    """Is the power what voltage and current come to?"""
    power, volts, amps = (device.find(name) for name in ("active_power", "voltage", "current"))
    if power is None or volts is None or amps is None:
        yield Unchecked("apparent", "power, voltage and current of all phases together are not all reported")
        return
    p, v, i = aligned(power.finite(), volts.finite(), amps.finite())
    reactive = device.find("reactive_power")
    if reactive is not None and len(reactive.finite()):
        p, v, i, q = aligned(power.finite(), volts.finite(), amps.finite(), reactive.finite())
        p = np.hypot(p, q)
    va, p = np.abs(v * i), np.abs(p)
    loaded = va >= np.percentile(va, 75) if len(va) else np.zeros(0, np.bool_)
    floor = 0.05 * device.nameplate_w if device.nameplate_w else _LOAD_VA
    if (
        np.count_nonzero(loaded) < MIN_READINGS
        or max(float(np.median(va[loaded])), float(np.median(p[loaded]))) < floor
    ):
        yield Unchecked("apparent", "the device has hardly been loaded: a power factor at no load proves nothing")
        return
    ratio = float(np.median(p[loaded]) / max(float(np.median(va[loaded])), 1e-9))
    if 0.13 < ratio < 4.0:
        return
    # One phase or the sum of three: whichever puts the ratio nearest to a power of ten.
    phases = min((1.0, 3.0), key=lambda count: abs(_off(ratio / count / 0.9)))
    power_ = round(float(np.log10(max(ratio, 1e-9) / phases / 0.9)))
    if power_ and abs(_off(ratio / phases / 0.9)) < 0.35:
        evidence = {"ratio": ratio, "factor": 10.0**power_}
        points = (power.name, volts.name, amps.name)
        # Without reactive power a motor that idles looks alike: hardly any power for its current.
        sure = power_ > 0 or reactive is not None
        yield wrong(points, power_, "power against voltage times current", evidence, fault=sure)


def registers(device: Device) -> Iterator[Finding | Unchecked]:
    """Do the registers move as the power says, in amount and in direction?"""
    power = device.find("active_power")
    moved = None if power is None else moved_j(device, power)
    if power is None or moved is None:
        yield Unchecked("registers", "power and registers were not seen together for long enough")
        return
    energy_j, integral_j = moved
    if min(abs(energy_j), abs(integral_j)) < 1e-3 * MIN_ENERGY_J or max(abs(energy_j), abs(integral_j)) < MIN_ENERGY_J:
        yield Unchecked("registers", "hardly any energy has passed")
        return
    ratio = integral_j / energy_j
    evidence = {"registersWh": energy_j / 3600, "integralWh": integral_j / 3600}
    exponent = power_of_ten(abs(ratio), near=0.07)
    names = (power.name, *(one.name for one in (device.register("import"), device.register("export")) if one))
    if exponent:
        yield wrong(names, exponent, "power over time against the registers", evidence | {"factor": 10.0**exponent})
    if ratio < 0 and (exponent or 0.85 < -ratio < 1.18):
        yield Finding(
            "reversed-ct",
            "fault",
            (power.name,),
            f"the registers moved by {energy_j / 3600:.0f} Wh, the power says {integral_j / 3600:.0f} Wh: opposite",
            "turn the current transformer round, or the sign in the address map: import is positive",
            evidence,
        )


def reference(device: Device) -> Iterator[Finding | Unchecked]:
    """Is the power what another meter, or the sum of the parts, says?"""
    power = device.find("active_power")
    if power is None or device.reference is None:
        yield Unchecked("reference", "there is nothing to compare with: name a point that measures the same power")
        return
    own, other = aligned(power.finite(), device.reference.finite(), within_us=5_000_000)
    if len(own) < 30 or not np.std(own) or not np.std(other) or np.std(other) < 0.02 * np.max(np.abs(other)):
        yield Unchecked("reference", "both must have been seen to move together for 30 readings")
        return
    likeness = float(np.corrcoef(own, other)[0, 1])
    if abs(likeness) < 0.95:
        yield Unchecked("reference", f"the two do not move together (correlation {likeness:.2f}): are they the same?")
        return
    slope = float(np.dot(own, other) / np.dot(other, other))
    evidence = {"correlation": likeness, "slope": slope}
    exponent = power_of_ten(abs(slope))
    if exponent:
        yield wrong((power.name,), exponent, "against the reference", evidence | {"factor": 10.0**exponent})
    if likeness < 0 and slope < 0:
        yield Finding(
            "reversed-ct",
            "fault",
            (power.name,),
            "the power moves against its reference: where that imports, this exports",
            "turn the current transformer round, or the sign in the address map: import is positive",
            evidence,
        )


def moved_j(device: Device, power: Observed) -> tuple[float, float] | None:
    """Return what the registers moved (import less export) and what the power comes to in the same time [J]."""
    found = [(1.0, device.register("import")), (-1.0, device.register("export"))]
    seen = [(sign, one.finite()) for sign, one in found if one is not None and len(one.finite()) >= 2]
    p = power.finite()
    if not seen or len(p) < MIN_READINGS:
        return None
    start = max(int(p.observed_us[0]), *(int(one.observed_us[0]) for _, one in seen))
    end = min(int(p.observed_us[-1]), *(int(one.observed_us[-1]) for _, one in seen))
    if end - start < 60_000_000:
        return None
    energy = 0.0
    for sign, one in seen:
        at_start, at_end = np.interp([start, end], one.observed_us, one.value)
        if np.any(np.diff(one.value) < 0):
            return None  # it rolled over, or was exchanged: an event, not a movement
        energy += sign * (at_end - at_start)
    integral = _held(p.observed_us, p.value, start, end)
    return None if integral is None else (float(energy), integral)


def power_of_ten(ratio: float, near: float = _NEAR) -> int:
    """Return k where ``ratio`` is nearly 10^k and k is not 0; else 0."""
    if not ratio > 0 or not np.isfinite(ratio):
        return 0
    exponent = round(float(np.log10(ratio)))
    return exponent if exponent and abs(float(np.log10(ratio)) - exponent) < near else 0


def wrong(
    points: tuple[str, ...], exponent: int, against: str, evidence: dict[str, float], *, fault: bool = True
) -> Finding:
    """Return the finding of a scale that is wrong by ten to ``exponent``."""
    words = f"{' or '.join(points)}: wrong by a factor of {10.0**exponent:g}, {against}"
    return Finding("wrong-scale", "fault" if fault else "doubt", points, words, _CURE, evidence)


def _held(time_us: Int64Array, value: Float64Array, start: int, end: int) -> float | None:
    """Return the integral of values that hold until the next one; None where one would hold for too long."""
    edges = np.clip(np.append(time_us, end), start, end)
    seconds = np.diff(edges) / 1e6
    usual = float(np.median(np.diff(time_us))) / 1e6 if len(time_us) > 1 else 0.0
    if seconds.max(initial=0.0) > max(_MAX_HOLD_S, 5 * usual):
        return None
    return float(np.dot(seconds, value))


def _middle(point: Observed) -> float | None:
    """The nominal value that operating limits stand around, where they do so evenly."""
    low, high = point.limits
    return (low + high) / 2 if np.isfinite(low) and np.isfinite(high) and low > 0 else None


def _off(ratio: float) -> float:
    exponent = float(np.log10(max(ratio, 1e-9)))
    return exponent - round(exponent)
