"""The four channels of a Thing side by side: planned, commanded, reported, emulated; never one in place of another."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import NotFound
from gridspine.kernel.quality import describe
from gridspine.kernel.readings import Channel
from gridspine.kernel.time import format_rfc3339
from gridspine.things.channel import ChannelValue
from gridspine.things.directory import Thing
from gridspine.things.model import PointModel
from gridspine.things.twin import NEVER_US


class ValueView(msgspec.Struct, frozen=True, rename="camel"):
    """A value on one channel [the point's unit], since when it holds or was observed, its age [s] and quality."""

    value: float
    observed: str
    age_s: float
    quality: list[str]


class CommandedView(msgspec.Struct, frozen=True, rename="camel"):
    """What leases come to: the value that is ordered, since when [s ago] and until when, and what clamped it.

    ``command`` is the one that shaped it, ``state`` how far it got: nothing here says that the device does it.
    """

    value: float
    since: str | None
    age_s: float | None
    until: str | None
    command: str
    state: str
    reasons: list[str]


class ChannelsView(msgspec.Struct, frozen=True, rename="camel"):
    """One point on every channel, null where that has nothing to say; ``planned_next`` is the plan's next step."""

    name: str
    title: str
    unit: str
    planned: ValueView | None
    planned_next: ValueView | None
    commanded: CommandedView | None
    reported: ValueView | None
    emulated: ValueView | None


@get("/things/{thing_id:str}/channels", summary="Read all channels of a Thing", tags=["things"])
async def read_channels(request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> list[ChannelsView]:
    """Return what is planned, commanded, reported and emulated of every point of a Thing, side by side."""
    return channels(node, permitted(node, request, thing_id, "thing.read"))


def channels(node: Node, thing: Thing) -> list[ChannelsView]:
    """Return every point of a Thing on every channel."""
    return [_view(node, thing, offset, point) for offset, point in enumerate(node.things.model(thing).points)]


def _view(node: Node, thing: Thing, offset: int, point: PointModel) -> ChannelsView:
    now_us, number = node.clock.now_us(), thing.first + offset
    present, following = node.twins.channels.planned(number, now_us)
    return ChannelsView(
        point.name,
        point.title,
        point.reading_type.unit,
        _value(present, now_us),
        _value(following, now_us),
        _commanded(node, thing, point, now_us),
        _value(last_value(node, number, Channel.REPORTED), now_us),
        _value(last_value(node, number, Channel.EMULATED), now_us),
    )


def last_value(node: Node, number: int, channel: Channel) -> ChannelValue | None:
    """Return what a point has now on a channel of readings, or None."""
    if channel is Channel.EMULATED:
        return node.twins.channels.emulated(number)
    if channel is Channel.PLANNED:
        return node.twins.channels.planned(number, node.clock.now_us())[0]
    twin = node.twins.get(number)
    if twin.observed_us == NEVER_US:
        return None
    return ChannelValue(twin.value, twin.observed_us, twin.quality, twin.heard_us)


def _commanded(node: Node, thing: Thing, point: PointModel, now_us: int) -> CommandedView | None:
    if point.lease is None:
        return None
    try:
        effective = node.commands.commander.effective(thing.id, point.name, now_us)
    except NotFound:
        return None
    if effective.at_fallback:
        return None
    until = format_rfc3339(effective.until_us) if effective.until_us else None
    shaped_by = effective.winner or effective.clamped_by[0]
    known = next((one for one in node.commands.commander.commands(thing.id) if one.lease.id == shaped_by), None)
    if known is None:
        return CommandedView(effective.value, None, None, until, "", "", list(effective.reasons))
    since_us = known.lease.from_us
    age_s = round((now_us - since_us) / 1e6, 3)
    return CommandedView(
        effective.value, format_rfc3339(since_us), age_s, until, known.id, known.state, list(effective.reasons)
    )


def _value(known: ChannelValue | None, now_us: int) -> ValueView | None:
    if known is None:
        return None
    age_s = round((now_us - known.observed_us) / 1e6, 3)
    return ValueView(known.value, format_rfc3339(known.observed_us), age_s, describe(known.quality))
