"""The node's own certificate authority: server certificates for itself, client certificates for what it knows.

Sources: RFC 5280 §4.2 (extensions), RFC 8705 §3.1 (``x5t#S256``). A client certificate names its principal as a URI
in the subject alternative name. `ca` keeps the authority's own keys and replaces them.
"""

import base64
import hashlib
import ssl
import threading
import weakref
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_address

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gridspine.infra.identity.ca import CertificateKeys
from gridspine.infra.identity.custody import Custody
from gridspine.infra.identity.principal import Principal
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.time import MAX_US, US, from_datetime, to_datetime

SERVER_LIFE_S = 397 * 86_400
CLIENT_LIFE_S = 397 * 86_400
RENEW_BEFORE_S = 30 * 86_400
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
ClientKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


class IssuedCertificate(msgspec.Struct, frozen=True):
    """A client certificate this authority issued, or (``foreign``) knows of another; ``id`` is its ``x5t#S256``."""

    id: str
    principal: str
    serial: str
    not_after_us: int
    revoked_us: int | None = None
    foreign: bool = False


class Authority:
    """Issues, remembers and revokes certificates. What it issued it knows by hash, so nothing else passes."""

    def __init__(
        self, registry: Registry, custody: Custody, clock: Clock, *, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """Load the authority and what it issued; ``tell`` hears whose certificate was revoked."""
        self._registry, self._custody, self._clock, self._tell = registry, custody, clock, tell
        self._lock = threading.Lock()
        self._keys = CertificateKeys(custody, clock)
        self._contexts: list[tuple[weakref.ref[ssl.SSLContext], tuple[str, ...], bytes]] = []
        issued = registry.read(lambda tx: tx.list(IssuedCertificate))
        self._issued = {certificate.id: certificate for certificate in issued}

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the authority that signs the server's."""
        return self._keys.serving.certificate

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate, to be trusted by clients (PEM); two while it is being replaced."""
        return self._keys.offered_pem

    @property
    def trusted_pem(self) -> bytes:
        """The authorities clients' certificates are taken from: also those that were replaced (PEM)."""
        return self._keys.trusted_pem

    def rotate(self) -> bool:
        """Begin to replace the authority, or end it when it has begun; return whether a replacement is under way.

        Between the two clients fetch the authorities anew. Listening servers go on; certificates stay valid. Blocks.
        """
        with self._lock:
            under_way = self._keys.rotate()
        self.refresh()
        return under_way

    def server_context(self, names: Sequence[str] = (), trusted: bytes = b"") -> ssl.SSLContext:
        """Return a server's TLS context (TLS 1.2 or later, clients' certificates optional), kept up to date.

        ``trusted`` (PEM) are the authorities of clients' certificates, this one where there are none.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.set_alpn_protocols(["http/1.1"])
        self._bring_up_to_date(context, tuple(names), trusted)
        self._contexts.append((weakref.ref(context), tuple(names), trusted))
        return context

    def refresh(self) -> None:
        """Hand new certificates and authorities to the servers that listen: for connections from now on. Blocks."""
        for reference, names, trusted in self._contexts:
            context = reference()
            if context is not None:
                self._bring_up_to_date(context, names, trusted)

    def _bring_up_to_date(self, context: ssl.SSLContext, names: tuple[str, ...], trusted: bytes) -> None:
        self.server_certificate(names)
        context.load_cert_chain(self._custody.path("server.crt"), self._custody.path("server.pem"))
        context.load_verify_locations(cadata=(trusted or self.trusted_pem).decode("ascii"))

    def server_certificate(self, names: Sequence[str] = ()) -> bytes:
        """Return the server's certificate in PEM, made anew when ``names`` changed or it is about to run out.

        It is valid for `LOCAL_NAMES` and ``names`` (host names and IP addresses). Certificate and key are the files
        ``server.crt`` and ``server.pem`` in custody.
        """
        wanted = [_general_name(name) for name in dict.fromkeys((*LOCAL_NAMES, *names))]
        key = self._custody.p256_key("server.pem")
        kept = self._custody.read("server.crt")
        if kept is None or not self._still_good(kept, key, wanted):
            issuer = self._keys.serving
            builder = issuer.builder(self._clock, key.public_key(), "gridspine node", SERVER_LIFE_S, wanted)
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            kept = issuer.sign(builder.add_extension(usage, critical=False)).public_bytes(Encoding.PEM)
            self._custody.replace("server.crt", kept)
        return kept

    def issue(self, principal: Principal, csr_pem: bytes) -> bytes:
        """Return a client certificate (PEM) for ``principal`` and the key in the certificate request ``csr_pem``.

        Only the request's key is used; names and extensions in it are ignored. Raises `Invalid`.
        """
        san = [x509.UniformResourceIdentifier(principal.id)]
        # The common name has 64 characters at most; whom it names is in the SAN.
        issuer = self._keys.issuing
        builder = issuer.builder(self._clock, _requested_key(csr_pem), principal.name[:64], CLIENT_LIFE_S, san)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = issuer.sign(builder.add_extension(usage, critical=False))
        issued = IssuedCertificate(
            id=thumbprint(certificate.public_bytes(Encoding.DER)),
            principal=principal.id,
            serial=f"{certificate.serial_number:x}",
            not_after_us=self._clock.now_us() + CLIENT_LIFE_S * US,
        )
        self._keep(issued, principal.organisation)
        return certificate.public_bytes(Encoding.PEM)

    def register(self, principal: Principal, pem: bytes, *, active: Callable[[str], bool]) -> bytes:
        """Know ``principal`` by a client certificate of another authority, and return it in DER.

        It proves something only where a listener takes that authority's certificates. Raises `Invalid`, and `Conflict`
        for one that is somebody's already who is ``active``.
        """
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            der = certificate.public_bytes(Encoding.DER)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Invalid("certificate: this is not a certificate in PEM") from error
        known = self._issued.get(thumbprint(der))
        others = known is not None and known.principal != principal.id and self.find(known.id) is not None
        if known is not None and others and active(known.principal):
            raise Conflict("certificate: it is another principal's; take it away there first")
        if known is not None and not known.foreign:
            raise Conflict("certificate: it was issued here, and is known by that")
        ends_us = from_datetime(certificate.not_valid_after_utc)
        if ends_us <= self._clock.now_us():
            raise Invalid("certificate: it has run out")
        kept = IssuedCertificate(
            thumbprint(der), principal.id, f"{certificate.serial_number:x}", min(ends_us, MAX_US), foreign=True
        )
        self._keep(kept, principal.organisation)
        return der

    def find(self, id: str) -> IssuedCertificate | None:
        """Return the certificate with this ``x5t#S256`` if it was issued here, is not revoked and has not run out."""
        issued = self._issued.get(id)
        if issued is None or issued.revoked_us is not None or self._clock.now_us() >= issued.not_after_us:
            return None
        return issued

    def issued_to(self, principal: str) -> list[IssuedCertificate]:
        """Return the certificates of ``principal`` that hold."""
        return [issued for issued in self._issued.values() if issued.principal == principal and self.find(issued.id)]

    def revoke(self, id: str, *, owner: str = "") -> None:
        """Make a certificate prove nothing from now on. Raises `NotFound`."""
        issued = self._issued.get(id)
        if issued is None:
            raise NotFound("no certificate with this thumbprint was issued here")
        self._keep(msgspec.structs.replace(issued, revoked_us=self._clock.now_us()), owner)
        self._tell(issued.principal)

    def _keep(self, issued: IssuedCertificate, owner: str) -> None:
        with self._lock:
            # Memory first: if the commit fails, a certificate nobody was handed is known, or one is revoked too early.
            self._issued[issued.id] = issued

            def work(tx: Transaction) -> None:
                tx.put(issued, id=issued.id, owner=owner)

            self._registry.transact(work)

    def _still_good(self, pem: bytes, key: ec.EllipticCurvePrivateKey, wanted: Sequence[x509.GeneralName]) -> bool:
        certificate = x509.load_pem_x509_certificate(pem)
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        left = certificate.not_valid_after_utc - to_datetime(self._clock.now_us())
        fresh = left > timedelta(seconds=RENEW_BEFORE_S)
        return fresh and list(names) == list(wanted) and certificate.public_key() == key.public_key()


@lru_cache(maxsize=4096)  # a connection shows the same one with every request
def thumbprint(der: bytes) -> str:
    """Return the ``x5t#S256`` of a certificate in DER: base64url of SHA-256 (RFC 8705 §3.1)."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def _requested_key(csr_pem: bytes) -> ClientKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key, proven = request.public_key(), request.is_signature_valid
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise Invalid("this is not a certificate request in PEM (PKCS #10)") from error
    if not isinstance(key, Ed25519PublicKey) and not (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ("secp256r1", "secp384r1")
    ):
        raise Invalid("the certificate request's key must be EC P-256, EC P-384 or Ed25519")
    if not proven:
        raise Invalid("the certificate request is not signed by the key in it")
    return key


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise Invalid(f"{name[:80]!r} is no host name a certificate can carry (use its xn-- form)") from error
