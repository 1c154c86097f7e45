"""A charge point with a car at it, as a process of its own: OCPP 1.6 over a WebSocket, as any charge point speaks it.

``python -m gridspine.apps.demo.charger --address 127.0.0.1:8887 --station CP001 --seed 7 --home-port 5007``

It shares no code with the node. A car comes, charges by three phases up to what the charge point may carry, and goes
when it has what it came for; then the next one comes. A charging profile is a ceiling that ends by the charge point's
own clock; below 6 A it pauses. What it draws it says into the wire in the wall, import positive (see the meter).

The password comes from the environment variable ``GRIDSPINE_CHARGER_PASSWORD``, never from the command line. Frames are
written down here; what it was not answered is sent again when the connection is back.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import socket
import time
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

PASSWORD_VARIABLE = "GRIDSPINE_CHARGER_PASSWORD"  # noqa: S105 - its name, not its value
TOKEN = "CAFE01"  # noqa: S105 - a card's number
MOST_A, LEAST_A, VOLTS, PHASES = 32.0, 6.0, 230.0, 3
STEP_S, AGAIN_S = 2.0, 1.0
REST_S = 20.0
"""Between two cars [s]."""


def now() -> str:
    """Return the time as OCPP writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Charger:
    """What it measures, what it must obey, and who is plugged in."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a car, not a secret
        self.register_wh = float(self._random.randrange(1_000_000, 5_000_000))
        self.wanted_wh = 0.0
        self.rest_until_s = 0.0
        self.transaction: int | None = None
        self.limits: dict[int, tuple[float, float]] = {0: (MOST_A, float("inf"))}
        """By stack level: amperes a phase, and until when [s since 1970]."""

    def plug_in(self) -> None:
        """Let a car come."""
        self.wanted_wh = self._random.uniform(8_000, 30_000)

    @property
    def limit_a(self) -> float:
        """What holds now [A]."""
        now_s = time.time()
        self.limits = {level: one for level, one in self.limits.items() if one[1] > now_s}
        return self.limits[max(self.limits)][0]

    @property
    def current_a(self) -> float:
        """What a phase carries [A]."""
        limit_a = self.limit_a
        return min(limit_a, MOST_A) if self.transaction is not None and limit_a >= LEAST_A else 0.0

    def run(self, seconds: float) -> None:
        """Let ``seconds`` [s] pass."""
        wh = self.current_a * VOLTS * PHASES * seconds / 3600
        self.register_wh += wh
        self.wanted_wh -= wh

    def obey(self, action: str, said: dict[str, Any]) -> dict[str, Any] | str:
        """Return the answer to a call, or the code of its refusal."""
        if action == "SetChargingProfile":
            return self._limit(said["csChargingProfiles"])
        if action == "ClearChargingProfile":
            self.limits = {0: self.limits[0]}
            return {"status": "Accepted"}
        if action == "GetCompositeSchedule":
            period = {"startPeriod": 0, "limit": self.limit_a}
            schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
            return {"status": "Accepted", "connectorId": 1, "scheduleStart": now(), "chargingSchedule": schedule}
        if action == "RemoteStopTransaction":
            mine = said["transactionId"] == self.transaction
            self.wanted_wh = 0.0 if mine else self.wanted_wh
            return {"status": "Accepted" if mine else "Rejected"}
        if action == "UnlockConnector":
            self.wanted_wh = 0.0
            return {"status": "Unlocked"}
        return {"status": "Rejected"} if action in {"TriggerMessage", "RemoteStartTransaction"} else "NotImplemented"

    def _limit(self, profile: dict[str, Any]) -> dict[str, Any]:
        schedule = profile["chargingSchedule"]
        until = datetime.fromisoformat(profile["validTo"]).timestamp() if "validTo" in profile else float("inf")
        self.limits[profile["stackLevel"]] = schedule["chargingSchedulePeriod"][0]["limit"], until
        return {"status": "Accepted"}

    def measured(self) -> dict[str, Any]:
        """Return meter values as they are now."""
        current_a = self.current_a
        values = (
            ("Energy.Active.Import.Register", f"{self.register_wh:.1f}", "Wh"),
            ("Power.Active.Import", f"{current_a * VOLTS * PHASES:.1f}", "W"),
            ("Current.Import", f"{current_a:.2f}", "A"),
            ("Voltage", f"{VOLTS + self._random.uniform(-1, 1):.1f}", "V"),
        )
        sampled = [{"measurand": name, "value": value, "unit": unit} for name, value, unit in values]
        found = {"connectorId": 1, "meterValue": [{"timestamp": now(), "sampledValue": sampled}]}
        return found if self.transaction is None else found | {"transactionId": self.transaction}


class Connection:
    """One connection: a call after the other, and answers to the node's."""

    def __init__(self, socket_: ClientConnection, charger: Charger) -> None:
        self._socket, self._charger = socket_, charger
        self._number = 0
        self._answers: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def listen(self) -> None:
        """Take what comes until the connection ends."""
        async for message in self._socket:
            frame = json.loads(message)
            if frame[0] != 2:
                self._answers.put_nowait(frame)
                continue
            answer = self._charger.obey(frame[2], frame[3])
            kind = [4, frame[1], answer, "", {}] if isinstance(answer, str) else [3, frame[1], answer]
            await self._socket.send(json.dumps(kind))

    async def call(self, action: str, **payload: Any) -> dict[str, Any]:
        """Call the node and return its answer; raises `OSError` when it refuses."""
        self._number += 1
        await self._socket.send(json.dumps([2, f"{self._number}", action, payload]))
        frame = await asyncio.wait_for(self._answers.get(), 30)
        if frame[0] != 3:
            raise OSError(f"{action} was refused: {frame[2]}")
        return dict(frame[2])


