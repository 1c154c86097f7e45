"""Events of programmes: published, read by those they are for, cancelled; what became of them.

::

    GET  /programmes/{id}/events · POST …/events          own ones; for who takes part, those that are for it
    GET  …/events/{event}
    POST …/events/{event}/cancel                          its leases end before this answers
    GET  …/events/{event}/responses                       who takes part, what is superseded, which commands came of it
"""

import asyncio
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody

from gridspine.apps.api.dependency import TheNode, controls_of
from gridspine.apps.api.versioned import PAGE, Limit, Offset, rfc3339, tagged
from gridspine.apps.node.control_plan import Holder
from gridspine.apps.node.node import Node
from gridspine.energy.control import NOTHING, Control
from gridspine.energy.programme import Programme
from gridspine.energy.programme_enrolment import ProgrammeEnrolment
from gridspine.energy.programme_event import EventInterval, ProgrammeEvent, Signal, Status
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339
from gridspine.things.command import State

AnyRequest = Request[Any, Any, Any]


class IntervalOfEvent(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What holds ``from`` … ``until`` (RFC 3339): signals are to be known, a control is to be done.

    Without ``until`` it lasts as long as the programme's ``intervalS`` says.
    """

    from_: str = msgspec.field(name="from")
    until: str = ""
    signals: tuple[Signal, ...] = ()
    control: Control = NOTHING


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An event. ``priority``: the lower wins among programmes of one primacy. ``targets``: of which one is needed.

    ``randomise_start_s`` and ``randomise_duration_s`` [s] let each begin so much later, and end so much sooner, by
    chance; with ``randomise_keeps_length`` who begins later ends as much later, by ``until`` at the latest: it lasts
    ``randomise_start_s`` [s] less than from ``from`` to ``until``. ``supersedes`` is an event of the programme that is
    cancelled in the same moment.
    """

    title: str
    intervals: tuple[IntervalOfEvent, ...]
    priority: int = 0
    targets: tuple[str, ...] = ()
    randomise_start_s: float = 0.0
    randomise_duration_s: float = 0.0
    randomise_keeps_length: bool = False
    supersedes: str = ""


class EventView(NewEvent, frozen=True, kw_only=True, rename="camel"):
    """An event as it is kept; ``commands``: whether anything in it is to be done, and not only known."""

    id: str
    programme: str
    status: Status
    commands: bool
    created: str
    cancelled: str | None
    reason: str
    version: int


class Cancel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: str = ""


class CommandOfEvent(msgspec.Struct, frozen=True, rename="camel"):
    """A command that was in force for an event: of which Thing and point, and how far it got."""

    id: str
    thing: str
    point: str
    state: State
    reason: str


class ResponseView(msgspec.Struct, frozen=True, rename="camel"):
    """What became of an event for one who takes part: ``held_s`` [s] of the ``asked_s`` [s] it holds, or will.

    Only the time counts in which it is enrolled; the rest of that is superseded, or opted out of.
    """

    enrolment: str
    organisation: str
    subject: str
    state: Literal["holds", "partly", "superseded", "opted-out", "informed", "cancelled"]
    held_s: float
    asked_s: float
    commands: list[CommandOfEvent]


@get("/programmes/{programme_id:str}/events", summary="List events of a programme", tags=["programmes"])
async def list_programme_events(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str],
    limit: Limit = PAGE, offset: Offset = 0,
    target: FromQuery[str] = "",
) -> list[EventView]:  # fmt: skip
    """List the events of a programme, the newest first: all of an own one, else those that are for the caller's."""
    known = controls_of(node, request).programmes.events(programme_id)
    seen = [one for one in known if not target or target in one.targets]
    return [_view(node, one) for one in seen[offset : offset + limit]]


@post(
    "/programmes/{programme_id:str}/events", summary="Publish an event", tags=["programmes"],
    responses={201: ResponseSpec(EventView, generate_examples=False, description="The event")},
)  # fmt: skip
async def publish_event(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], data: JSONBody[NewEvent]
) -> Response[bytes]:
    """Publish an event of an own programme. What it commands within a day is asked for before this answers."""
    programmes = controls_of(node, request).programmes
    made = await programmes.publish(_event(programmes.own(programme_id), data))
    location = f"/programmes/{made.programme}/events/{made.id}"
    return tagged(_view(node, made), made.version, 201, location)


@get(
    "/programmes/{programme_id:str}/events/{programme_event_id:str}", summary="Read one event", tags=["programmes"],
    responses={200: ResponseSpec(EventView, generate_examples=False, description="The event")},
)  # fmt: skip
async def read_programme_event(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], programme_event_id: FromPath[str]
) -> Response[bytes]:
    """Return an event of an own programme, or one that is for the caller's organisation."""
    found = controls_of(node, request).programmes.event(programme_id, programme_event_id)
    return tagged(_view(node, found), found.version)


