"""Several properties written at once: leases in one order, all of them or none.

::

    PUT /things/{id}/values    {"a": 1.0, "b": 2.0}    204 (202: to be approved), Location: the Thing's commands

All are judged in the turn in which they are kept: what comes between keeps all from it, or none. Sources: W3C WoT Thing
Description 1.1, operations writemultipleproperties and writeallproperties (the body is an object by the names of
properties); as in `gridspine.apps.api.interaction`.
"""

from typing import Annotated, Any
from urllib.parse import quote

from litestar import Response, put
from litestar.params import FromPath, Parameter, QueryParameter

from gridspine.apps.api.command_ask import MAX_KEY, MAX_REASON, NewCommand, ask_for
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.interaction import (
    MAX_NAME_CHARS,
    REFUSED,
    AnyRequest,
    check_duration,
    leased,
    number_of,
    read_json,
    writable,
)
from gridspine.apps.node.node import Node
from gridspine.infra.runtime.clock import new_urn
from gridspine.kernel.errors import Conflict, GridspineError, Invalid
from gridspine.things.command import Command
from gridspine.things.directory import Thing

MAX_VALUES_BYTES = 65_536
_MAX_SHARED_KEY = MAX_KEY - MAX_NAME_CHARS - 1
"""Characters of a key that several commands share: each adds the name of its property."""


@put(
    "/things/{thing_id:str}/values",
    status_code=204,
    request_max_body_size=MAX_VALUES_BYTES,
    summary="Write several properties: ask for leases",
    tags=["things"],
)
async def write_values(
    request: AnyRequest,
    node: TheNode,
    thing_id: FromPath[str],
    duration_s: Annotated[float, QueryParameter(name="durationS")] = 0.0,
    priority: Annotated[int, Parameter(ge=-1_000_000, le=1_000_000)] = 0,
    key: Annotated[str, Parameter(max_length=_MAX_SHARED_KEY)] = "",
    reason: Annotated[str, Parameter(max_length=MAX_REASON)] = "",
) -> Response[None]:
    """Let the device hold the values of the body, an object by name, for `durationS` seconds: all of them, or none.

    Each is a command of one order; 400 and 409 name the property that stands in the way. 202: a second person must
    approve.
    """
    thing = writable(node, request.user, thing_id)
    check_duration(duration_s)
    given = read_json(await request.body(), request.headers.get("content-type", ""))
    if not isinstance(given, dict) or not given:
        raise Invalid("the body must be an object of values by the names of properties, one at least")
    wanted = [
        _asked(node, thing, str(name), value, duration_s, priority, key, reason) for name, value in given.items()
    ]  # fmt: skip
    commands = await _accepted_all(node, thing, wanted, request.user.principal)
    waits = any(command.state == "awaiting-approval" for command in commands)
    return Response(None, status_code=202 if waits else 204, headers={"Location": f"/commands?thing={quote(thing.id)}"})


def _asked(
    node: Node, thing: Thing, name: str, value: Any, duration_s: float, priority: int, key: str, reason: str
) -> NewCommand:
    """Return what writing one of several properties asks for; raise `Invalid` naming the property."""
    try:
        own_key = f"{key}/{name}" if key else ""
        return leased(node, thing, name, number_of(value), duration_s, priority, own_key, reason)
    except GridspineError as error:
        wrong = {"field": name[:MAX_NAME_CHARS], "description": error.detail}
        raise Invalid(f"{wrong['field']}: {error.detail}", errors=[wrong]) from error


async def _accepted_all(node: Node, thing: Thing, wanted: list[NewCommand], principal: str) -> list[Command]:
    """Return the commands that were asked for in one order; when one would be refused, raise, and none is kept."""
    batch = new_urn(node.clock)
    asks = [ask_for(node, thing, one, principal, batch) for one in wanted]
    commands = await node.commands.request_all(asks, whole=True)
    for one in commands:  # asked before by the same key, and come to nothing since
        if one.state in REFUSED:
            raise Conflict(f"{one.lease.point}: {one.reason or one.state}")
    return commands
