"""An inverter to judge this adapter by: it speaks IEEE 2030.5 over mutual TLS, by the half of it that clients have.

It posts what it measures until the server took it, and takes up the controls that the server lists.
"""

import asyncio
import datetime
import hashlib
import ipaddress
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gridspine.adapters.ieee2030_5.client.answer import response
from gridspine.adapters.ieee2030_5.client.connection import Access, Connection, tls_of
from gridspine.adapters.ieee2030_5.client.der_control import SeenControl
from gridspine.adapters.ieee2030_5.client.walk import Walk, own
from gridspine.adapters.ieee2030_5.wire import Element, decode, part
from gridspine.energy.mapping.xml import element
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import GridspineError, NotFound
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import AGAIN_S, Frame, PushingDevice, Sample, recorded
from gridspine.things.adapter import Binding, Order

THING, DEVICE = "urn:example:inverter", "urn:example:inverter-device"
_POINTS = ("activePower", "activeEnergyImport", "activePowerLimit")
_KINDS = {"activePower": ("BB01", "<uom>38</uom>"), "activeEnergyImport": ("BB02", "<uom>72</uom>")}
_REFUSED, _RECEIVED = 252, 1
_PLAIN = PrivateFormat.PKCS8, NoEncryption()


class Inverter(PushingDevice):
    """See `gridspine.testing.rig.Rig`."""

    listener = "server"
    ends = (OSError, EOFError, GridspineError)
    pushes, commands = True, True
    secrets: Mapping[str, str] = {}
    passwords: Sequence[str] = ()
    samples = (
        Sample(THING, "activePower", 1_500.0, "W"),
        Sample(THING, "activePower", -3_250.0, "W"),
        Sample(THING, "activeEnergyImport", 123_456.0, "Wh"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.silent = self.refuses = False
        self.acknowledged = self.connections = 0
        self.written: list[float | None] = []
        self._waiting: list[Sample] = []
        self._files: dict[str, bytes] = {}
        self._folder: Path | None = None
        self._taken: set[str] = set()
        self._usage_point = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The adapter's settings: its listener, with the certificates that live for a check."""
        folder = self._keys()
        listener = {
            "tls": True, "client": "required", "ca": [str(folder / "ca.crt")],
            "certificate": str(folder / "server.crt"), "key": str(folder / "server.key"),
        }  # fmt: skip
        return {self.listener: listener}

    @property
    def _lfdi(self) -> str:
        return hashlib.sha256(_der(self._files["device.crt"])).hexdigest()[:40].upper()

    def bindings(self) -> Sequence[Binding]:
        """Return the inverter's Thing."""
        return (Binding(THING, "Inverter", "org", "m", {"lfdi": self._lfdi}, _POINTS),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order on its limit."""
        return Order(f"c{sequence}", THING, "activePowerLimit", value, until_us, 5_000.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return the documents in frames.json."""
        return recorded("gridspine.adapters.ieee2030_5")

    def decode(self, frame: bytes) -> Any:
        """Return a document as nested lists: name, attributes, text, children."""
        return _plain(decode(frame))

    def encode(self, means: Any) -> bytes:
        """Return the document that says this."""
        name, attributes, _, children = means
        return part(name, *(_written(one) for one in children), **attributes).document("1.2")

    async def start(self, node: FakeNode) -> None:
        """Let the inverter be known by its certificate."""
        self._keys()
        node.certificates[_der(self._files["device.crt"])] = DEVICE
        node.may[DEVICE] = {THING}

    async def stop(self) -> None:
        """End, and remove the files; the certificates stay what they are."""
        await super().stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def measure(self, sample: Sample) -> None:
        """Post it, now or when the connection stands again."""
        self._waiting.append(sample)

    async def connected(self, host: str, port: int) -> None:
        """Read and post until something goes wrong: then it begins anew."""
        folder = self._keys()
        access = Access(
            f"https://{host}:{port}/dcap",
            str(folder / "device.crt"),
            str(folder / "device.key"),
            str(folder / "ca.crt"),
        )
        connection = Connection(access, tls_of(access))
        walk = Walk(connection, SystemClock(), most_s=0.0)
        self.connections += 1
        try:
            while True:
                if not self.silent:
                    await self._look(connection, walk)
                await asyncio.sleep(AGAIN_S)
        finally:
            self.connections -= 1
            await connection.close()

    async def _look(self, connection: Connection, walk: Walk) -> None:
        while self._waiting:
            await self._post(connection, self._waiting[0])
            del self._waiting[:1]
            self.acknowledged += 1
        device = own(await walk.end_devices(), self._lfdi)
        if device is None:
            return
        listed = [one for program in (await walk.programs(device, 0)).read for one in program.controls]
        for one in listed:
            if one.mrid not in self._taken:
                await self._take(connection, one)
        if self._taken and not listed:
            self._taken.clear()
            self.written.append(None)

    async def _take(self, connection: Connection, one: SeenControl) -> None:
        self._taken.add(one.mrid)
        self.written.append(one.control.generation_limit_w)
        status = _REFUSED if self.refuses else _RECEIVED
        await connection.post(one.reply_to, response(one.mrid, status, self._lfdi, one.from_us))

    async def _post(self, connection: Connection, sample: Sample) -> None:
        """Post a reading; where the server has forgotten its usage point, that is made anew."""
        mrid, uom = _KINDS[sample.name]
        flow, value = (19, -sample.value) if sample.value < 0 else (1, sample.value)
        kind = f"<accumulationBehaviour>3</accumulationBehaviour><flowDirection>{flow}</flowDirection>{uom}"
        reading = element("Reading", [element("value", f"{value:.0f}")])
        meter = element("MirrorMeterReading", [element("mRID", mrid), reading, f"<ReadingType>{kind}</ReadingType>"])
        if not self._usage_point:
            head = "<mRID>AA00</mRID><roleFlags>0049</roleFlags><serviceCategoryKind>0</serviceCategoryKind>"
            made = part("MirrorUsagePoint", head, "<status>1</status>", element("deviceLFDI", self._lfdi))
            self._usage_point = await connection.post("/mup", made)
        try:
            await connection.post(self._usage_point, part("MirrorMeterReadingList", meter))
        except NotFound:
            self._usage_point = ""
            raise

    def _keys(self) -> Path:
        """Return the folder of the certificates, which are made once."""
        if not self._files:
            self._files = _issued()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="gridspine-rig-"))
            for name, content in self._files.items():
                (self._folder / name).write_bytes(content)
        return self._folder


def _plain(given: Element) -> list[Any]:
    return [given.name, given.attributes, given.text.strip(), [_plain(one) for one in given.children]]


def _written(means: list[Any]) -> str:
    name, attributes, text, children = means
    return element(name, [_written(one) for one in children] if children else text, **attributes)


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def _issued() -> dict[str, bytes]:
    """Return an authority's certificate, and those of server and device with their keys."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server", "device")}
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    now = datetime.datetime.now(datetime.UTC)
    found: dict[str, bytes] = {}
    for name, key in keys.items():
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        made = made.not_valid_after(now + datetime.timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        found[f"{name}.crt"] = made.sign(keys["ca"], hashes.SHA256()).public_bytes(Encoding.PEM)
        found[f"{name}.key"] = key.private_bytes(Encoding.PEM, *_PLAIN)
    return found


def rig() -> Inverter:
    """Return a new inverter."""
    return Inverter()
