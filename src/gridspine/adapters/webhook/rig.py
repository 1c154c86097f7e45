"""A vendor to judge this adapter by: it signs and posts what it measures, and comes back with what was not taken.

Its HTTP is h11's, as the adapter's is: what is judged is not the codec of HTTP.
"""

import asyncio
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import h11
import msgspec

from gridspine.adapters.webhook.wire import answer_of, read_hook, read_post
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, format_rfc3339
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import AGAIN_S, Frame, PushingDevice, Sample, recorded
from gridspine.things.adapter import Binding, Order

THING = "urn:example:meter"
_SECRET = "open-sesame-by-webhook"  # noqa: S105 - of a vendor that lives for a check
_CONNECTION: dict[str, Any] = {
    "secret": "acme",
    "time": "/at",
    "points": {
        "activePower": {"pick": {"plus": ["/kw"]}, "unit": "kW"},
        "activeEnergyImport": {"pick": {"plus": ["/wh"]}, "unit": "Wh"},
    },
}
_FIELDS = {"activePower": "kw", "activeEnergyImport": "wh"}
_AGAIN = frozenset({403, 408, 503})
"""What a vendor that goes on trying comes back with: the node may know the Thing, or have room, by then."""


class Vendor(PushingDevice):
    """See `gridspine.testing.rig.Rig`."""

    listener = "webhook"
    ends = (OSError, EOFError, h11.ProtocolError)
    pushes, commands = True, False
    passwords: Sequence[str] = ()
    samples = (
        Sample(THING, "activePower", 1.5, "kW"),
        Sample(THING, "activePower", -3.25, "kW"),
        Sample(THING, "activeEnergyImport", 123_456.0, "Wh"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0
        self.settings: Mapping[str, Any] = {"secrets": {"acme": {"organisations": ["org"]}}}
        self.secrets: Mapping[str, str] = {"acme": _SECRET}
        self._waiting: list[bytes] = []
        self._more = asyncio.Event()
        self._measured = 0

    def bindings(self) -> Sequence[Binding]:
        """Return the vendor's only meter."""
        return (Binding(THING, "Meter", "org", "m", _CONNECTION, tuple(_FIELDS)),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order that nobody can carry out."""
        return Order(f"c{sequence}", THING, "activePower", value, until_us, 0.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return the posts and answers in frames.json."""
        return recorded("gridspine.adapters.webhook")

    def decode(self, frame: bytes) -> Any:
        """Return the readings of a post and what is wrong with it; of an answer, its counts."""
        if frame.startswith(b'{"received"'):
            try:
                return {"answer": msgspec.json.decode(frame, type=dict[str, int])}
            except ValueError as error:  # of msgspec, or that it is no UTF-8
                raise Invalid(str(error)) from error
        found = read_post(read_hook(_CONNECTION), THING, frame, 0)
        rows = zip(found.name_index.tolist(), found.observed_us.tolist(), found.value.tolist(), strict=True)
        return {
            "readings": [[found.names[pair], found.units[pair], at_us, value] for pair, at_us, value in rows],
            "problems": [one.reason for one in found.problems],
        }

    def encode(self, means: Any) -> bytes:
        """Return the answer that says this."""
        return answer_of(means["answer"])

    async def start(self, node: FakeNode) -> None:
        """There is nothing to make ready: the secret is the adapter's setting."""

    async def measure(self, sample: Sample) -> None:
        """Post it, now or when the connection stands again."""
        assert self.node is not None, "it measures once it has joined"
        self._measured += 1  # else it would say something else of the same moment
        at = format_rfc3339(self.node.clock.now_us() // US * US + self._measured)
        self._waiting.append(msgspec.json.encode({_FIELDS[sample.name]: sample.value, "at": at}))
        self._more.set()

    async def connected(self, host: str, port: int) -> None:
        """Post one after another, each until it is answered, and listen for the end meanwhile."""
        reader, writer = await asyncio.open_connection(host, port)
        self.connections += 1
        wire = h11.Connection(h11.CLIENT)
        posting = asyncio.create_task(self._post(wire, writer), name="rig of webhook posts")
        try:
            while data := await reader.read(65_536):
                wire.receive_data(data)
                if not await self._heard(wire):
                    break
        finally:
            self.connections -= 1
            writer.close()  # before anything that waits: it may be cut off while it ends
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)

    async def _post(self, wire: h11.Connection, writer: asyncio.StreamWriter) -> None:
        """Post the oldest that was not taken; `_heard` wakes it for the next."""
        while True:
            self._more.clear()
            if self._waiting and not self.silent and wire.our_state is h11.IDLE:
                body = self._waiting[0]
                for part in (self._request(body), h11.Data(body), h11.EndOfMessage()):
                    writer.write(wire.send(part) or b"")
                await writer.drain()
            await self._more.wait()

    def _request(self, body: bytes) -> h11.Request:
        assert self.node is not None
        made = str(self.node.clock.now_us() // US)
        proof = hmac.new(_SECRET.encode(), f"POST\n/{THING}\n{made}\n".encode() + body, "sha256").hexdigest()
        headers = [("host", "node"), ("content-length", str(len(body))), ("x-signature", proof), ("x-timestamp", made)]
        return h11.Request(method="POST", target=f"/{THING}", headers=headers)

    async def _heard(self, wire: h11.Connection) -> bool:
        """Take what was answered; return whether the connection may go on."""
        while (event := wire.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                if event.status_code in _AGAIN:
                    await asyncio.sleep(AGAIN_S)
                    return False
                del self._waiting[:1]
                self.acknowledged += event.status_code == 200
            elif isinstance(event, h11.EndOfMessage):
                if wire.our_state is not h11.DONE or wire.their_state is not h11.DONE:
                    return False
                wire.start_next_cycle()
                self._more.set()
            elif isinstance(event, h11.ConnectionClosed):
                return False
        return True


def rig() -> Vendor:
    """Return a new vendor."""
    return Vendor()
