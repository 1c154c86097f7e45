"""Orders to many Things: chosen by ensemble or model, looked at before they are given, followed, ended.

::

    whom, which point, what value ─► looked at: who would be commanded, who not and why ─► given: what was looked at
                                                └─ who fits changed meanwhile: looked at again
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.command import MAX_BATCH, Approval, Ordered, Reason, approve_command, cancel_command
from gridspine.apps.api.command import send_commands as send
from gridspine.apps.api.command_ask import NewCommand
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.ensemble import list_ensembles, numbers_of
from gridspine.apps.api.thing import readable
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import STATES, CommandRow, command_row, number_of, redirect_part
from gridspine.apps.portal.display import number_text, person_name, point_text, unit_text
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.energy.criteria import Criteria
from gridspine.energy.ensemble import Gathered
from gridspine.infra.identity.caller import Caller
from gridspine.infra.runtime.clock import new_id
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.things.command import Command, is_of
from gridspine.things.directory import Thing
from gridspine.things.model import PointModel, ThingModel

SHOWN, RECENT = 50, 10
_TOGETHER = 200
"""Commands of an order that are ended at once."""


@dataclass(frozen=True, slots=True)
class Look:
    """Whom an order would reach: Things with what their ``point`` is, and how many are left out, by reason."""

    things: Sequence[tuple[Thing, PointModel]]
    left_out: dict[str, int]

    @property
    def sum(self) -> str:
        """What names exactly these Things: an order is given to those that were looked at, or to nobody."""
        return hashlib.sha256("\n".join(thing.id for thing, _ in self.things).encode()).hexdigest()[:32]


@get("/portal/orders")
async def orders_page(request: PortalRequest, node: TheNode, ensemble: FromQuery[str] = "") -> Response[Any]:
    """Show the form that orders many, and the last orders of the organisation."""
    ensembles = await list_ensembles.fn(request, node)
    models = [one for one in node.things.models.list(request.user.organisation) if any(p.lease for p in one.points)]
    points = _points(models)
    return page(
        request, node, "orders.html", current="orders", ensembles=ensembles, models=models, chosen=ensemble,
        points=points, key=new_id(node.clock),
        recent=await asyncio.to_thread(_recent, node, request.user),
    )  # fmt: skip


@post("/portal/orders", status_code=200)
async def give_order(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Look at what an order would do (``verb`` look), or give it to exactly those who were looked at (give)."""
    fields = await form(request)
    point, value = fields.get("point", ""), number_of(fields.get("value", ""), "Value")
    for_s = number_of(fields.get("duration", ""), "For") * number_of(fields.get("unit", "60"), "For")
    spread_s = number_of(fields.get("spread", "") or "0", "Spread over")
    found = await _look(request, node, fields.get("whom", ""), point, value)
    changed = fields.get("verb") == "give" and fields.get("sum", "") != found.sum
    if fields.get("verb") != "give" or changed or not found.things:
        return page(
            request, node, "parts/looked.html", found=found, shown=found.things[:SHOWN], changed=changed,
            text=point_text(found.things[0][1], value) if found.things else number_text(value), for_s=for_s,
            left_out=sorted(found.left_out.items(), key=lambda one: -one[1]),
        )  # fmt: skip
    key = fields.get("key", "")[:100]
    wanted = [
        NewCommand(
            thing.id, point, value, duration_s=for_s, key=f"{key}-{at}" if key else "",
            reason=fields.get("reason", ""), randomise_start_s=spread_s,
        )
        for at, (thing, _) in enumerate(found.things)
    ]  # fmt: skip
    ordered: Ordered = await send.fn(request, node, wanted)
    return redirect_part(f"/portal/orders/{ordered.commands[0].batch}")


@get("/portal/orders/{order_id:str}")
async def order_page(
    request: PortalRequest, node: TheNode, order_id: FromPath[str], start: FromQuery[int] = 0
) -> Response[Any]:
    """Show an order: how many of its commands are in which state, and each of them."""
    return await _page(request, node, order_id, start)


@post("/portal/orders/{order_id:str}/{verb:str}", status_code=200)
async def act_on_order(
    request: PortalRequest, node: TheNode, order_id: FromPath[str], verb: FromPath[str]
) -> Response[Any]:
    """Approve an order that waits for a second person, or end all of it."""
    fields = await form(request)
    commands = await asyncio.to_thread(commands_of_order, node, request.user, order_id)
    if verb == "approve":
        waits = next((one for one in commands if one.state == "awaiting-approval"), None)
        if waits is None:
            raise Conflict("nothing of this order waits for approval")
        await approve_command.fn(request, node, waits.id, Approval(batch=True))
    elif verb == "cancel":
        reason = Reason(fields.get("reason", ""))
        running = [one for one in commands if not one.final]
        for at in range(0, len(running), _TOGETHER):
            some = running[at : at + _TOGETHER]
            await asyncio.gather(*(_end(request, node, one, reason) for one in some))
    else:
        raise Invalid("an order is approved or cancelled")
    return await _page(request, node, order_id, 0)


