"""Pages of sites: those there are, one registered or changed by a form, what holds at one, and its envelopes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.dependency import TheNode, controls_of
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import redirect_part
from gridspine.apps.portal.connect_form import Field, at_field, read_fields
from gridspine.apps.portal.display import known_name, value_text
from gridspine.apps.portal.page import PortalRequest, form, page
from gridspine.apps.portal.programme import in_words
from gridspine.apps.portal.site_form import ENVELOPE, ENVELOPE_TITLE, default_of, site_fields, site_of
from gridspine.energy.control import NOTHING, Control
from gridspine.energy.envelope import Envelope
from gridspine.energy.site import Site
from gridspine.energy.timeline import Together
from gridspine.kernel.errors import Conflict, GridspineError, Invalid
from gridspine.kernel.time import US

SHOWN, STRETCHES = 50, 24
"""Sites shown, by title; times of one site, the next."""
AHEAD_US = 86_400 * US
"""How far ahead [µs] is shown what holds."""


class Held(NamedTuple):
    """What holds from when until when [µs since 1970], in words: at the connection point, and by each programme."""

    from_us: int
    until_us: int
    point: str
    programmes: Sequence[tuple[str, str]]


@get("/portal/sites")
async def sites_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List the sites of the organisation, with what limits them now."""
    sites, now_us = controls_of(node, request).sites, node.clock.now_us()
    found = sites.all()
    limits = {one.id: _words(sites.held(one.id, now_us, now_us + 1)[0].tightest) for one in found[:SHOWN]}
    return page(
        request, node, "sites.html", current="sites", sites=found[:SHOWN], more=max(0, len(found) - SHOWN),
        limits=limits,
    )  # fmt: skip


@get("/portal/sites/new")
async def new_site_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Show the form that registers a site."""
    controls_of(node, request).check("site.manage")
    return page(
        request, node, "site_form.html", current="sites", site=None, fields=site_fields(node, request.user),
        envelope=ENVELOPE,
    )  # fmt: skip


@post("/portal/sites", status_code=200)
async def register(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Register a site, with an envelope where a default is given, and go to it; say at each field what is wrong."""
    fields = (*site_fields(node, request.user), *ENVELOPE)

    async def keep(found: Mapping[str, Any]) -> str:
        sites = controls_of(node, request).sites
        wanted, default = site_of(found), default_of(found)
        made = await sites.register(wanted)
        if default != NOTHING:
            try:
                await sites.set_envelope(made.id, _envelope("Default", default))
            except GridspineError:
                with suppress(GridspineError):
                    await sites.remove(made.id)
                raise
        return made.id

    return await _kept(request, node, fields, keep)


@get("/portal/sites/{site_id:str}")
async def site_page(request: PortalRequest, node: TheNode, site_id: FromPath[str]) -> Response[Any]:
    """Show a site: its connection point, what holds there and when, its Things and envelopes."""
    controls = controls_of(node, request)
    site, now_us = controls.sites.get(site_id), node.clock.now_us()
    held = [_held(node, one) for one in controls.sites.held(site.id, now_us, now_us + AHEAD_US)]
    return page(
        request, node, "site.html", current="sites", site=site, things=node.controls.sites.things(site),
        held=held[:STRETCHES], more_held=max(0, len(held) - STRETCHES),
        envelopes=[(one, _words(one.default)) for one in controls.sites.envelopes(site.id)],
        fields=(ENVELOPE_TITLE, *ENVELOPE), terms=_terms(site), by=known_name(node, request.user, site.by),
    )  # fmt: skip


@get("/portal/sites/{site_id:str}/change")
async def change_page(request: PortalRequest, node: TheNode, site_id: FromPath[str]) -> Response[Any]:
    """Show the form of a site, filled in."""
    controls = controls_of(node, request)
    controls.check("site.manage")
    site = controls.sites.get(site_id)
    return page(
        request, node, "site_form.html", current="sites", site=site, fields=site_fields(node, request.user, site),
        envelope=(),
    )  # fmt: skip


