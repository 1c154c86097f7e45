"""An eiEvent of somebody else's VTN as intervals of an event of the node. Pure; no I/O.

::

    signal 0   [ 2500 ──────)[ 1000 ─────)        each signal has intervals of its own
    signal 1   [ 0.21 ─)[ 0.24 ──────────)
    intervals  [       )[    )[          )        the node's have what each says in them

What of it is to be done: LOAD_DISPATCH setpoint, and the limits by the names that this node's own VTN gives them, all
in powerReal, import positive; and only what the owner consented to. All else is to know. A test event commands nothing.
"""

from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2.event import CONTROLS, POWER
from gridspine.adapters.openadr2.wire_shape import SCALES
from gridspine.energy.control import LIMITS, MAX_W, WIRE_NAMES, Mode, made_of
from gridspine.energy.programme import SignalDescriptor
from gridspine.energy.programme_event import MAX_INTERVALS, MAX_RANDOM_S, EventInterval
from gridspine.energy.programme_event import Signal as NodeSignal
from gridspine.kernel.time import MAX_US, US

_MODES: dict[str, Mode] = {name: mode for mode, name in CONTROLS.items()}
_USUAL = frozenset({"level", "price", "setpoint"})


class Plan(NamedTuple):
    """What of an event is to be published.

    ``commands``: whether it asks for something to be done; ``unmet``: whether some of that is not consented to.
    """

    parts: tuple[EventInterval, ...]
    signals: tuple[SignalDescriptor, ...]
    chance_s: float
    commands: bool
    unmet: bool


class _Line(NamedTuple):
    """A signal: its values, each from when until when [µs since 1970]; of a mode, or by the name it is known by."""

    mode: Mode | None
    described: SignalDescriptor
    values: tuple[tuple[int, int, float], ...]


def plan_of(event: m.EiEvent, modes: Collection[str], now_us: int) -> Plan:
    """Return what is to be published of an event at ``now_us`` [µs since 1970], of ``modes`` as what is to be done."""
    test = event.descriptor.test.lower() not in {"", "false"}
    lines = [_line(signal, event.period) for signal in event.signals]
    asked = {line.mode for line in lines if line.mode is not None} if not test else set()
    met = {mode for mode in asked if WIRE_NAMES[mode] in modes}
    edges = sorted({edge for line in lines for a, b, _ in line.values for edge in (a, b)})
    parts: list[EventInterval] = []
    for a, b in pairwise(edges):
        if b > now_us and b - a >= US and len(parts) < MAX_INTERVALS:
            part = _part(lines, a, b, met)
            if part.signals or part.control.modes:
                parts.append(part)
    told = {line.described.payload_type: line.described for line in lines if line.mode not in met}
    chance_s = 0.0
    if met and parts:
        shortest_s = min(one.until_us - one.from_us for one in parts) / US
        chance_s = max(0.0, min((event.period.start_after_us or 0) / US, MAX_RANDOM_S, shortest_s - 1.0))
    return Plan(tuple(parts), tuple(told.values()), chance_s, bool(asked), asked != met)


def _line(signal: m.Signal, period: m.ActivePeriod) -> _Line:
    end_us = min(period.start_us + period.duration_us, MAX_US) if period.duration_us else MAX_US
    scale = SCALES[signal.item.scale] if signal.item else 1.0
    values: list[tuple[int, int, float]] = []
    at_us = period.start_us
    for one in signal.intervals:
        until_us = min(at_us + one.duration_us, end_us) if one.duration_us else end_us
        if until_us > at_us:
            values.append((at_us, until_us, one.value * scale))
        at_us = until_us
    mode = _MODES.get(signal.name) if signal.type == "setpoint" and signal.item is not None else None
    if mode is not None and not (signal.item and signal.item.kind == POWER and _sane(mode, values)):
        mode = None
    return _Line(mode, _described(signal), tuple(values))


def _sane(mode: Mode, values: list[tuple[int, int, float]]) -> bool:
    """Whether values are powers, and none of a limit below 0."""
    return all(abs(value) <= MAX_W and (mode not in LIMITS or value >= 0) for _, _, value in values)


def _described(signal: m.Signal) -> SignalDescriptor:
    item = signal.item
    if item is not None and item.kind == "oadr:currencyPerKWh":
        name = "PRICE" if signal.name == "ELECTRICITY_PRICE" and signal.type == "price" else signal.name
        return SignalDescriptor(name[:128], "KWH", item.units[:3])
    name = signal.name if signal.type in _USUAL else f"{signal.name}:{signal.type}"
    return SignalDescriptor(name[:128] or "signal", item.units[:128] if item else "")


def _part(lines: list[_Line], from_us: int, until_us: int, met: set[Mode]) -> EventInterval:
    signals: dict[str, NodeSignal] = {}
    control: dict[Mode, float] = {}
    for line in lines:
        value = next((value for a, b, value in line.values if a <= from_us and b >= until_us), None)
        if value is None:
            continue
        if line.mode is not None and line.mode in met:
            control[line.mode] = value
        elif len(signals) < 20:
            signals[line.described.payload_type] = NodeSignal(line.described.payload_type, (value,))
    return EventInterval(from_us, until_us, tuple(signals.values()), made_of(control))