@post(
    "/programmes/{programme_id:str}/events/{programme_event_id:str}/cancel", status_code=200,
    summary="Cancel an event", tags=["programmes"],
)  # fmt: skip
async def cancel_event(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], programme_event_id: FromPath[str],
    data: JSONBody[Cancel | None] = None,
) -> EventView:  # fmt: skip
    """Cancel an event: its leases end before this answers. 409 where it is over."""
    programmes, reason = controls_of(node, request).programmes, data.reason if data else ""
    return _view(node, await programmes.cancel(programme_id, programme_event_id, reason))


@get(
    "/programmes/{programme_id:str}/events/{programme_event_id:str}/responses",
    summary="What became of an event", tags=["programmes"],
)  # fmt: skip
async def list_responses(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], programme_event_id: FromPath[str],
    limit: Limit = PAGE, offset: Offset = 0,
) -> list[ResponseView]:  # fmt: skip
    """Say for each that an event is for whether it holds there, and which commands came of it.

    The programme's organisation sees everybody, and commands of its own Things only; others see their own.
    """
    programme = controls_of(node, request).programmes.get(programme_id)
    event = node.controls.programmes.event(programme.id, programme_event_id)
    organisation = request.user.organisation
    seen = [
        one for one in node.controls.enrolments.seen(programme, organisation)
        if event.aimed_at(one.words) and (one.state == "active" or one.decided_us > event.from_us)
    ]  # fmt: skip
    if not seen and programme.organisation != organisation:
        raise NotFound("there is no such event")
    found = []
    for one in seen[offset : offset + limit]:
        found.append(_response(node, event, one, organisation))
        await asyncio.sleep(0)  # others are served between them: each may have many intervals to look through
    return found


def _response(node: Node, event: ProgrammeEvent, enrolment: ProgrammeEnrolment, organisation: str) -> ResponseView:
    holder = Holder(enrolment.kind, enrolment.subject)
    stretches = node.controls.plan.held(holder, event.from_us, event.until_us + 3600 * US, past=True)
    held_us = sum(
        one.until_us - one.from_us
        for one in stretches
        if any(claim.by == event.id for claim in one.held.values())
    )  # fmt: skip
    asked_us = sum(
        max(0, min(one.until_us, enrolment.until_us) - max(one.from_us, enrolment.from_us))
        for one in event.intervals
        if one.control.modes
    )
    state: Any = "partly"
    if event.cancelled_us:
        state = "cancelled"
    elif not list(enrolment.takes_part(event.id, event.from_us, event.until_us)):
        state = "opted-out"
    elif not held_us:
        state = "superseded" if event.commands else "informed"
    chance_us = round((event.randomise_start_s + event.randomise_duration_s) * US) * len(event.intervals)
    if state == "partly" and held_us >= asked_us - chance_us:
        state = "holds"
    mine = node.controls.desk.commands_of(holder) if enrolment.organisation == organisation else []
    commands = [
        CommandOfEvent(one.id, one.lease.thing, one.lease.point, one.state, one.reason)
        for one in mine
        if one.lease.principal == f"programme:{event.programme}"
        and one.lease.from_us < event.until_us and one.lease.until_us > event.from_us
    ]  # fmt: skip
    return ResponseView(
        enrolment.id, enrolment.organisation, enrolment.subject, state, held_us / US, asked_us / US, commands
    )


def _event(programme: Programme, data: NewEvent) -> ProgrammeEvent:
    intervals = []
    for at, one in enumerate(data.intervals):
        from_us = parse_rfc3339(one.from_)
        if not one.until and not programme.interval_s:
            raise Invalid(f"intervals[{at}].until: say until when: the programme has no intervalS")
        until_us = parse_rfc3339(one.until) if one.until else from_us + programme.interval_s * US
        intervals.append(EventInterval(from_us, until_us, one.signals, one.control))
    return ProgrammeEvent(
        id="", programme=programme.id, organisation=programme.organisation, title=data.title,
        intervals=tuple(intervals), priority=data.priority, targets=data.targets,
        randomise_start_s=data.randomise_start_s, randomise_duration_s=data.randomise_duration_s,
        randomise_keeps_length=data.randomise_keeps_length, supersedes=data.supersedes,
    )  # fmt: skip


def _view(node: Node, one: ProgrammeEvent) -> EventView:
    intervals = (
        IntervalOfEvent(format_rfc3339(part.from_us), format_rfc3339(part.until_us), part.signals, part.control)
        for part in one.intervals
    )
    return EventView(
        id=one.id, programme=one.programme, title=one.title, intervals=tuple(intervals), priority=one.priority,
        targets=one.targets, randomise_start_s=one.randomise_start_s, randomise_duration_s=one.randomise_duration_s,
        randomise_keeps_length=one.randomise_keeps_length, supersedes=one.supersedes,
        status=one.status(node.clock.now_us()), commands=one.commands,
        created=format_rfc3339(one.created_us), cancelled=rfc3339(one.cancelled_us), reason=one.reason,
        version=one.version,
    )  # fmt: skip
