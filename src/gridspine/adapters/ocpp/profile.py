"""Leases as charging profiles: a ceiling that ends in the charge point by itself, above one that stays.

::

    stack level 1   the lease      [──── limit ────)  validTo and duration: the charge point's own clock ends it
    stack level 0   the fallback   ────────────────── stays, and holds when the lease is over or was cleared

A profile is a ceiling, never a set-point. Below 6 A a vehicle cannot charge (IEC 61851-1): what is less is sent as 0, a
pause, so that no charge point makes it one phase of more. Limits are rounded down to a tenth, the most OCPP 1.6 allows.

Sources: OCPP 1.6 §3.13 (smart charging), §7.8 (ChargingProfile), §7.13 (ChargingSchedule); OCPP 2.0.1 Part 2, use case
K, as the JSON schemas have it.
"""

import math
from typing import Any

from gridspine.adapters.ocpp.station import LIMITS, Place
from gridspine.adapters.ocpp.wire import Version
from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import Order

LEAST_A = 6.0
"""The least current that a vehicle can charge at [A]."""
_EARLIER_S = 300
"""A schedule starts this long ago [s]: the limit holds at once even where the charge point's clock is behind."""
_LOOK_AHEAD_S = 60


def lease_profile(order: Order, place: Place, version: Version, now_us: int) -> dict[str, Any]:
    """Return the payload of SetChargingProfile for an order that has a value."""
    assert order.value is not None
    start_s, end_s = envelope(order.until_us, now_us)
    profile = _profile(_id(place, 2), 1, place, version)
    schedule = _schedule(order.value, place, version)
    schedule["startSchedule"] = format_rfc3339(start_s * US)
    schedule["duration"] = end_s - start_s
    profile["validTo"] = format_rfc3339(end_s * US)
    return _set(profile, schedule, place, version)


def envelope(until_us: int, now_us: int) -> tuple[int, int]:
    """Return when a schedule begins and ends [s since 1970] that holds now and until ``until_us`` [µs since 1970]."""
    return now_us // US - _EARLIER_S, math.ceil(until_us / US)


def fallback_profile(fallback: float, place: Place, version: Version, now_us: int) -> dict[str, Any]:
    """Return the payload of SetChargingProfile for what holds when no lease does."""
    profile = _profile(_id(place, 1), 0, place, version)
    schedule = _schedule(fallback, place, version)
    schedule["startSchedule"] = format_rfc3339((now_us // US - _EARLIER_S) * US)
    return _set(profile, schedule, place, version)


def clear(place: Place, version: Version) -> dict[str, Any]:
    """Return the payload of ClearChargingProfile for a lease that was ended."""
    return {"id" if version == "1.6" else "chargingProfileId": _id(place, 2)}


def ask(place: Place, version: Version, unit: str = "") -> dict[str, Any]:
    """Return the payload of GetCompositeSchedule: what the charge point itself says that holds now, in ``unit``."""
    evse = "connectorId" if version == "1.6" else "evseId"
    return {evse: place.evse, "duration": _LOOK_AHEAD_S, "chargingRateUnit": unit or place.connection.rate_unit}


def state_asked(place: Place, version: Version) -> dict[str, Any]:
    """Return the payload of TriggerMessage for the state of the connector."""
    if version == "1.6":
        return {"requestedMessage": "StatusNotification", "connectorId": place.evse}
    connector = place.connection.connector or 1
    return {"requestedMessage": "StatusNotification", "evse": {"id": place.evse, "connectorId": connector}}


def now(answer: dict[str, Any], version: Version) -> tuple[dict[str, Any], str]:
    """Return the period of a composite schedule that holds now, and its unit; nothing where the answer does not say."""
    schedule = answer.get("chargingSchedule" if version == "1.6" else "schedule")
    if answer["status"] != "Accepted" or schedule is None:
        return {}, ""
    first: dict[str, Any] = next((one for one in schedule["chargingSchedulePeriod"] if one["startPeriod"] <= 0), {})
    return first, schedule["chargingRateUnit"]


def told(period: dict[str, Any], unit: str, place: Place) -> float | None:
    """Return the limit of a period of a composite schedule [the limit point's unit], None when it has none."""
    limit = finite(period.get("limit"))
    return None if limit is None else between(limit, unit, LIMITS[place.limit], place)


def finite(value: float | None) -> float | None:
    """Return a number of a message, None for none and for what no float can be: JSON has longer integers."""
    try:
        number = None if value is None else float(value)
    except OverflowError:
        return None
    return number if number is not None and math.isfinite(number) else None


def _id(place: Place, number: int) -> int:
    return 10 * place.evse + number


def between(value: float, given: str, wanted: str, place: Place) -> float:
    """Return ``value`` [``given``: A or W] in ``wanted``."""
    if given == wanted:
        return value
    watts_per_ampere = place.connection.phases * place.connection.voltage_v
    return value * watts_per_ampere if wanted == "W" else value / watts_per_ampere


def _limit(value: float, place: Place) -> float:
    """Return ``value`` [the limit point's unit] as it is sent."""
    unit = LIMITS[place.limit]
    # A hair is forgiven: 6 A as watts and back again is 6 A.
    if between(value, unit, "A", place) < LEAST_A - 1e-9:
        return 0.0
    return math.floor(between(value, unit, place.connection.rate_unit, place) * 10 + 1e-6) / 10


def _schedule(value: float, place: Place, version: Version) -> dict[str, Any]:
    period: dict[str, Any] = {"startPeriod": 0, "limit": _limit(value, place), "numberPhases": place.connection.phases}
    return {"chargingRateUnit": place.connection.rate_unit, "chargingSchedulePeriod": [period]}


def _profile(id_: int, level: int, place: Place, version: Version) -> dict[str, Any]:
    purpose = place.connection.purpose
    if version != "1.6" and purpose == "ChargePointMaxProfile":
        return _named("id", id_, level, "ChargingStationMaxProfile")
    return _named("chargingProfileId" if version == "1.6" else "id", id_, level, purpose)


def _named(name: str, id_: int, level: int, purpose: str) -> dict[str, Any]:
    return {
        name: id_,
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Absolute",
    }


def _set(profile: dict[str, Any], schedule: dict[str, Any], place: Place, version: Version) -> dict[str, Any]:
    evse = 0 if place.connection.purpose == "ChargePointMaxProfile" else place.evse
    if version == "1.6":
        return {"connectorId": evse, "csChargingProfiles": {**profile, "chargingSchedule": schedule}}
    return {"evseId": evse, "chargingProfile": {**profile, "chargingSchedule": [{"id": profile["id"], **schedule}]}}
