"""What principals prove themselves with: certificates for mutual TLS, and keys; added, rotated, taken away."""

import asyncio
import hashlib
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from litestar import Request, post
from litestar.params import FromPath, JSONBody

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.principal import manageable
from gridspine.infra.identity.certificate import thumbprint
from gridspine.kernel.errors import NotFound


class CertificateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A PKCS #10 certificate request in PEM; only its key is used."""

    csr: str


class CertificateView(msgspec.Struct, frozen=True):
    """A client certificate and the authority to trust, in PEM; ``thumbprint`` (x5t#S256) is its name here."""

    thumbprint: str
    certificate: str
    authority: str


class KnownCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client certificate in PEM that another authority issued."""

    certificate: str


class KnownCertificateView(msgspec.Struct, frozen=True):
    """Its ``thumbprint`` (x5t#S256) is its name here; ``sha256`` begins with the LFDI of IEEE 2030.5 (40 digits)."""

    thumbprint: str
    sha256: str


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public key (JWK) to add; the one named in ``replaces`` (its thumbprint) retires after an overlap."""

    jwk: dict[str, str]
    replaces: str = ""
    overlap_s: int = 3600


class KeyView(msgspec.Struct, frozen=True):
    """A key by its RFC 7638 thumbprint."""

    kid: str


@post("/principals/{principal_id:str}/certificates", summary="Issue a client certificate", tags=["identity"])
async def issue_certificate(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str], data: JSONBody[CertificateRequest]
) -> CertificateView:
    """Issue a certificate for mutual TLS, by the node's own authority."""
    principal = manageable(node, request, principal_id)
    pem = await asyncio.to_thread(node.identity.authority.issue, principal, data.csr.encode())
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return CertificateView(thumbprint(der), pem.decode(), node.identity.authority.ca_pem.decode())


@post("/principals/{principal_id:str}/known-certificates", summary="Know a client certificate", tags=["identity"])
async def know_certificate(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str], data: JSONBody[KnownCertificate]
) -> KnownCertificateView:
    """Know a principal by a certificate of another authority, such as a device's that its maker gave it.

    It is taken where a listener's settings name that authority, and nowhere else. For administrators of the
    organisation that runs the node: nobody proves here that the certificate is theirs.
    """
    principal = manageable(node, request, principal_id)
    node.authority.on_organisation(request.user, "identity.manage", node.organisation)
    identity = node.identity

    def active(other: str) -> bool:
        return identity.directory.active(other) is not None

    der = await asyncio.to_thread(identity.authority.register, principal, data.certificate.encode(), active=active)
    return KnownCertificateView(thumbprint(der), hashlib.sha256(der).hexdigest().upper())


@post(
    "/principals/{principal_id:str}/certificates/{certificate:str}/revoke",
    status_code=200,
    summary="Revoke a client certificate",
    tags=["identity"],
)
async def revoke_certificate(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str], certificate: FromPath[str]
) -> dict[str, str]:
    """Make a certificate, and all tokens bound to it, prove nothing from now on."""
    principal = manageable(node, request, principal_id)
    authority = node.identity.authority
    if all(issued.id != certificate for issued in authority.issued_to(principal.id)):
        raise NotFound("the principal has no such certificate")
    await asyncio.to_thread(authority.revoke, certificate, owner=principal.organisation)
    return {"revoked": certificate}


@post("/principals/{principal_id:str}/keys", summary="Add or rotate a key", tags=["identity"])
async def add_key(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str], data: JSONBody[NewKey]
) -> KeyView:
    """Add a public key; with ``replaces`` the old one goes on for the overlap, then proves nothing."""
    principal = manageable(node, request, principal_id)
    more: dict[str, Any] = {"replaces": data.replaces, "overlap_s": data.overlap_s} if data.replaces else {}
    add = node.identity.directory.add_key
    key = await asyncio.to_thread(add, principal.id, data.jwk, actor=request.user.principal, **more)
    return KeyView(key.kid)


@post(
    "/principals/{principal_id:str}/keys/{kid:str}/remove",
    status_code=200,
    summary="Take a key away",
    tags=["identity"],
)
async def remove_key(
    request: Request[Any, Any, Any], node: TheNode, principal_id: FromPath[str], kid: FromPath[str]
) -> KeyView:
    """Take a key away: it, and the tokens it got, prove nothing from now on."""
    principal = manageable(node, request, principal_id)
    if all(key.kid != kid for key in node.identity.directory.keys_of(principal.id)):
        raise NotFound("the principal has no such key")
    await asyncio.to_thread(node.identity.directory.remove_key, kid, actor=request.user.principal)
    return KeyView(kid)
