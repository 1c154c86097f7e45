"""Enrolments in programmes: asked for by an owner, decided by who runs the programme; opting out and in.

::

    GET  /programmes/{id}/enrolments · POST …/enrolments             the owner of a site or Thing asks, and so consents
    POST …/enrolments/{enrolment}/decision                           who runs the programme: admit, refuse, aim, end
    POST …/enrolments/{enrolment}/withdraw                           the owner, at any time
    POST …/enrolments/{enrolment}/opt-out · …/opt-in                 of an event, or of a time
"""

from typing import Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode, controls_of
from gridspine.apps.api.versioned import MAX_PAGE, Limit, Offset, rfc3339, time_us
from gridspine.apps.node.node import Node
from gridspine.energy.programme_enrolment import ProgrammeEnrolment, State
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import format_rfc3339, parse_rfc3339

AnyRequest = Request[Any, Any, Any]


class NewProgrammeEnrolment(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Enrol ``site`` or ``thing`` (one of them) ``from`` (now) … ``until`` (RFC 3339).

    ``modes`` are what it may command there: all that the programme has when none are named. ``authority``: an
    *aggregator* gives way to the owner's own commands, a *network* does not.
    """

    until: str
    from_: str = msgspec.field(default="", name="from")
    site: str = ""
    thing: str = ""
    modes: tuple[str, ...] = ()
    authority: Literal["aggregator", "network"] = "aggregator"


class EnrolmentDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*admit*, *refuse*, *end*, or *aim*: know it by other ``targets`` from now on. Admitting takes targets, too."""

    decision: Literal["admit", "refuse", "end", "aim"]
    targets: tuple[str, ...] | None = None
    reason: str = ""


class Leave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: str = ""


class NewOptOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Not to take part in ``event``; or, without one, in any ``from`` (now) … ``until`` (RFC 3339)."""

    event: str = ""
    from_: str = msgspec.field(default="", name="from")
    until: str = ""
    reason: str = ""


class OptIn(msgspec.Struct, frozen=True, kw_only=True, rename={"opt_out": "optOut"}, forbid_unknown_fields=True):
    """Take an opt-out back: by its id, or that of ``event``."""

    opt_out: str = ""
    event: str = ""


class OptOutView(msgspec.Struct, frozen=True, kw_only=True):
    """An opt-out that stands."""

    id: str
    event: str
    from_: str = msgspec.field(name="from")
    until: str
    reason: str
    by: str
    at: str


class ProgrammeEnrolmentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An enrolment; ``over``: whether its end has passed."""

    id: str
    programme: str
    organisation: str
    kind: Literal["site", "thing"]
    subject: str
    from_: str = msgspec.field(name="from")
    until: str
    modes: tuple[str, ...]
    authority: Literal["aggregator", "network"]
    targets: tuple[str, ...]
    state: State
    over: bool
    opt_outs: list[OptOutView]
    asked_by: str
    asked: str
    decided_by: str
    decided: str | None
    reason: str


@get("/programmes/{programme_id:str}/enrolments", summary="List enrolments", tags=["programmes"])
async def list_enrolments(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], limit: Limit = MAX_PAGE, offset: Offset = 0
) -> list[ProgrammeEnrolmentView]:
    """List who takes part in an own programme, or which of the own sites and Things take part in another's."""
    seen = controls_of(node, request).enrolments.all(programme_id)
    return [_view(node, one) for one in seen[offset : offset + limit]]


@post("/programmes/{programme_id:str}/enrolments", summary="Enrol in a programme", tags=["programmes"])
async def ask_enrolment(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], data: JSONBody[NewProgrammeEnrolment]
) -> ProgrammeEnrolmentView:
    """Enrol a site or Thing of the caller's organisation: who asks consents. In an own programme it stands at once."""
    if bool(data.site) == bool(data.thing):
        raise Invalid("site, thing: name one of them")
    now_us = node.clock.now_us()
    wanted = ProgrammeEnrolment(
        id="", programme=programme_id, owner="", organisation=request.user.organisation,
        subject=data.site or data.thing, kind="site" if data.site else "thing",
        from_us=time_us(data.from_, now_us), until_us=parse_rfc3339(data.until), modes=data.modes,
        authority=data.authority,
    )  # fmt: skip
    return _view(node, await controls_of(node, request).enrolments.ask(wanted))


