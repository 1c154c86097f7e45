"""Enrolment: vouchers for devices from the box, and the doors they come in by.

::

    POST /vouchers                       a person makes one            Authorization: as everywhere
    POST, GET /enrolment                 the device announces itself   Authorization: Basic <voucher id>:<code>
    GET  /.well-known/est/cacerts        whom to trust                 anybody
    POST /.well-known/est/simpleenroll   first certificate             Basic, as above
    POST /.well-known/est/simplereenroll the next one                  TLS with the one it has

Source: RFC 7030 (EST) §3.2.2 (paths), §3.2.3 (HTTP authentication), §4.1 (CA certificates), §4.2 (enrolment); RFC 8951
(base64 without transfer encoding); RFC 7617 (Basic). Names in a request are ignored: the certificate names the device's
principal. Full CMC, server-side keys and CSR attributes are not offered.
"""

import asyncio
import base64
import binascii
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.announcement import AnnouncementView, NewAnnouncement, announce, announcement_view
from gridspine.apps.api.authenticate import PUBLIC, place_of
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.thing import permitted
from gridspine.apps.api.tls import client_certificate
from gridspine.apps.node.node import Node
from gridspine.infra.identity.enrol import Voucher, certs_only
from gridspine.infra.identity.refusal import refuse
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Unauthenticated
from gridspine.kernel.time import format_rfc3339

PKCS7 = "application/pkcs7-mime"
MAX_REQUEST_BYTES = 16 << 10
MAX_ANNOUNCEMENT_BYTES = 128 << 10
"""What a device may send that has shown nothing yet but a voucher."""
RETRY_S = 60
_DAY_S = 86_400


class NewVoucher(msgspec.Struct, frozen=True, rename={"life_s": "lifeS"}, forbid_unknown_fields=True):
    """A voucher to make: for a Thing, or ("") for a device that announces itself; good for ``lifeS`` [s]."""

    thing: str = ""
    life_s: int = 7 * _DAY_S
    note: str = ""


class VoucherView(msgspec.Struct, frozen=True, rename="camel"):
    """A voucher. ``state``: open, used (by ``device``), announced. ``code`` is shown once, when it is made."""

    id: str
    thing: str
    announcement: str
    state: str
    device: str
    note: str
    made: str
    expires: str
    code: str = ""


class StandView(msgspec.Struct, frozen=True, rename="camel"):
    """How a device stands with its voucher: what it announced, and the Thing it may enrol for ("" not yet)."""

    thing: str
    announcement: AnnouncementView | None


@post("/vouchers", summary="Make a voucher", tags=["lifecycle"])
async def make_voucher(request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewVoucher]) -> VoucherView:
    """Make a one-time credential with which a device announces itself, or enrols for one Thing."""
    if data.thing:
        thing = permitted(node, request, data.thing, "thing.enrol")
        if thing.retired:
            raise NotFound("the Thing is retired")
    else:
        own_enrolment(node, request)
    voucher, code = await asyncio.to_thread(
        node.lives.vouchers.make, request.user.organisation, made_by=request.user.principal, life_s=data.life_s,
        thing=data.thing, note=data.note,
    )  # fmt: skip
    return voucher_view(voucher, code)


@get("/vouchers", summary="List vouchers", tags=["lifecycle"])
async def list_vouchers(request: Request[Any, Any, Any], node: TheNode) -> list[VoucherView]:
    """List the vouchers of the caller's organisation that are open."""
    own_enrolment(node, request)
    vouchers = await asyncio.to_thread(node.lives.vouchers.list, request.user.organisation)
    return [voucher_view(one) for one in vouchers]


@post("/vouchers/{voucher_id:str}/revoke", status_code=200, summary="Revoke a voucher", tags=["lifecycle"])
async def revoke_voucher(request: Request[Any, Any, Any], node: TheNode, voucher_id: FromPath[str]) -> VoucherView:
    """End a voucher; what it brought already stays."""
    own_enrolment(node, request)
    try:
        known = await asyncio.to_thread(node.lives.vouchers.get, voucher_id)
    except NotFound:
        known = None
    if known is None or known.organisation != request.user.organisation:
        raise NotFound("there is no such voucher")
    return voucher_view(await asyncio.to_thread(node.lives.vouchers.revoke, voucher_id, actor=request.user.principal))