def commands_of_order(node: Node, caller: Caller, order: str) -> list[Command]:
    """Return what is known of an order's commands, the caller's organisation's only; raise `NotFound`. Blocks."""
    found = [one for one in node.commands.commander.commands() if one.batch == order and one.batch]
    own = [one for one in found if _is_own(node, caller, one)]
    if not own:
        raise NotFound("there is no such order, or it ended long ago")
    return own


def _points(models: Sequence[ThingModel]) -> list[tuple[str, str]]:
    """Return the points that take commands, by title; those whose titles are alike have their names in them."""
    titles = {point.name: point.title for model in models for point in model.points if point.lease is not None}
    often = Counter(titles.values())
    named = ((name, title if often[title] == 1 else f"{title} ({name})") for name, title in titles.items())
    return sorted(named, key=lambda one: one[1])


async def _look(request: PortalRequest, node: Node, whom: str, point: str, value: float) -> Look:
    """Return whom an order would reach; ``whom`` is ``ensemble:<id>`` or ``model:<id>``."""
    caller = request.user
    kind, _, id_ = whom.partition(":")
    if kind == "ensemble":
        criteria = (await node.ensembles.get(id_, caller.organisation)).criteria
    elif kind == "model":
        criteria = Criteria(models=(id_,))
        criteria.check()
    else:
        raise Invalid("Whom: choose an ensemble or a model")
    found = await node.ensembles.gather(criteria, numbers_of(node, caller))
    if len(found.members) > MAX_BATCH:
        raise Invalid(f"{len(found.members)} Things fit, at most {MAX_BATCH} take one order: narrow the ensemble")
    return await asyncio.to_thread(_sifted, node, found, point, value)


def _sifted(node: Node, found: Gathered, point: str, value: float) -> Look:
    left_out = dict(found.left_out)
    names, things = node.points.things(), []
    for number in found.members.tolist():
        thing = node.things.get(names[number])
        known = next((one for one in node.things.model(thing).points if one.name == point), None)
        why = _refuses(known, value)
        if why or known is None:
            left_out[why] = left_out.get(why, 0) + 1
        else:
            things.append((thing, known))
    return Look(things, left_out)


def _refuses(point: PointModel | None, value: float) -> str:
    """Return why an order does not go to such a point, "" when it does."""
    if point is None or point.lease is None:
        return "has no such point that takes commands"
    low, high = point.lease.minimum, point.lease.maximum
    if not low <= value <= high:
        return f"takes {number_text(low)} to {number_text(high)} {unit_text(point.reading_type.unit)} only"
    return ""


async def _end(request: PortalRequest, node: Node, command: Command, reason: Reason) -> None:
    try:
        await cancel_command.fn(request, node, command.id, reason)
    except (Conflict, NotFound):
        return  # it ended meanwhile by itself


async def _page(request: PortalRequest, node: Node, order: str, start: int) -> Response[Any]:
    readable(node, request.user, "thing.read")
    commands = await asyncio.to_thread(commands_of_order, node, request.user, order)
    start = max(0, min(start, len(commands) - 1))
    counts: dict[str, int] = {}
    for one in commands:
        counts[one.state] = counts.get(one.state, 0) + 1
    rows: list[CommandRow] = [command_row(node, request.user, one) for one in commands[start : start + SHOWN]]
    first = commands[0]
    return page(
        request, node, "parts/order.html" if is_part(request) else "order.html", current="orders", order=order,
        counts=[(state, counts[state], *STATES[state]) for state in STATES if state in counts], total=len(commands),
        rows=rows, start=start, size=SHOWN, running=sum(not one.final for one in commands), first=rows[0],
        asked_us=first.changes[0].at_us, reason=first.changes[0].reason,
        awaits=next((row for row in map(_awaiting(node, request.user), commands) if row), None),
    )  # fmt: skip


def _awaiting(node: Node, caller: Caller) -> Any:
    def look(command: Command) -> CommandRow | None:
        return command_row(node, caller, command) if command.state == "awaiting-approval" else None

    return look


def _recent(node: Node, caller: Caller) -> list[dict[str, Any]]:
    """Return the last orders of the caller's organisation, the newest first."""
    orders: dict[str, list[Command]] = {}
    for command in node.commands.commander.commands():
        if command.batch:
            orders.setdefault(command.batch, []).append(command)
    newest = sorted(orders.values(), key=lambda some: -some[0].changes[0].at_us)
    own = (some for some in newest if _is_own(node, caller, some[0]))
    return [_recent_row(node, some) for some, _ in zip(own, range(RECENT), strict=False)]


def _recent_row(node: Node, commands: list[Command]) -> dict[str, Any]:
    first = commands[0]
    point = node.things.model(node.things.get(first.lease.thing)).point(first.lease.point)
    return {
        "id": first.batch, "count": len(commands), "text": point_text(point, first.lease.value), "point": point.title,
        "at_us": first.changes[0].at_us, "by": person_name(node, first.lease.principal),
        "running": sum(not one.final for one in commands),
    }  # fmt: skip


def _is_own(node: Node, caller: Caller, command: Command) -> bool:
    try:
        thing = node.things.get(command.lease.thing)
    except NotFound:
        return False
    return thing.organisation == caller.organisation and is_of(command, thing)
