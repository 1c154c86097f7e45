"""What payloads of events come to: signals to know, or controls to do. Pure; no I/O.

::

    IMPORT_CAPACITY_LIMIT   importLimitW  ┐ only where the *programme* describes that payload: who enrolled has
    EXPORT_CAPACITY_LIMIT   exportLimitW  │ consented to it; else it is a signal as any other
    DISPATCH_SETPOINT       targetW       ┘
    all others              signals

Source: OpenADR 3.1.0, enumerations/event-interval-payloads.schema.yaml and units.schema.yaml. *KW* is the one power of
its units; *W* and *MW* are taken, too, as private strings.
"""

import math
from collections.abc import Mapping

import msgspec

from gridspine.adapters.openadr3.wire import Point, ValuesMap
from gridspine.energy.control import Control, Mode, made_of
from gridspine.energy.programme_event import Signal
from gridspine.kernel.errors import Invalid

CONTROLS: dict[str, Mode] = {
    "IMPORT_CAPACITY_LIMIT": "import_limit_w", "EXPORT_CAPACITY_LIMIT": "export_limit_w",
    "DISPATCH_SETPOINT": "target_w",
}  # fmt: skip
FACTOR_W: dict[str, float] = {"W": 1.0, "KW": 1e3, "MW": 1e6}


def control_of(payloads: list[ValuesMap], modes: frozenset[str], units: Mapping[str, str]) -> Control:
    """Return what of ``payloads`` is to be done, of payload types in ``modes``; raise `Invalid` for no power."""
    asked: dict[Mode, float] = {}
    for one in payloads:
        if one.type not in modes:
            continue
        value = number_of(one.values[0]) if len(one.values) == 1 else None
        if value is None:
            raise Invalid(f"{one.type}: one number is needed")
        factor = FACTOR_W.get(units.get(one.type, ""))
        if factor is None:
            raise Invalid(f"{one.type}: its units must be described, as one of {', '.join(FACTOR_W)}")
        if CONTROLS[one.type] in asked:
            raise Invalid(f"{one.type}: it stands twice in one interval")
        asked[CONTROLS[one.type]] = value * factor
    return made_of(asked)


def signals_of(payloads: list[ValuesMap], modes: frozenset[str]) -> tuple[Signal, ...]:
    """Return what of ``payloads`` is to be known; raise `Invalid` for a number that is none."""
    return tuple(
        Signal(one.type, tuple(_value(value) for value in one.values))
        for one in payloads
        if one.type not in modes and one.values
    )


def number_of(value: float | int | str | bool | Point) -> float | None:
    """Return a number that a float can be, else None: JSON's whole numbers may have hundreds of digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _value(value: float | int | str | bool | Point) -> float | str | bool:
    if isinstance(value, Point):
        return msgspec.json.encode(value).decode()
    if isinstance(value, bool | str):
        return value
    if (number := number_of(value)) is None:
        raise Invalid("a value is no number that there can be")
    return number