@post(
    "/enrolment",
    status_code=202,
    opt=PUBLIC,
    request_max_body_size=MAX_ANNOUNCEMENT_BYTES,
    summary="Announce a device",
    tags=["lifecycle"],
)
async def announce_device(
    request: Request[Any, Any, Any], node: TheNode, data: JSONBody[NewAnnouncement]
) -> AnnouncementView:
    """Say, with a voucher, what the device is; a person of its organisation takes it in.

    Said again, it is answered with how that stands; a device that was turned away waits anew.
    """
    voucher = await _voucher(node, request)
    if voucher.thing and not voucher.announcement:
        raise Invalid("the voucher is for a Thing that is known already: enrol with it")
    async with node.lives.deciding:  # one voucher announces one device, also when it is asked twice at once
        voucher = await asyncio.to_thread(node.lives.vouchers.get, voucher.id)
        if voucher.announcement:
            known = await node.lives.announcements.get(voucher.announcement)
            if (known.make, known.model, known.serial) != (data.make, data.model, data.serial):
                raise Conflict("the voucher is for another device: one voucher announces one device")
            if known.state == "accepted":
                return announcement_view(known)
        made = await announce(node, voucher.organisation, f"voucher:{voucher.id}", data)
        before = voucher.announcement
        await asyncio.to_thread(node.lives.vouchers.announced, voucher.id, made.id, instead_of=before)
    return announcement_view(made)


@get("/enrolment", opt=PUBLIC, summary="How an announced device stands", tags=["lifecycle"])
async def read_enrolment(request: Request[Any, Any, Any], node: TheNode) -> StandView:
    """Say, to whoever shows the voucher, whether the device was taken in, and as which Thing."""
    voucher = await _voucher(node, request)
    said = await node.lives.announcements.get(voucher.announcement) if voucher.announcement else None
    return StandView(voucher.thing, None if said is None else announcement_view(said))


@get(
    "/.well-known/est/cacerts", opt=PUBLIC, summary="Certificates of the authority (EST)", tags=["lifecycle"],
    media_type=PKCS7,
)  # fmt: skip
async def read_cacerts(node: TheNode) -> Response[bytes]:
    """Return the authorities to trust, as PKCS #7 in base64 (RFC 7030 §4.1.3)."""
    return Response(certs_only(node.identity.authority.ca_pem), media_type=PKCS7)


@post(
    "/.well-known/est/simpleenroll",
    status_code=200,
    media_type=PKCS7,
    opt=PUBLIC,
    request_max_body_size=MAX_REQUEST_BYTES,
    summary="First certificate (EST)",
    tags=["lifecycle"],
)
async def simple_enroll(request: Request[Any, Any, Any], node: TheNode) -> Response[bytes]:
    """Issue a device's first certificate to whoever shows the voucher and proves the key; 202 while it waits."""
    voucher = await _voucher(node, request)
    issued = await node.enrolment.enrol(voucher, await request.body())
    if issued is None:
        return Response(b"", status_code=202, headers={"Retry-After": str(RETRY_S)}, media_type="text/plain")
    return _certificate(issued)


@post(
    "/.well-known/est/simplereenroll",
    status_code=200,
    media_type=PKCS7,
    opt=PUBLIC,
    request_max_body_size=MAX_REQUEST_BYTES,
    summary="Next certificate (EST)",
    tags=["lifecycle"],
)
async def simple_reenroll(request: Request[Any, Any, Any], node: TheNode) -> Response[bytes]:
    """Issue the next certificate to a device that connects with the one it has."""
    der = client_certificate(request.scope)
    if der is None:
        raise refuse("no-certificate", "connect by TLS with the certificate that is to be renewed", error="")
    return _certificate(await node.enrolment.again(der, await request.body()))


def own_enrolment(node: Node, request: Request[Any, Any, Any]) -> None:
    """Raise `Forbidden` unless the caller may take devices in for the own organisation."""
    node.authority.on_own(request.user, "thing.enrol")


def voucher_view(voucher: Voucher, code: str = "") -> VoucherView:
    """Return a voucher as it is shown."""
    state = "used" if voucher.key else "announced" if voucher.announcement else "open"
    return VoucherView(
        voucher.id, voucher.thing, voucher.announcement, "revoked" if voucher.revoked_us else state, voucher.principal,
        voucher.note, format_rfc3339(voucher.made_us), format_rfc3339(voucher.expires_us), code,
    )  # fmt: skip


async def _voucher(node: Node, request: Request[Any, Any, Any]) -> Voucher:
    """Return the voucher that the request shows; raise a 401, and 429 to who guesses."""
    place = place_of(request.scope)
    if place:
        node.identity.failures.check(place)
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise refuse("missing", "show the voucher: Authorization: Basic <id>:<code>", scheme="Basic", error="")
    try:
        id_, _, code = base64.b64decode(shown.strip()[:2_000], validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise refuse("malformed", "Basic credentials are base64 of id:code", scheme="Basic", error="") from error
    try:
        return await asyncio.to_thread(node.lives.vouchers.check, id_[:100], code)
    except Unauthenticated:
        if place:
            node.identity.failures.failed(place)
        raise


def _certificate(issued: bytes) -> Response[bytes]:
    return Response(issued, media_type=f"{PKCS7}; smime-type=certs-only")
