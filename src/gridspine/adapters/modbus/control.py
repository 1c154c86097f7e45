"""An order as register values, and whether a device holds it. No I/O.

The device's own reversion timer ends a lease: an order that a device could not end by itself is refused here.
SunSpec's way to set a function is to write its values first and to enable it last; enabling starts the timer.
"""

import math
from dataclasses import dataclass, replace

import msgspec

from gridspine.adapters.modbus.mapping import Control, DeviceClass, PointRef, sign_factor
from gridspine.adapters.modbus.view import Decoded, View
from gridspine.adapters.modbus.wire import FLOAT_TYPES, NUMBER_TYPES, Words, encode_number, unscaled
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.things.adapter import Order

TIMER_TOLERANCE_S = 5
"""How far [s] a device's timer may be from the end of the lease before it is set again."""
ADOPTED, ADOPTION_FAILED = 1, 2
"""What ``AdptCrvRslt`` says of a curve; 0 is that the device is not done (SunSpec model definitions 705 to 712)."""
_FIRST_ADOPTABLE = 2
_OVER_EXCITED, _UNDER_EXCITED = 0, 1


@dataclass(frozen=True, slots=True)
class Setting:
    """What a device must hold: raw values by point, the raw enable flag, and the timer [s] (0: none).

    ``capped`` says that the lease is longer than the device's timer can be: it must be renewed on the way.
    """

    control: Control
    raw: dict[str, float]
    enable: int
    timer_s: int = 0
    capped: bool = False


def choose_control(controls: tuple[Control, ...], view: View) -> Control:
    """Return the first function the device has together with its own reversion timer; else raise `Invalid`."""
    present = [control for control in controls if view.raw(control.model, control.enable) is not None]
    for control in present:
        if view.raw(control.model, control.reversion_time) is not None:
            return control
    if present:
        raise Invalid("the device has no reversion timer: it could not end the lease by itself")
    models = ", ".join(str(control.model) for control in controls)
    raise Invalid(f"the device has no SunSpec model that can be commanded here (looked for {models})")


def in_force(control: Control, view: View, device_class: DeviceClass) -> Decoded | None:
    """Return what is set: the value while the function is enabled, its neutral value else.

    None when the device does not have the function, or when the value was set in a way this mapping does not read
    (another ``mode``).
    """
    enable = view.raw(control.model, control.enable)
    if enable is None:
        return None
    whole = _whole(control, view)
    if enable != control.enabled:
        neutral = whole if control.neutral == "rated" else control.neutral
        return None if neutral is None else Decoded(float(neutral))
    if control.mode and view.raw(control.model, control.mode[0]) != control.mode[1]:
        return None
    if control.result:
        return _adopted(control, view)
    found = view.value(control.model, control.value)
    if found is None or (control.percent_of and whole is None):
        return None
    factor = sign_factor(control.model, control.value, device_class)
    part = found.value / 100.0 * whole if control.percent_of and whole is not None else found.value
    if control.excitation and view.raw(control.model, control.excitation) == _UNDER_EXCITED:
        factor = -factor
    return Decoded(part * factor + 0.0, found.quality)


def _adopted(control: Control, view: View) -> Decoded | None:
    """Return the number of the curve in force; None while it is not known.

    A device whose timer has run out may still show what it was last asked to adopt.
    """
    fell_back = view.raw(control.model, control.reversion_time) and timer_left_s(control, view) == 0
    raw = view.raw(control.model, control.reversion_value if fell_back else control.value)
    known = raw and (fell_back or view.raw(control.model, control.result) == ADOPTED)
    return Decoded(float(raw)) if raw and known else None


