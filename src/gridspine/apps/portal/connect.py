"""Connect: a page of kinds, one short form for each, and what to enter at the other side.

::

    kinds ─► form ─► sent ─┬► wrong: said at the field; what was typed stays in the browser
                           └► made: address, credential (shown this once), certificate ─► the Things, as they are heard
"""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.node.node import Node
from gridspine.apps.portal.connect_device import CHARGE_POINT, CSIP_DEVICE, SUNSPEC
from gridspine.apps.portal.connect_form import Field, at_field, read_fields
from gridspine.apps.portal.connect_make import Kind, Made, door, lacking
from gridspine.apps.portal.connect_party import PARTNER, VEN2, VEN3
from gridspine.apps.portal.connect_template import PREFIX, offered, template_kind, templates_by_name
from gridspine.apps.portal.connect_utility import CSIP_UTILITY, OPENADR2_UTILITY, OPENADR3_UTILITY
from gridspine.apps.portal.connection import connection_rows, pieces_of, problem
from gridspine.apps.portal.headers import NO_STORE, SECURITY_HEADERS
from gridspine.apps.portal.may import May
from gridspine.apps.portal.page import PortalRequest, form, page
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Forbidden, GridspineError, Invalid, NotFound

KINDS = (CHARGE_POINT, SUNSPEC, CSIP_DEVICE, VEN3, VEN2, OPENADR3_UTILITY, OPENADR2_UTILITY, CSIP_UTILITY, PARTNER)
_BY_KEY = {kind.key: kind for kind in KINDS}
MAX_FORM_BYTES = 128 << 10
"""A form with a certificate in it: percent-encoding makes three bytes of many."""


@get("/portal/connect")
async def connect_page(request: PortalRequest, node: TheNode) -> Response[Any]:
    """Show what can be connected, and what each takes."""
    caller: Caller = request.user
    _may_look(node, caller)
    rows = [(kind, _not_ready(node, caller, kind), lacking(node, caller, kind.needs)) for kind in KINDS]
    templates = offered(await templates_by_name(node))
    return page(request, node, "connect.html", current="connections", rows=rows, templates=templates)


@get("/portal/connect/{kind:str}")
async def connect_form(request: PortalRequest, node: TheNode, kind: FromPath[str]) -> Response[Any]:
    """Show the form of a kind."""
    _may_look(node, request.user)
    return _form(request, node, await _kind(node, kind))


@post("/portal/connect/{kind:str}", status_code=200, request_max_body_size=MAX_FORM_BYTES)
async def connect(request: PortalRequest, node: TheNode, kind: FromPath[str]) -> Response[Any]:
    """Connect what the form says, and show what to enter at the other side; say at each field what is wrong."""
    given = await form(request)
    _may_look(node, request.user)
    known = await _kind(node, kind)
    if lacks := lacking(node, request.user, known.needs):
        raise Forbidden(f"this takes {'; '.join(lacks)}")
    if known.adapter not in node.settings.adapters.allow:
        raise Invalid(f"the adapter {known.adapter} is not switched on: see below what the settings need")
    fields = known.fields(node, request.user)
    try:
        made = await known.make(request, node, read_fields(fields, given))
    except GridspineError as error:
        wrong = at_field(error, fields)
        if not wrong:
            raise
        return _said(request, node, fields, wrong)
    return _made(request, node, known, made)


@get("/portal/connect/authority.pem")
async def authority_file(request: PortalRequest, node: TheNode) -> Response[bytes]:
    """Hand out the certificate of the node's own authority, which other sides trust its listeners by."""
    _may_look(node, request.user)
    name = {"content-disposition": 'attachment; filename="gridspine-authority.pem"'}
    return Response(
        node.identity.authority.ca_pem, media_type="application/x-pem-file",
        headers={**SECURITY_HEADERS, **NO_STORE, **name},
    )  # fmt: skip


async def _kind(node: Node, key: str) -> Kind:
    if key.startswith(PREFIX):
        return await template_kind(node, key)
    if key not in _BY_KEY:
        raise NotFound("Choose one of those that the page Connect offers.")
    return _BY_KEY[key]


def _may_look(node: Node, caller: Caller) -> None:
    if not May(caller, node.organisation).register:
        raise Forbidden("connections are made by operators and administrators")


def _not_ready(node: Node, caller: Caller, kind: Kind) -> str:
    """Return why a kind cannot be connected now; "" when it can."""
    if kind.adapter not in node.settings.adapters.allow:
        return f"The adapter {kind.adapter} is not switched on."
    if kind.listener and f"{kind.adapter}.{kind.listener}" not in node.adapters.listening:
        why = problem(node, caller, kind.adapter) or "Its settings may name no port, or it has just been started."
        return f"The adapter {kind.adapter} does not listen. {why}"
    return ""


def _form(request: PortalRequest, node: Node, kind: Kind) -> Response[Any]:
    caller = request.user
    at = door(node, request, kind.adapter, kind.listener) if kind.listener else None
    return page(
        request, node, "connect_form.html", current="connections", kind=kind, fields=kind.fields(node, caller),
        lacks=lacking(node, caller, kind.needs), not_ready=_not_ready(node, caller, kind), at=at,
        settings=kind.settings.replace("{organisation}", caller.organisation),
    )  # fmt: skip


def _said(
    request: PortalRequest, node: Node, fields: Sequence[Field], wrong: Mapping[str, str]
) -> Response[Any]:  # fmt: skip
    """Say at each field what is wrong with it: nothing else of the form is sent back."""
    answer = page(request, node, "parts/fields.html", fields=fields, wrong=wrong)
    answer.headers["HX-Reswap"] = "none"
    return answer


def _made(request: PortalRequest, node: Node, kind: Kind, made: Made) -> Response[Any]:
    rows = connection_rows(node, request.user, [node.things.get(id_) for id_ in made.things])
    return page(
        request, node, "parts/connected.html", kind=kind, made=made, rows=rows, listed=pieces_of(made.things)
    )  # fmt: skip
