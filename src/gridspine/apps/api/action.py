"""Actions of a Thing: invoked, followed by their status resource, cancelled.

::

    POST   /things/{id}/actions/{name}                  201, Location: …/{invocation}    {"status": "pending", …}
    GET    /things/{id}/actions/{name}/{invocation}     {"status": "running", …}
    DELETE                                              204
    GET    /things/{id}/actions                         {name: [status, …]}

What the adapter carries out (``request``, ``maintain``) is answered with its output, or why not; see the ledger.
``hold`` is a command: it is running while its lease holds, completed when that ends by itself.
Source: W3C WoT Profile (Editor's Draft), "HTTP Basic Profile", actions: ActionStatus, Asynchronous Action Response.
"""

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath, Parameter

from gridspine.apps.api.authenticate import origin
from gridspine.apps.api.command_ask import NewCommand, NewStep
from gridspine.apps.api.command_view import commands_of
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.exposed import services_of
from gridspine.apps.api.interaction import (
    AnyRequest,
    Name,
    accepted,
    plain_values,
    point_named,
    read_json,
    wanted_names,
    writable,
)
from gridspine.apps.api.thing import permitted_to
from gridspine.apps.node.invocations import Invocation, Status
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import format_rfc3339
from gridspine.things.action import ActionModel, actions_of
from gridspine.things.action_input import check_input
from gridspine.things.command import Command, is_of
from gridspine.things.directory import Thing
from gridspine.things.exposed import DEFAULT_LEASE_S, thing_url

MAX_INPUT_BYTES = 16_384
LISTED = 20
"""Invocations of one action that are listed, the newest."""
_URN = "urn:uuid:"
_STATUS: dict[str, Status] = {
    "requested": "pending", "awaiting-approval": "pending", "accepted": "pending", "sent": "running",
    "acknowledged": "running", "applied": "running", "ended": "completed",
}  # fmt: skip
"""How far a command is as an action; whatever else ends it is a failure."""
InvocationId = Annotated[str, Parameter(max_length=64)]


class ActionStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How far an action is. ``href`` is where that can be asked again; ``error`` is a problem document."""

    status: Status
    href: str
    time_requested: str
    time_ended: str = ""
    output: Any = None
    error: dict[str, Any] | None = None


_RENAMED = {
    "duration_s": "durationS", "randomise_start_s": "randomiseStartS", "randomise_end_s": "randomiseEndS",
}  # fmt: skip


class Hold(msgspec.Struct, frozen=True, rename=_RENAMED, forbid_unknown_fields=True):
    """The input of ``hold``; see `gridspine.apps.api.command_ask.NewCommand`."""

    property: str
    value: float
    duration_s: float = 0.0
    until: str = ""
    priority: int = 0
    key: str = ""
    reason: str = ""
    steps: list[NewStep] = []
    randomise_start_s: float = 0.0
    randomise_end_s: float = 0.0


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The input of ``stop``."""

    reason: str = ""


@post(
    "/things/{thing_id:str}/actions/{name:str}",
    request_max_body_size=MAX_INPUT_BYTES,
    summary="Invoke an action of a Thing",
    tags=["things"],
)
async def invoke_action(
    request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name
) -> Response[ActionStatus]:
    """Begin an action; the answer, and `Location`, say where to ask how far it is."""
    thing, action = _invocable(node, request, thing_id, name)
    given = read_json(await request.body(), request.headers.get("content-type", ""))
    status = await _begin(node, thing, action, given, request.user.principal, origin(request.scope))
    return Response(status, status_code=201, headers={"Location": status.href})


async def invoke(node: Node, request: AnyRequest, thing_id: str, name: str, given: Any) -> ActionStatus:
    """Begin an action with the input ``given``, as ``request``'s caller; return how far it is."""
    thing, action = _invocable(node, request, thing_id, name)
    return await _begin(node, thing, action, given, request.user.principal, origin(request.scope))


@get("/things/{thing_id:str}/actions/{name:str}/{invocation:str}", summary="Ask how far an action is", tags=["things"])
async def query_action(
    request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name, invocation: InvocationId
) -> ActionStatus:
    """Return the status of an invocation; its output only to who may invoke the action."""
    thing = permitted_to(node, request.user, thing_id, "thing.read")
    action = _named(node, thing, name)
    found = _found(node, thing, action, invocation)
    return _shown(found, thing, name, origin(request.scope), whole=_may_invoke(node, request, thing, action))


@delete("/things/{thing_id:str}/actions/{name:str}/{invocation:str}", summary="Cancel an action", tags=["things"])
async def cancel_action(
    request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name, invocation: InvocationId
) -> None:
    """End an action before its time; 409: it is over already."""
    thing, action = _invocable(node, request, thing_id, name)
    found = _found(node, thing, action, invocation)
    if isinstance(found, Invocation):
        node.invocations.cancel(found)
    else:
        await node.commands.cancel(found.id, "cancelled by its operator")


@get("/things/{thing_id:str}/actions", summary="List the invocations of a Thing's actions", tags=["things"])
async def query_actions(request: AnyRequest, node: TheNode, thing_id: FromPath[str]) -> dict[str, list[ActionStatus]]:
    """Return the last invocations of each action, the newest first; outputs only to who may invoke it."""
    thing = permitted_to(node, request.user, thing_id, "thing.read")
    base, listed = origin(request.scope), {}
    for action in actions_of(node.things.model(thing), services_of(node, thing)):
        found, whole = _all(node, thing, action)[:LISTED], _may_invoke(node, request, thing, action)
        listed[action.name] = [_shown(one, thing, action.name, base, whole=whole) for one in found]
    return listed


