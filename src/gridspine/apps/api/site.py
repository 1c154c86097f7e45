"""Sites: connection points with their limits and the Things behind them; what holds there, and when.

::

    GET  /sites · POST /sites                     of the caller's organisation
    GET  /sites/{id}   PUT (If-Match)   DELETE
    GET  /sites/{id}/limits                       what holds now and in the hours to come, by whose word
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, Parameter

from gridspine.apps.api.dependency import TheNode, controls_of
from gridspine.apps.api.versioned import MAX_PAGE, Limit, Offset, matching, tagged
from gridspine.energy.control import Control
from gridspine.energy.site import Site
from gridspine.energy.timeline import Together
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
    found = controls_of(node, request).sites.all()
    return [site_view(one) for one in found[offset : offset + limit]]


@post(
    "/sites", summary="Register a site", tags=["programmes"],
    responses={201: ResponseSpec(SiteView, generate_examples=False, description="The site")},
)  # fmt: skip
async def register_site(request: AnyRequest, node: TheNode, data: JSONBody[NewSite]) -> Response[bytes]:
    """Register a connection point of the caller's organisation."""
    made = await controls_of(node, request).sites.register(_site(data, request.user.organisation))
    return tagged(site_view(made), made.version, 201, f"/sites/{made.id}")


@get(
    "/sites/{site_id:str}", summary="Read one site", tags=["programmes"],
    responses={200: ResponseSpec(SiteView, generate_examples=False, description="The site")},
)  # fmt: skip
async def read_site(request: AnyRequest, node: TheNode, site_id: FromPath[str]) -> Response[bytes]:
    """Return a site."""
    found = controls_of(node, request).sites.get(site_id)
    return tagged(site_view(found), found.version)


@put(
    "/sites/{site_id:str}", summary="Change a site", tags=["programmes"],
    responses={200: ResponseSpec(SiteView, generate_examples=False, description="The site")},
)  # fmt: skip
async def change_site(
    request: AnyRequest, node: TheNode, site_id: FromPath[str], data: JSONBody[NewSite]
) -> Response[bytes]:
    """Replace what is said of a site; `If-Match` is heeded. Limits reach its Things before this answers."""
    site, match = _site(data, request.user.organisation), matching(request, "site")
    after = await controls_of(node, request).sites.change(site_id, site, match=match)
    return tagged(site_view(after), after.version)


@delete("/sites/{site_id:str}", status_code=204, summary="Remove a site", tags=["programmes"])
async def remove_site(request: AnyRequest, node: TheNode, site_id: FromPath[str]) -> None:
    """Forget a site with its envelopes: its limits end. 409 while it is enrolled in a programme."""
    await controls_of(node, request).sites.remove(site_id, match=matching(request, "site"))


@get("/sites/{site_id:str}/limits", summary="What holds at a site", tags=["programmes"])
async def read_limits(
    request: AnyRequest, node: TheNode, site_id: FromPath[str],
    hours: Annotated[float, Parameter(gt=0, le=168)] = 24.0,
) -> list[LimitView]:  # fmt: skip
    """Say what holds at a site from now on: at the connection point, by programmes, and the tightest of both."""
    from_us = node.clock.now_us()
    until_us = from_us + round(hours * 3600 * US)
    return limit_views(controls_of(node, request).sites.held(site_id, from_us, until_us))[:MAX_SHOWN]


def limit_views(found: Sequence[Together]) -> list[LimitView]:
    """Return what holds when, as it is shown."""
    return [
        LimitView(
            format_rfc3339(one.from_us), format_rfc3339(one.until_us), one.point,
            {id_: one.stretch.of(id_) for id_ in sorted({claim.source for claim in one.stretch.held.values()})},
            one.tightest,
        )
        for one in found
    ]  # fmt: skip


def site_view(one: Site) -> SiteView:
    """Return a site as it is shown."""
    return SiteView(
        **{name: getattr(one, name) for name in NewSite.__struct_fields__}, id=one.id, by=one.by, version=one.version,
        created=format_rfc3339(one.created_us),
    )  # fmt: skip


def _site(data: NewSite, organisation: str) -> Site:
    fields = {name: getattr(data, name) for name in NewSite.__struct_fields__}
    return Site(id="", organisation=organisation, **fields)
