"""Transactions on the page of a charging point, and their signed values as a file."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from gridspine.apps.api.attachment import disposition
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.api.transaction import TransactionId
from gridspine.apps.node.node import Node
from gridspine.apps.node.transactions import TransactionView
from gridspine.apps.portal.headers import NO_STORE, SECURITY_HEADERS
from gridspine.apps.portal.page import PortalRequest
from gridspine.kernel.errors import GridspineError
from gridspine.things.directory import Thing

SHOWN = 10


async def transaction_rows(node: Node, thing: Thing) -> list[TransactionView] | None:
    """Return the last transactions of a Thing; None for one that keeps none, or whose adapter cannot tell now."""
    if not node.adapters.transactions.kept(thing):
        return None
    try:
        return (await node.adapters.transactions.page(thing)).transactions[:SHOWN]
    except GridspineError:
        return None


@get("/portal/things/{thing_id:str}/transactions/{transaction:str}/signed-values")
async def signed_values_file(
    request: PortalRequest, node: TheNode, thing_id: FromPath[str], transaction: TransactionId
) -> Response[Any]:
    """Hand out the signed values of a transaction as a file, as they came; to who may command the Thing."""
    thing = permitted(node, request, thing_id, "thing.command")
    values = await node.adapters.transactions.signed_values(thing, transaction)
    headers = {**SECURITY_HEADERS, **NO_STORE, "Content-Disposition": disposition("signed-values.json")}
    return Response(msgspec.json.format(msgspec.json.encode(values)), media_type="application/json", headers=headers)
