"""What clients of OpenADR 3 send: requests of both editions, and the times, controls and signals in them."""

from typing import Any

import msgspec
from target import Target, target

from gridspine.adapters.openadr3 import edition, remote_event
from gridspine.adapters.openadr3.payload import CONTROLS, control_of, signals_of
from gridspine.adapters.openadr3.period import chance_s, spans
from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.wire import (
    BlVenRequest,
    EventRequest,
    ProgramRequest,
    ReportRequest,
    SubscriptionRequest,
    VenVenRequest,
    body_of,
    read,
)
from gridspine.energy.programme_event import MAX_INTERVALS
from gridspine.kernel.errors import Invalid

_KINDS: tuple[Any, ...] = (
    EventRequest, ProgramRequest, ReportRequest, SubscriptionRequest, BlVenRequest | VenVenRequest
)  # fmt: skip
_SEEDS = (
    b'{"programID":"p","duration":"P1D","intervalPeriod":{"start":"0001-01-01","duration":"PT1H","randomizeStart":"PT5M"},'
    b'"intervals":[{"id":0,"payloads":[{"type":"IMPORT_CAPACITY_LIMIT","values":[2.5]},{"type":"PRICE","values":[1]}]}]}',
    b'{"programID":"p","targets":[{"type":"GROUP","values":["a"]}],"intervals":[{"id":1,"intervalPeriod":{"start":'
    b'"2026-01-01T00:00:00Z","duration":"P9999Y"},"payloads":[{"type":"CURVE","values":[{"x":1,"y":2}]}]}]}',
    b'{"programID":"p","intervals":[{"id":0,"payloads":[{"type":"IMPORT_CAPACITY_LIMIT","values":['
    + b"9" * 400
    + b']},{"type":"PRICE","values":[1e308]}]}]}',
    b'{"programName":"P","payloadDescriptors":[{"objectType":"EVENT_PAYLOAD_DESCRIPTOR","payloadType":"PRICE"}]}',
    b'{"eventID":"e","clientName":"c","resources":[{"resourceName":"r","intervals":[]}]}',
    b'{"clientName":"c","objectOperations":[{"objects":["EVENT"],"operations":["GET"],"callbackUrl":"https://a/"}]}',
    b'{"objectType":"BL_VEN_REQUEST","clientID":"c","venName":"v","targets":["t"]}',
)
_WORDS = (b"9" * 400, b"-1e308", b"1e999", b"P1Y2M3DT4H5M6S", b'"0000"', b"[[[[", b"\\ud800", b"9999-12-31T23:59:60Z")
_NOW_US = 1_770_000_000_000_000
_UNITS = dict.fromkeys(CONTROLS, "KW")


@target
def openadr3_requests() -> Target:
    """A request as each kind and edition reads it; read again it is the same."""

    def run(data: bytes) -> tuple[str, ...]:
        return tuple(f"{_as(data, kind, older=False)}{_as(data, kind, older=True)}" for kind in _KINDS)

    return Target("openadr3-requests", "requests of OpenADR 3.1.0 and 3.0.1", run, (), _SEEDS, _WORDS, shape="".join)


def _as(data: bytes, kind: Any, *, older: bool) -> str:
    try:
        given: Any = edition.newer(read(data, dict[str, Any]), {}) if older else data
        request = read(given, kind)
    except Invalid:
        return "-"
    if not isinstance(request, BlVenRequest | VenVenRequest) and body_of(read(body_of(request), kind)) != body_of(
        request
    ):
        raise AssertionError("a request is not what it was")
    if isinstance(request, EventRequest):
        try:
            _mean(request)
        except Invalid:
            return "e"
    return "+"


def _mean(request: EventRequest) -> None:
    chance_s(request)
    for span in spans(request, 0, _NOW_US):
        signals_of(span.interval.payloads, frozenset(CONTROLS))
        control_of(span.interval.payloads, frozenset(CONTROLS), _UNITS)


@target
def openadr3_followed() -> Target:
    """An event of a VTN that is followed, as each edition has it: what of it the node would publish and report."""
    connection = Connection(vtn="https://a/", client_id="c", secret="s", modes=("importLimitW", "targetW"))

    def run(data: bytes) -> tuple[str, ...]:
        return tuple(_followed(data, msgspec.structs.replace(connection, edition=one)) for one in ("3.1.0", "3.0.1"))

    return Target("openadr3-followed", "events of an OpenADR 3 VTN that is followed", run, (), _SEEDS, shape="".join)


def _followed(data: bytes, connection: Connection) -> str:
    try:
        document = read(data, dict[str, Any])
        found = remote_event.read_event(document, connection.edition)
        program = ProgramRequest(program_name="P")
        plan = remote_event.plan_of(found.request, program, 0, connection, _NOW_US, _NOW_US)
    except Invalid:
        return "-"
    if len(plan.parts) > MAX_INTERVALS or any(one.until_us <= _NOW_US for one in plan.parts):
        raise AssertionError("more is published than the node holds, or what is over")
    due = remote_event.reports_of(found.request, 0, _NOW_US)
    return f"{'c' if any(one.control.modes for one in plan.parts) else '+'}{min(len(due), 2)}"
