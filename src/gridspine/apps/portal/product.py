"""Pages of data products: all of them, and one with its contract, sample, grants, and the form that asks for it."""

from typing import Any

from litestar import Response, get
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.grant import grant_view
from gridspine.apps.api.product import ProductView, list_products, product_view, sample_product
from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import organisation_name, value_text
from gridspine.apps.portal.grant import grant_rows
from gridspine.apps.portal.may import May
from gridspine.apps.portal.page import PortalRequest, is_part, page

MAX_SHOWN = 200
"""Products listed at most; more are found by searching."""


@get("/portal/products")
async def products_page(request: PortalRequest, node: TheNode, q: FromQuery[str] = "") -> Response[Any]:
    """List the published products of all organisations."""
    every: list[ProductView] = await list_products.fn(node)
    words = q[:200].casefold().split()
    found = [product for product in every if all(word in _text(node, product) for word in words)]
    rows = [{"product": product, "owner": organisation_name(node, product.owner)} for product in found[:MAX_SHOWN]]
    return page(
        request, node, "parts/products.html" if is_part(request) else "products.html",
        current="products", rows=rows, total=len(every), found=len(found), q=q,
    )  # fmt: skip


@get("/portal/products/{product_id:str}")
async def product_page(request: PortalRequest, node: TheNode, product_id: FromPath[str]) -> Response[Any]:
    """Show one product: what it promises, what it looks like, who has it."""
    product = node.access.product(product_id)
    may = May(request.user, node.organisation)
    own = product.owner == request.user.organisation
    grants = [g for g in node.access.grants_of(request.user.organisation) if g.product == product.id]
    shown = grant_rows(node, grants, request.user) if may.read_grants and grants else []
    if shown:
        node.authority.on_grant(request.user, "grant.read", grants[0])
    standing = next((grant_view(node, g) for g in grants if g.state in {"requested", "active", "suspended"}), None)
    return page(
        request, node, "product.html",
        current="products", product=product_view(product), owner=organisation_name(node, product.owner), own=own,
        points=product.points[:MAX_SHOWN] if own else (), sample=await _sample(node, product_id),
        grants=shown, asks=may.ask and not own, standing=standing,
    )  # fmt: skip


async def _sample(node: Node, product_id: str) -> dict[str, Any]:
    sample: dict[str, Any] = await sample_product.fn(node, product_id)
    for reading in sample.get("readings", ()):
        reading["text"] = value_text(reading["v"], reading["u"])
    return sample


def _text(node: Node, product: ProductView) -> str:
    contract = product.contract
    parts = (product.title, organisation_name(node, product.owner), contract.description, *contract.purposes)
    return " ".join(parts).casefold()
