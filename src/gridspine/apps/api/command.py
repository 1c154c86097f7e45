"""Commands: leases asked for, approved, followed, ended; all-stop."""

from contextlib import nullcontext
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody, Parameter

from gridspine.apps.api.command_ask import MAX_KEY, NewCommand, ask, ask_for, check_safety
from gridspine.apps.api.command_view import CommandView, command_view, commands_of
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted, permitted_to, readable
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.infra.runtime.clock import new_urn
from gridspine.kernel.errors import GridspineError, Invalid, NotFound, TooLarge
from gridspine.things.asking import Ask
from gridspine.things.command import Command, is_of
from gridspine.things.directory import Thing

__all__ = ["MAX_KEY", "CommandView", "NewCommand", "ask", "command_view"]
MAX_BATCH = 5_000
"""Commands in one order at most."""
_SHOWN = 100


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: str = ""


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Approve one command, or (``batch``) all of the same order that still wait."""

    batch: bool = False


class Ordered(msgspec.Struct, frozen=True):
    """What became of an order to many: an answer to each, in the order they were sent."""

    batch: str
    accepted: int
    awaiting: int
    refused: int
    commands: list[CommandView]


@get("/commands", summary="List commands", tags=["commands"])
async def list_commands(request: Request[Any, Any, Any], node: TheNode, thing: FromQuery[str]) -> list[CommandView]:
    """List the commands of a Thing, newest first."""
    known = permitted(node, request, thing, "thing.read")
    return [_view(node, command) for command in reversed(commands_of(node, known))]


@get("/commands/awaiting", summary="List commands that wait for a second person", tags=["commands"])
async def list_awaiting(request: Request[Any, Any, Any], node: TheNode) -> list[CommandView]:
    """List the commands of the caller's organisation that wait for approval, the oldest first."""
    readable(node, request.user, "thing.read")
    return [_view(node, one) for one in node.commands.commander.awaiting() if _is_own(node, request.user, one)]


@post(
    "/commands",
    summary="Command a Thing",
    description="Answered with the command: accepted, waiting for a second person, or refused with its reason. An "
    "acknowledgement makes it `acknowledged`; only a reading makes it `applied`.",
    tags=["commands"],
)
async def send_command(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewCommand]) -> CommandView:
    """Ask for a lease."""
    return await send_as(node, request.user, data)


async def send_as(node: Node, caller: Caller, wanted: NewCommand) -> CommandView:
    """Ask for the lease that ``wanted`` describes as ``caller``; return the command once it is durable."""
    with node.trace.span("policy") if node.trace.current() else nullcontext():
        thing = permitted_to(node, caller, wanted.thing, "thing.command")
        check_safety(node, caller, thing, wanted)
    return _view(node, await ask(node, thing, wanted, caller.principal))


@post("/commands/batch", status_code=200, summary="Command many Things in one order", tags=["commands"])
async def send_commands(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[list[NewCommand]]) -> Ordered:
    """Ask for up to 5,000 leases in one order: all are kept together, and each is answered.

    When one cannot be understood, or is not the caller's to ask, nothing is done. What the device or a tag refuses is
    refused alone. Power is summed over the order: what is too large for one person waits for a second one as a whole.
    """
    if not data:
        return Ordered("", 0, 0, 0, [])
    if len(data) > MAX_BATCH:
        raise TooLarge(f"at most {MAX_BATCH} commands in one order: send several smaller ones")
    with node.trace.span("policy") if node.trace.current() else nullcontext():
        things = _permitted_all(node, request, data)
    batch = new_urn(node.clock)
    commands = await node.commands.request_all(_asks(node, request.user, things, data, batch))
    states = [command.state for command in commands]
    return Ordered(
        batch,
        sum(state not in {"refused", "awaiting-approval"} for state in states),
        states.count("awaiting-approval"),
        states.count("refused"),
        [_view(node, command) for command in commands],
    )


