"""A node that serves the adapter, and charge points: a raw one that sends any frame, and those of the PyPI ``ocpp``."""

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import websockets
from adapter_node import FakeNode

from gridspine.adapters.ocpp import OcppAdapter
from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import Binding, Order

DEVICE = "urn:dev:ops:32473-station-1"
ONE, TWO = "urn:dev:ops:32473-evse-1", "urn:dev:ops:32473-evse-2"
STATION = "CP001"
PASSWORD = "correct horse: battery"
POINTS = (
    "activePower", "current", "voltage", "activeEnergyImport", "activeEnergyExport", "stateOfCharge", "connectorState",
)  # fmt: skip
LIMITED = (*POINTS, "currentLimit")
BOOT_16 = {"chargePointVendor": "Acme", "chargePointModel": "Wall"}
BOOT_2 = {"chargingStation": {"model": "Wall", "vendorName": "Acme"}, "reason": "PowerUp"}


def binding(thing: str = ONE, points: tuple[str, ...] = POINTS, **connection: Any) -> Binding:
    made = {"station": STATION, "device": DEVICE, "evse": 1, **connection}
    return Binding(thing, "Charger", "org", "https://gridspine.org/models/ev_charger", made, points)


def make_node(*bindings: Binding, settings: dict[str, Any] | None = None, **options: Any) -> FakeNode:
    tokens = [{"id": "CAFE01"}, {"id": "OLD", "expires": "2020-01-01T00:00:00Z"}, {"id": "BAD", "status": "Blocked"}]
    node = FakeNode(bindings or [binding()], settings={"tokens": tokens, **(settings or {})}, **options)
    node.add_user(DEVICE, PASSWORD, ONE, TWO)
    return node


@contextlib.asynccontextmanager
async def serving(node: FakeNode) -> AsyncIterator[OcppAdapter]:
    adapter = OcppAdapter()
    async with node.running(adapter):
        await node.until(lambda: "ocpp" in node.address and adapter.server is not None)
        yield adapter


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def connect(
    node: FakeNode, version: str = "1.6", station: str = STATION, *, password: str = PASSWORD, path: str = "/ocpp/",
    headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None,
) -> Any:  # fmt: skip
    """Return what opens a WebSocket as a charge point does."""
    host, port = node.address["ocpp"]
    return websockets.connect(
        f"wss://localhost:{port}{path}{station}" if tls else f"ws://{host}:{port}{path}{station}",
        subprotocols=[websockets.Subprotocol(f"ocpp{one}") for one in version.split(",") if one] or None,
        additional_headers=basic(station, password) if headers is None else headers,
        ssl=tls, compression=None, max_size=None,
    )  # fmt: skip


class Raw:
    """A charge point that sends whatever frame a test wants, and answers calls as it is told."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self._number = 0

    async def send(self, *items: Any) -> None:
        await self.socket.send(json.dumps(items))

    async def receive(self) -> list[Any]:
        async with asyncio.timeout(60):
            frame: list[Any] = json.loads(await self.socket.recv())
            return frame

    async def call(self, action: str, payload: dict[str, Any]) -> Any:
        """Return the payload of the answer, or the code of the refusal; calls that come meanwhile are answered."""
        self._number += 1
        id_ = f"{action}-{self._number}"
        await self.send(2, id_, action, payload)
        while True:
            frame = await self.receive()
            if frame[0] == 2:
                await self.answer(frame)
            else:
                assert frame[1] == id_
                return frame[2]

    async def answer(self, frame: list[Any]) -> None:
        """Answer a call of the node's with what ``answers`` holds for its action; text is the code of a refusal."""
        _, id_, action, payload = frame
        self.called.append((action, payload))
        answer = self.answers.get(action, "NotImplemented")
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, str):
            await self.send(4, id_, answer, "", {})
        elif answer is not None:
            await self.send(3, id_, answer)

    async def answer_next(self) -> str:
        """Wait for a call of the node's and answer it; return its action."""
        frame = await self.receive()
        assert frame[0] == 2, frame
        await self.answer(frame)
        return str(frame[2])


@contextlib.asynccontextmanager
async def raw(node: FakeNode, version: str = "1.6", **options: Any) -> AsyncIterator[Raw]:
    async with connect(node, version, **options) as socket:
        yield Raw(socket)


def at(node: FakeNode, seconds: float = 0.0) -> str:
    """Return the node's time as RFC 3339, some seconds on."""
    return format_rfc3339((node.clock.now_us() // US) * US + round(seconds * US))


def order(
    node: FakeNode, value: float | None = 16.0, command: str = "c1", *, sequence: int = 1, lasts_s: float = 3600.0,
    point: str = "currentLimit", thing: str = ONE, fallback: float = 32.0,
) -> Order:  # fmt: skip
    until_us = node.clock.now_us() + round(lasts_s * US)
    return Order(command, thing, point, value, until_us, fallback, sequence)


def event(node: FakeNode, kind: str, number: int, at_s: float = 0.0, **more: Any) -> dict[str, Any]:
    """A TransactionEvent of the transaction ``t1``; ``wh``, ``state``, ``token`` are short for what they mean."""
    info: dict[str, Any] = {"transactionId": more.pop("id", "t1")}
    if "state" in more:
        info["chargingState"] = more.pop("state")
    said: dict[str, Any] = {
        "eventType": kind, "timestamp": at(node, at_s), "triggerReason": "Trigger", "seqNo": number,
        "transactionInfo": info, "evse": {"id": 1, "connectorId": 1},
    }  # fmt: skip
    if "wh" in more:
        said["meterValue"] = [{"timestamp": at(node, at_s), "sampledValue": [{"value": more.pop("wh")}]}]
    if "token" in more:
        said["idToken"] = {"idToken": more.pop("token"), "type": "ISO14443"}
    return said | more


def stored(node: FakeNode, point: str, thing: str = ONE) -> list[float]:
    """Return the values of a point that intake has, in order."""
    return [one.value for one in node.stored if one.point == f"{thing}/{point}"]
