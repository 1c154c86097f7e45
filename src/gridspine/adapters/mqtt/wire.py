"""Payloads: bytes of a message to readings and acknowledgements, and orders to bytes. Pure; no I/O.

Sources: RFC 8428 (SenML) by `gridspine.kernel.codecs.senml`; RFC 8259 (JSON); RFC 3339 (times).

A message may count itself: ``seq``, an integer that rises by one a message, and ``run``, any text that changes when
the count starts again. They stand in the plain object, in the first record of a SenML pack, or in the MQTT 5 user
properties ``seq`` and ``run``. A ``seq`` of 0 starts a new run by itself.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import cbor2
import msgspec
import numpy as np

from gridspine.adapters.mqtt.topics import ValueRoute
from gridspine.kernel.codecs.pick import at_pointer
from gridspine.kernel.codecs.senml import decode_senml_cbor, decode_senml_json
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import point_id, split_point_id
from gridspine.kernel.quality import ALL_BITS
from gridspine.kernel.readings import ItemProblem, NamedReadings, named_readings
from gridspine.kernel.time import format_rfc3339, parse_rfc3339
from gridspine.things.adapter import Order

MAX_SEQUENCE = (1 << 63) - 1
_RESERVED = frozenset({"time", "seq", "run", "quality", "units"})
_JSON_ARRAY, _JSON_OBJECT = 0x5B, 0x7B
_CBOR_ARRAY_FIRST, _CBOR_ARRAY_LAST = 0x80, 0x9F
_SPACE = b" \t\r\n"


class Count(msgspec.Struct, frozen=True):
    """A message's own count: ``seq`` rises by one a message, ``run`` changes when it starts again."""

    seq: int
    run: str = ""


class Payload(msgspec.Struct, frozen=True):
    """What a message said: its readings, and its own count if it had one."""

    readings: NamedReadings
    count: Count | None = None


