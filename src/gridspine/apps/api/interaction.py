"""Properties as plain values: read one, some or all, and written; JSON or CBOR, as the caller prefers.

::

    GET /things/{id}/properties/{name}/value    -12.5      Gridspine-Quality: good   Gridspine-Observed: 2026-…
    PUT                                         -2000      a lease: 204 (202: to be approved), Location: /commands/…
    GET /things/{id}/values?names=a,b           {"a": 1.0, "b": 2.0}

Several are written in `gridspine.apps.api.writing`; the last readings as a pack, with their times:
`gridspine.apps.api.pack`.

Sources: W3C WoT Profile (Editor's Draft), "HTTP Basic Profile", readproperty, writeproperty, readallproperties; it has
no readmultipleproperties: ``names`` is ours, and the Thing Description says so. RFC 8949 (CBOR).
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any

import cbor2
import msgspec
from litestar import Request, Response, get, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, Parameter, QueryParameter

from gridspine.apps.api.answer import JSON, Answer
from gridspine.apps.api.command_ask import MAX_KEY, MAX_REASON, NewCommand, ask
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.negotiate import preferred
from gridspine.apps.api.problems import response
from gridspine.apps.api.thing import permitted_to
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Conflict, Invalid, NotFound, UnsupportedMedia
from gridspine.kernel.quality import describe
from gridspine.kernel.time import format_rfc3339
from gridspine.things.command import Command
from gridspine.things.directory import Thing
from gridspine.things.exposed import CBOR, DEFAULT_LEASE_S, data_type
from gridspine.things.model import PointModel
from gridspine.things.twin import NEVER_US, TwinValue

MAX_VALUE_BYTES = 4096
MAX_DURATION_S = 1e9
MAX_NAME_CHARS = 64
_PLAIN = (JSON, CBOR)
_UNREADABLE = (
    msgspec.MsgspecError, cbor2.CBORError, ValueError, RecursionError, OverflowError, MemoryError, TypeError,
)  # fmt: skip
REFUSED = frozenset({"refused", "rejected", "failed"})
Name = Annotated[str, Parameter(max_length=MAX_NAME_CHARS)]
"""The name of a point, an action or an event in a path."""
AnyRequest = Request[Any, Any, Any]


@get(
    "/things/{thing_id:str}/properties/{name:str}/value",
    summary="Read the plain value of a point",
    tags=["things"],
    responses={200: ResponseSpec(float, generate_examples=False, description="A number, or true and false.")},
)
async def read_value(request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name) -> Response[bytes]:
    """Return the last reported value as JSON or CBOR; unit, quality and time are headers. 404: nothing reported yet."""
    thing = _readable(node, request.user, thing_id)
    return response(value_answer(node, thing, name, preferred(request.headers.get("accept", ""), _PLAIN)))


@put(
    "/things/{thing_id:str}/properties/{name:str}/value",
    status_code=204,
    request_max_body_size=MAX_VALUE_BYTES,
    summary="Write a property: ask for a lease",
    tags=["things"],
)
async def write_value(
    request: AnyRequest,
    node: TheNode,
    thing_id: FromPath[str],
    name: Name,
    duration_s: Annotated[float, QueryParameter(name="durationS")] = 0.0,
    priority: Annotated[int, Parameter(ge=-1_000_000, le=1_000_000)] = 0,
    key: Annotated[str, Parameter(max_length=MAX_KEY)] = "",
    reason: Annotated[str, Parameter(max_length=MAX_REASON)] = "",
) -> Response[None]:
    """Let the device hold the value of the body for `durationS` seconds; then it falls back. `Location`: the command.

    It reads as reported, so not at once as written; 409 says why the command was refused. 202: a second person must
    approve it first.
    """
    thing = writable(node, request.user, thing_id)
    check_duration(duration_s)
    value = read_number(await request.body(), request.headers.get("content-type", ""))
    asked = leased(node, thing, name, value, duration_s, priority, key, reason)
    command = await accepted(node, thing, asked, request.user.principal)
    status = 202 if command.state == "awaiting-approval" else 204
    return Response(None, status_code=status, headers={"Location": f"/commands/{command.id}"})


@get(
    "/things/{thing_id:str}/values",
    summary="Read the plain values of a Thing",
    tags=["things"],
    responses={200: ResponseSpec(dict[str, float], generate_examples=False, description="Values by name.")},
)
async def read_values(
    request: AnyRequest,
    node: TheNode,
    thing_id: FromPath[str],
    names: Annotated[list[str] | None, Parameter(max_items=1_000)] = None,
) -> Response[bytes]:
    """Return an object of values by name: of all points, or of `names` (with commas); none for those never reported."""
    thing = _readable(node, request.user, thing_id)
    media = preferred(request.headers.get("accept", ""), _PLAIN)
    values = plain_values(node, thing, wanted_names(node, thing, names))
    return response(Answer(200, encode_value(values, media), media))


def wanted_names(node: Node, thing: Thing, names: Iterable[str] | None) -> list[str]:
    """Return the points that are asked for, all without any; raise `NotFound` naming one that is not there."""
    known = [point.name for point in node.things.model(thing).points]
    wanted = list(dict.fromkeys(name for given in names or () for name in given.split(",") if name))
    for name in wanted:
        if name not in known:
            raise NotFound(f"{thing.title} has no point {name[:MAX_NAME_CHARS]!r}")
    return wanted or known


def plain_values(node: Node, thing: Thing, names: Iterable[str]) -> dict[str, Any]:
    """Return the last values of points by name, as their data schemas say; without those that have none."""
    wanted, found = set(names), {}
    for at, point in enumerate(node.things.model(thing).points):
        if point.name in wanted and (twin := node.twins.get(thing.first + at)).observed_us != NEVER_US:
            value = as_described(node, thing, point, twin.value)
            if value is not None:
                found[point.name] = value
    return found


def value_answer(node: Node, thing: Thing, name: str, media: str = JSON) -> Answer:
    """Return the answer to a read of one plain value."""
    at, point = _place(node, thing, name)
    twin = node.twins.get(thing.first + at)
    value = None if twin.observed_us == NEVER_US else as_described(node, thing, point, twin.value)
    if value is None:
        raise NotFound(f"{name} of {thing.title} has no value: nothing was reported yet, or no number")
    return Answer(200, encode_value(value, media), media, told_of(point, twin))


def told_of(point: PointModel, twin: TwinValue) -> dict[str, str]:
    """Return the headers that say what a plain value does not."""
    return {
        "Gridspine-Observed": format_rfc3339(twin.observed_us),
        "Gridspine-Quality": ", ".join(describe(twin.quality)),
        "Gridspine-Unit": point.reading_type.unit,
    }


def as_described(node: Node, thing: Thing, point: PointModel, value: float) -> float | int | bool | None:
    """Return a number as the property's data schema describes it; None for what is no number."""
    if not math.isfinite(value):
        return None
    properties = node.things.model(thing).document.get("properties", {})
    kind = data_type(properties.get(point.name, {}))
    if kind == "boolean":
        return value != 0
    return int(value) if kind == "integer" and value.is_integer() else value


