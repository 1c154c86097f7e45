"""The page of a Thing's channels, side by side, and who has it in hand: form, local control, blocking tags."""

from dataclasses import dataclass
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.channel import ChannelsView, ValueView, channels
from gridspine.apps.api.command import Reason
from gridspine.apps.api.control import (
    ControlView,
    NewTag,
    control_view,
    give_remote,
    hang_tag,
    take_local,
    take_tag_down,
)
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.form import NewForm, change_form, form_view
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import Level, known_name, level_of, point_text, words_of
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.apps.portal.rows import EMULATED
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import point_id
from gridspine.kernel.time import parse_rfc3339
from gridspine.things.directory import Thing
from gridspine.things.model import PointModel


@dataclass(frozen=True, slots=True)
class Cell:
    """A value on one channel; ``at_us`` is None where the channel has nothing to say."""

    text: str
    at_us: int | None
    level: Level
    words: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A point on its four channels."""

    id: str
    title: str
    planned: Cell
    commanded: Cell
    reported: Cell
    emulated: Cell


_NOTHING = Cell("–", None, "never", "nothing")


@get("/portal/things/{thing_id:str}/channels")
async def channels_page(request: PortalRequest, node: TheNode, thing_id: FromPath[str]) -> Response[Any]:
    """Show what is planned, commanded, reported and emulated of a Thing, and who has it in hand."""
    thing = permitted(node, request, thing_id, "thing.read")
    return _page(request, node, thing)


@post("/portal/things/{thing_id:str}/form", status_code=200)
async def switch_form(request: PortalRequest, node: TheNode, thing_id: FromPath[str]) -> Response[Any]:
    """Let the twin emulate its device, or stand for it again."""
    fields = await form(request)
    wanted, leases = fields.get("form", ""), fields.get("leases", "end")
    if wanted not in {"adapter", "emulator"} or leases not in {"end", "hand-over"}:
        raise Invalid("form: is adapter or emulator; leases: end or hand-over")
    new = NewForm(wanted, fields.get("reason", "")[:500], leases, external=fields.get("external", "") == "yes")  # type: ignore[arg-type]
    await change_form.fn(request, node, thing_id, new)
    return _page(request, node, node.things.get(thing_id))


@post("/portal/things/{thing_id:str}/control/{verb:str}", status_code=200)
async def change_control(
    request: PortalRequest, node: TheNode, thing_id: FromPath[str], verb: FromPath[str]
) -> Response[Any]:
    """Take a Thing into local control, give it back, hang a blocking tag or take it down."""
    fields = await form(request)
    reason = fields.get("reason", "")
    if verb == "local":
        await take_local.fn(request, node, thing_id, Reason(reason))
    elif verb == "remote":
        await give_remote.fn(request, node, thing_id, Reason(reason))
    elif verb == "tag":
        await hang_tag.fn(request, node, thing_id, NewTag(reason, fields.get("point", ""), fields.get("until", "")))
    elif verb == "untag":
        await take_tag_down.fn(request, node, thing_id, fields.get("tag", "")[:200], Reason(reason))
    else:
        raise Invalid("what is done to a Thing's control is local, remote, tag or untag")
    return _page(request, node, node.things.get(thing_id))


def channel_rows(node: Node, thing: Thing) -> list[ChannelRow]:
    """Return the points of a Thing on their channels, in the order of their names."""
    points = node.things.model(thing).points
    return [_row(thing, point, view) for point, view in zip(points, channels(node, thing), strict=True)]


def _row(thing: Thing, point: PointModel, view: ChannelsView) -> ChannelRow:
    commanded = _NOTHING
    if view.commanded is not None:
        until = parse_rfc3339(view.commanded.until) if view.commanded.until else None
        commanded = Cell(point_text(point, view.commanded.value), until, "good", "; ".join(view.commanded.reasons))
    elif point.lease is not None:
        commanded = Cell("–", None, "never", "no lease", f"falls back to {point_text(point, point.lease.fallback)}")
    following = f"then {point_text(point, view.planned_next.value)}" if view.planned_next is not None else ""
    return ChannelRow(
        point_id(thing.id, point.name), point.title, _cell(point, view.planned, following), commanded,
        _cell(point, view.reported), _cell(point, view.emulated),
    )  # fmt: skip


def _cell(point: PointModel, value: ValueView | None, note: str = "") -> Cell:
    if value is None:
        return Cell("–", None, "never", "nothing", note)
    words = value.quality
    return Cell(point_text(point, value.value), parse_rfc3339(value.observed), level_of(words), words_of(words), note)


def _page(request: PortalRequest, node: Node, thing: Thing) -> Response[Any]:
    control: ControlView = control_view(node, thing)
    by = {one: known_name(node, request.user, one) for one in _people(control)}
    view = form_view(node, thing)
    return page(
        request, node, "parts/channels.html" if is_part(request) else "channels.html",
        current="things", tab="channels", thing=thing, rows=channel_rows(node, thing), control=control, names=by,
        form=view, form_by=known_name(node, request.user, view.by), emulated=EMULATED,
        running=sum(not one.final for one in node.commands.commander.commands(thing.id)),
        titles={point.name: point.title for point in node.things.model(thing).points},
    )  # fmt: skip


def _people(control: ControlView) -> set[str]:
    return {tag.by for tag in control.tags} | ({control.local.by} if control.local else set())
