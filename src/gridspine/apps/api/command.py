"""Commands: leases asked for, followed, ended; all-stop."""

from contextlib import nullcontext
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339
from gridspine.things.command import Command
from gridspine.things.directory import Thing
from gridspine.things.lease import Authority

MAX_KEY = 200


class NewCommand(msgspec.Struct, frozen=True, rename={"duration_s": "durationS", "from_": "from"},
                 forbid_unknown_fields=True):  # fmt: skip
    """Ask that ``point`` of ``thing`` hold ``value`` [the point's unit] until ``until`` (RFC 3339), or for a duration.

    ``priority`` decides between several set-points. ``key`` makes a repetition harmless.
    """

    thing: str
    point: str
    value: float
    until: str = ""
    duration_s: float = 0.0
    from_: str = ""
    priority: int = 0
    key: str = ""


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: str = ""


class ChangeView(msgspec.Struct, frozen=True):
    """A state a command came into, when, and why."""

    state: str
    at: str
    reason: str


class CommandView(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A command and its story."""

    id: str
    thing: str
    point: str
    value: float
    from_: str
    until: str
    state: str
    reason: str
    changes: list[ChangeView]


@get("/commands", summary="List commands", tags=["commands"])
async def list_commands(request: Request[Any, Any, Any], node: TheNode, thing: FromQuery[str]) -> list[CommandView]:
    """List the commands of a Thing, newest first."""
    permitted(node, request, thing, "thing.read")
    return [command_view(command) for command in reversed(node.commands.commander.commands(thing))]


@post(
    "/commands",
    summary="Command a Thing",
    description="Answered with the command, accepted or refused with its reason. An acknowledgement makes it "
    "`acknowledged`; only a reading makes it `applied`.",
    tags=["commands"],
)
async def send_command(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewCommand]) -> CommandView:
    """Ask for a lease."""
    with node.trace.span("policy") if node.trace.current() else nullcontext():
        thing = permitted(node, request, data.thing, "thing.command")
    return command_view(await ask(node, thing, data, request.user.principal))


@get("/commands/{command_id:str}", summary="Read one command", tags=["commands"])
async def read_command(request: Request[Any, Any, Any], node: TheNode, command_id: FromPath[str]) -> CommandView:
    """Return a command."""
    return command_view(_permitted_command(node, request, command_id, "thing.read"))


@post("/commands/{command_id:str}/cancel", status_code=200, summary="End a command early", tags=["commands"])
async def cancel_command(
    request: Request[Any, Any, Any], node: TheNode, command_id: FromPath[str], data: JSONBody[Reason | None] = None
) -> CommandView:
    """End a lease before its time; the device goes to the next one, or to its fallback."""
    _permitted_command(node, request, command_id, "thing.command")
    reason = (data.reason if data else "")[:500] or "cancelled by its operator"
    return command_view(await node.commands.cancel(command_id, reason))


@post("/all-stop", status_code=200, summary="Stop all set-points", tags=["commands"])
async def all_stop(
    request: Request[Any, Any, Any],
    node: TheNode,
    data: JSONBody[Reason],
    release: Annotated[bool, Parameter()] = False,
) -> dict[str, bool]:
    """Cancel every set-point of the node and take no new one, until asked with ``release``."""
    node.authority.on_node(request.user, "node.stop")
    if release:
        await node.commands.release(request.user.principal, data.reason[:500])
    else:
        await node.commands.all_stop(request.user.principal, data.reason[:500] or "no reason given")
    return {"stopped": node.commands.commander.stopped is not None}


async def ask(node: Node, thing: Thing, wanted: NewCommand, principal: str) -> Command:
    """Ask for the lease that ``wanted`` describes, as ``principal``, with the owner's authority."""
    rule = next((p.lease for p in node.things.model(thing).points if p.name == wanted.point), None)
    if rule is None:
        raise Invalid(f"point: {wanted.point[:64]!r} of {thing.title} cannot be commanded")
    if len(wanted.key) > MAX_KEY:
        raise Invalid(f"key: at most {MAX_KEY} characters")
    now_us = node.clock.now_us()
    from_us = parse_rfc3339(wanted.from_) if wanted.from_ else now_us
    if wanted.until:
        until_us = parse_rfc3339(wanted.until)
    elif 0 < wanted.duration_s < 1e9:
        until_us = from_us + round(wanted.duration_s * US)
    else:
        raise Invalid("until: say until when, or for how long with durationS")
    lease = node.commands.new_lease(
        thing=thing.id,
        point=wanted.point,
        value=wanted.value,
        role=rule.role,
        authority=Authority.OWNER,
        priority=wanted.priority,
        from_us=from_us,
        until_us=until_us,
        principal=principal,
    )
    return await node.commands.request(lease, wanted.key)


def _permitted_command(node: Node, request: Request[Any, Any, Any], command_id: str, action: str) -> Command:
    try:
        command = node.commands.commander.command(command_id)
    except NotFound:
        node.authority.on_thing(request.user, action, None, "urn:unknown:thing")
        raise
    permitted(node, request, command.lease.thing, action)
    return command


def command_view(command: Command) -> CommandView:
    """Return a command as it is shown."""
    lease = command.lease
    changes = [ChangeView(change.state, format_rfc3339(change.at_us), change.reason) for change in command.changes]
    return CommandView(
        command.id, lease.thing, lease.point, lease.value, format_rfc3339(lease.from_us),
        format_rfc3339(lease.until_us), command.state, command.reason, changes,
    )  # fmt: skip