def _invocable(node: Node, request: AnyRequest, thing_id: str, name: str) -> tuple[Thing, ActionModel]:
    """Return a Thing and its action that the caller may invoke: what maintains a Thing, who may manage it."""
    thing = writable(node, request.user, thing_id)
    action = _named(node, thing, name)
    if action.does == "maintain":
        node.authority.on_thing(request.user, "thing.manage", thing)
    return thing, action


def _may_invoke(node: Node, request: AnyRequest, thing: Thing, action: ActionModel) -> bool:
    """Whether the caller could have the output by asking for it: of a request it may tell of persons and secrets."""
    needed = ("thing.command", "thing.manage") if action.does == "maintain" else ("thing.command",)
    return not action.requested or all(node.authority.would_allow(request.user, one, thing) for one in needed)


async def _begin(node: Node, thing: Thing, action: ActionModel, given: Any, principal: str, base: str) -> ActionStatus:
    if action.does == "hold":
        command = await accepted(node, thing, _held(node, thing, action, given), principal)
        return _shown(command, thing, action.name, base)
    if action.does == "stop":
        reason = _converted(given or {}, Stop).reason[:500] or "stopped by its operator"
        work: Callable[[], Awaitable[Any]] = partial(_stop, node, thing, reason)
    elif action.requested:
        check_input(action, given)
        work = partial(node.adapters.requests.ask, thing.id, action, given, principal)
    else:
        if given not in (None, {}):
            raise Invalid(f"{action.name} takes no input")
        work = partial(_read_now, node, thing)
    return _shown(node.invocations.begin(thing.id, action.name, principal, work), thing, action.name, base)


def _held(node: Node, thing: Thing, action: ActionModel, given: Any) -> NewCommand:
    wanted = _converted(given if not action.point else {"property": action.point, "value": given}, Hold)
    lease = point_named(node, thing, wanted.property).lease
    usual_s = DEFAULT_LEASE_S if lease is None else min(DEFAULT_LEASE_S, lease.max_duration_s)
    duration_s = 0.0 if wanted.until else wanted.duration_s or usual_s
    return NewCommand(
        thing.id, wanted.property, wanted.value, until=wanted.until, duration_s=duration_s, priority=wanted.priority,
        key=wanted.key, reason=wanted.reason, steps=wanted.steps, randomise_start_s=wanted.randomise_start_s,
        randomise_end_s=wanted.randomise_end_s,
    )  # fmt: skip


async def _stop(node: Node, thing: Thing, reason: str) -> dict[str, int]:
    """End the set-points of a Thing, running or to come; limits are not its operator's to end."""
    ended = 0
    for command in node.commands.commander.commands(thing.id):
        if not command.final and command.lease.role == "setpoint":
            with contextlib.suppress(Conflict):  # it ended meanwhile
                await node.commands.cancel(command.id, reason)
                ended += 1
    return {"ended": ended}


async def _read_now(node: Node, thing: Thing) -> dict[str, Any]:
    """Let the device be read, and return its values as they are then."""
    await node.adapters.reads.read(thing.id)
    return plain_values(node, thing, wanted_names(node, thing, None))


def _named(node: Node, thing: Thing, name: str) -> ActionModel:
    actions = actions_of(node.things.model(thing), services_of(node, thing))
    found = next((action for action in actions if action.name == name), None)
    if found is None:
        known = ", ".join(action.name for action in actions) or "none"
        raise NotFound(f"{thing.title} has no action {name!r}; it has: {known}")
    return found


def _all(node: Node, thing: Thing, action: ActionModel) -> list[Invocation] | list[Command]:
    if action.does != "hold":
        return node.invocations.of(thing.id, action.name)
    commands = reversed(commands_of(node, thing))
    return [one for one in commands if action.point in {"", one.lease.point}]


def _found(node: Node, thing: Thing, action: ActionModel, invocation: str) -> Invocation | Command:
    if action.does != "hold":
        return node.invocations.get(thing.id, action.name, invocation)
    command = node.commands.commander.command(_URN + invocation)
    if not is_of(command, thing) or action.point not in {"", command.lease.point}:
        raise NotFound("there is no such invocation, or it was long ago")
    return command


def _shown(one: Invocation | Command, thing: Thing, name: str, base: str, *, whole: bool = True) -> ActionStatus:
    """Return how far something is; every command of a Thing can be followed as its ``hold``."""
    href = f"{thing_url(base, thing.id)}/actions/{name}/{one.id.removeprefix(_URN)}"
    if isinstance(one, Invocation):
        ended = format_rfc3339(one.ended_us) if one.ended_us else ""
        return ActionStatus(
            one.status, href, format_rfc3339(one.requested_us), ended, one.output if whole else None, one.error
        )
    status = _STATUS.get(one.state, "failed")
    last = one.changes[-1]
    output = {"command": one.id, "state": one.state, "reason": one.reason}
    error = Conflict(one.reason or f"the command was {one.state}").problem() if status == "failed" else None
    return ActionStatus(
        status,
        href,
        format_rfc3339(one.changes[0].at_us),
        format_rfc3339(last.at_us) if one.final else "",
        output,
        error,
    )


def _converted(given: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"the input does not fit the action's schema: {error}") from error
