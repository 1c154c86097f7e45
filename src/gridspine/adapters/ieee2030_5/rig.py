"""An inverter to judge this adapter by: it speaks IEEE 2030.5 over mutual TLS, by the half of it that clients have.

It posts what it measures until the server took it, and takes up the controls that the server lists.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from gridspine.adapters.ieee2030_5.client.answer import response
from gridspine.adapters.ieee2030_5.client.connection import Access, Connection, tls_of
from gridspine.adapters.ieee2030_5.client.der_control import SeenControl
from gridspine.adapters.ieee2030_5.client.walk import Walk, own
from gridspine.adapters.ieee2030_5.wire import Element, decode, part
from gridspine.energy.mapping.xml import element
from gridspine.infra.runtime.clock import SystemClock
from gridspine.kernel.errors import GridspineError, NotFound
from gridspine.testing.certificates import CertifiedDevice
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import AGAIN_S, Frame, Sample, recorded
from gridspine.things.adapter import Binding, Order

THING, DEVICE = "urn:example:inverter", "urn:example:inverter-device"
_POINTS = ("activePower", "activeEnergyImport", "activePowerLimit")
_KINDS = {"activePower": ("BB01", "<uom>38</uom>"), "activeEnergyImport": ("BB02", "<uom>72</uom>")}
_REFUSED, _RECEIVED = 252, 1


class Inverter(CertifiedDevice):
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
        self._taken: set[str] = set()
        self._usage_point = ""

    @property
    def _lfdi(self) -> str:
        return hashlib.sha256(self._certificates.der("device.crt")).hexdigest()[:40].upper()

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
        self.known(node, DEVICE, THING)

    async def connected(self, host: str, port: int) -> None:
        """Read and post until something goes wrong: then it begins anew."""
        file = self._certificates.file
        access = Access(f"https://{host}:{port}/dcap", file("device.crt"), file("device.key"), file("ca.crt"))
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


def _plain(given: Element) -> list[Any]:
    return [given.name, given.attributes, given.text.strip(), [_plain(one) for one in given.children]]


def _written(means: list[Any]) -> str:
    name, attributes, text, children = means
    return element(name, [_written(one) for one in children] if children else text, **attributes)


def rig() -> Inverter:
    """Return a new inverter."""
    return Inverter()
