"""Things as they are shown, who may see them, and their points read."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.pack import as_pack
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Forbidden, NotFound
from gridspine.kernel.quality import describe
from gridspine.kernel.time import format_rfc3339
from gridspine.things.directory import Thing
from gridspine.things.model import PointModel
from gridspine.things.twin import NEVER_US, TwinValue

MAX_NAME_CHARS = 64
"""Characters of a point's name at most."""


class NewThing(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A Thing to register. Without an ``id`` it gets a ``urn:uuid:``; ``devices`` are principals that speak for it.

    ``connection`` is for those who run the node, and for organisations that its settings name (`connect_for`): it lets
    the node connect to any address it can reach, and use any topic of a broker.
    """

    title: str
    model: str
    id: str = ""
    adapter: str = ""
    connection: dict[str, Any] = {}
    devices: tuple[str, ...] = ()


class ThingView(msgspec.Struct, frozen=True, rename="camel"):
    """A Thing as its own organisation sees it."""

    id: str
    title: str
    organisation: str
    model: str
    adapter: str
    created: str
    points: list[str]


class PointView(msgspec.Struct, frozen=True, rename="camel"):
    """The last reported value of a point; ``value`` is null when nothing was reported. Age in seconds."""

    name: str
    title: str
    value: float | None
    unit: str
    observed: str | None
    age_s: float | None
    quality: list[str]


@get("/things/{thing_id:str}/properties", summary="Read all points of a Thing", tags=["things"])
async def read_properties(request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> list[PointView]:
    """Return the last reported value of every point of a Thing; as SenML where `Accept` prefers it."""
    thing = permitted(node, request, thing_id, "thing.read")
    packed: Any = as_pack(node, request, thing)
    return packed or properties(node, thing)


@get("/things/{thing_id:str}/properties/{name:str}", summary="Read one point", tags=["things"])
async def read_property(
    request: Request[Any, Any, Any],
    node: TheNode,
    thing_id: FromPath[str],
    name: Annotated[str, Parameter(max_length=MAX_NAME_CHARS)],
) -> PointView:
    """Return the last reported value of a point; as SenML where `Accept` prefers it."""
    thing = permitted(node, request, thing_id, "thing.read")
    packed: Any = as_pack(node, request, thing, name)
    return packed or point_of(node, thing, name)


def readable(node: Node, caller: Caller, action: str) -> Sequence[Thing]:
    """Return the Things of the caller's organisation when it may do ``action`` to them; else raise `Forbidden`.

    They come in the order of their ids. The policies look at the organisation only, and at the devices: one Thing
    stands for all the caller may act on.
    """
    things: Sequence[Thing] = node.things.list(caller.organisation)
    if caller.kind == "device":
        own = (thing for thing in node.things.of_device(caller.principal) if thing.organisation == caller.organisation)
        things = sorted(own, key=lambda thing: thing.id)
    if things:
        node.authority.on_thing(caller, action, things[0])
    return things


def permitted(node: Node, request: Request[Any, Any, Any], thing_id: str, action: str) -> Thing:
    """Return the Thing when the caller may do ``action`` to it; else the same answer whether or not it exists."""
    return permitted_to(node, request.user, thing_id, action)


def permitted_to(node: Node, caller: Caller, thing_id: str, action: str) -> Thing:
    """Return the Thing when ``caller`` may do ``action`` to it; else raise, alike whether or not it exists."""
    try:
        thing = node.things.get(thing_id)
    except NotFound:
        node.authority.on_thing(caller, action, None, thing_id)
        raise
    node.authority.on_thing(caller, action, thing)
    if thing.retired:
        raise NotFound(f"{thing.title} was retired at {format_rfc3339(thing.retired_us)}")
    return thing


def may_connect(node: Node, caller: Caller) -> bool:
    """Whether ``caller`` may say where the node connects to."""
    if caller.organisation in node.settings.adapters.connect_for:
        return True
    try:
        node.authority.on_node(caller, "node.connect")
    except Forbidden:
        return False
    return True


def check_speakers(node: Node, caller: Caller, after: Thing, before: Thing | None = None) -> None:
    """Raise `Forbidden` where an adapter would consent for the owner, and ``caller`` may not do that itself.

    An adapter that serves a Thing acts as the application among its devices: an application that is an owner enrols
    sites and Things in what the connection tells of. ``before`` is the Thing that is changed to ``after``.
    """
    if not (after.adapter and after.connection and after.devices):
        return
    how = (after.adapter, after.connection, after.devices)
    if before is not None and not before.retired and how == (before.adapter, before.connection, before.devices):
        return
    if node.authority.would_allow_in(caller, "programme.enrol", caller.organisation):
        return
    for device in after.devices:
        found = node.identity.directory.active(device)
        if found is not None and found.kind == "application" and "owner" in found.roles:
            node.authority.on_organisation(caller, "programme.enrol", caller.organisation)


def view(node: Node, thing: Thing) -> ThingView:
    """Return a Thing as it is shown."""
    points = [point.name for point in node.things.model(thing).points]
    created = format_rfc3339(thing.created_us)
    return ThingView(thing.id, thing.title, thing.organisation, thing.model, thing.adapter, created, points)


def properties(node: Node, thing: Thing) -> list[PointView]:
    """Return the last values of all points of a Thing."""
    now_us = node.clock.now_us()
    points = node.things.model(thing).points
    return [point_view(point, node.twins.get(thing.first + at), now_us) for at, point in enumerate(points)]


def point_of(node: Node, thing: Thing, name: str) -> PointView:
    """Return the last value of one point of a Thing; raise `NotFound`."""
    for offset, point in enumerate(node.things.model(thing).points):
        if point.name == name:
            return point_view(point, node.twins.get(thing.first + offset), node.clock.now_us())
    raise NotFound(f"{thing.title} has no point {name!r}")


def point_view(point: PointModel, twin: TwinValue, now_us: int) -> PointView:
    """Return a point's last value as it is shown."""
    unit = point.reading_type.unit
    if twin.observed_us == NEVER_US:
        return PointView(point.name, point.title, None, unit, None, None, ["never reported"])
    age_s = round((now_us - twin.observed_us) / 1e6, 3)
    observed = format_rfc3339(twin.observed_us)
    return PointView(point.name, point.title, twin.value, unit, observed, age_s, describe(twin.quality))
