"""The certificate authority's own keys and certificates, and how they are replaced without an outage.

::

    ca.pem, ca.crt            signs the server's certificate
    ca-next.pem, ca-next.crt  while it is being replaced: signs clients' certificates; both are handed out to be trusted
    ca-old.crt                those before, without their keys: trusted for the clients' certificates they issued

     rotate             every client fetches the authorities anew              rotate
    ───┼──────────── two authorities are trusted, the old one serves ────────────┼──── the new one serves

Source: RFC 5280 §4.2 (extensions). The authority signs nothing but end entities (path length 0), so the old one cannot
vouch for the new by a certificate: that is why there are two steps.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from gridspine.infra.identity.custody import Custody
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Corrupt
from gridspine.kernel.time import to_datetime

CA_LIFE_S = 10 * 365 * 86_400
BACKDATE_S = 300
"""Seconds [s] a certificate is valid before it was made, for devices whose clocks run slow."""
MAX_OLD = 8
"""Replaced authorities that are remembered."""

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
_POINT = (Encoding.X962, PublicFormat.UncompressedPoint)


class Issuer:
    """A key and its certificate of authority."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def builder(
        self, clock: Clock, key: PublicKey, common_name: str, life_s: int, san: Sequence[x509.GeneralName]
    ) -> x509.CertificateBuilder:
        """Return the beginnings of a certificate of an end entity; sign it with `sign`."""
        builder = _bare_builder(clock, key, name_of(common_name), self.certificate.subject, life_s, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(ca=False), critical=True)
        return builder.add_extension(x509.SubjectAlternativeName(san), critical=False)

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Return the signed certificate."""
        return _sign(builder, self._key)


class CertificateKeys:
    """The authorities kept in custody; see the module's words for which does what."""

    def __init__(self, custody: Custody, clock: Clock) -> None:
        self._custody, self._clock = custody, clock
        self._finish_interrupted()
        self._load()

    @property
    def replacing(self) -> bool:
        """Whether a replacement has begun: the next `rotate` ends it."""
        return self.issuing is not self.serving

    @property
    def offered_pem(self) -> bytes:
        """What clients shall trust the server by (PEM, one certificate or two)."""
        return self.serving.pem + (self.issuing.pem if self.replacing else b"")

    @property
    def trusted_pem(self) -> bytes:
        """What the server trusts clients' certificates by (PEM)."""
        return self.offered_pem + (self._custody.read("ca-old.crt") or b"")

    def rotate(self) -> bool:
        """Begin to replace the authority, or end it when it has begun; return whether it is `replacing` now."""
        if self.replacing:
            old = self._custody.read("ca-old.crt") or b""
            known = x509.load_pem_x509_certificates(self.serving.pem + old)
            now = to_datetime(self._clock.now_us())
            kept = [one for one in known if one.not_valid_after_utc > now][:MAX_OLD]
            self._custody.replace("ca-old.crt", b"".join(one.public_bytes(Encoding.PEM) for one in kept))
            self._move_next()
        else:
            self._make("ca-next")
        self._load()
        return self.replacing

    def _load(self) -> None:
        if self._custody.read("ca.crt") is None:
            self._make("ca")
        self.serving = self._issuer("ca")
        begun = self._custody.read("ca-next.crt") is not None
        self.issuing = self._issuer("ca-next") if begun else self.serving

    def _issuer(self, name: str) -> Issuer:
        key = self._custody.p256_key(f"{name}.pem")
        certificate = x509.load_pem_x509_certificate(self._custody.read(f"{name}.crt") or b"")
        if certificate.public_key() != key.public_key():
            raise Corrupt(f"{self._custody.path(name)}.crt is not the certificate of {name}.pem beside it")
        return Issuer(key, certificate)

    def _make(self, name: str) -> None:
        key = self._custody.p256_key(f"{name}.pem")
        public = key.public_key()
        subject = name_of(f"gridspine CA {hashlib.sha256(public.public_bytes(*_POINT)).hexdigest()[:8]}")
        builder = _bare_builder(self._clock, public, subject, subject, CA_LIFE_S, key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        certificate = _sign(builder.add_extension(_key_usage(ca=True), critical=True), key)
        self._custody.create(f"{name}.crt", certificate.public_bytes(Encoding.PEM))

    def _move_next(self) -> None:
        self._custody.replace("ca.pem", self._custody.read("ca-next.pem") or b"")
        self._custody.replace("ca.crt", self._custody.read("ca-next.crt") or b"")
        # The certificate says that a replacement is under way: it goes first.
        self._custody.remove("ca-next.crt")
        self._custody.remove("ca-next.pem")

    def _finish_interrupted(self) -> None:
        """End a move that a crash cut in two."""
        if self._custody.read("ca-next.crt") is None:
            self._custody.remove("ca-next.pem")
        elif self._custody.read("ca.pem") == self._custody.read("ca-next.pem"):
            self._move_next()


def name_of(common_name: str) -> x509.Name:
    """Return a distinguished name that is nothing but a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _bare_builder(
    clock: Clock, key: PublicKey, subject: x509.Name, issuer: x509.Name, life_s: int, by: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = to_datetime(clock.now_us())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(clock.randbytes(16), "big") | 1)
        .not_valid_before(now - timedelta(seconds=BACKDATE_S))
        .not_valid_after(now + timedelta(seconds=life_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


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
