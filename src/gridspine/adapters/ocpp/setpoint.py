"""Set-points of active power as charging profiles (OCPP 2.1, V2X): positive charges a vehicle, negative takes from it.

::

    stack level 2   the set-point  [─ setpoint, limit, dischargeLimit ─)   CentralSetpoint; ends by itself
    stack level 1   a limit        [──── limit ────)                       ChargingOnly, see `profile`
    stack level 0   the fallback   ────────────────────                    ChargingOnly, at most the fallback

Of one purpose the highest level alone counts, so a set-point carries the limit that holds beside it, as long as that
does, and after it what it falls back to; it is sent anew when that changes. A set-point to charge never discharges: its
``dischargeLimit`` is 0.

Our sign is OCPP's, import positive (its schema: "use negative values for discharging"). Power is sent in watts, all
phases together.

Source: ChargingSchedulePeriodType and OperationModeEnumType as the JSON schemas of OCPP 2.1 describe them; of the
component ``V2XChargingCtrlr`` of an EVSE its variables' names (use case Q), whose text was not at hand.
"""

import math
from typing import Any

import msgspec

from gridspine.adapters.ocpp.profile import LEAST_A, between, envelope, finite
from gridspine.adapters.ocpp.station import LIMITS, Place
from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import Order

MODE = "CentralSetpoint"
_COMPONENT = "V2XChargingCtrlr"
_VARIABLES = ("Enabled", "SupportedOperationModes")
_LEVEL, _NUMBER = 2, 3
"""Of its profile: the level in the stack, and the last digit of its id; `profile` has 0 and 1, and 1 and 2."""


class Beside(msgspec.Struct, frozen=True):
    """What limits a set-point [W]: ``limit_w`` until ``until_us`` [µs since 1970], then ``fallback_w``; None: none.

    ``until_us`` 0: for good.
    """

    limit_w: float | None = None
    until_us: int = 0
    fallback_w: float | None = None


def beside(limit: Order | None, place: Place, fallback: float | None) -> Beside:
    """Return what the order of a limit in force means for a set-point.

    Without one it is what the limit fell back to, ``fallback`` [the limit point's unit]: None where none was ordered.
    """
    if limit is None or limit.value is None:
        return Beside() if fallback is None else Beside(ceiling_w(fallback, place))
    return Beside(ceiling_w(limit.value, place), limit.until_us, ceiling_w(limit.fallback, place))


def ceiling_w(value: float, place: Place) -> float:
    """Return a limit [the limit point's unit] in watts, rounded down to a tenth; less than 6 A is a pause."""
    unit = LIMITS[place.limit]
    if between(value, unit, "A", place) < LEAST_A - 1e-9:
        return 0.0
    return math.floor(between(value, unit, "W", place) * 10 + 1e-6) / 10


def setpoint_profile(order: Order, place: Place, now_us: int, limits: Beside) -> dict[str, Any]:
    """Return the payload of SetChargingProfile for an order of a set-point that has a value."""
    assert order.value is not None
    start_s, end_s = envelope(order.until_us, now_us)
    periods = [{"startPeriod": 0, **_held(order.value, limits.limit_w, place)}]
    changes_s = math.ceil(limits.until_us / US)
    if limits.until_us and changes_s < end_s:
        periods.append({"startPeriod": changes_s - start_s, **_held(order.value, limits.fallback_w, place)})
    return _set(place, _NUMBER, _LEVEL, periods, start_s, end_s)


def fallback_profile(fallback_w: float, place: Place, now_us: int, limit_fallback: float | None) -> dict[str, Any]:
    """Return the payload of SetChargingProfile for what holds when no lease does.

    A fallback to charge, or to stand still, is a ceiling of charging: the vehicle decides below it. One to discharge is
    a set-point. ``limit_fallback`` is that of the limit [its unit], None where nothing was said of it.
    """
    limit_w = None if limit_fallback is None else ceiling_w(limit_fallback, place)
    if fallback_w < 0:
        period = _held(fallback_w, limit_w, place)
    else:
        most_w = fallback_w if limit_w is None else min(fallback_w, limit_w)
        period = {"operationMode": "ChargingOnly", "limit": math.floor(most_w * 10 + 1e-6) / 10, **_phases(place)}
    start_s, _ = envelope(now_us, now_us)
    number = 1 if place.connection.purpose == "TxDefaultProfile" else 4  # the limit's own is of another purpose
    return _set(place, number, 0, [{"startPeriod": 0, **period}], start_s, None)


def clear(place: Place) -> dict[str, Any]:
    """Return the payload of ClearChargingProfile for a set-point that was ended."""
    return {"chargingProfileId": 10 * place.evse + _NUMBER}


def told(period: dict[str, Any], unit: str, place: Place) -> float | None:
    """Return the set-point of a period of a composite schedule [W]; where it has none the most it lets be charged."""
    value = finite(period.get("setpoint", period.get("limit")))
    return None if value is None else between(value, unit, "W", place)


def capability(place: Place) -> dict[str, Any]:
    """Return the payload of GetVariables for whether an EVSE takes set-points."""
    component = {"name": _COMPONENT, "evse": {"id": place.evse}}
    return {"getVariableData": [{"component": component, "variable": {"name": name}} for name in _VARIABLES]}


def lacks(answer: dict[str, Any]) -> str:
    """Return why an EVSE takes no set-points, by its answer to `capability`; "" where it says that it does."""
    said = {
        one["variable"]["name"]: str(one.get("attributeValue", ""))
        for one in answer["getVariableResult"]
        if one["attributeStatus"] == "Accepted"
    }
    modes = {mode.strip() for mode in said.get("SupportedOperationModes", "").split(",")}
    if not said:
        return f"it has no {_COMPONENT}: the charge point says nothing of taking energy from vehicles"
    if said.get("Enabled", "true").strip().lower() != "true":
        return f"its {_COMPONENT}.Enabled is not true: that is switched off at the charge point"
    if MODE not in modes and "SupportedOperationModes" in said:
        return f"its {_COMPONENT}.SupportedOperationModes have no {MODE}"
    return ""


def _held(value_w: float, limit_w: float | None, place: Place) -> dict[str, Any]:
    wanted_w = value_w if limit_w is None else min(value_w, limit_w)
    rounded_w = math.trunc(round(wanted_w * 10, 6)) / 10  # toward zero: never more than was said
    period = {"operationMode": MODE, "setpoint": rounded_w, "dischargeLimit": min(0.0, rounded_w), **_phases(place)}
    return period if limit_w is None else {**period, "limit": limit_w}


def _phases(place: Place) -> dict[str, int]:
    """Return the number of phases where it is not what OCPP takes for granted; a direct current has none."""
    return {} if place.connection.phases == 3 else {"numberPhases": place.connection.phases}


def _set(
    place: Place, number: int, level: int, periods: list[dict[str, Any]], start_s: int, end_s: int | None
) -> dict[str, Any]:
    id_ = 10 * place.evse + number
    schedule: dict[str, Any] = {
        "id": id_, "chargingRateUnit": "W", "startSchedule": format_rfc3339(start_s * US),
        "chargingSchedulePeriod": periods,
    }  # fmt: skip
    profile: dict[str, Any] = {
        "id": id_, "stackLevel": level, "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute", "chargingSchedule": [schedule],
    }  # fmt: skip
    if end_s is not None:
        schedule["duration"] = end_s - start_s
        profile["validTo"] = format_rfc3339(end_s * US)
    return {"evseId": place.evse, "chargingProfile": profile}
