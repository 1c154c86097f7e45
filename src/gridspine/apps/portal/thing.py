"""Pages of Things: the list with live values, and one Thing with its points, chart and commands."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.attachment import disposition
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.description import documents, taken
from gridspine.apps.api.thing import permitted, properties, readable
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import command_rows, commandable
from gridspine.apps.portal.display import Level, known_name, slug
from gridspine.apps.portal.headers import NO_STORE, SECURITY_HEADERS
from gridspine.apps.portal.may import May
from gridspine.apps.portal.page import PortalRequest, is_part, page, redirect
from gridspine.apps.portal.rows import PointRow, emulated_rows, point_rows, worst
from gridspine.apps.portal.transaction import transaction_rows
from gridspine.infra.runtime.clock import new_id
from gridspine.things.directory import Thing
from gridspine.things.exposed import TD_JSON

PAGE_SIZE = 24
"""Things on one page: a page's stream follows these and no more."""

CARD_POINTS = 4
MAX_QUERY_CHARS = 200
MAX_DOCUMENT_CHARS = 300_000
MAX_SORTED = 2_000
"""Things that are put in the order of their titles; more are shown in the order of their ids."""
_ORDER = {"instantaneous": 0, "state": 1, "setting": 2, "interval": 3, "register": 4}
_SHOWN: dict[str, tuple[Level, ...]] = {
    "all": ("good", "questionable", "invalid", "old", "never"),
    "attention": ("questionable", "invalid", "old"),
    "silent": ("old", "never"),
}


@get("/")
async def things_page(
    request: PortalRequest, node: TheNode, q: FromQuery[str] = "", show: FromQuery[str] = "all", at: FromQuery[int] = 1
) -> Response[Any]:
    """Show the Things of the organisation; ``q`` searches, ``show`` filters, ``at`` is the page."""
    if not May(request.user, node.organisation).read_things:
        return redirect("/portal/products")
    every = readable(node, request.user, "thing.read")
    if len(every) <= MAX_SORTED:
        chosen: Sequence[Thing] = _chosen(node, every, q[:MAX_QUERY_CHARS], show)
    elif not q and show not in {"attention", "silent"}:
        chosen = every  # in the order of their ids: no more are looked at than are shown
    else:
        chosen = await asyncio.to_thread(_chosen, node, every, q[:MAX_QUERY_CHARS], show)
    pages = max(1, -(-len(chosen) // PAGE_SIZE))
    at = min(max(1, at), pages)
    cards = [card(node, thing) for thing in chosen[(at - 1) * PAGE_SIZE : at * PAGE_SIZE]]
    return page(
        request, node, "parts/things.html" if is_part(request) else "things.html",
        current="things", cards=cards, total=len(every), found=len(chosen), q=q, show=show, at=at, pages=pages,
    )  # fmt: skip


@get("/portal/things/{thing_id:str}")
async def thing_page(request: PortalRequest, node: TheNode, thing_id: FromPath[str]) -> Response[Any]:
    """Show one Thing."""
    thing = permitted(node, request, thing_id, "thing.read")
    points = point_rows(node, thing, properties(node, thing))
    return page(
        request, node, "thing.html",
        current="things", tab="now", thing=thing, model=node.things.model(thing), points=points, level=worst(points),
        commands=command_rows(node, request.user, thing.id), commandable=commandable(node, thing),
        key=new_id(node.clock),
        standing=node.intake.standings.state(thing.id), refuses=node.commands.gate(thing.id, False),
        emulated=is_emulated(node, thing), transactions=await transaction_rows(node, thing),
        sees_who=node.authority.would_allow(request.user, "thing.command", thing),
    )  # fmt: skip


@get("/portal/things/{thing_id:str}/about")
async def about_page(request: PortalRequest, node: TheNode, thing_id: FromPath[str]) -> Response[Any]:
    """Show what a Thing is described to be: model, place, how it is served, its Thing Description."""
    thing = permitted(node, request, thing_id, "thing.read")
    served = taken(thing, await node.registrar.of(thing))
    (document,) = await documents(node, request, [thing])
    return page(
        request, node, "about.html", current="things", tab="about", thing=thing, model=node.things.model(thing),
        served=served, document=json.dumps(document, indent=2, ensure_ascii=False)[:MAX_DOCUMENT_CHARS],
        devices=[known_name(node, request.user, device) for device in thing.devices[:PAGE_SIZE]],
    )  # fmt: skip


@get("/portal/things/{thing_id:str}/description")
async def description(request: PortalRequest, node: TheNode, thing_id: FromPath[str]) -> Response[Any]:
    """Hand out the Thing Description as a file."""
    thing = permitted(node, request, thing_id, "thing.read")
    (document,) = await documents(node, request, [thing])
    headers = {**SECURITY_HEADERS, **NO_STORE, "Content-Disposition": disposition(f"{slug(thing.id)}.td.json")}
    return Response(msgspec.json.format(msgspec.json.encode(document)), media_type=TD_JSON, headers=headers)


def card(node: Node, thing: Thing) -> dict[str, Any]:
    """Return what a card shows of a Thing: its most telling points, and the worst quality of all."""
    emulated = is_emulated(node, thing)
    rows = emulated_rows(node, thing) if emulated else point_rows(node, thing, properties(node, thing))
    ordered = sorted(rows, key=lambda row: _ORDER.get(row.kind, 9))
    shown = ordered[:CARD_POINTS]
    return {
        "thing": thing,
        "model": node.things.model(thing).title,
        "rows": shown,
        "more": len(rows) - len(shown),
        "level": worst(rows),
        "emulated": emulated,
    }


def is_emulated(node: Node, thing: Thing) -> bool:
    """Whether the twin has the form *emulator*."""
    form = node.forms.forms.get(thing.id)
    return form is not None and form.form == "emulator"


def _chosen(node: Node, things: Sequence[Thing], q: str, show: str) -> list[Thing]:
    words = q.casefold().split()
    found = [thing for thing in things if _matches(node, thing, words)]
    levels = _SHOWN.get(show, _SHOWN["all"])
    if show in _SHOWN and show != "all":
        found = [thing for thing in found if _any_of(point_rows(node, thing, properties(node, thing)), levels)]
    return sorted(found, key=lambda thing: (is_emulated(node, thing), thing.title.casefold(), thing.id))


def _any_of(rows: Sequence[PointRow], levels: Sequence[Level]) -> bool:
    return any(row.level in levels for row in rows)


def _matches(node: Node, thing: Thing, words: Sequence[str]) -> bool:
    text = f"{thing.title} {thing.id} {node.things.model(thing).title}".casefold()
    return all(word in text for word in words)