@post("/portal/sites/{site_id:str}", status_code=200)
async def change(request: PortalRequest, node: TheNode, site_id: FromPath[str]) -> Response[Any]:
    """Keep what the form says of a site, and go to it; `Conflict` when somebody else changed it since."""
    sites = controls_of(node, request).sites
    known = sites.get(site_id)
    opened = (await form(request)).get("version", "")

    async def keep(found: Mapping[str, Any]) -> str:
        return (await sites.change(known.id, site_of(found), match=_still(opened))).id

    return await _kept(request, node, site_fields(node, request.user, known), keep)


@post("/portal/sites/{site_id:str}/envelopes", status_code=200)
async def set_envelope(request: PortalRequest, node: TheNode, site_id: FromPath[str]) -> Response[Any]:
    """Set an envelope by its default, and go to its site."""
    fields = (ENVELOPE_TITLE, *ENVELOPE)

    async def keep(found: Mapping[str, Any]) -> str:
        default = default_of(found)
        if default == NOTHING:
            raise Invalid(f"{ENVELOPE[0].name}: one limit at least is needed")
        return (await controls_of(node, request).sites.set_envelope(site_id, _envelope(found["title"], default))).site

    return await _kept(request, node, fields, keep)


@post("/portal/sites/{site_id:str}/envelopes/{envelope_id:str}/lift", status_code=200)
async def lift(
    request: PortalRequest, node: TheNode, site_id: FromPath[str], envelope_id: FromPath[str]
) -> Response[Any]:  # fmt: skip
    """Lift an envelope, and go to its site: what else limits it holds."""
    await form(request)
    await controls_of(node, request).sites.lift_envelope(site_id, envelope_id)
    return redirect_part(f"/portal/sites/{site_id}")


@post("/portal/sites/{site_id:str}/remove", status_code=200)
async def remove(request: PortalRequest, node: TheNode, site_id: FromPath[str]) -> Response[Any]:
    """Forget a site with its envelopes, and go to the others; `Conflict` while it is enrolled."""
    await form(request)
    await controls_of(node, request).sites.remove(site_id)
    return redirect_part("/portal/sites")


async def _kept(request: PortalRequest, node: Node, fields: Sequence[Field], keep: Any) -> Response[Any]:
    """Keep what a form says and go to the site, or say at each field what is wrong with it."""
    controls_of(node, request).check("site.manage")
    try:
        site = await keep(read_fields(fields, await form(request)))
    except GridspineError as error:
        wrong = at_field(error, fields)
        if not wrong:
            raise
        answer = page(request, node, "parts/fields.html", fields=fields, wrong=wrong)
        answer.headers["HX-Reswap"] = "none"
        return answer
    return redirect_part(f"/portal/sites/{site}")


def _envelope(title: str, default: Control) -> Envelope:
    return Envelope(id="", site="", organisation="", title=title, default=default)


def _still(opened: str) -> Callable[[int], None]:
    """Return what raises `Conflict` unless a site is at the version that was opened."""

    def check(version: int) -> None:
        if opened != str(version):
            raise Conflict("it was changed since you opened this page: open it again")

    return check


def _words(control: Control) -> str:
    return "; ".join(in_words(control)) or "no limit"


def _held(node: Node, one: Together) -> Held:
    sources = sorted({claim.source for claim in one.stretch.held.values()})
    programmes = [(node.controls.programmes.get(id_).title, _words(one.stretch.of(id_))) for id_ in sources]
    return Held(one.from_us, one.until_us, _words(one.point), programmes)


def _terms(site: Site) -> list[tuple[str, str]]:
    """Return what is known of a connection point, as people read it."""
    terms = [
        ("Connection point", site.connection_point_id), ("Phases", str(site.phases)),
        ("Limits of its own", _words(site.limits)), ("Other load", value_text(site.uncontrolled_load_w, "W")),
    ]  # fmt: skip
    if site.location is not None:
        terms.append(("Place", "{:.5f}°, {:.5f}°".format(*site.location)))
    return [(name, text) for name, text in terms if text]
