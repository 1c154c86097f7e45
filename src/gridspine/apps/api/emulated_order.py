"""Orders for twins that somebody outside emulates: read by the emulator, again and again."""

from bisect import bisect_right
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import Parameter

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.kernel.time import format_rfc3339
from gridspine.things.adapter import Order
from gridspine.things.form import EMULATOR

MAX_PLACE_CHARS = 512


class EmulatedOrder(msgspec.Struct, frozen=True):
    """What an emulated device must do now: hold ``value`` [the point's unit] until ``until``, null: fall back."""

    thing: str
    point: str
    value: float | None
    until: str


class EmulatedOrders(msgspec.Struct, frozen=True):
    """Orders in force, in the order of Things and points; with ``next`` not empty there are more ``after`` it."""

    orders: list[EmulatedOrder]
    next: str


@get("/emulated/orders", summary="Read the orders for externally emulated Things", tags=["things"])
async def read_emulated_orders(
    request: Request[Any, Any, Any],
    node: TheNode,
    after: Annotated[str, Parameter(max_length=MAX_PLACE_CHARS)] = "",
    limit: Annotated[int, Parameter(ge=1, le=10_000)] = 10_000,
) -> EmulatedOrders:
    """Return what is in force for the Things of the caller's organisation that somebody outside emulates.

    For those who may send their readings. No device is told these orders; ask about once a second.
    """
    own = request.user.organisation
    node.authority.on_own(request.user, "readings.emulate")
    found = sorted(
        (order for order in node.commands.commander.in_force(node.clock.now_us()) if _outside(node, order, own)),
        key=_place,
    )
    start = bisect_right(found, after, key=_place)
    page = found[start : start + limit]
    more = _place(page[-1]) if page and start + limit < len(found) else ""
    views = [EmulatedOrder(one.thing, one.point, one.value, format_rfc3339(one.until_us)) for one in page]
    return EmulatedOrders(views, more)


def _outside(node: Node, order: Order, organisation: str) -> bool:
    """Whether an order is for a twin of the organisation that is emulated by somebody outside."""
    form = node.forms.forms.get(order.thing)
    if form is None or form.organisation != organisation or node.forms.forms.taker(order, "") != EMULATOR:
        return False
    cohort = node.forms.emulation.cohort(form.cohort)
    return cohort is not None and cohort.external


def _place(order: Order) -> str:
    return f"{order.thing}/{order.point}"