def to_setting(control: Control, view: View, order: Order, device_class: DeviceClass, now_us: int) -> Setting:
    """Return what the device must hold for ``order``; raise `Invalid` when it cannot.

    An order whose ``value`` is None, or whose time has passed, asks for the fallback at once.
    """
    falls_to_neutral = _is_neutral(control, view, order.fallback)
    if order.value is None or order.until_us <= now_us:
        if falls_to_neutral:
            return Setting(control, {}, control.disabled)
        return Setting(control, _value(control, view, order.fallback, device_class), control.enabled)
    raw = _value(control, view, order.value, device_class)
    raw |= _reversion(control, view, order.fallback, device_class, falls_to_neutral)
    wanted_s = max(1, math.ceil((order.until_us - now_us) / US))
    timer_s = min(wanted_s, _highest(control, view))
    return Setting(control, raw, control.enabled, timer_s, timer_s < wanted_s)


def holds_values(setting: Setting, view: View) -> bool:
    """Whether every value but the enable flag and the timer is as it must be."""
    control = setting.control
    if control.result and setting.raw and view.raw(control.model, control.result) != ADOPTED:
        return False
    return all(view.raw(control.model, name) == value for name, value in setting.raw.items())


def holds(setting: Setting, view: View, *, timer_known: bool) -> bool:
    """Whether the device does what ``setting`` says, its timer ending it in time.

    ``timer_known`` says that this lease's timer was written before; it decides where a device does not tell how
    much of its timer is left.
    """
    control = setting.control
    if view.raw(control.model, control.enable) != setting.enable:
        return False
    if setting.enable == control.disabled:
        return True
    if not holds_values(setting, view):
        return False
    if setting.timer_s == 0:
        return view.raw(control.model, control.reversion_time) == 0
    left_s = timer_left_s(control, view)
    if left_s is None:
        return timer_known
    return left_s > 0 and abs(left_s - setting.timer_s) <= TIMER_TOLERANCE_S


def timer_left_s(control: Control, view: View) -> int | None:
    """Return what is left of the device's reversion timer [s], or None where it does not tell."""
    left = view.raw(control.model, control.remaining) if control.remaining else None
    return None if left is None else int(left)


def values_to_write(setting: Setting, view: View) -> dict[str, Words]:
    """Return registers by point to write before enabling: changed values, and the timer.

    The number of a curve is not among them: to write it is to have it adopted (`adoption_to_write`).
    """
    control = setting.control
    changed = {name: raw for name, raw in setting.raw.items() if view.raw(control.model, name) != raw}
    if control.result:
        changed.pop(control.value, None)
    if setting.enable == control.enabled:
        changed[control.reversion_time] = setting.timer_s
    return {name: _encode(control, view, name, raw) for name, raw in changed.items()}


def without_curve(setting: Setting) -> Setting:
    """Return what must be held before a curve is adopted: timer, and what is fallen back to."""
    control = setting.control
    raw = {name: value for name, value in setting.raw.items() if name != control.value}
    return replace(setting, control=msgspec.structs.replace(control, result=""), raw=raw)


def adoption_to_write(setting: Setting, view: View) -> dict[str, Words]:
    """Return the register that has the device adopt a curve."""
    control = setting.control
    return {control.value: _encode(control, view, control.value, setting.raw[control.value])}


def timed_anew(setting: Setting, until_us: int, now_us: int) -> Setting:
    """Return a setting whose timer counts from now: what was written meanwhile took its time.

    ::

        now ── values, read back ── timer ── enable ─────────── until
                                     └───── what is left ─────────┘
    """
    if not setting.timer_s or setting.capped:
        return setting
    return replace(setting, timer_s=max(1, math.ceil((until_us - now_us) / US)))


def timer_to_write(setting: Setting, view: View) -> dict[str, Words]:
    """Return the timer's registers."""
    control = setting.control
    return {control.reversion_time: _encode(control, view, control.reversion_time, setting.timer_s)}


def local_hands(refs: tuple[PointRef, ...], view: View) -> bool:
    """Whether somebody beside the device has it in his hands."""
    return any(view.raw(ref.model, ref.point) == 1 for ref in refs)


def enable_to_write(setting: Setting, view: View) -> dict[str, Words]:
    """Return the enable flag's register."""
    control = setting.control
    return {control.enable: _encode(control, view, control.enable, setting.enable)}


