"""Sites: connection points with their limits and the Things behind them; what holds there, and when.

::

    GET  /sites · POST /sites                     of the caller's organisation
    GET  /sites/{id}   PUT (If-Match)   DELETE
    GET  /sites/{id}/limits                       what holds now and in the hours to come, by whose word
"""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.versioned import MAX_PAGE, Limit, Offset, check_match, tagged
from gridspine.apps.node.control_plan import Holder, Together
from gridspine.apps.node.node import Node
from gridspine.energy.control import Control
from gridspine.energy.site import Site
from gridspine.kernel.time import US, format_rfc3339

AnyRequest = Request[Any, Any, Any]
MAX_SHOWN = 1_000
_Location = Annotated[tuple[float, ...], msgspec.Meta(min_length=2, max_length=2)]
"""Not a tuple of two: in the description, not all readers of JSON Schema know ``prefixItems``."""


class NewSite(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A connection point: ``things`` are ids of Things behind it, ``guard`` the one that keeps limits by itself [W].

    ``uncontrolled_load_w`` [W] is what else behind it may take: it is set aside of import limits. ``location`` is
    latitude and longitude [degrees].
    """

    title: str
    connection_point_id: str = ""
    phases: int = 3
    import_limit_w: float | None = None
    export_limit_w: float | None = None
    uncontrolled_load_w: float = 0.0
    things: tuple[str, ...] = ()
    guard: str = ""
    location: _Location | None = None


class SiteView(NewSite, frozen=True, kw_only=True, rename="camel"):
    """A site as it is kept."""

    id: str
    created: str
    by: str
    version: int


class LimitView(msgspec.Struct, frozen=True, rename="camel"):
    """What holds ``from`` … ``until``: limits of the connection point, and what programmes ask for, each by its id."""

    from_: str = msgspec.field(name="from")
    until: str
    connection_point: Control
    programmes: dict[str, Control]
    tightest: Control


@get("/sites", summary="List sites", tags=["programmes"])
async def list_sites(
    request: AnyRequest, node: TheNode, limit: Limit = MAX_PAGE, offset: Offset = 0
) -> list[SiteView]:  # fmt: skip
    """List the sites of the caller's organisation, by title."""
    caller = request.user
    node.authority.on_organisation(caller, "site.read", caller.organisation)
    found = node.controls.sites.of_organisation(caller.organisation)
    return [site_view(one) for one in found[offset : offset + limit]]


@post(
    "/sites", summary="Register a site", tags=["programmes"],
    responses={201: ResponseSpec(SiteView, generate_examples=False, description="The site")},
)  # fmt: skip
async def register_site(request: AnyRequest, node: TheNode, data: JSONBody[NewSite]) -> Response[bytes]:
    """Register a connection point of the caller's organisation."""
    caller = request.user
    node.authority.on_organisation(caller, "site.manage", caller.organisation)
    made = await node.controls.sites.register(_site(data, caller.organisation), caller.principal)
    await node.controls.desk.look([Holder("site", made.id)])
    return tagged(site_view(made), made.version, 201, f"/sites/{made.id}")


@get(
    "/sites/{site_id:str}", summary="Read one site", tags=["programmes"],
    responses={200: ResponseSpec(SiteView, generate_examples=False, description="The site")},
)  # fmt: skip
async def read_site(request: AnyRequest, node: TheNode, site_id: FromPath[str]) -> Response[bytes]:
    """Return a site."""
    found = known_site(node, request, site_id, "site.read")
    return tagged(site_view(found), found.version)


@put(
    "/sites/{site_id:str}", summary="Change a site", tags=["programmes"],
    responses={200: ResponseSpec(SiteView, generate_examples=False, description="The site")},
)  # fmt: skip
async def change_site(
    request: AnyRequest, node: TheNode, site_id: FromPath[str], data: JSONBody[NewSite]
) -> Response[bytes]:
    """Replace what is said of a site; `If-Match` is heeded. Limits reach its Things before this answers."""
    before = known_site(node, request, site_id, "site.manage")
    check_match(request, before.version, "site")
    holder = Holder("site", before.id)
    given = node.controls.desk.commands_of(holder)
    after = await node.controls.sites.change(before, _site(data, before.organisation), request.user.principal)
    await node.controls.desk.follow(holder, given)
    return tagged(site_view(after), after.version)


@delete("/sites/{site_id:str}", status_code=204, summary="Remove a site", tags=["programmes"])
async def remove_site(request: AnyRequest, node: TheNode, site_id: FromPath[str]) -> None:
    """Forget a site with its envelopes: its limits end. 409 while it is enrolled in a programme."""
    site = known_site(node, request, site_id, "site.manage")
    check_match(request, site.version, "site")
    holder = Holder("site", site.id)
    given = node.controls.desk.commands_of(holder)
    await node.controls.sites.remove(site, request.user.principal)
    await node.controls.desk.follow(holder, given)


@get("/sites/{site_id:str}/limits", summary="What holds at a site", tags=["programmes"])
async def read_limits(
    request: AnyRequest, node: TheNode, site_id: FromPath[str],
    hours: Annotated[float, Parameter(gt=0, le=168)] = 24.0,
) -> list[LimitView]:  # fmt: skip
    """Say what holds at a site from now on: at the connection point, by programmes, and the tightest of both."""
    site = known_site(node, request, site_id, "site.read")
    from_us = node.clock.now_us()
    until_us = from_us + round(hours * 3600 * US)
    plan = node.controls.plan
    return limit_views(plan.together(Holder("site", site.id), from_us, until_us))[:MAX_SHOWN]


def limit_views(found: list[Together]) -> list[LimitView]:
    """Return what holds when, as it is shown."""
    return [
        LimitView(
            format_rfc3339(one.from_us), format_rfc3339(one.until_us), one.point,
            {id_: one.stretch.of(id_) for id_ in sorted({claim.source for claim in one.stretch.held.values()})},
            one.tightest,
        )
        for one in found
    ]  # fmt: skip


def known_site(node: Node, request: AnyRequest, id: str, action: str) -> Site:
    """Return a site of the caller's organisation when it may do ``action``; raise `Forbidden`, `NotFound`."""
    caller = request.user
    node.authority.on_organisation(caller, action, caller.organisation)
    return node.controls.sites.get(id, caller.organisation)


def site_view(one: Site) -> SiteView:
    """Return a site as it is shown."""
    return SiteView(
        **{name: getattr(one, name) for name in NewSite.__struct_fields__}, id=one.id, by=one.by, version=one.version,
        created=format_rfc3339(one.created_us),
    )  # fmt: skip


def _site(data: NewSite, organisation: str) -> Site:
    fields = {name: getattr(data, name) for name in NewSite.__struct_fields__}
    return Site(id="", organisation=organisation, **fields)
