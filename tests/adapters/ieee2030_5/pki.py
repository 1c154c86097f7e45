"""A small key infrastructure: an authority, the server's certificate, devices' certificates (EC P-256)."""

import datetime
import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SIGNS = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
"""Certificates and lists, and nothing else."""


@dataclass
class Issued:
    """A certificate, its key, and the files of both; ``lfdi`` is its device's."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    crt: Path
    pem: Path

    @property
    def lfdi(self) -> str:
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return hashlib.sha256(der).hexdigest()[:40].upper()


class Pki:
    """An authority that issues into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = self._issue("authority", None)
        self.server = self._issue("server", self.ca)

    def device(self, name: str) -> Issued:
        return self._issue(name, self.ca)

    def listener(self, name: str) -> Issued:
        """Issue a certificate that names this machine, as a server's does."""
        return self._issue(name, self.ca, named=True)

    def _issue(self, name: str, by: Issued | None, *, named: bool = False) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        issuer, signer = (by.certificate.subject, by.key) if by else (subject, key)
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        made = made.not_valid_after(now + datetime.timedelta(days=30))
        made = made.add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        made = made.add_extension(above, critical=False)  # Python 3.13 asks for it (RFC 5280 §4.2.1.1)
        if by is None:
            made = made.add_extension(_SIGNS, critical=True)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        if named or name == "server":
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = made.sign(signer, hashes.SHA256())
        crt, pem = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
        return Issued(certificate, key, crt, pem)
