"""The page of vouchers: credentials for devices from the box, made, shown once, seen spent, revoked."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.enrolment import NewVoucher, VoucherView, list_vouchers, make_voucher, revoke_voucher
from gridspine.apps.node.node import Node
from gridspine.apps.portal.command import number_of
from gridspine.apps.portal.display import known_name
from gridspine.apps.portal.page import PortalRequest, form, is_part, page
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import NotFound

SHOWN = 100
_DAY_S = 86_400
MEANINGS = {
    "open": ("waiting", "No device has shown it yet."),
    "announced": ("waiting", "A device has announced itself with it."),
    "used": ("good", "A device has enrolled with it."),
}
"""State of a voucher that is not over → its colour, and what it means."""


@get("/portal/vouchers")
async def vouchers_page(request: PortalRequest, node: TheNode, thing: FromQuery[str] = "") -> Response[Any]:
    """List the vouchers that are good still, and show the form that makes one, for ``thing`` to begin with."""
    return await _page(request, node, None, thing)


@post("/portal/vouchers", status_code=200)
async def make(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Make a voucher, and show its code this once."""
    fields = await form(request)
    life_s = round(number_of(fields.get("days", "") or "7", "Days") * _DAY_S)
    wanted = NewVoucher(fields.get("thing", ""), life_s, fields.get("note", ""))
    return await _page(request, node, await make_voucher.fn(request, node, wanted))


@post("/portal/vouchers/{voucher_id:str}/revoke", status_code=200)
async def revoke(request: PortalRequest, node: TheNode, voucher_id: FromPath[str]) -> Response[Any]:
    """End a voucher."""
    await form(request)
    await revoke_voucher.fn(request, node, voucher_id)
    return await _page(request, node, None)


async def _page(request: PortalRequest, node: Node, made: VoucherView | None, thing: str = "") -> Response[Any]:
    vouchers: list[VoucherView] = list(reversed(await list_vouchers.fn(request, node)))
    shown = vouchers[:SHOWN]
    return page(
        request, node, "parts/vouchers.html" if is_part(request) else "vouchers.html",
        current="vouchers", vouchers=shown, total=len(vouchers), made=made, meanings=MEANINGS, thing=thing[:255],
        titles={one.thing: _title(node, request.user, one.thing) for one in shown if one.thing},
        devices={one.device: known_name(node, request.user, one.device) for one in shown if one.device},
    )  # fmt: skip


def _title(node: Node, caller: Caller, id: str) -> str:
    """Return a Thing's title; its id when it is not the organisation's any more."""
    try:
        thing = node.things.get(id)
    except NotFound:
        return id
    return thing.title if thing.organisation == caller.organisation else id
