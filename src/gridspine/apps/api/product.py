"""Data products: published, found, sampled, pulled."""

import asyncio
from typing import Annotated, Any

import msgspec
import numpy as np
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, Parameter

from gridspine.apps.api.channel import last_value
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.negotiate import negotiated
from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Invalid, NotFound, Unavailable
from gridspine.sharing.cursor import format_cursor, parse_cursor
from gridspine.sharing.delivery import check_place, pull
from gridspine.sharing.grant import Grant
from gridspine.sharing.parcel import MEDIA_TYPES, encode_parcels
from gridspine.sharing.product import Contract, Product

SAMPLE_READINGS = 20
CURSOR_HEADER = "Gridspine-Cursor"


class NewProduct(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A product to publish: ``points`` are point ids, ``urn:…/name``."""

    title: str
    points: tuple[str, ...]
    contract: Contract


class ProductView(msgspec.Struct, frozen=True, rename="camel"):
    """A product as anyone signed in may see it: what it promises, not which points it has."""

    id: str
    owner: str
    title: str
    point_count: int
    contract: Contract
    version: int
    state: str


@get("/products", summary="Find data products", tags=["sharing"])
async def list_products(node: TheNode) -> list[ProductView]:
    """List the published products of all organisations."""
    return [product_view(product) for product in node.access.products()]


@post("/products", summary="Publish a data product", tags=["sharing"])
async def publish_product(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewProduct]) -> ProductView:
    """Publish a product of the caller's organisation."""
    owner = request.user.organisation
    node.authority.on_organisation(request.user, "product.create", owner)
    product = Product("", owner, data.title, data.points, data.contract)
    return product_view(await node.access.publish(product, actor=request.user.principal))


@get("/products/{product_id:str}", summary="Read one data product", tags=["sharing"])
async def read_product(node: TheNode, product_id: FromPath[str]) -> ProductView:
    """Return a product's promise."""
    return product_view(node.access.product(product_id))


@get(
    "/products/{product_id:str}/sample",
    summary="A sample, before asking",
    description="The form of the readings; and the last value of a few points, where the owner's contract says so.",
    tags=["sharing"],
)
async def sample_product(node: TheNode, product_id: FromPath[str]) -> dict[str, Any]:
    """Show what a product's readings look like; anyone signed in may."""
    product = node.access.product(product_id)
    mask = node.access.mask(product)
    form: dict[str, Any] = {"schema": product.contract.schema, "mediaTypes": list(MEDIA_TYPES.values())}
    if product.contract.sample == "form":
        properties = {(name.rpartition("/")[2], unit) for name, unit in zip(mask.names, mask.units, strict=True)}
        return form | {"properties": [{"name": name, "unit": unit} for name, unit in sorted(properties)]}
    numbers = np.flatnonzero(mask.local >= 0)[:SAMPLE_READINGS]
    values = [(mask.local[number], last_value(node, int(number), mask.channel)) for number in numbers]
    return form | {
        "readings": [
            {"n": mask.names[at], "u": mask.units[at], "v": last.value, "t": last.observed_us / 1e6, "q_": last.quality}
            for at, last in values
            if last is not None
        ]
    }


@get(
    "/products/{product_id:str}/readings",
    summary="Pull readings of a data product",
    description=(
        f"Whole batches from `cursor` on, oldest first; `{CURSOR_HEADER}` of the answer goes on from there without a "
        "gap, here or on the stream; a page may be empty though its cursor moved. Form by Accept: SenML JSON, SenML "
        "CBOR or Arrow."
    ),
    tags=["sharing"],
)
async def pull_readings(
    request: Request[Any, Any, Any],
    node: TheNode,
    product_id: FromPath[str],
    cursor: FromQuery[str] = "",
    limit: Annotated[int, Parameter(ge=1, le=100_000)] = 10_000,
    purpose: FromQuery[str] = "",
) -> Response[bytes]:
    """Return readings under a grant."""
    product, _ = receiving(node, request, product_id, purpose)
    format_ = negotiated(request.headers.get("accept", ""))
    mask = node.access.mask(product)
    offsets = parse_cursor(cursor) if cursor else {}
    await asyncio.to_thread(check_place, node.log, offsets)
    page = await asyncio.to_thread(pull, node.log, mask, offsets, limit)
    receiving(node, request, product_id, purpose)  # it may have ended while the log was read
    count = sum(len(parcel) for parcel in page.parcels)
    node.hub.delivered += count
    headers = {CURSOR_HEADER: format_cursor(page.offsets), "Gridspine-Count": str(count), "Cache-Control": "no-store"}
    return Response(encode_parcels(mask, page.parcels, format_), media_type=MEDIA_TYPES[format_], headers=headers)


def receiving(
    node: Node,
    request: Request[Any, Any, Any],
    product_id: str,
    purpose: str,
    action: str = "product.receive",
) -> tuple[Product, Grant | None]:
    """Return product and grant when the caller may receive it now; raise `Forbidden` with the decision's id.

    Without a ``purpose`` the grant's own is meant. An unknown product is answered like one without a grant.
    """
    caller = request.user
    try:
        product = node.access.product(product_id)
    except NotFound:
        product = Product(product_id, "nobody", "", (), Contract("", ()))
    grant = None
    if caller.organisation != product.owner:
        grant = node.access.standing(product.id, caller.organisation, purpose)
    decision_purpose = purpose or (grant.purpose if grant else "own")
    if len(decision_purpose) > 200:
        raise Invalid("purpose: too long")
    node.authority.receive(caller, product, decision_purpose, grant, action)
    if grant is not None:
        reason = node.gate.why_shut(grant.id)
        if reason:
            raise Unavailable(f"nothing can be delivered now: {reason}", headers={"Retry-After": "1"})
    return product, grant


def product_view(product: Product) -> ProductView:
    """Return a product as it is shown to all."""
    return ProductView(
        product.id, product.owner, product.title, len(product.points), product.contract, product.version, product.state
    )
