"""Certificates for a rig whose device and adapter prove themselves to each other: an authority, two ends, for a day.

And what such devices have in common.
"""

import datetime
import ipaddress
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gridspine.testing.node import FakeNode
from gridspine.testing.rig import PushingDevice, Sample

_PLAIN = PrivateFormat.PKCS8, NoEncryption()
_DAY = datetime.timedelta(days=1)


class Certificates:
    """Files (PEM) ``ca.crt``, ``server.crt``, ``server.key``, ``device.crt``, ``device.key``, all for 127.0.0.1.

    They are written where they are asked for; after `remove` the same ones are written again, as devices keep theirs.
    """

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._folder: Path | None = None

    def file(self, name: str) -> str:
        """Return the path of a file."""
        self._files = self._files or _issued()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="gridspine-rig-"))
            for one, content in self._files.items():
                (self._folder / one).write_bytes(content)
        return str(self._folder / name)

    def der(self, name: str) -> bytes:
        """Return a certificate as DER, as a node is shown it."""
        self._files = self._files or _issued()
        return x509.load_pem_x509_certificate(self._files[name]).public_bytes(Encoding.DER)

    def listener(self) -> dict[str, object]:
        """Return the section of a listener that asks for a client's certificate of this authority."""
        return {
            "tls": True, "client": "required", "ca": [self.file("ca.crt")], "certificate": self.file("server.crt"),
            "key": self.file("server.key"),
        }  # fmt: skip

    def remove(self) -> None:
        """Remove the files; the certificates stay what they are."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class CertifiedDevice(PushingDevice):
    """A device that pushes what it measures, and proves itself to the adapter's listener by ``device.crt``."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0
        self._waiting: list[Sample] = []
        self._certificates = Certificates()

    @property
    def settings(self) -> Mapping[str, Any]:
        """The adapter's settings: its listener, with the certificates that live for a check."""
        return {self.listener: self._certificates.listener()}

    def known(self, node: FakeNode, principal: str, thing: str) -> None:
        """Let ``node`` know it by its certificate as ``principal``, which may publish for ``thing``."""
        node.certificates[self._certificates.der("device.crt")] = principal
        node.may[principal] = {thing}

    async def measure(self, sample: Sample) -> None:
        """Push it, now or when the connection stands again."""
        self._waiting.append(sample)

    async def stop(self) -> None:
        """End, and remove the files; the certificates stay what they are."""
        await super().stop()
        self._certificates.remove()


def _issued() -> dict[str, bytes]:
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server", "device")}
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    now = datetime.datetime.now(datetime.UTC)
    found: dict[str, bytes] = {}
    for name, key in keys.items():
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - _DAY).not_valid_after(now + _DAY)
        made = made.add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        found[f"{name}.crt"] = made.sign(keys["ca"], hashes.SHA256()).public_bytes(Encoding.PEM)
        found[f"{name}.key"] = key.private_bytes(Encoding.PEM, *_PLAIN)
    return found
