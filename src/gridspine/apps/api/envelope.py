"""Operating envelopes of sites: limits in intervals, and a default that holds outside of them."""

from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.site import known_site
from gridspine.apps.api.versioned import check_match, tagged
from gridspine.apps.node.book import with_changer
from gridspine.apps.node.control_plan import Holder
from gridspine.energy.control import NOTHING, Control
from gridspine.energy.envelope import Envelope, EnvelopeInterval
from gridspine.energy.site import Site
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
    site = known_site(node, request, site_id, "site.read")
    return [_view(one) for one in node.controls.sites.envelopes(site.id)]


@post(
    "/sites/{site_id:str}/envelopes", summary="Set an envelope", tags=["programmes"],
    responses={201: ResponseSpec(EnvelopeView, generate_examples=False, description="The envelope")},
)  # fmt: skip
async def set_envelope(
    request: AnyRequest, node: TheNode, site_id: FromPath[str], data: JSONBody[NewEnvelope]
) -> Response[bytes]:
    """Set an operating envelope of a site. It reaches the Things behind it before this answers."""
    site = known_site(node, request, site_id, "site.manage")
    made = await node.controls.sites.set(_envelope(site, data), request.user.principal)
    await node.controls.desk.look([Holder("site", site.id)])
    return tagged(_view(made), made.version, 201, f"/sites/{site.id}/envelopes/{made.id}")


@put(
    "/sites/{site_id:str}/envelopes/{envelope_id:str}", summary="Change an envelope", tags=["programmes"],
    responses={200: ResponseSpec(EnvelopeView, generate_examples=False, description="The envelope")},
)  # fmt: skip
async def change_envelope(
    request: AnyRequest, node: TheNode, site_id: FromPath[str], envelope_id: FromPath[str], data: JSONBody[NewEnvelope]
) -> Response[bytes]:
    """Replace an envelope; `If-Match` is heeded. What runs is clamped anew before this answers."""
    site = known_site(node, request, site_id, "site.manage")
    before = node.controls.sites.envelope(site.id, envelope_id)
    check_match(request, before.version, "envelope")
    changed = msgspec.structs.replace(
        _envelope(site, data), id=before.id, created_us=before.created_us, by=before.by,
        changers=with_changer(before.changers, request.user.principal),
    )  # fmt: skip
    after = await node.controls.sites.set(changed, request.user.principal)
    await node.controls.desk.carry_out([Holder("site", site.id)])
    return tagged(_view(after), after.version)


@delete(
    "/sites/{site_id:str}/envelopes/{envelope_id:str}", status_code=204, summary="Lift an envelope", tags=["programmes"]
)
async def lift_envelope(
    request: AnyRequest, node: TheNode, site_id: FromPath[str], envelope_id: FromPath[str]
) -> None:  # fmt: skip
    """Forget an envelope: its limits end, what else limits the site holds."""
    site = known_site(node, request, site_id, "site.manage")
    found = node.controls.sites.envelope(site.id, envelope_id)
    check_match(request, found.version, "envelope")
    await node.controls.sites.lift(found, request.user.principal)
    await node.controls.desk.carry_out([Holder("site", site.id)])


def _envelope(site: Site, data: NewEnvelope) -> Envelope:
    intervals = (
        EnvelopeInterval(parse_rfc3339(one.from_), parse_rfc3339(one.until), one.limits) for one in data.intervals
    )
    return Envelope(
        id="", site=site.id, organisation=site.organisation, title=data.title, default=data.default,
        intervals=tuple(intervals),
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
