"""Every route of the portal, to be served beside the API by the same application."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, Router, get
from litestar.datastructures import CacheControlHeader
from litestar.di import Provide
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler

from gridspine.apps.api.authenticate import PUBLIC
from gridspine.apps.node.node import Node
from gridspine.apps.portal import (
    alarm,
    behaviour,
    bid,
    channel,
    command,
    connect,
    connection,
    edge,
    ensemble,
    grant,
    incident,
    life,
    live,
    model,
    order,
    product,
    programme,
    session,
    site,
    status,
    thing,
    transaction,
    transfer,
    voucher,
    waiting,
    wire,
)
from gridspine.apps.portal.errors import HANDLERS
from gridspine.apps.portal.headers import SECURITY_HEADERS
from gridspine.apps.portal.page import STATIC
from gridspine.kernel.errors import NotFound

MAX_FORM_BYTES = 64 << 10
KEPT_S = 24 * 3600
PAGES: Sequence[ControllerRouterHandler] = (
    session.sign_in_page,
    session.sign_in,
    session.sign_out,
    session.set_up_page,
    session.set_up,
    thing.things_page,
    thing.thing_page,
    thing.about_page,
    thing.description,
    transaction.signed_values_file,
    channel.channels_page,
    channel.switch_form,
    channel.change_control,
    model.models_page,
    model.model_page,
    model.add_page,
    model.add_by_model,
    model.add_by_description,
    connection.connections_page,
    connect.connect_page,
    connect.authority_file,
    connect.connect_form,
    connect.connect,
    wire.wire_page,
    wire.change_wire,
    waiting.waiting_page,
    waiting.decide,
    voucher.vouchers_page,
    voucher.make,
    voucher.revoke,
    transfer.transfers_page,
    transfer.offer,
    transfer.answer,
    edge.edges_page,
    edge.give_rule,
    edge.change_rule,
    ensemble.ensembles_page,
    ensemble.build,
    ensemble.ensemble_page,
    ensemble.remove,
    life.life_page,
    life.timeline_part,
    life.act_on_life,
    command.commands_part,
    command.ask_command,
    command.approve,
    command.end_command,
    command.stop_all,
    order.orders_page,
    order.give_order,
    order.order_page,
    order.act_on_order,
    behaviour.behaviours_page,
    behaviour.behaviour_page,
    behaviour.text_part,
    behaviour.act_on_behaviour,
    programme.programmes_page,
    site.sites_page,
    site.new_site_page,
    site.register,
    site.site_page,
    site.change_page,
    site.change,
    site.set_envelope,
    site.lift,
    site.remove,
    bid.bids_page,
    bid.change_bid,
    product.products_page,
    product.product_page,
    grant.grants_page,
    grant.grant_page,
    grant.ask_access,
    grant.decide,
    alarm.alarms_page,
    alarm.acknowledge,
    incident.incidents_page,
    incident.incident_page,
    incident.work_on,
    status.status_page,
    live.issue_ticket,
    live.live,
)


def portal_routes(node: Node) -> list[ControllerRouterHandler]:
    """Return the portal's routes for ``create_app(node, extra=…)``."""
    streams = live.Streams(node.settings.http.max_streams)
    pages = Router(
        "/",
        route_handlers=[*PAGES, to_the_first_page, no_such_page],
        dependencies={"streams": Provide(lambda: streams, sync_to_thread=False)},
        exception_handlers=HANDLERS,
        request_max_body_size=MAX_FORM_BYTES,
        include_in_schema=False,
    )
    return [pages, _assets()]


@get("/portal")
async def to_the_first_page() -> Response[Any]:
    """Lead on to the page that the portal begins with."""
    return Response(None, status_code=302, headers={"Location": "/"})


@get("/portal/{path:path}")
async def no_such_page(path: FromPath[str]) -> Response[Any]:
    """Answer a mistyped address with a page instead of a problem document."""
    raise NotFound("Check the address, or go on from the menu.")


def _assets() -> Router:
    return create_static_files_router(
        path="/portal/static",
        directories=[STATIC],
        name="portal-static",
        opt=PUBLIC,
        after_request=_with_headers,
        exception_handlers={
            NotFoundException: lambda *_: Response("", status_code=404, headers=dict(SECURITY_HEADERS))
        },
        cache_control=CacheControlHeader(max_age=KEPT_S),
    )


def _with_headers(response: Response[Any]) -> Response[Any]:
    response.headers.update(SECURITY_HEADERS)
    return response