async def live(node: Connection, charger: Charger, wall: "Wall") -> None:
    """Say what happens, for ever."""
    await node.call("BootNotification", chargePointVendor="Sunward", chargePointModel="CP-22")
    while True:
        now_s = time.time()
        if charger.transaction is None and now_s >= charger.rest_until_s:
            charger.plug_in()
            begun = {"connectorId": 1, "idTag": TOKEN, "meterStart": round(charger.register_wh), "timestamp": now()}
            charger.transaction = (await node.call("StartTransaction", **begun))["transactionId"]
            await state(node, "Charging")
        elif charger.transaction is not None and charger.wanted_wh <= 0:
            ended = {"transactionId": charger.transaction, "meterStop": round(charger.register_wh), "timestamp": now()}
            await node.call("StopTransaction", **ended)
            charger.transaction, charger.rest_until_s = None, now_s + REST_S
            await state(node, "Available")
        await node.call("MeterValues", **charger.measured())
        wall.say(charger.current_a * VOLTS * PHASES)
        await asyncio.sleep(STEP_S)
        charger.run(time.time() - now_s)


async def state(node: Connection, status: str) -> None:
    """Say the state of the connector."""
    await node.call("StatusNotification", connectorId=1, errorCode="NoError", status=status, timestamp=now())


class Wall:
    """The wire in the wall: what is drawn here, told to the home's meter (0: nobody)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def say(self, power_w: float) -> None:
        """Say the present power [W], import positive."""
        if self._port:
            said = json.dumps({"device": "charger", "power_w": power_w}).encode()
            self._socket.sendto(said, ("127.0.0.1", self._port))


async def charge(address: str, station: str, charger: Charger, wall: Wall) -> None:
    """Connect, and again whenever that ended; ends when it is killed."""
    proof = base64.b64encode(f"{station}:{os.environ[PASSWORD_VARIABLE]}".encode()).decode()
    while True:
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            async with connect(
                f"ws://{address}/ocpp/{station}", subprotocols=[Subprotocol("ocpp1.6")], proxy=None,
                additional_headers={"Authorization": f"Basic {proof}"},
            ) as socket_:  # fmt: skip
                node = Connection(socket_, charger)
                parts = [asyncio.create_task(node.listen()), asyncio.create_task(live(node, charger, wall))]
                done, rest = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for task in rest:
                    task.cancel()
                await asyncio.gather(*parts, return_exceptions=True)
                print("again:", *(task.exception() for task in done if not task.cancelled()), flush=True)
        await asyncio.sleep(AGAIN_S)


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="where the node listens for charge points")
    parser.add_argument("--station", required=True, help="what the charge point calls itself")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home-port", type=int, default=0, help="UDP port of the home's meter")
    options = parser.parse_args()
    asyncio.run(charge(options.address, options.station, Charger(options.seed), Wall(options.home_port)))


if __name__ == "__main__":
    main()
