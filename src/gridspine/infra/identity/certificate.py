"""The node's own certificate authority: server certificates for itself, client certificates for what it knows.

Sources: RFC 5280 §4.2 (extensions), RFC 8705 §3.1 (``x5t#S256``). A client certificate names its principal as a URI
in the subject alternative name. The authority signs nothing but end entities (path length 0).
"""

import base64
import hashlib
import threading
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gridspine.infra.identity.custody import Custody
from gridspine.infra.identity.principal import Principal
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Corrupt, Invalid, NotFound
from gridspine.kernel.time import US, to_datetime

CA_LIFE_S = 10 * 365 * 86_400
SERVER_LIFE_S = 397 * 86_400
CLIENT_LIFE_S = 397 * 86_400
RENEW_BEFORE_S = 30 * 86_400
BACKDATE_S = 300
"""Seconds [s] a certificate is valid before it was made, for devices whose clocks run slow."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
ClientKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


class IssuedCertificate(msgspec.Struct, frozen=True):
    """A client certificate this authority issued; ``id`` is its ``x5t#S256``."""

    id: str
    principal: str
    serial: str
    not_after_us: int
    revoked_us: int | None = None


class Authority:
    """Issues, remembers and revokes certificates. What it issued it knows by hash, so nothing else passes."""

    def __init__(self, registry: Registry, custody: Custody, clock: Clock) -> None:
        self._registry, self._custody, self._clock = registry, custody, clock
        self._lock = threading.Lock()
        self._key = custody.ca_key()
        self.certificate = self._load_ca()
        issued = registry.read(lambda tx: tx.list(IssuedCertificate))
        self._issued = {certificate.id: certificate for certificate in issued}

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate, to be trusted by clients (PEM)."""
        return self.certificate.public_bytes(Encoding.PEM)

    def server_certificate(self, names: Sequence[str] = ()) -> bytes:
        """Return the server's certificate in PEM, made anew when ``names`` changed or it is about to run out.

        It is valid for `LOCAL_NAMES` and ``names`` (host names and IP addresses). Certificate and key are the files
        ``server.crt`` and ``server.pem`` in custody.
        """
        wanted = [_general_name(name) for name in dict.fromkeys((*LOCAL_NAMES, *names))]
        key = self._custody.p256_key("server.pem")
        kept = self._custody.read("server.crt")
        if kept is None or not self._still_good(kept, key, wanted):
            builder = self._builder(key.public_key(), "gridspine node", SERVER_LIFE_S, wanted)
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            kept = self._sign(builder.add_extension(usage, critical=False)).public_bytes(Encoding.PEM)
            self._custody.replace("server.crt", kept)
        return kept

    def issue(self, principal: Principal, csr_pem: bytes) -> bytes:
        """Return a client certificate (PEM) for ``principal`` and the key in the certificate request ``csr_pem``.

        Only the request's key is used; names and extensions in it are ignored. Raises `Invalid`.
        """
        san = [x509.UniformResourceIdentifier(principal.id)]
        # The common name has 64 characters at most; whom it names is in the SAN.
        builder = self._builder(_requested_key(csr_pem), principal.name[:64], CLIENT_LIFE_S, san)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = self._sign(builder.add_extension(usage, critical=False))
        issued = IssuedCertificate(
            id=thumbprint(certificate.public_bytes(Encoding.DER)),
            principal=principal.id,
            serial=f"{certificate.serial_number:x}",
            not_after_us=self._clock.now_us() + CLIENT_LIFE_S * US,
        )
        self._keep(issued, principal.organisation)
        return certificate.public_bytes(Encoding.PEM)

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

    def _keep(self, issued: IssuedCertificate, owner: str) -> None:
        with self._lock:
            # Memory first: if the commit fails, a certificate nobody was handed is known, or one is revoked too early.
            self._issued[issued.id] = issued

            def work(tx: Transaction) -> None:
                tx.put(issued, id=issued.id, owner=owner)

            self._registry.transact(work)

    def _load_ca(self) -> x509.Certificate:
        pem = self._custody.read("ca.crt")
        if pem is None:
            pem = self._custody.create("ca.crt", self._make_ca().public_bytes(Encoding.PEM))
        certificate = x509.load_pem_x509_certificate(pem)
        if certificate.public_key() != self._key.public_key():
            raise Corrupt(f"{self._custody.path('ca.crt')} is not the certificate of ca.pem beside it")
        return certificate

    def _make_ca(self) -> x509.Certificate:
        public = self._key.public_key()
        name = _name(f"gridspine CA {hashlib.sha256(public.public_bytes(*_POINT)).hexdigest()[:8]}")
        builder = self._bare_builder(public, name, name, CA_LIFE_S)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return self._sign(builder.add_extension(_key_usage(ca=True), critical=True))

    def _builder(
        self, key: ClientKey, name: str, life_s: int, san: Sequence[x509.GeneralName]
    ) -> x509.CertificateBuilder:
        builder = self._bare_builder(key, _name(name), self.certificate.subject, life_s)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(ca=False), critical=True)
        return builder.add_extension(x509.SubjectAlternativeName(san), critical=False)

    def _bare_builder(
        self, key: ClientKey, subject: x509.Name, issuer: x509.Name, life_s: int
    ) -> x509.CertificateBuilder:
        now = to_datetime(self._clock.now_us())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(int.from_bytes(self._clock.randbytes(16), "big") | 1)
            .not_valid_before(now - timedelta(seconds=BACKDATE_S))
            .not_valid_after(now + timedelta(seconds=life_s))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)

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


def thumbprint(der: bytes) -> str:
    """Return the ``x5t#S256`` of a certificate in DER: base64url of SHA-256 (RFC 8705 §3.1)."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


_POINT = (Encoding.X962, PublicFormat.UncompressedPoint)


def _requested_key(csr_pem: bytes) -> ClientKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key, proven = request.public_key(), request.is_signature_valid
    except ValueError as error:
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


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
