"""A charge point that obeys charging profiles by its own clock: stack levels, validity and durations.

Sources: OCPP 1.6 §3.13.2 (stacking), §7.8, §7.13; OCPP 2.0.1 use case K as its schemas have it. The clauses were not
read again.
"""

import asyncio
import contextlib
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any

import websockets
from ocpp_bench import DEVICE, PASSWORD, STATION, connect
from one_command import THING, WORDS, Side, binding

from gridspine.adapters.ocpp import OcppAdapter
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.testing.node import FakeNode

RATED_W, PHASES_V = 22_080.0, 3 * 230.0


def moment_us(text: str) -> int:
    since = datetime.datetime.fromisoformat(text) - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(microseconds=1)


class OcppSide(Side):
    """A charge point with one connector of three phases."""

    version = "1.6"
    step = 0.1 * PHASES_V
    volts = PHASES_V
    station, password = STATION, PASSWORD

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self._profiles: dict[int, dict[str, Any]] = {}
        self._greeted = False

    def adapter(self) -> Any:
        return OcppAdapter()

    def node(self, clock: VirtualClock) -> FakeNode:
        made = binding({"station": "CP001", "device": DEVICE}, ("activePower", self.point))
        node = FakeNode([made], clock=clock)
        node.add_user(DEVICE, PASSWORD, THING)
        return node

    @property
    def ready(self) -> bool:
        return self._greeted

    @contextlib.asynccontextmanager
    async def connected(self, node: FakeNode) -> AsyncIterator[None]:
        await node.until(lambda: "ocpp" in node.address)
        async with connect(node, self.version, self.station, password=self.password) as socket:
            listening = asyncio.create_task(self._listen(socket))
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.wait([listening])

    async def _listen(self, socket: Any) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                text = await socket.recv()
                kind, id_, action, payload = json.loads(text)
                assert kind == 2
                if action == "GetCompositeSchedule":
                    self._greeted = True
                    await socket.send(json.dumps([3, id_, {"status": "Rejected"}]))
                elif action == "GetVariables":
                    await socket.send(json.dumps([3, id_, able(payload)]))
                elif not self.silent:
                    self.said += text.encode()
                    await socket.send(json.dumps([3, id_, self.obey(action, payload)]))

    def obey(self, action: str, said: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a call."""
        if self.refuses:
            more = {} if self.version == "1.6" else {"statusInfo": {"reasonCode": "TooWarm", "additionalInfo": WORDS}}
            return {"status": "Rejected", **more}
        if action == "ClearChargingProfile":
            gone = self._profiles.pop(said["id" if self.version == "1.6" else "chargingProfileId"], None)
            return {"status": "Accepted" if gone else "Unknown"}
        assert action == "SetChargingProfile"
        if self.version == "1.6":
            profile = said["csChargingProfiles"]
            id_, schedule = profile["chargingProfileId"], profile["chargingSchedule"]
        else:
            profile = said["chargingProfile"]
            id_, (schedule,) = profile["id"], profile["chargingSchedule"]
        self._profiles[id_] = profile | {"schedule": schedule}
        if profile["stackLevel"] > 0:
            self._note(profile, schedule)
        return {"status": "Accepted"}

    def _note(self, profile: dict[str, Any], schedule: dict[str, Any]) -> None:
        start_us = moment_us(schedule["startSchedule"])
        self.told_start_us, self.told_end_us = start_us, moment_us(profile["validTo"])
        assert start_us + schedule["duration"] * 1_000_000 == self.told_end_us, "its two ends differ"
        later = [one for one in schedule["chargingSchedulePeriod"] if start_us + one["startPeriod"] * 1_000_000
                 > self.clock.now_us()]  # fmt: skip
        self.told_plan = tuple((start_us + one["startPeriod"] * 1_000_000, self.held(one)) for one in later)
        self.told_chance = "random" in json.dumps(profile).lower()

    def holds(self, at_us: int) -> float:
        stacked = sorted(self._profiles.values(), key=lambda one: one["stackLevel"])
        found = [self._limit_w(one, at_us) for one in stacked]
        return next((limit for limit in reversed(found) if limit is not None), RATED_W)

    def _limit_w(self, profile: dict[str, Any], at_us: int) -> float | None:
        """What a profile says at a time, None where it says nothing."""
        schedule = profile["schedule"]
        since_us = at_us - moment_us(schedule["startSchedule"])
        if "validTo" in profile and at_us >= moment_us(profile["validTo"]):
            return None
        if since_us < 0 or ("duration" in schedule and since_us >= schedule["duration"] * 1_000_000):
            return None
        periods = [one for one in schedule["chargingSchedulePeriod"] if one["startPeriod"] * 1_000_000 <= since_us]
        held = self.held(periods[-1])
        return held * self.volts if schedule["chargingRateUnit"] == "A" else held

    def held(self, period: dict[str, Any]) -> float:
        """Return what it does in a period, in its schedule's unit."""
        return float(period["limit"])


class Ocpp201Side(OcppSide):
    version = "2.0.1"


class Ocpp21Side(OcppSide):
    version = "2.1"


class SetPointSide(Ocpp21Side):
    """It charges or discharges at the set-point; a ceiling of charging it makes full use of."""

    point = "activePowerSetpoint"
    step = 0.1
    value, other_fallback = 4_737.33, -4_444.44

    def held(self, period: dict[str, Any]) -> float:
        if period["operationMode"] == "ChargingOnly":
            return float(period["limit"])
        assert period["operationMode"] == "CentralSetpoint"
        return max(float(period["dischargeLimit"]), min(float(period["setpoint"]), float(period.get("limit", RATED_W))))


def able(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to GetVariables of what takes set-points."""
    values = {"Enabled": "true", "SupportedOperationModes": "ChargingOnly,CentralSetpoint"}
    return {"getVariableResult": [
        {**one, "attributeStatus": "Accepted", "attributeValue": values[one["variable"]["name"]]}
        for one in asked["getVariableData"]
    ]}  # fmt: skip


LANGUAGES = {
    "OCPP 1.6": (OcppSide,), "OCPP 2.0.1": (Ocpp201Side,), "OCPP 2.1": (Ocpp21Side,),
    "OCPP 2.1, set-points": (SetPointSide,),
}  # fmt: skip
