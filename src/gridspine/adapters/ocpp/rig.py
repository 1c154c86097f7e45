"""A charge point to judge this adapter by: OCPP 2.0.1 over a WebSocket client, which meters, takes charging profiles,
and comes back after a break with what was not answered.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from gridspine.adapters.ocpp.meter import take
from gridspine.adapters.ocpp.schema import schemas
from gridspine.adapters.ocpp.wire import Call, Malformed, Result, decode, encode_call, encode_result
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import format_rfc3339
from gridspine.testing.node import FakeNode
from gridspine.testing.rig import Frame, PushingDevice, Sample, recorded
from gridspine.things.adapter import Binding, Order

THING, DEVICE, STATION = "urn:example:charger", "urn:example:station", "CP001"
_PASSWORD = "open-sesame-201"  # noqa: S105 - of a device that lives for a check
_POINTS = ("activePower", "activeEnergyImport", "currentLimit")
_QUIET = logging.getLogger(f"{__name__}.codec")
_QUIET.setLevel(logging.WARNING)
"""The device's own log is not the node's, and holds its password."""


class Charger(PushingDevice):
    """See `gridspine.testing.rig.Rig`."""

    listener = "ocpp"
    ends = (OSError, EOFError, WebSocketException, TimeoutError)
    pushes, commands = True, True
    passwords: Sequence[str] = (_PASSWORD,)
    samples = (
        Sample(THING, "activePower", 1_500.0, "W"),
        Sample(THING, "activePower", -3_250.0, "W"),
        Sample(THING, "activeEnergyImport", 123_456.0, "Wh"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0
        self.settings: Mapping[str, Any] = {"hold_off_s": 2.0}
        self.secrets: Mapping[str, str] = {}
        self._waiting: list[dict[str, Any]] = []
        self._more = asyncio.Event()
        self._now_s = 0

    def bindings(self) -> Sequence[Binding]:
        """Return the charge point's only EVSE."""
        connection = {"station": STATION, "device": DEVICE}
        return (Binding(THING, "Charger", "org", "m", connection, _POINTS),)

    def order(self, value: float, until_us: int, sequence: int) -> Order:
        """Return an order on the current."""
        return Order(f"c{sequence}", THING, "currentLimit", value, until_us, 32.0, sequence)

    def frames(self) -> Sequence[Frame]:
        """Return the messages in frames.json."""
        return recorded("gridspine.adapters.ocpp")

    def decode(self, frame: bytes) -> Any:
        """Return what a CALL or CALLRESULT says; of meter values the readings they come to as well."""
        try:
            found = decode(frame, "2.0.1")
            if isinstance(found, Call):
                schemas("2.0.1").check(found.action, "request", found.payload)
        except (Malformed, OSError) as error:
            raise Invalid(str(error)) from error
        if not isinstance(found, Call):
            return {"answer": msgspec.to_builtins(found)}
        means: dict[str, Any] = {"call": [found.id, found.action, found.payload]}
        if found.action == "MeterValues":
            taken = take(found.payload["meterValue"], "2.0.1", found.payload["evseId"], frozenset(_POINTS))
            means["readings"] = [[row.point, row.unit, row.observed_us, row.value] for row in taken.rows]
        return means

    def encode(self, means: Any) -> bytes:
        """Return the CALL or CALLRESULT that says this."""
        if "answer" in means:
            return encode_result(Result(means["answer"]["id"], means["answer"]["payload"]))
        return encode_call(Call(*means["call"]))

    async def start(self, node: FakeNode) -> None:
        """Let the charge point sign in."""
        node.add_user(DEVICE, _PASSWORD, THING)
        self._now_s = node.clock.now_us() // 1_000_000

    async def measure(self, sample: Sample) -> None:
        """Send it, now or when the connection stands again."""
        self._now_s += 1  # else it would say something else of the same moment
        if sample.name == "activePower":
            said = {
                "measurand": f"Power.Active.{'Import' if sample.value >= 0 else 'Export'}",
                "value": abs(sample.value),
            }
        else:
            said = {"measurand": "Energy.Active.Import.Register", "value": sample.value}
        said["unitOfMeasure"] = {"unit": sample.unit}
        self._waiting.append({"timestamp": format_rfc3339(self._now_s * 1_000_000), "sampledValue": [said]})
        self._more.set()

    async def connected(self, host: str, port: int) -> None:
        """Sign in, and talk until the connection ends."""
        proof = base64.b64encode(f"{STATION}:{_PASSWORD}".encode()).decode()
        async with connect(
            f"ws://{host}:{port}/ocpp/{STATION}", subprotocols=[Subprotocol("ocpp2.0.1")], ping_interval=None,
            additional_headers={"Authorization": f"Basic {proof}"}, close_timeout=0.1, logger=_QUIET, proxy=None,
        ) as socket:  # fmt: skip
            self.connections += 1
            sending = asyncio.create_task(self._send(socket), name="rig of ocpp sends")
            try:
                async for message in socket:
                    await self._take(socket, json.loads(message))
            finally:
                self.connections -= 1
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, socket: ClientConnection) -> None:
        """Send meter values, one message at a time, each until it is answered."""
        while True:
            self._more.clear()
            if self._waiting:
                call = [2, "m", "MeterValues", {"evseId": 1, "meterValue": self._waiting[:1]}]
                await socket.send(json.dumps(call))
            await self._more.wait()

    async def _take(self, socket: ClientConnection, frame: list[Any]) -> None:
        if self.silent:
            return
        if frame[0] != 2:
            del self._waiting[:1]
            self.acknowledged += 1
            self._more.set()
            return
        answer = {"status": "Rejected"}
        if frame[2] == "SetChargingProfile":
            answer = self._obey(frame[3]["chargingProfile"])
        elif frame[2] == "ClearChargingProfile":
            self.written.append(None)
            answer = {"status": "Accepted"}
        await socket.send(json.dumps([3, frame[1], answer]))

    def _obey(self, profile: dict[str, Any]) -> dict[str, str]:
        if profile["stackLevel"] == 0:
            return {"status": "Accepted"}
        self.written.append(float(profile["chargingSchedule"][0]["chargingSchedulePeriod"][0]["limit"]))
        return {"status": "Rejected" if self.refuses else "Accepted"}


def rig() -> Charger:
    """Return a new charge point."""
    return Charger()
