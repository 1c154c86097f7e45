"""The life of a Thing: where it stands, and its next step."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.ids import MAX_ID_LENGTH
from gridspine.kernel.time import format_rfc3339
from gridspine.things.lifecycle import STATES, Lifecycle, State


class LifeStepView(msgspec.Struct, frozen=True):
    """A step: ``event`` is the id of its receipt in the ledger ("" for what was told before lives were kept)."""

    to: str
    at: str
    by: str
    why: str
    evidence: list[str]
    event: str


class LifecycleView(msgspec.Struct, frozen=True):
    """Where a Thing stands, how it came there, and what may follow; ``resumes`` is where it goes on after a pause."""

    thing: str
    state: str
    resumes: str | None
    steps: list[LifeStepView]
    omitted: int


class StandingView(msgspec.Struct, frozen=True):
    """How a Thing stands."""

    thing: str
    title: str
    state: str


class NewLifeStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step to take: ``to`` a state, or *resumed*; ``why``; ``evidence`` names what shows it (a report, a photo)."""

    to: str
    why: str
    evidence: tuple[str, ...] = ()


@get("/lives", summary="Things that are not plainly commissioned", tags=["lifecycle"])
async def list_lives(
    request: Request[Any, Any, Any],
    node: TheNode,
    states: Annotated[str, Parameter(max_length=100)] = "",
    after: Annotated[str, Parameter(max_length=MAX_ID_LENGTH)] = "",
    limit: Annotated[int, Parameter(ge=1, le=5_000)] = 1_000,
) -> list[StandingView]:
    """List what waits to be provisioned or commissioned, is suspended, quarantined or retired: of the own organisation.

    ``states`` narrows to some of them, separated by commas; where ``limit`` came, ask for those ``after`` the last.
    """
    caller = request.user
    node.authority.on_own(caller, "thing.read")
    wanted = [state for state in states.split(",") if state]
    if any(state not in STATES for state in wanted):
        raise Invalid(f"states: are some of {', '.join(STATES)}")
    found = await node.lives.lifecycles.unusual(caller.organisation, states=wanted, after=after, limit=limit)
    return [StandingView(one.thing, _title(node, one.thing), one.state) for one in found]


@get("/things/{thing_id:str}/lifecycle", summary="Where a Thing stands in its life", tags=["lifecycle"])
async def read_lifecycle(request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> LifecycleView:
    """Return a Thing's state and the steps that led there, each with who, why, when and upon what evidence."""
    thing = permitted(node, request, thing_id, "thing.read")
    return lifecycle_view(await node.lives.lifecycles.of(thing), thing.owned_since_us)


@post("/things/{thing_id:str}/lifecycle", status_code=200, summary="Take a step in a Thing's life", tags=["lifecycle"])
async def take_step(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[NewLifeStep]
) -> LifecycleView:
    """Commission, suspend, quarantine, resume or retire a Thing; the step is in the ledger when this has answered."""
    thing = permitted(node, request, thing_id, "thing.manage")
    by = request.user.principal
    if data.to == "resumed":
        life = await node.lives.lifecycles.resume(thing, by=by, why=data.why, evidence=data.evidence)
    else:
        life = await node.lives.move(thing, _state(data.to), by=by, why=data.why, evidence=data.evidence)
    return lifecycle_view(life, thing.owned_since_us)


def _title(node: Node, thing: str) -> str:
    try:
        return node.things.get(thing).title
    except NotFound:
        return ""


def lifecycle_view(life: Lifecycle, since_us: int = 0) -> LifecycleView:
    """Return a life as it is shown to whose the Thing is since ``since_us`` [µs since 1970]: its own part of it."""
    steps = [
        LifeStepView(one.to, format_rfc3339(one.at_us), one.by, one.why, list(one.evidence), one.event)
        for one in life.steps
        if one.at_us >= since_us
    ]
    return LifecycleView(
        life.thing, life.state, life.before if life.paused else None, steps, 0 if since_us else life.omitted
    )


def _state(text: str) -> State:
    for state in STATES:
        if state == text and state not in {"announced", "described", "provisioned"}:
            return state
    raise Invalid("to: is commissioned, suspended, quarantined, resumed or retired; the others follow by themselves")
