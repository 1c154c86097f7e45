"""``POST /things/batch``: many Things registered in one request, with an answer for each."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.params import JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import NewThing, may_connect
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Forbidden, GridspineError, Invalid, NotFound, Overloaded, TooLarge
from gridspine.things.directory import MAX_AT_ONCE, Thing

_NO_CONNECTION = "connection: your organisation may not say where the node connects to"


class RefusedThing(msgspec.Struct, frozen=True, rename="camel"):
    """Why one Thing of a batch was not registered: its place in what was sent, a stable ``reason``, words."""

    index: int
    reason: str
    detail: str
    id: str = ""


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a batch: ``received = registered + refused``.

    ``ids`` has the id of each Thing in the order they were sent, null where it was refused.
    """

    received: int
    registered: int
    refused: int
    ids: list[str | None]
    problems: list[RefusedThing]


@post("/things/batch", status_code=200, summary="Register many Things", tags=["things"])
async def register_things(
    request: Request[Any, Any, Any], node: TheNode, data: JSONBody[list[dict[str, Any]]]
) -> Registration:
    """Register up to 10,000 Things of the caller's organisation; one that is refused does not stop the others.

    When this has answered, the registered ones are durable and their points may report. Those that are more than the
    organisation may have (``quotas.things``) are refused, each as ``overloaded``.
    """
    if len(data) > MAX_AT_ONCE:
        raise TooLarge(f"at most {MAX_AT_ONCE} Things at once: send several smaller requests")
    caller = request.user
    node.authority.on_own(caller, "thing.register")
    asked = [_read(fields, caller.organisation) for fields in data]
    if any(isinstance(one, Thing) and one.connection for one in asked) and not may_connect(node, caller):
        asked = [Forbidden(_NO_CONNECTION) if isinstance(one, Thing) and one.connection else one for one in asked]
    asked = _within_quota(node, caller.organisation, asked)
    good = [one for one in asked if isinstance(one, Thing)]
    became = iter(await node.things.register_all(good, actor=caller.principal))
    return _answer([next(became) if isinstance(one, Thing) else one for one in asked], data)


def _read(fields: dict[str, Any], organisation: str) -> Thing | GridspineError:
    try:
        new = msgspec.convert(fields, NewThing)
    except msgspec.ValidationError as error:
        return Invalid(str(error))
    return Thing(
        new.id, organisation, new.title, new.model,
        adapter=new.adapter, connection=new.connection, devices=new.devices,
    )  # fmt: skip


def _within_quota(node: Node, organisation: str, asked: list[Thing | GridspineError]) -> list[Thing | GridspineError]:
    """Refuse those beyond the quota; ids that are known already take no room, for they are refused in any case."""
    present = node.things.count(organisation)
    over: Overloaded | None = None
    within: list[Thing | GridspineError] = []
    for one in asked:
        if not isinstance(one, Thing) or (one.id and _known(node, one.id)):
            within.append(one)
            continue
        if over is None:  # once it is met, it is not asked again: it counts requests
            over = _met(node, present)
        present += 1
        within.append(over or one)
    return within


def _met(node: Node, present: int) -> Overloaded | None:
    try:
        node.quotas.things(present)
    except Overloaded as error:
        return error
    return None


def _known(node: Node, id: str) -> bool:
    try:
        node.things.get(id)
    except NotFound:
        return False
    return True


def _answer(outcomes: list[Thing | GridspineError], sent: list[dict[str, Any]]) -> Registration:
    problems = [
        RefusedThing(at, one.code, one.detail, str(sent[at].get("id", ""))[:256])
        for at, one in enumerate(outcomes)
        if isinstance(one, GridspineError)
    ]
    ids = [one.id if isinstance(one, Thing) else None for one in outcomes]
    return Registration(len(sent), len(sent) - len(problems), len(problems), ids, problems)
