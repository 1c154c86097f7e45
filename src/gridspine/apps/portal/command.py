"""Commands on the page of a Thing: a form that asks for a lease, what became of each, all-stop."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.command import (
    Approval,
    NewCommand,
    Reason,
    all_stop,
    approve_command,
    cancel_command,
    send_command,
)
from gridspine.apps.api.command_view import commands_of
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import number_text, person_name, point_text
from gridspine.apps.portal.page import PortalRequest, form, page, redirect
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.things.command import TRANSITIONS, Change, Command
from gridspine.things.directory import Thing
from gridspine.things.model import PointModel

SHOWN = 50
"""Commands of a Thing shown at most, the newest."""

STATES: dict[str, tuple[str, str]] = {
    "requested": ("waiting", "Asked for."),
    "awaiting-approval": ("waiting", "So large that a second person must approve it."),
    "accepted": ("waiting", "The node has taken it; the device has not been told yet, or need not be."),
    "refused": ("bad", "The node has not taken it."),
    "sent": ("waiting", "On its way to the device."),
    "acknowledged": ("waiting", "The device has taken it; no reading shows its effect yet."),
    "applied": ("good", "A reading shows its effect."),
    "rejected": ("bad", "The device has refused it."),
    "failed": ("bad", "It could not be delivered."),
    "expired": ("bad", "Its time passed without a reading that shows its effect."),
    "superseded": ("over", "A newer command took its place."),
    "ended": ("over", "It was kept until its end."),
    "cancelled": ("over", "It was ended early."),
}
"""State of a command → how it is coloured, and what it means."""


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command as it is shown."""

    id: str
    state: str
    tone: str
    meaning: str
    reason: str
    point: str
    text: str
    by: str
    from_us: int
    until_us: int
    final: bool
    changes: tuple[Change, ...]
    waiting: str
    steps: tuple[tuple[int, str], ...]
    awaits: bool
    own: bool
    approve_by_us: int
    approved_by: str
    batch: str
    thing: str
    thing_title: str


def commandable(node: Node, thing: Thing) -> list[PointModel]:
    """Return the points of a Thing that take commands."""
    return [point for point in node.things.model(thing).points if point.lease is not None]


def command_rows(node: Node, caller: Caller, thing: str) -> list[CommandRow]:
    """Return the commands of a Thing: those under way first, then the newest."""
    commands = sorted(commands_of(node, node.things.get(thing)), key=lambda one: (one.final, -one.lease.issued_us))
    return [command_row(node, caller, command) for command in commands[:SHOWN]]


def awaiting_rows(node: Node, caller: Caller) -> list[CommandRow]:
    """Return the commands of the caller's organisation that wait for a second person, the oldest first."""
    own = (one for one in node.commands.commander.awaiting() if _is_own(node, caller, one))
    return [command_row(node, caller, command) for command in islice(own, SHOWN)]


def command_row(node: Node, caller: Caller, command: Command) -> CommandRow:
    """Return a command as it is shown."""
    lease, now_us = command.lease, node.clock.now_us()
    thing = node.things.get(lease.thing)
    point = node.things.model(thing).point(lease.point)
    tone, meaning = STATES[command.state]
    final = command.state not in TRANSITIONS
    return CommandRow(
        command.id, command.state, tone, meaning, command.reason, point.title,
        point_text(point, lease.at(now_us).value), person_name(node, lease.principal), lease.from_us, lease.until_us,
        final, command.changes,
        "" if final else node.commands.commander.waiting(lease.thing, lease.point, now_us),
        tuple((step.from_us, point_text(point, step.value)) for step in lease.steps),
        command.state == "awaiting-approval", lease.principal == caller.principal, command.approve_by_us,
        person_name(node, command.approved_by) if command.approved_by else "", command.batch,
        thing.id, thing.title,
    )  # fmt: skip


def _is_own(node: Node, caller: Caller, command: Command) -> bool:
    try:
        return node.things.get(command.lease.thing).organisation == caller.organisation
    except NotFound:
        return False


@get("/portal/things/{thing_id:str}/commands")
async def commands_part(request: PortalRequest, node: TheNode, thing_id: FromPath[str]) -> Response[Any]:
    """Show what became of a Thing's commands."""
    thing = permitted(node, request, thing_id, "thing.read")
    return _part(request, node, thing)


@post("/portal/things/{thing_id:str}/commands", status_code=200)
async def ask_command(request: PortalRequest, node: TheNode, thing_id: FromPath[str]) -> Response[Any]:
    """Ask for a lease as the form says; a refusal is shown with its reason, among the commands."""
    fields = await form(request)
    wanted = NewCommand(
        thing=thing_id,
        point=fields.get("point", "")[:64],
        value=number_of(fields.get("value", ""), "Value"),
        duration_s=number_of(fields.get("duration", ""), "Duration") * number_of(fields.get("unit", "60"), "Duration"),
        key=fields.get("key", "")[:100],
    )
    await send_command.fn(request, node, wanted)
    return _part(request, node, node.things.get(thing_id))


@post("/portal/commands/{command_id:str}/approve", status_code=200)
async def approve(request: PortalRequest, node: TheNode, command_id: FromPath[str]) -> Response[Any]:
    """Agree to a command that waits for a second person, or (``batch``) to all of its order."""
    fields = await form(request)
    await approve_command.fn(request, node, command_id, Approval(fields.get("batch", "") == "yes"))
    if fields.get("from", "") == "waiting":
        return redirect_part("/portal/waiting")
    return _part(request, node, node.things.get(node.commands.commander.command(command_id).lease.thing))


@post("/portal/commands/{command_id:str}/cancel", status_code=200)
async def end_command(request: PortalRequest, node: TheNode, command_id: FromPath[str]) -> Response[Any]:
    """End a command before its time."""
    fields = await form(request)
    await cancel_command.fn(request, node, command_id, Reason(fields.get("reason", "")))
    return _part(request, node, node.things.get(node.commands.commander.command(command_id).lease.thing))


@post("/portal/all-stop", status_code=200)
async def stop_all(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Stop all set-points of the node, or (``release``) take new ones again."""
    fields = await form(request)
    release = fields.get("release", "") == "yes"
    await all_stop.fn(request, node, Reason(fields.get("reason", "")), release)
    return redirect_part("/")


def redirect_part(path: str) -> Response[None]:
    """Make htmx load ``path`` as a page."""
    answer = redirect(path)
    return Response(None, status_code=200, headers={**answer.headers, "HX-Redirect": path})


def _part(request: PortalRequest, node: Node, thing: Thing) -> Response[Any]:
    return page(request, node, "parts/commands.html", thing=thing, commands=command_rows(node, request.user, thing.id))


def number_of(text: str, name: str) -> float:
    """Return the number that somebody typed; raise `Invalid` naming the field."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        raise Invalid(f"{name}: a number is needed") from None
    if not abs(value) < 1e12:
        raise Invalid(f"{name}: a number between {number_text(-1e12)} and {number_text(1e12)} is needed")
    return value
