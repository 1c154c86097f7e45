"""Transactions of a charging point, and their signed meter values for download.

Who plugged in is a person's affair: tokens, and signed values, in which they stand too, are for who may command the
charging point. Whoever else reads its Thing sees when and how much was charged.
"""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, Parameter

from gridspine.apps.api.attachment import disposition
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.node.transactions import TransactionPage

Before = Annotated[int, Parameter(ge=0, le=2**53, required=False)]
TransactionId = Annotated[str, Parameter(max_length=64)]


class SignedValues(msgspec.Struct, frozen=True):
    """The signed ``values`` of ``transaction``, as the meter's protocol has them; nothing is changed in them."""

    thing: str
    transaction: str
    values: list[Any]


@get("/things/{thing_id:str}/transactions", summary="List transactions of a charging point", tags=["things"])
async def list_transactions(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], before: Before = 0
) -> TransactionPage:
    """Return when somebody plugged in, with the register at start and end, the newest first; 409: it keeps none.

    By which token is told to who may command the Thing.
    """
    thing = permitted(node, request, thing_id, "thing.read")
    found = await node.adapters.transactions.page(thing, before)
    if node.authority.would_allow(request.user, "thing.command", thing):
        return found
    return TransactionPage([msgspec.structs.replace(one, token="") for one in found.transactions], found.next)


@get(
    "/things/{thing_id:str}/transactions/{transaction_id:str}/signed-values",
    summary="Download signed meter values of a transaction",
    tags=["things"],
)
async def get_signed_values(
    request: Request[Any, Any, Any], node: TheNode, thing_id: FromPath[str], transaction_id: TransactionId
) -> Response[SignedValues]:
    """Return the signed meter values of a transaction, as they came; for who may command the Thing."""
    thing = permitted(node, request, thing_id, "thing.command")
    values = await node.adapters.transactions.signed_values(thing, transaction_id)
    headers = {"Content-Disposition": disposition("signed-values.json")}
    return Response(SignedValues(thing.id, transaction_id, values), headers=headers)
