"""Who has a Thing in hand: local control, blocking tags, and what its commanded points are told now."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.command import Reason
from gridspine.apps.api.command_ask import MAX_REASON
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import format_rfc3339, parse_rfc3339
from gridspine.things.blocking_tag import BlockingTag
from gridspine.things.directory import Thing
from gridspine.things.model import PointModel


class NewTag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Block ``point`` of a Thing (""; all of it) until ``until`` (RFC 3339; "": until the tag is taken down)."""

    reason: str
    point: str = ""
    until: str = ""


class TagView(msgspec.Struct, frozen=True):
    """A blocking tag: who hung it, why, on what, until when (null: until it is taken down)."""

    id: str
    point: str
    by: str
    reason: str
    at: str
    until: str | None


class LocalView(msgspec.Struct, frozen=True):
    """Who took a Thing into local control, why and when."""

    by: str
    reason: str
    at: str


class OrderView(msgspec.Struct, frozen=True):
    """The last order of a point: what the device was told to hold (null: its fallback), and until when."""

    value: float | None
    until: str
    at: str
    sequence: int
    commands: list[str]
    reasons: list[str]


class CommandedPointView(msgspec.Struct, frozen=True, rename={"clamped_by": "clampedBy"}):
    """What the leases of a point come to now, and what was ordered; ``waiting`` says why the two differ."""

    point: str
    unit: str
    value: float
    winner: str
    clamped_by: list[str]
    reasons: list[str]
    waiting: str
    ordered: OrderView | None


class ControlView(msgspec.Struct, frozen=True):
    """A Thing as it is controlled: ``mode`` is ``remote`` or ``local``."""

    mode: str
    local: LocalView | None
    tags: list[TagView]
    refuses: str
    points: list[CommandedPointView]


@get("/things/{thing_id:str}/control", summary="See how a Thing is controlled", tags=["commands"])
async def read_control(request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> ControlView:
    """Return who has a Thing in hand, what blocks it, and what its points are told."""
    return control_view(node, permitted(node, request, thing_id, "thing.read"))


@post("/things/{thing_id:str}/local", status_code=200, summary="Take a Thing into local control", tags=["commands"])
async def take_local(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[Reason]
) -> ControlView:
    """End the set-points of a Thing and take none until it is given back; limits are still taken."""
    thing = permitted(node, request, thing_id, "thing.local")
    await node.commands.take_local(thing.id, request.user.principal, _reason(data.reason))
    return control_view(node, thing)


@post("/things/{thing_id:str}/remote", status_code=200, summary="Give a Thing back", tags=["commands"])
async def give_remote(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[Reason]
) -> ControlView:
    """Take set-points again; what was ended stays ended."""
    thing = permitted(node, request, thing_id, "thing.local")
    await node.commands.give_remote(thing.id, request.user.principal, _reason(data.reason))
    return control_view(node, thing)


@post("/things/{thing_id:str}/tags", status_code=201, summary="Hang a blocking tag", tags=["commands"])
async def hang_tag(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[NewTag]
) -> TagView:
    """Let nothing but safety command a Thing, or one point of it; set-points that run there end."""
    thing = permitted(node, request, thing_id, "thing.tag")
    if data.point and all(point.name != data.point for point in commanded(node, thing)):
        raise Invalid(f"point: {data.point[:64]!r} of {thing.title} cannot be commanded")
    now_us = node.clock.now_us()
    until_us = parse_rfc3339(data.until) if data.until else 0
    if until_us and until_us <= now_us:
        raise Invalid("until: a tag must end after now")
    tag = BlockingTag("", thing.id, data.point, request.user.principal, _reason(data.reason), now_us, until_us)
    return _tag_view(await node.commands.hang(tag))


@post(
    "/things/{thing_id:str}/tags/{tag_id:str}/remove",
    status_code=200,
    summary="Take a blocking tag down",
    tags=["commands"],
)
async def take_tag_down(
    request: Request[Any, Any, Any],
    node: TheNode,
    thing_id: FromPath[str],
    tag_id: FromPath[str],
    data: JSONBody[Reason],
) -> ControlView:
    """Take a tag down, with a reason; what it ended stays ended."""
    thing = permitted(node, request, thing_id, "thing.tag")
    await node.commands.take_down(thing.id, tag_id, request.user.principal, _reason(data.reason))
    return control_view(node, thing)


def control_view(node: Node, thing: Thing) -> ControlView:
    """Return a Thing as it is controlled."""
    commander, now_us = node.commands.commander, node.clock.now_us()
    local = commander.local(thing.id)
    return ControlView(
        "remote" if local is None else "local",
        None if local is None else LocalView(local.principal, local.reason, format_rfc3339(local.at_us)),
        [_tag_view(tag) for tag in commander.tags(thing.id, now_us)],
        node.commands.gate(thing.id, False),
        [_point_view(node, thing, point, now_us) for point in commanded(node, thing)],
    )


def commanded(node: Node, thing: Thing) -> list[PointModel]:
    """Return the points of a Thing that take commands."""
    return [point for point in node.things.model(thing).points if point.lease is not None]


def _point_view(node: Node, thing: Thing, point: PointModel, now_us: int) -> CommandedPointView:
    commander = node.commands.commander
    effective, issued = commander.effective(thing.id, point.name, now_us), commander.issued(thing.id, point.name)
    commands = {lease.id: lease.command for lease in commander.leases(thing.id, point.name)}
    ordered = None
    if issued is not None:
        order = issued.order
        until, at = format_rfc3339(order.until_us), format_rfc3339(issued.at_us)
        ordered = OrderView(order.value, until, at, order.sequence, list(issued.carries), list(issued.reasons))
    return CommandedPointView(
        point.name,
        point.reading_type.unit,
        effective.value,
        commands.get(effective.winner, ""),
        [commands[lease] for lease in effective.clamped_by],
        list(effective.reasons),
        commander.waiting(thing.id, point.name, now_us),
        ordered,
    )


def _tag_view(tag: BlockingTag) -> TagView:
    until = format_rfc3339(tag.until_us) if tag.until_us else None
    return TagView(tag.id, tag.point, tag.principal, tag.reason, format_rfc3339(tag.at_us), until)


def _reason(text: str) -> str:
    if not text.strip():
        raise Invalid("reason: say why; others will have to know")
    return text[:MAX_REASON]
