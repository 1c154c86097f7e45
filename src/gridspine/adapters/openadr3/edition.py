"""The two editions of the wire: 3.1.0, and 3.0.1, which is read into it and written out of it. Pure; no I/O.

::

    3.0.1                                            3.1.0
    targets: [{type: GROUP, values: [a, b]}]    ◄─►  targets: [a, b]            the types are kept beside
    programLongName, retailerName, …            ──►  kept beside, answered to 3.0.1 alone
    report.programID                            ──►  that of its event
    ven.resources                               ──►  objects of their own
    event.intervals, intervalPeriod.start            may be left out
    operations: GET, POST, PUT                  ◄─►  READ, CREATE, UPDATE       the document of 3.0.1 has both

Source: OpenADR 3.0.1 and 3.1.0, their OpenAPI documents and ``changeLog.md``.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from gridspine.adapters.openadr3.call import Call
from gridspine.adapters.openadr3.wire import Duration, Kind, Name, ObjectId, Record, Wire, body_of, object_of, read
from gridspine.kernel.errors import Invalid

_OLD, _NEW = "3.0.1", "3.1.0"
_PLAIN = "GROUP"
"""What a word is of which 3.0.1 never said the type."""
_VERBS = {"READ": "GET", "CREATE": "POST", "UPDATE": "PUT", "DELETE": "DELETE"}
_OPERATIONS = {verb: operation for operation, verb in _VERBS.items()}
_BY_VERBS = ""
"""Stands among types of targets, as no word can, where a subscription named operations by verbs of HTTP."""
_MAX_DEPTH = 40


class Further(NamedTuple):
    """What 3.0.1 says besides: its own fields, and the types of targets by their words."""

    fields: dict[str, Any]
    types: dict[str, str]


class _Target(msgspec.Struct, frozen=True):
    type: Name
    values: Annotated[list[Name], Meta(max_length=100)]


class _OldProgram(Wire, frozen=True):
    """What a program of 3.0.1 has, and one of 3.1.0 has not."""

    program_long_name: str | None = None
    retailer_name: str | None = None
    retailer_long_name: str | None = None
    program_type: str | None = None
    country: str | None = None
    principal_subdivision: str | None = None
    time_zone_offset: Duration | None = None
    binding_events: bool | None = None
    local_price: bool | None = None


class _OldEvent(Wire, frozen=True):
    """What an event of 3.0.1 must have, and one of 3.1.0 may."""

    intervals: list[Any]


class _OldReport(Wire, frozen=True):
    program_id: ObjectId


_FURTHER: dict[str, Any] = {
    "PROGRAM": _OldProgram,
    "REPORT": _OldReport,
    "SUBSCRIPTION": _OldReport,
    "EVENT": _OldEvent,
}
_KEPT = {"PROGRAM", "REPORT"}


def read_request(call: Call, kind: Kind, type_: Any, fixed: Mapping[str, Any] | None = None) -> tuple[Any, Further]:
    """Return the body of a request in the form of 3.1.0, and what 3.0.1 says besides; raise `Invalid`.

    ``fixed`` are fields that the path, or who asks, decides in 3.0.1.
    """
    if call.edition == _NEW:
        return read(call.body, type_), Further({}, {})
    document = read(call.body, dict[str, Any])
    further = read(document, _FURTHER[kind]) if kind in _FURTHER else None
    types: dict[str, str] = {}
    changed = newer(document, types)
    changed.pop("objectType", None)
    fields = body_of(further) if further is not None and kind in _KEPT else {}
    return read({**changed, **(fixed or {})}, type_), Further(fields, types)


def shown(record: Record, edition: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return an object as ``edition`` answers it, with ``more`` fields."""
    found = object_of(record)
    if edition == _NEW:
        if record.kind in {"REPORT", "SUBSCRIPTION", "VEN", "RESOURCE"}:
            found["clientID"] = record.client
        return {**found, **(more or {})}
    older: dict[str, Any] = {**_older(found, record.types), **record.further, **(more or {})}
    older.pop("duration" if record.kind == "EVENT" else "", None)
    older.pop("attributes" if record.kind == "PROGRAM" else "", None)
    if record.kind == "EVENT":
        older.setdefault("intervals", [])
    return older


def notified(record: Record, operation: str, edition: str) -> dict[str, Any]:
    """Return a notification of a change."""
    told = shown(record, edition)
    return {
        "objectType": record.kind,
        "operation": operation if edition == _NEW else _VERBS[operation],
        "object": told,
        **({"targets": told["targets"]} if told.get("targets") else {}),
    }


def newer(document: Mapping[str, Any], types: dict[str, str]) -> dict[str, Any]:
    """Return a document of 3.0.1 in the form of 3.1.0; types of targets are noted in ``types``. Raises `Invalid`."""
    found: dict[str, Any] = _newer(document, types, 0)
    return found


def _newer(value: Any, types: dict[str, str], depth: int) -> Any:
    """Return a document of 3.0.1 in the form of 3.1.0, so deep in it."""
    if depth > _MAX_DEPTH:
        raise Invalid("the body nests too deeply")
    if isinstance(value, list):
        return [_newer(one, types, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _newer(one, types, depth + 1) for name, one in value.items() if name != "targets"}
    if value.get("targets") is not None:
        words: dict[str, None] = {}
        for target in _read_targets(value["targets"]):
            for word in target.values:
                types.setdefault(word, target.type)
                words[word] = None
        found["targets"] = list(words)
    if isinstance(found.get("operations"), list) and {"GET", "POST", "PUT"} & {str(one) for one in found["operations"]}:
        types[_BY_VERBS] = "verbs"
        found["operations"] = [_OPERATIONS.get(str(one), one) for one in found["operations"]]
    for one in found.get("payloadDescriptors") or ():
        if isinstance(one, dict):
            one.setdefault("objectType", "EVENT_PAYLOAD_DESCRIPTOR")
    return found


def _read_targets(value: Any) -> list[_Target]:
    """Return targets of 3.0.1; raise `Invalid`."""
    found: list[_Target] = read({"targets": value}, _Targets).targets
    return found


class _Targets(msgspec.Struct, frozen=True):
    targets: Annotated[list[_Target], Meta(max_length=100)]


def _older(value: Any, types: Mapping[str, str]) -> Any:
    """Return a document of 3.1.0 in the form of 3.0.1."""
    if isinstance(value, list):
        return [_older(one, types) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _older(one, types) for name, one in value.items() if name != "targets"}
    if _BY_VERBS in types and "operations" in found:
        found["operations"] = [_VERBS[one] for one in found["operations"]]
    if value.get("targets") is not None:
        by_type: dict[str, list[str]] = {}
        for word in value["targets"]:
            by_type.setdefault(types.get(word, _PLAIN), []).append(word)
        found["targets"] = [{"type": type_, "values": words} for type_, words in by_type.items()]
    return found
