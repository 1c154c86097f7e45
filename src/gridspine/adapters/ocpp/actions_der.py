"""Actions around DER controls (OCPP 2.1): set, read, clear what an inverter (EVSE or vehicle) does by itself.

::

    for a time   startTime, duration: the charge point's own clock ends it, and the default holds again
    default      stays until it is cleared; the only way for what has no duration (EnterService, Gradients)

A set-point of active power is a lease, see `setpoint`. Curves are handed on in OCPP's own words and units: their points
are none of a Thing's.

Source: SetDERControl, GetDERControl, ClearDERControl and ReportDERControl as the JSON schemas of OCPP 2.1 describe them
(use case R, whose text was not at hand).
"""

from typing import Any, Literal

from gridspine.adapters.ocpp.actions_charging import ActionInput
from gridspine.adapters.ocpp.asked import Action, Asked, Payload, Refused
from gridspine.adapters.ocpp.report import MAX_REPORTS, Report
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339

Kind = Literal[
    "EnterService", "FreqDroop", "FreqWatt", "FixedPFAbsorb", "FixedPFInject", "FixedVar", "Gradients", "HFMustTrip",
    "HFMayTrip", "HVMustTrip", "HVMomCess", "HVMayTrip", "LimitMaxDischarge", "LFMustTrip", "LVMustTrip", "LVMomCess",
    "LVMayTrip", "PowerMonitoringMustTrip", "VoltVar", "VoltWatt", "WattPF", "WattVar",
]  # fmt: skip
_FIELDS = {
    "EnterService": "enterService", "FreqDroop": "freqDroop", "FixedPFAbsorb": "fixedPFAbsorb",
    "FixedPFInject": "fixedPFInject", "FixedVar": "fixedVar", "Gradients": "gradient",
    "LimitMaxDischarge": "limitMaxDischarge",
}  # fmt: skip
"""Which field of SetDERControl has what a control is; all others are curves."""
_ENDLESS = frozenset({"EnterService", "Gradients"})


class Control(ActionInput, frozen=True):
    """A control of ``type``: its fields are those of OCPP; for ``duration_s`` [s] from ``start_at``, or as default."""

    type: Kind
    control: dict[str, Any]
    default: bool = False
    id: str = ""
    start_at: str = ""
    duration_s: float | None = None


class Which(ActionInput, frozen=True):
    """Which controls: of a ``type``, by ``id``, defaults or not; all without."""

    type: Kind | None = None
    default: bool | None = None
    id: str = ""


async def set_control(asked: Asked) -> Any:
    """Give the charge point a control."""
    _check_version(asked)
    given = asked.input(Control)
    if {"startTime", "duration"} & given.control.keys():
        raise Refused("control: startAt and durationS say when it holds")
    control = {**given.control, **_when(given, asked.point.now_us)}
    id_ = given.id or f"node-{asked.point.next_number()}"
    payload = {
        "isDefault": given.default, "controlId": id_, "controlType": given.type,
        _FIELDS.get(given.type, "curve"): control,
    }  # fmt: skip
    answer = await asked.accepted("SetDERControl", payload)
    return {"id": id_, "superseded": answer.get("supersededIds", [])}


async def get_controls(asked: Asked) -> Any:
    """Return the controls that the charge point reports, part by part as it does."""
    _check_version(asked)
    given, point, number = asked.input(Which), asked.point, asked.point.next_number()
    if len(point.reports) >= MAX_REPORTS:
        raise Refused(f"{MAX_REPORTS} reports of this charge point are waited for: ask again")
    report = point.reports[number] = Report()
    try:
        payload = {"requestId": number, "isDefault": given.default, **_which(given)}
        answer = await asked.accepted("GetDERControl", payload, {"Accepted", "NotFound"})
        if answer["status"] == "Accepted":
            await report.whole.wait()
    finally:
        del point.reports[number]
    return {"reports": report.parts, **({"cut": True} if report.cut else {})}


async def clear_controls(asked: Asked) -> Any:
    """Take controls away."""
    _check_version(asked)
    given = asked.input(Which)
    payload = {"isDefault": bool(given.default), **_which(given)}
    answer = await asked.accepted("ClearDERControl", payload, {"Accepted", "NotFound"})
    return {"status": answer["status"]}


def _which(given: Which) -> Payload:
    if given.id and given.type:
        raise Refused("id, type: one of the two names the controls")
    return {"controlType": given.type, "controlId": given.id or None}


def _when(given: Control, now_us: int) -> Payload:
    """Return when a control holds; raise `Refused` for one that nobody would end."""
    if given.default:
        if given.start_at or given.duration_s is not None:
            raise Refused("startAt, durationS: a default holds whenever nothing else does")
        return {}
    if given.type in _ENDLESS:
        raise Refused(f"default: {given.type} has no end, so it is a default or nothing")
    if given.duration_s is None or given.duration_s <= 0:
        raise Refused("durationS: what is no default needs an end")
    try:
        start_us = parse_rfc3339(given.start_at) if given.start_at else now_us
    except Invalid as error:
        raise Refused(f"startAt: {error.detail}") from error
    return {"startTime": format_rfc3339(start_us // US * US), "duration": given.duration_s}


def _check_version(asked: Asked) -> None:
    if asked.version != "2.1":
        raise asked.lacks("DER controls")


ACTIONS: dict[str, Action] = {
    "setDerControl": set_control,
    "getDerControls": get_controls,
    "clearDerControl": clear_controls,
}