class Scheduled(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """From ``from_`` (RFC 3339) ``value`` holds, or the device's own rule (null)."""

    from_: str
    value: float | None


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order as a device gets it, in the point's unit.

    The device holds ``value`` until ``until`` (RFC 3339) and then returns to ``fallback``, by itself; ``value`` null
    ends the lease at once, whatever ``until`` says. It takes no value whose ``until`` has passed and no command whose
    ``sequence`` is lower than the last one for the point; one of equal sequence is a repetition. ``traceparent`` is
    there when the command is traced (W3C Trace Context). ``schedule`` is what follows, for devices that said they hold
    it: such a device goes by it instead of falling back at ``until``, until the ``value`` null at its end.
    """

    command: str
    point: str
    value: float | None
    until: str
    fallback: float
    sequence: int
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    schedule: tuple[Scheduled, ...] | msgspec.UnsetType = msgspec.UNSET


class Acknowledgement(msgspec.Struct, frozen=True):
    """What a device says became of a command; ``state`` as in `gridspine.things.adapter.ProgressState`.

    With the ``sequence`` of the order it is about, a word that comes late is never taken for one on a newer order.
    """

    command: str
    state: Literal["acknowledged", "rejected", "failed"]
    reason: str = ""
    sequence: int = 0


class _Counted(msgspec.Struct):
    seq: int | None = None
    run: str | int = ""


_NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises: bytes that are not UTF-8, and nesting too deep, come in Python's own words."""
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_counted = msgspec.json.Decoder(list[_Counted]).decode
_decode_acknowledgement = msgspec.json.Decoder(Acknowledgement).decode
_decode_command = msgspec.json.Decoder(Command).decode


def decode_readings(body: bytes, *, thing: str, now_us: int) -> Payload:
    """Read SenML JSON, SenML CBOR or a plain object that ``thing`` sent; raise `Invalid` when it is none of them.

    Items that name another Thing become problems with reason ``not-yours``. Times left out mean ``now_us`` [µs].
    """
    start = body.lstrip(_SPACE)[:1]
    if not start:
        raise Invalid("the message is empty")
    first = start[0]
    if first == _JSON_OBJECT:
        return _decode_plain(body, thing, now_us)
    if first == _JSON_ARRAY:
        return Payload(keep_own(decode_senml_json(body, now_us=now_us), thing), _count_of_json(body))
    if _CBOR_ARRAY_FIRST <= body[0] <= _CBOR_ARRAY_LAST:
        return Payload(keep_own(decode_senml_cbor(body, now_us=now_us), thing), _count_of_cbor(body))
    raise Invalid("neither SenML (JSON or CBOR) nor a JSON object")


def decode_values(body: bytes, routes: Iterable[ValueRoute], *, now_us: int) -> Payload:
    """Read a mapped topic's payload, a bare number or JSON; each route gives one reading or one problem.

    The time is the one under ``time`` of a JSON object when there is one, else ``now_us`` [µs].
    """
    document = _loose(body)
    count, observed_us = None, now_us
    rows: list[tuple[str, str, int, float, int]] = []
    items: list[int] = []
    problems: list[ItemProblem] = []
    if isinstance(document, dict):
        count = _count_of(document)
        try:
            observed_us = _time_of(document, now_us)
        except Invalid as error:
            return Payload(_refused([ItemProblem(0, "time", error.detail)]), count)
    for index, route in enumerate(routes):
        name = point_id(route.thing, route.point)
        try:
            value = _value_at(document, route) * route.mapping.scale
        except Invalid as error:
            problems.append(ItemProblem(index, "not-a-number", error.detail, name))
            continue
        rows.append((name, route.mapping.unit, observed_us, value, 0))
        items.append(index)
    return Payload(_with_items(rows, items, problems), count)


def relative_times(body: bytes, *, thing: str, now_us: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return for each reading of ``body`` whether its time hangs on when it is read: absent or relative; bool (n,).

    Such a time is wrong in a message that is sent again or was kept by a broker.
    """
    first = decode_readings(body, thing=thing, now_us=now_us).readings.observed_us
    later = decode_readings(body, thing=thing, now_us=now_us + 1).readings.observed_us
    return np.asarray(first != later) if len(first) == len(later) else np.ones(len(first), np.bool_)


def keep_own(readings: NamedReadings, thing: str) -> NamedReadings:
    """Return ``readings`` with those of other Things turned into problems; a bare point name is ``thing``'s own."""
    names = [name if "/" in name or ":" in name else point_id(thing, name) for name in readings.names]
    own = np.array([split_point_id(name)[0] == thing for name in names], np.bool_)
    renamed = dataclasses.replace(readings, names=names)
    if own.all():
        return renamed
    mine = own[readings.name_index]
    problems = list(readings.problems)
    for at in np.flatnonzero(~mine):
        name = names[readings.name_index[at]]
        problems.append(ItemProblem(int(readings.item[at]), "not-yours", f"{name[:80]} is not beneath {thing}", name))
    return NamedReadings(
        names, readings.units, readings.name_index[mine], readings.item[mine],
        readings.observed_us[mine], readings.value[mine], readings.quality[mine], problems,
    )  # fmt: skip


def unreadable(detail: str, *, reason: str = "unreadable") -> NamedReadings:
    """Return a batch of one problem, for a message that cannot be taken: it is still counted and kept."""
    return _refused([ItemProblem(0, reason, detail)])


def count_of_properties(pairs: Iterable[tuple[str, str]]) -> Count | None:
    """Return the count in MQTT 5 user properties (MQTT 5.0 §3.3.2.3.7), or None."""
    found = dict(pairs)
    seq = found.get("seq", "")
    return _count_of({"seq": int(seq), "run": found.get("run", "")}) if seq.isascii() and seq.isdigit() else None


def encode_command(order: Order) -> bytes:
    """Return the payload of an order, as its device gets it."""
    until, traceparent = format_rfc3339(order.until_us), order.traceparent or msgspec.UNSET
    schedule = tuple(Scheduled(format_rfc3339(one.from_us), one.value) for one in order.plan) or msgspec.UNSET
    return msgspec.json.encode(
        Command(order.command, order.point, order.value, until, order.fallback, order.sequence, traceparent, schedule)
    )


def decode_command(body: bytes) -> Command:
    """Return the command in a payload: what a device does; raise `Invalid` when it is none."""
    try:
        return _decode_command(body)
    except _NOT_JSON as error:
        raise Invalid(f"not a command: {error}") from error


def decode_acknowledgement(body: bytes) -> Acknowledgement:
    """Return the acknowledgement in a payload; raise `Invalid` when it is none."""
    try:
        return _decode_acknowledgement(body)
    except _NOT_JSON as error:
        raise Invalid(f"not an acknowledgement: {error}") from error


def _decode_plain(body: bytes, thing: str, now_us: int) -> Payload:
    try:
        document = _decode_object(body)
    except _NOT_JSON as error:
        raise Invalid(f"not a JSON object: {error}") from error
    observed_us = _time_of(document, now_us)
    quality = document.get("quality", 0)
    units = document.get("units", {})
    if not isinstance(quality, int) or not 0 <= quality <= ALL_BITS:
        raise Invalid(f"quality is an integer from 0 to {ALL_BITS}")
    if not isinstance(units, dict) or not all(isinstance(value, str) for value in units.values()):
        raise Invalid("units is an object of texts")
    rows: list[tuple[str, str, int, float, int]] = []
    items: list[int] = []
    problems: list[ItemProblem] = []
    for index, (key, raw) in enumerate((k, v) for k, v in document.items() if k not in _RESERVED):
        name = key if "/" in key or ":" in key else point_id(thing, key)
        try:
            rows.append((name, units.get(key, ""), observed_us, _number(raw), quality))
            items.append(index)
        except Invalid as error:
            problems.append(ItemProblem(index, "not-a-number", error.detail, name))
    return Payload(keep_own(_with_items(rows, items, problems), thing), _count_of(document))


def _with_items(
    rows: list[tuple[str, str, int, float, int]], items: list[int], problems: list[ItemProblem]
) -> NamedReadings:
    return dataclasses.replace(named_readings(rows), item=np.array(items, np.int64), problems=problems)


def _refused(problems: list[ItemProblem]) -> NamedReadings:
    return _with_items([], [], problems)


def _time_of(document: Mapping[str, Any], now_us: int) -> int:
    time = document.get("time")
    if time is None:
        return now_us
    if not isinstance(time, str):
        raise Invalid("time is an RFC 3339 text")
    return parse_rfc3339(time)


def _number(raw: Any) -> float:
    if not isinstance(raw, (int, float)):
        raise Invalid("neither a number nor true or false")
    try:
        return float(raw)
    except OverflowError as error:
        raise Invalid("a number too great") from error


def _loose(body: bytes) -> Any:
    """Return ``body`` as JSON, or as plain text where it is none: devices send ``ON`` without quotes."""
    try:
        return msgspec.json.decode(body)
    except _NOT_JSON:
        return body[:256].decode("utf-8", "replace").strip()


def _value_at(document: Any, route: ValueRoute) -> float:
    path = route.mapping.path
    if path.startswith("/"):
        value = at_pointer(document, path)
    else:
        value = document
        for key in path.split(".") if path else ():
            if not isinstance(value, dict) or key not in value:
                raise Invalid(f"no {path[:80]!r} in the payload")
            value = value[key]
    if isinstance(value, bool) and route.mapping.codes:
        value = "true" if value else "false"
    if isinstance(value, str) and value in route.mapping.codes:
        return route.mapping.codes[value]
    return _number(value)


def _count_of(document: Mapping[str, Any]) -> Count | None:
    seq, run = document.get("seq"), document.get("run", "")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= MAX_SEQUENCE:
        return None
    return Count(seq, str(run)[:64] if isinstance(run, (str, int)) else "")


def _count_of_json(body: bytes) -> Count | None:
    if b'"seq"' not in body:
        return None
    try:
        first = next(iter(_decode_counted(body)), _Counted())
    except _NOT_JSON:
        return None
    return _count_of({"seq": first.seq, "run": first.run})


def _count_of_cbor(body: bytes) -> Count | None:
    if b"cseq" not in body:  # a CBOR text of three characters starts with 0x63, "c"
        return None
    items = cbor2.loads(body)
    return _count_of(items[0]) if items and isinstance(items[0], dict) else None
