"""What clients of OpenADR 3 send: requests of both editions, and the times, controls and signals in them."""

import math
from typing import Any

import msgspec
from target import Target, target

from gridspine.adapters.openadr3 import edition, mqtt_wire, remote_event
from gridspine.adapters.openadr3.mqtt_place import read_mqtt_place
from gridspine.adapters.openadr3.payload import CONTROLS, control_of, signals_of
from gridspine.adapters.openadr3.period import chance_s, spans
from gridspine.adapters.openadr3.remote import Connection
from gridspine.adapters.openadr3.remote_call import token_of
from gridspine.adapters.openadr3.reported import told_of
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
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Invalid, TooLarge

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
    b'{"eventID":"e","clientName":"c","resources":[{"resourceName":"r","intervalPeriod":{"start":"2026-01-01T00:00:00Z",'
    b'"duration":"PT15M"},"intervals":[{"id":0,"payloads":[{"type":"DEMAND","values":[1.5]},{"type":"STORAGE_CHARGE_LEVEL",'
    b'"values":[1]}]}]}],"payloadDescriptors":[{"objectType":"REPORT_PAYLOAD_DESCRIPTOR","payloadType":"DEMAND","units":"W"}]}',
    b'{"clientName":"c","objectOperations":[{"objects":["EVENT"],"operations":["GET"],"callbackUrl":"https://a/"}]}',
    b'{"objectType":"BL_VEN_REQUEST","clientID":"c","venName":"v","targets":["t"]}',
)
_WORDS = (b"9" * 400, b"-1e308", b"1e999", b"P1Y2M3DT4H5M6S", b'"0000"', b"[[[[", b"\\ud800", b"9999-12-31T23:59:60Z")
_NOW_US = 1_770_000_000_000_000
_CLOCK = VirtualClock(_NOW_US)
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
    try:
        if isinstance(request, EventRequest):
            _mean(request)
        if isinstance(request, ReportRequest):
            _tell(request)
    except Invalid:
        return "e"
    return "+"


def _mean(request: EventRequest) -> None:
    chance_s(request)
    for span in spans(request, 0, _NOW_US):
        signals_of(span.interval.payloads, frozenset(CONTROLS))
        control_of(span.interval.payloads, frozenset(CONTROLS), _UNITS)


def _tell(report: ReportRequest) -> None:
    for one in report.resources:
        event = EventRequest(program_id="-", interval_period=one.interval_period, intervals=one.intervals)
        for told in told_of(event, {}, _CLOCK):
            if not math.isfinite(told.value):
                raise AssertionError("a value is none")


@target
def openadr3_tokens() -> Target:
    """What a VTN that is followed answers to who asks for a token."""
    seeds = (b'{"access_token":"t","token_type":"Bearer","expires_in":3600}', b'{"access_token":"t","expires_in":"60"}')

    def shape(found: tuple[str, float]) -> str:
        return f"{found[1] == 86_400}"

    return Target("openadr3-tokens", "tokens of an OpenADR 3 VTN", token_of, (Invalid,), seeds, _WORDS, shape=shape)


@target
def openadr3_broker() -> Target:
    """What a broker of a VTN that is followed sends, whole and in pieces, and what it says of letting a client in."""

    def run(data: bytes) -> list[int]:
        whole, pieces = mqtt_wire.Splitter().feed(data), mqtt_wire.Splitter()
        found = [packet for at in range(0, len(data), 7) for packet in pieces.feed(data[at : at + 7])]
        if found != whole:
            raise AssertionError("packets are not the same in pieces")
        for packet in whole[:1]:
            mqtt_wire.check_connack(packet)
        return [packet.kind for packet in whole] + [mqtt_wire.refused(one) for one in whole if one.kind == 0x90]

    seeds = (
        b"\x20\x02\0\0\x90\x03\0\1\0", b"\x20\x02\0\0\x30\x05\0\1pxx\xd0\0",
        b"\x20\x02\0\0" + mqtt_wire.subscribe(1, ["a/+"]) + mqtt_wire.connect("c", "u", "p", 60) + mqtt_wire.GOODBYE,
    )  # fmt: skip
    words = (b"\xff\xff\xff\x7f", b"\x30", b"\x80", b"\x20\x02\0\0")
    return Target(
        "openadr3-broker", "packets of an OpenADR 3 VTN's broker", run, (Invalid, TooLarge), seeds, words,
        shape=lambda found: str(found[:6]),
    )  # fmt: skip


@target
def openadr3_broker_places() -> Target:
    """Addresses of brokers, as a VTN that is followed names them."""

    def run(data: bytes) -> str:
        place = read_mqtt_place(data.decode(errors="replace"))
        if not place.host or not 0 < place.port < 65_536:
            raise AssertionError("a place is none")
        return f"{place.tls} {place.port in {1883, 8883}}"

    seeds = (b"mqtts://broker.example.org", b"mqtt://127.0.0.1:1999/", b"mqtts://[2001:db8::1]:8883")
    return Target(
        "openadr3-broker-places", "addresses of an OpenADR 3 VTN's broker", run, (Invalid,), seeds,
        (b"mqtt:", b"//", b"@", b"[", b"]", b":0", b":99999", b"?", b"#"), shape=str,
    )  # fmt: skip


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
