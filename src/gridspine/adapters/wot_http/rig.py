"""A web device to judge this adapter by: two values behind basic authentication, on a real socket."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

from gridspine.adapters.wot_http.wire import decode_value
from gridspine.kernel.errors import Invalid
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import Frame, Rig, Sample, TcpDevice, recorded
from gridspine.things.adapter import Binding, Order

THING = "urn:example:boiler"
_SECRET = "user:opensesame-17"  # noqa: S105 - of a device that lives for a check


class WebDevice:
    """See `gridspine.testing.rig.Rig`."""

    pushes, commands = False, False
    passwords: Sequence[str] = ()
    acknowledged = 0
    samples = (
        Sample(THING, "power", 1.5, "kW"), Sample(THING, "power", -2.25, "kW"), Sample(THING, "voltage", 230.5, "V"),
    )  # fmt: skip

    def __init__(self) -> None:
        self.silent = self.refuses = False
        self.written: list[float | None] = []
        self.settings: Mapping[str, Any] = {}
        self.secrets: Mapping[str, str] = {"boiler": _SECRET}
        self._values = {"power": 0.0, "voltage": 0.0}
        self._device = TcpDevice(self._serve)

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._device.connections

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._device.port}"

    def bindings(self) -> Sequence[Binding]:
        """Return the device, read every two seconds."""
        forms = {
            "power": {"href": f"{self._url}/power", "unit": "kW"},
            "voltage": {"href": f"{self._url}/voltage", "unit": "V"},
        }
        security = {"scheme": "basic", "secret": "boiler"}
        return (Binding(THING, "Boiler", "org", "m", {"forms": forms, "intervalS": 2, "security": security}),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order, which this adapter does not carry out."""
        return Order(f"c{sequence}", THING, "power", value, until_us, 0.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return the answers in frames.json: a body is a frame."""
        return recorded("gridspine.adapters.wot_http")

    def decode(self, frame: bytes) -> Any:
        """Return the number in a body."""
        return decode_value(frame, "application/json", {"true": 1.0, "false": 0.0, "on": 1.0})

    def encode(self, means: Any) -> bytes:
        """Answers are never written by this adapter."""
        raise Invalid("this adapter writes no answers")

    async def start(self, node: FakeNode) -> None:
        """Listen."""
        await self._device.start()
        use = {"origins": [self._url], "organisations": ["org"]}
        node.settings = self.settings = {"allow": ["127.0.0.0/8"], "timeout_s": 2.0, "secrets": {"boiler": use}}

    async def join(self, node: FakeNode) -> None:
        """It is polled: nothing to do."""

    async def measure(self, sample: Sample) -> None:
        """Answer with this value from now on."""
        self._values[sample.name] = sample.value

    async def cut(self) -> None:
        """Be gone."""
        await self._device.stop()

    async def restore(self) -> None:
        """Be back."""
        await self._device.start()

    async def stop(self) -> None:
        """End."""
        await self._device.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proof = f"basic {base64.b64encode(_SECRET.encode()).decode()}".lower()
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if self.silent:
                await asyncio.get_running_loop().create_future()
            verb, path, *_ = head.split(" ", 2)
            if verb != "GET":
                self.written.append(None)
            known = proof in head.lower() and path[1:] in self._values
            body = f"{self._values[path[1:]]}" if known else ""
            status = "200 OK" if known else "401 Unauthorized"
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + body).encode())
            await writer.drain()


def rig() -> Rig:
    """Return a new device."""
    return WebDevice()
