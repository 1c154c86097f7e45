"""Thing Descriptions as callers get them: of the Thing's own, or by its model, trimmed to what the caller may do."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request

from gridspine.apps.api.exposed import reach_of, services_of
from gridspine.apps.node.node import Node
from gridspine.energy.plant import ADAPTER
from gridspine.kernel.time import format_rfc3339
from gridspine.things.description import Description, enriched, trimmed
from gridspine.things.directory import Thing
from gridspine.things.exposed import TD_JSON, Reach, describe, thing_url
from gridspine.things.td.derive import Left

AnyRequest = Request[Any, Any, Any]
MAX_ITEMS = 100
"""Members that a description of an ensemble names."""


class Taken(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a description: the points that the node reads by its forms, and what it leaves, and why.

    ``adapter`` reads them, "" when nothing does: then the Thing is described, and others may send its readings.
    """

    id: str
    model: str
    adapter: str
    points: list[str]
    working: list[str]
    left: list[Left]
    expires: str | None = None


async def documents(
    node: Node, request: AnyRequest, things: Sequence[Thing], *, exposed: bool = False, plain: bool = False
) -> list[dict[str, Any]]:
    """Return the Thing Descriptions of Things that the caller may read, trimmed to what it may do.

    ``plain``: with members of our own on those that are described by their models, as clients from before descriptions
    know them.
    """
    if not things:
        return []
    # Policies look at organisation and devices only: one of these Things stands for all.
    reach = reach_of(node, request.user, request.scope, things[0])
    descriptions: Sequence[Description | None] = [None] * len(things)
    if not exposed:
        descriptions = await node.registrar.of_all(things)
    found = [_document(node, thing, one, reach) for thing, one in zip(things, descriptions, strict=True)]
    for thing, document in zip(things, found, strict=True) if plain else ():
        if not thing.described:
            document |= {
                "organisation": thing.organisation, "model": thing.model, "adapter": thing.adapter,
                "points": list(thing.points),
            }  # fmt: skip
    return found


def _document(node: Node, thing: Thing, description: Description | None, reach: Reach) -> dict[str, Any]:
    now_us = node.clock.now_us()
    if description is None:
        reach = msgspec.structs.replace(reach, services=services_of(node, thing))
        found: dict[str, Any] = enriched(describe(thing, node.things.model(thing), reach), thing, now_us)
        if thing.adapter == ADAPTER:
            found["links"] = [*found["links"], *_links_of(node, thing, reach.base)]
    else:
        document = trimmed(description.document, command=reach.command)
        found = enriched(document, thing, now_us, description.expires_us, description.ttl_s)
    return found


def _links_of(node: Node, thing: Thing, base: str) -> list[dict[str, Any]]:
    """Return links from an ensemble to its members (RFC 6573, *item*), the first of them, and to where all are."""
    items = [
        {"rel": "item", "href": thing_url(base, id_), "type": TD_JSON}
        for id_ in node.plants.members(thing.id, MAX_ITEMS)
    ]
    return [
        *items,
        {"rel": "related", "href": f"{base}/ensembles/{quote(thing.id, safe=':')}", "type": "application/json"},
    ]


def taken(thing: Thing, description: Description | None) -> Taken:
    """Return how a Thing is served; what is described by its model is served whole."""
    points = list(thing.points)
    if description is None:
        return Taken(thing.id, thing.model, thing.adapter, points, points if thing.adapter else [], [])
    expires = format_rfc3339(description.expires_us) if description.expires_us else None
    left, working = list(description.left), list(description.working)
    return Taken(thing.id, thing.model, thing.adapter, points, working, left, expires)