def _encode(control: Control, view: View, name: str, raw: float) -> Words:
    found = view.locate(control.model, name)
    if found is None:
        raise Invalid(f"the device has no SunSpec {control.model} {name}")
    return encode_number(found[1].type, raw)


def _whole(control: Control, view: View) -> float | None:
    for ref in control.percent_of:
        found = view.value(ref.model, ref.point)
        if found is not None and found.value > 0:
            return found.value
    return None


def _is_neutral(control: Control, view: View, value: float) -> bool:
    if control.neutral != "rated":
        return value == control.neutral
    whole = _whole(control, view)
    return whole is not None and value >= whole


def _raw(control: Control, view: View, name: str, value: float, device_class: DeviceClass) -> float:
    scale = view.scale(control.model, name)
    found = view.locate(control.model, name)
    if scale is None or found is None or view.raw(control.model, name) is None:
        raise Invalid(f"the device does not implement SunSpec {control.model} {name}")
    number = value * sign_factor(control.model, name, device_class)
    if control.percent_of:
        whole = _whole(control, view)
        if whole is None:
            raise Invalid("the device does not say what its per cent are a part of")
        number = 100.0 * number / whole
    if control.neutral == "rated":
        # A limit is a ceiling: never above the rated value, and rounded down, as far as a float can tell.
        number = min(100.0, number) if control.percent_of else number
        return math.floor(number / 10.0**scale + 1e-9)
    if control.percent_of and abs(number) > 100.0:
        raise Invalid(f"{value} is beyond what the device can do")
    if control.result:
        return _stored(control, view, number)
    if control.excitation:
        number = abs(number)
    return number if found[1].type in FLOAT_TYPES else unscaled(number, scale)


def _stored(control: Control, view: View, number: float) -> float:
    """Return the number of a curve that can be adopted; raise `Invalid` for one that cannot."""
    count = view.raw(control.model, control.count) or 0
    if number != int(number) or not _FIRST_ADOPTABLE <= number <= count:
        raise Invalid(
            f"the device has no stored curve {number:g}: it has {count:g} in SunSpec {control.model}, of which the "
            "first only shows what is in force"
        )
    return number


def _excited(name: str, value: float) -> dict[str, float]:
    return {name: _UNDER_EXCITED if value < 0.0 else _OVER_EXCITED} if name else {}


def _value(control: Control, view: View, value: float, device_class: DeviceClass) -> dict[str, float]:
    raw = {name: _raw(control, view, name, value, device_class) for name in (control.value, control.mirror) if name}
    if control.mode:
        raw[control.mode[0]] = control.mode[1]
    raw |= _excited(control.excitation, value)
    for name, number in raw.items():
        _encode(control, view, name, number)
    return raw


def _reversion(
    control: Control, view: View, fallback: float, device_class: DeviceClass, falls_to_neutral: bool
) -> dict[str, float]:
    """Return what the device falls back to: nothing in force where that is the fallback, else the value."""
    has_enable = bool(control.reversion_enable) and view.raw(control.model, control.reversion_enable) is not None
    has_value = bool(control.reversion_value) and view.raw(control.model, control.reversion_value) is not None
    if control.result and has_value:
        # It always falls back to a curve, and stays enabled.
        return {control.reversion_value: _raw(control, view, control.reversion_value, fallback, device_class)}
    if not falls_to_neutral and not (has_enable and has_value):
        raise Invalid(f"the device cannot fall back to {fallback} by itself, only to what it does uncommanded")
    raw: dict[str, float] = {}
    if has_value:
        raw[control.reversion_value] = _raw(control, view, control.reversion_value, fallback, device_class)
        raw |= _excited(control.reversion_excitation, fallback)
    if has_enable:
        raw[control.reversion_enable] = control.disabled if falls_to_neutral else control.enabled
    return raw


def _highest(control: Control, view: View) -> int:
    found = view.locate(control.model, control.reversion_time)
    return NUMBER_TYPES[found[1].type].bounds[1] if found else 0
