"""The page of edges: how each is, what it serves, and its control rules."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.edge import EdgeView, NewRule, list_edges, list_rules, publish_rule, remove_rule, roll_back_rule
from gridspine.apps.portal.command import number_of
from gridspine.apps.portal.display import known_name
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.kernel.errors import Invalid

SHOWN = 20
MAX_FORM_BYTES = 256 << 10
"""A form with a program in it: percent-encoding makes three bytes of many."""
MAX_THINGS = 50
"""Things of an edge listed at most."""
RULE_TONES = {"running": "good", "rolled-back": "waiting", "stopped": "bad"}


@get("/portal/edges")
async def edges_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """List the edges that serve Things of the organisation."""
    every: list[EdgeView] = await list_edges.fn(request, node)
    rules = {edge.id: await list_rules.fn(request, node, edge.id) for edge in every[:SHOWN]}
    authors = {rule.author for found in rules.values() for rule in found}
    return page(
        request, node, "parts/edges.html" if is_part(request) else "edges.html",
        current="edges", edges=every[:SHOWN], total=len(every), rules=rules, most=MAX_THINGS, tones=RULE_TONES,
        names={one: known_name(node, request.user, one) for one in authors},
        titles={id_: node.things.get(id_).title for edge in every[:SHOWN] for id_ in edge.things[:MAX_THINGS]},
    )  # fmt: skip


@post("/portal/edges/{edge_id:str}/rules", status_code=200, request_max_body_size=MAX_FORM_BYTES)
async def give_rule(request: PortalRequest, node: TheNode, edge_id: FromPath[str]) -> Response[Any]:
    """Give an edge a control rule, or the next version of one."""
    fields = await form(request)
    wanted = NewRule(
        fields.get("name", ""), fields.get("text", "").replace("\r\n", "\n"), tuple(fields.get("outputs", "").split()),
        tuple(fields.get("inputs", "").split()), number_of(fields.get("every", ""), "Every"),
        number_of(fields.get("lease", ""), "Holds for"),
    )  # fmt: skip
    await publish_rule.fn(request, node, edge_id, wanted)
    return await edges_page.fn(request, node)  # type: ignore[no-any-return]


@post("/portal/edges/{edge_id:str}/rules/{rule:str}/{verb:str}", status_code=200)
async def change_rule(
    request: PortalRequest, node: TheNode, edge_id: FromPath[str], rule: FromPath[str], verb: FromPath[str]
) -> Response[Any]:
    """Roll a rule back to the version before, or take it away."""
    await form(request)
    if verb == "roll-back":
        await roll_back_rule.fn(request, node, edge_id, rule)
    elif verb == "remove":
        await remove_rule.fn(request, node, edge_id, rule)
    else:
        raise Invalid("a rule is rolled back or removed")
    return await edges_page.fn(request, node)  # type: ignore[no-any-return]