def encode_value(value: object, media: str) -> bytes:
    """Return a value in the form that was negotiated."""
    return cbor2.dumps(value) if media == CBOR else msgspec.json.encode(value)


def read_number(body: bytes, content_type: str) -> float:
    """Return the number in a body of JSON or CBOR; true and false are 1 and 0. Raise what a caller can mend."""
    return number_of(read_json(body, content_type))


def number_of(value: Any) -> float:
    """Return a value that was sent as a number; true and false are 1 and 0. Raise `Invalid` for what is none."""
    if isinstance(value, bool | int | float) and abs(value) <= 1e300:  # nothing else fits a float: nan, 10**400
        return float(value)
    raise Invalid("one finite number is needed, as the property's data schema says")


def read_json(body: bytes, content_type: str) -> Any:
    """Return what a body of JSON or CBOR says; None for an empty one."""
    media = content_type.partition(";")[0].strip().lower()
    if not body:
        return None
    if media not in _PLAIN:
        raise UnsupportedMedia(f"send {JSON} or {CBOR}, not {media[:100] or 'a body without a content type'}")
    try:
        return cbor2.loads(body) if media == CBOR else msgspec.json.decode(body)
    except _UNREADABLE as error:
        raise Invalid(f"the body is not {media}") from error


def check_duration(duration_s: float) -> None:
    """Raise `Invalid` for a time that no written value may last; 0 is the model's own."""
    if not 0 <= duration_s <= MAX_DURATION_S:
        raise Invalid(f"durationS: for how long? more than 0, and at most {MAX_DURATION_S:.0f} s")


async def accepted(node: Node, thing: Thing, asked: NewCommand, principal: str) -> Command:
    """Return the command that was asked for; raise `Conflict` with the reason when it was refused."""
    command = await ask(node, thing, asked, principal)
    if command.state in REFUSED:
        raise Conflict(command.reason or f"the command was {command.state}", command=command.id)
    return command


def leased(
    node: Node, thing: Thing, name: str, value: float, duration_s: float, priority: int, key: str, reason: str
) -> NewCommand:
    """Return what writing a property asks for; raise `NotFound`, or `Invalid` where it cannot be written."""
    lease = point_named(node, thing, name).lease
    if lease is None:
        raise Invalid(f"{name} of {thing.title} cannot be written: its model has no lease rule for it")
    held_s = duration_s or min(DEFAULT_LEASE_S, lease.max_duration_s)
    return NewCommand(thing.id, name, value, duration_s=held_s, priority=priority, key=key, reason=reason)


def point_named(node: Node, thing: Thing, name: str) -> PointModel:
    """Return a point of a Thing; raise `NotFound`."""
    return _place(node, thing, name)[1]


def _place(node: Node, thing: Thing, name: str) -> tuple[int, PointModel]:
    for at, point in enumerate(node.things.model(thing).points):
        if point.name == name:
            return at, point
    raise NotFound(f"{thing.title} has no point {name!r}")


def _readable(node: Node, caller: Caller, thing_id: str) -> Thing:
    return permitted_to(node, caller, thing_id, "thing.read")


def writable(node: Node, caller: Caller, thing_id: str) -> Thing:
    """Return a Thing that ``caller`` may command; else raise, alike whether or not it exists."""
    return permitted_to(node, caller, thing_id, "thing.command")