@post(
    "/programmes/{programme_id:str}/enrolments/{enrolment_id:str}/decision", status_code=200,
    summary="Decide on an enrolment", tags=["programmes"],
)  # fmt: skip
async def decide_enrolment(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], enrolment_id: FromPath[str],
    data: JSONBody[EnrolmentDecision],
) -> ProgrammeEnrolmentView:  # fmt: skip
    """Admit, refuse or end an enrolment in an own programme, or aim it; what it commanded ends before this answers."""
    enrolments, id_ = controls_of(node, request).enrolments, (programme_id, enrolment_id)
    if data.decision == "aim":
        return _view(node, await enrolments.aim(*id_, data.targets or ()))
    return _view(node, await enrolments.decide(*id_, data.decision, data.reason, data.targets))


@post(
    "/programmes/{programme_id:str}/enrolments/{enrolment_id:str}/withdraw", status_code=200,
    summary="Withdraw from a programme", tags=["programmes"],
)  # fmt: skip
async def withdraw_enrolment(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], enrolment_id: FromPath[str],
    data: JSONBody[Leave | None] = None,
) -> ProgrammeEnrolmentView:  # fmt: skip
    """Take an own site or Thing out of a programme: its leases end before this answers."""
    enrolments, reason = controls_of(node, request).enrolments, data.reason if data else ""
    return _view(node, await enrolments.decide(programme_id, enrolment_id, "withdraw", reason))


@post(
    "/programmes/{programme_id:str}/enrolments/{enrolment_id:str}/opt-out", status_code=200, summary="Opt out",
    tags=["programmes"],
)  # fmt: skip
async def opt_out(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], enrolment_id: FromPath[str],
    data: JSONBody[NewOptOut],
) -> ProgrammeEnrolmentView:  # fmt: skip
    """Let an own site or Thing not take part in an event, or in a time; leases that came of it end at once."""
    if not data.event and not data.until:
        raise Invalid("until: say until when, or name an event")
    times = {"from_us": time_us(data.from_, 0), "until_us": time_us(data.until, 0)}
    enrolments = controls_of(node, request).enrolments
    return _view(node, await enrolments.opt_out(programme_id, enrolment_id, data.reason, event=data.event, **times))


@post(
    "/programmes/{programme_id:str}/enrolments/{enrolment_id:str}/opt-in", status_code=200, summary="Opt in again",
    tags=["programmes"],
)  # fmt: skip
async def opt_in(
    request: AnyRequest, node: TheNode, programme_id: FromPath[str], enrolment_id: FromPath[str], data: JSONBody[OptIn]
) -> ProgrammeEnrolmentView:
    """Take an opt-out back; what is left of events is commanded again."""
    enrolments = controls_of(node, request).enrolments
    return _view(node, await enrolments.opt_in(programme_id, enrolment_id, opt=data.opt_out, event=data.event))


def _view(node: Node, one: ProgrammeEnrolment) -> ProgrammeEnrolmentView:
    opts = [
        OptOutView(
            id=opt.id, event=opt.event, from_=format_rfc3339(opt.from_us), until=format_rfc3339(opt.until_us),
            reason=opt.reason, by=opt.by, at=format_rfc3339(opt.at_us),
        )
        for opt in one.opt_outs
    ]  # fmt: skip
    return ProgrammeEnrolmentView(
        id=one.id, programme=one.programme, organisation=one.organisation, kind=one.kind, subject=one.subject,
        from_=format_rfc3339(one.from_us), until=format_rfc3339(one.until_us), modes=one.modes, targets=one.targets,
        authority=one.authority, state=one.state, over=one.until_us <= node.clock.now_us(), opt_outs=opts,
        asked_by=one.asked_by, asked=format_rfc3339(one.asked_us), decided_by=one.decided_by,
        decided=rfc3339(one.decided_us), reason=one.reason,
    )  # fmt: skip
