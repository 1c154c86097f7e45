"""Events that were made elsewhere, as the body of one of OpenADR. Pure; no I/O.

What is lost: generation and load limits, ends that chance brings forward, and whether they move with the start.
Limits are told in kW.
"""

from typing import Any

from gridspine.adapters.openadr3.payload import CONTROLS
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent
from gridspine.kernel.time import MAX_US, US, format_rfc3339

_NAMES = {mode: name for name, mode in CONTROLS.items()}


def body_of_event(event: ProgrammeEvent, program: str) -> dict[str, Any]:
    """Return the body of an event of the program with the wire's id ``program``."""
    used = {_NAMES[mode]: None for one in event.intervals for mode in one.control.modes if mode in _NAMES}
    body: dict[str, Any] = {
        "programID": program,
        "eventName": event.title,
        "priority": event.priority,
        "intervals": [_interval(at, one) for at, one in enumerate(event.intervals)],
    }
    period = {"start": format_rfc3339(event.from_us), "duration": "PT0S"}
    if event.randomise_start_s:
        period["randomizeStart"] = _duration(round(event.randomise_start_s * US))
    body["intervalPeriod"] = period
    if used:
        body["payloadDescriptors"] = [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": name, "units": "KW"} for name in used
        ]
    if event.targets:
        body["targets"] = list(event.targets)
    return body


def _interval(at: int, one: EventInterval) -> dict[str, Any]:
    payloads: list[dict[str, Any]] = [{"type": signal.type, "values": list(signal.values)} for signal in one.signals]
    payloads += [
        {"type": _NAMES[mode], "values": [value / 1e3]} for mode, value in one.control.asked() if mode in _NAMES
    ]
    lasts = "P9999Y" if one.until_us >= MAX_US else _duration(one.until_us - one.from_us)
    period = {"start": format_rfc3339(one.from_us), "duration": lasts}
    return {"id": at, "intervalPeriod": period, "payloads": payloads}


def _duration(us: int) -> str:
    whole, rest = divmod(us, US)
    return f"PT{whole}S" if not rest else f"PT{whole}.{rest:06d}S"
