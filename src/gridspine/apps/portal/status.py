"""The page that says how the node is doing."""

from typing import Any

from litestar import Response, get

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.status import status as read_status
from gridspine.apps.portal.display import organisation_name, person_name
from gridspine.apps.portal.page import PortalRequest, is_part, page


@get("/portal/status")
async def status_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Show the node's status to those who may watch it."""
    view = await read_status.fn(request, node)
    return page(
        request, node, "parts/status.html" if is_part(request) else "status.html",
        current="status", view=view, runs=organisation_name(node, view.organisation),
        quarantined=[(principal, person_name(node, principal)) for principal in view.quarantined],
    )  # fmt: skip