@get("/commands/{command_id:str}", summary="Read one command", tags=["commands"])
async def read_command(request: Request[Any, Any, Any], node: TheNode, command_id: FromPath[str]) -> CommandView:
    """Return a command."""
    return _view(node, _permitted_command(node, request, command_id, "thing.read"))


@post("/commands/{command_id:str}/approval", status_code=200, summary="Approve a command", tags=["commands"])
async def approve_command(
    request: Request[Any, Any, Any],
    node: TheNode,
    command_id: FromPath[str],
    data: JSONBody[Approval | None] = None,
) -> CommandView:
    """Agree to a command that waits for a second person; 409 to whoever asked for it, and for what waits no more."""
    command = _permitted_command(node, request, command_id, "thing.approve")
    ids = [command.id]
    if data and data.batch and command.batch:
        others = [one for one in node.commands.commander.awaiting() if one.batch == command.batch]
        ids += [one.id for one in others if one.id != command.id and _is_own(node, request.user, one)]
    await node.commands.approve(ids, request.user.principal)
    return _view(node, node.commands.commander.command(command.id))


@post("/commands/{command_id:str}/cancel", status_code=200, summary="End a command early", tags=["commands"])
async def cancel_command(
    request: Request[Any, Any, Any], node: TheNode, command_id: FromPath[str], data: JSONBody[Reason | None] = None
) -> CommandView:
    """End a lease before its time; the device goes to the next one, or to its fallback."""
    _permitted_command(node, request, command_id, "thing.command")
    reason = (data.reason if data else "")[:500] or "cancelled by its operator"
    return _view(node, await node.commands.cancel(command_id, reason))


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


def _view(node: Node, command: Command) -> CommandView:
    lease, now_us = command.lease, node.clock.now_us()
    waiting = "" if command.final else node.commands.commander.waiting(lease.thing, lease.point, now_us)
    return command_view(command, waiting)


def _is_own(node: Node, caller: Caller, command: Command) -> bool:
    try:
        thing = node.things.get(command.lease.thing)
    except NotFound:
        return False
    speaks = caller.kind != "device" or caller.principal in thing.devices
    return thing.organisation == caller.organisation and speaks


def _permitted_all(node: Node, request: Request[Any, Any, Any], data: list[NewCommand]) -> list[Thing]:
    """Return the Thing of each, when the caller may command all of them.

    The policies look at the organisation only: one Thing stands for all of it, and is what the record shows.
    """
    first = permitted(node, request, data[0].thing, "thing.command")
    things: dict[str, Thing] = {first.id: first}
    for wanted in data:
        if wanted.thing in things:
            continue
        try:
            thing = node.things.get(wanted.thing)
        except NotFound:
            thing = permitted(node, request, wanted.thing, "thing.command")
        if thing.organisation != first.organisation or request.user.kind == "device":
            permitted(node, request, thing.id, "thing.command")
        things[thing.id] = thing
    for wanted in data:
        check_safety(node, request.user, things[wanted.thing], wanted)
    return [things[wanted.thing] for wanted in data]


def _asks(node: Node, caller: Caller, things: list[Thing], data: list[NewCommand], batch: str) -> list[Ask]:
    asks: list[Ask] = []
    wrong: list[dict[str, Any]] = []
    for at, (thing, wanted) in enumerate(zip(things, data, strict=True)):
        try:
            asks.append(ask_for(node, thing, wanted, caller.principal, batch))
        except GridspineError as error:
            wrong.append({"index": at, "detail": error.detail})
    if wrong:
        raise Invalid(
            f"{len(wrong)} of {len(data)} cannot be understood, nothing was done; the first, number "
            f"{wrong[0]['index']}: {wrong[0]['detail']}",
            errors=wrong[:_SHOWN],
        )
    return asks


def _permitted_command(node: Node, request: Request[Any, Any, Any], command_id: str, action: str) -> Command:
    try:
        command = node.commands.commander.command(command_id)
    except NotFound:
        node.authority.on_thing(request.user, action, None, "urn:unknown:thing")
        raise
    if not is_of(command, permitted(node, request, command.lease.thing, action)):
        raise NotFound(f"there is no command {command_id}")
    return command
