"""Operating envelopes of sites: limits in intervals, and a default that holds outside of them."""

from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode, controls_of
from gridspine.apps.api.versioned import matching, tagged
from gridspine.energy.control import NOTHING, Control
from gridspine.energy.envelope import Envelope, EnvelopeInterval
from gridspine.kernel.time import format_rfc3339, parse_rfc3339

AnyRequest = Request[Any, Any, Any]


class IntervalOfEnvelope(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Limits ``from`` … ``until`` (RFC 3339); a limit that it leaves out is the default's."""

    from_: str = msgspec.field(name="from")
    until: str
    limits: Control


class NewEnvelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An envelope: ``default`` holds outside of ``intervals``, for as long as the envelope is there."""

    title: str
    default: Control = NOTHING
    intervals: tuple[IntervalOfEnvelope, ...] = ()


class EnvelopeView(NewEnvelope, frozen=True, kw_only=True, rename="camel"):
    """An envelope as it is kept."""

    id: str
    site: str
    created: str
    by: str
    version: int


@get("/sites/{site_id:str}/envelopes", summary="List envelopes", tags=["programmes"])
async def list_envelopes(request: AnyRequest, node: TheNode, site_id: FromPath[str]) -> list[EnvelopeView]:
    """List the operating envelopes of a site, the oldest first. They all hold: the tightest limit is the one."""
    return [_view(one) for one in controls_of(node, request).sites.envelopes(site_id)]


@post(
    "/sites/{site_id:str}/envelopes", summary="Set an envelope", tags=["programmes"],
    responses={201: ResponseSpec(EnvelopeView, generate_examples=False, description="The envelope")},
)  # fmt: skip
async def set_envelope(
    request: AnyRequest, node: TheNode, site_id: FromPath[str], data: JSONBody[NewEnvelope]
) -> Response[bytes]:
    """Set an operating envelope of a site. It reaches the Things behind it before this answers."""
    made = await controls_of(node, request).sites.set_envelope(site_id, _envelope(data))
    return tagged(_view(made), made.version, 201, f"/sites/{made.site}/envelopes/{made.id}")


@put(
    "/sites/{site_id:str}/envelopes/{envelope_id:str}", summary="Change an envelope", tags=["programmes"],
    responses={200: ResponseSpec(EnvelopeView, generate_examples=False, description="The envelope")},
)  # fmt: skip
async def change_envelope(
    request: AnyRequest, node: TheNode, site_id: FromPath[str], envelope_id: FromPath[str], data: JSONBody[NewEnvelope]
) -> Response[bytes]:
    """Replace an envelope; `If-Match` is heeded. What runs is clamped anew before this answers."""
    changed, match = _envelope(data, envelope_id), matching(request, "envelope")
    after = await controls_of(node, request).sites.set_envelope(site_id, changed, match=match)
    return tagged(_view(after), after.version)


@delete(
    "/sites/{site_id:str}/envelopes/{envelope_id:str}", status_code=204, summary="Lift an envelope", tags=["programmes"]
)
async def lift_envelope(
    request: AnyRequest, node: TheNode, site_id: FromPath[str], envelope_id: FromPath[str]
) -> None:  # fmt: skip
    """Forget an envelope: its limits end, what else limits the site holds."""
    match = matching(request, "envelope")
    await controls_of(node, request).sites.lift_envelope(site_id, envelope_id, match=match)


def _envelope(data: NewEnvelope, id: str = "") -> Envelope:
    intervals = (
        EnvelopeInterval(parse_rfc3339(one.from_), parse_rfc3339(one.until), one.limits) for one in data.intervals
    )
    return Envelope(
        id=id, site="", organisation="", title=data.title, default=data.default, intervals=tuple(intervals),
    )  # fmt: skip


def _view(one: Envelope) -> EnvelopeView:
    intervals = (
        IntervalOfEnvelope(format_rfc3339(part.from_us), format_rfc3339(part.until_us), part.limits)
        for part in one.intervals
    )
    return EnvelopeView(
        id=one.id, site=one.site, title=one.title, default=one.default, intervals=tuple(intervals), by=one.by,
        created=format_rfc3339(one.created_us), version=one.version,
    )  # fmt: skip
