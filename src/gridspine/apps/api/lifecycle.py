"""The life of a Thing: where it stands, its next step, the exchange of its meter."""

import asyncio
from typing import Annotated, Any

import msgspec
import numpy as np
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import MAX_NAME_CHARS, permitted
from gridspine.apps.node.node import Node
from gridspine.apps.node.witness import accepted
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.ids import MAX_ID_LENGTH
from gridspine.kernel.time import format_rfc3339, parse_rfc3339
from gridspine.things.lifecycle import STATES, Lifecycle, State
from gridspine.things.meter_exchange import Exchange, of_register, used


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


class NewExchange(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A meter was exchanged ``at`` (RFC 3339): serials, and for each register the old meter's ``final`` reading and the
    new one's ``first``, by the point's name, in the point's unit.
    """

    at: str
    old_serial: str
    new_serial: str
    final: dict[str, float]
    first: dict[str, float]
    why: str


class ExchangeView(msgspec.Struct, frozen=True, rename="camel"):
    """An exchange of a meter."""

    at: str
    old_serial: str
    new_serial: str
    final: dict[str, float]
    first: dict[str, float]
    by: str
    why: str
    event: str


class UsedView(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What a register counted between its first and last reading seen: ``amount`` [``unit``], across ``exchanges`` and
    ``rollovers``; ``unexplained`` falls are counted as nothing. ``cut``: older readings have left the log.
    """

    name: str
    unit: str
    amount: float
    from_: str | None
    until: str | None
    readings: int
    rollovers: int
    exchanges: int
    unexplained: int
    cut: bool


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


@get("/things/{thing_id:str}/meter-exchanges", summary="List exchanges of a meter", tags=["lifecycle"])
async def list_exchanges(request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> list[ExchangeView]:
    """List when a Thing's meter was exchanged, the oldest first."""
    thing = permitted(node, request, thing_id, "thing.read")
    return [_exchange_view(one) for one in (await node.lives.exchanges(thing)).list]


@post("/things/{thing_id:str}/meter-exchanges", summary="Note the exchange of a meter", tags=["lifecycle"])
async def exchange_meter(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], data: JSONBody[NewExchange]
) -> ExchangeView:
    """Keep both meters' readings: sums go on across the exchange, and no energy seems to flow back."""
    thing = permitted(node, request, thing_id, "thing.manage")
    exchange = Exchange(
        at_us=parse_rfc3339(data.at), old_serial=data.old_serial, new_serial=data.new_serial, final=data.final,
        first=data.first, by=request.user.principal, why=data.why,
    )  # fmt: skip
    return _exchange_view(await node.lives.exchange_meter(thing, exchange))


@get("/things/{thing_id:str}/registers/{name:str}/used", summary="What a register counted", tags=["lifecycle"])
async def read_used(
    request: Request[Any, Any, Any],
    node: TheNode,
    thing_id: FromPath[str],
    name: Annotated[str, Parameter(max_length=MAX_NAME_CHARS)],
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
) -> UsedView:
    """Sum what a register counted by the readings the log still holds, across exchanges and roll-overs."""
    thing = permitted(node, request, thing_id, "thing.read")
    points = node.things.model(thing).points
    at = next((place for place, point in enumerate(points) if point.name == name), None)
    if at is None or points[at].reading_type.kind != "register":
        raise NotFound(f"{thing.title} has no register {name!r}")
    now_us = node.clock.now_us()
    since_us = parse_rfc3339(since) if since else now_us - 86_400_000_000
    until_us = parse_rfc3339(until) if until else now_us
    async with node.examinations.turn():
        seen, cut = await asyncio.to_thread(accepted, node.log, thing.organisation, [thing.first + at], since_us)
    exchanges = of_register((await node.lives.exchanges(thing)).list, name)
    return _used_view(points[at], seen.get(thing.first + at), exchanges, (since_us, until_us), cut=cut)


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


def _exchange_view(one: Exchange) -> ExchangeView:
    return ExchangeView(
        format_rfc3339(one.at_us), one.old_serial, one.new_serial, one.final, one.first, one.by, one.why, one.event
    )


def _used_view(point: Any, seen: Any, exchanges: Any, window: tuple[int, int], *, cut: bool) -> UsedView:
    observed_us, _, value = (np.zeros(0, np.int64), None, np.zeros(0)) if seen is None else seen.columns()
    inside = (observed_us >= window[0]) & (observed_us < window[1]) & np.isfinite(value)
    order = np.argsort(observed_us[inside], kind="stable")
    observed_us, value = observed_us[inside][order], value[inside][order]
    found = used(observed_us, value, exchanges, point.reading_type.rollover)
    ends = [format_rfc3339(int(observed_us[at])) for at in (0, -1)] if len(value) else [None, None]
    return UsedView(
        point.name, point.reading_type.unit, found.amount, ends[0], ends[1], len(value), found.rollovers,
        found.exchanges, found.unexplained, cut,
    )  # fmt: skip
