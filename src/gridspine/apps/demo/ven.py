"""A heat pump's energy manager, as a process of its own: a VEN of OpenADR 3.1.0, as any VEN speaks it.

``python -m gridspine.apps.demo.ven --vtn http://127.0.0.1:8888/openadr3/3.1.0 --client ID --resource NAME --seed 7``

It shares no code with the node. It asks for events every second; while one says IMPORT_CAPACITY_LIMIT it draws no more
than that, and when the event is over, or the VTN no more there, what it likes. What it draws it reports upon the event
(DEMAND), and says it into the wire in the wall, import positive (see the meter). The secret comes from the environment
variable ``GRIDSPINE_VEN_SECRET``, never from the command line.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

SECRET_VARIABLE = "GRIDSPINE_VEN_SECRET"  # noqa: S105 - its name, not its value
STEP_S = 1.0
USUAL_W = 2_400.0
_KEPT = 3
_DURATION = re.compile(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")


class HeatPump:
    """What it draws, and what it must not exceed: ``limits`` are (from, until, watts) [s since 1970]."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a heat pump, not a secret
        self.limits: list[tuple[float, float, float]] = []

    def power_w(self) -> float:
        """Return what it draws now [W]."""
        now_s = time.time()
        holding = [limit_w for begin_s, end_s, limit_w in self.limits if begin_s <= now_s < end_s]
        return min([USUAL_W + self._random.uniform(-50, 50), *holding])


class Ven:
    """One client of a VTN."""

    def __init__(self, http: httpx.AsyncClient, client: str, secret: str, resource: str, pump: HeatPump) -> None:
        self._http, self._client, self._secret = http, client, secret
        self._resource, self._pump = resource, pump
        self._renew_s = 0.0
        self._told: dict[str, tuple[str, list[dict[str, Any]]]] = {}
        """By event: the report that was made of it, and its intervals."""

    async def step(self) -> None:
        """Read the events and report upon them."""
        if time.monotonic() >= self._renew_s:
            await self._sign_in()
        events = (await self._http.get("/events")).raise_for_status().json()
        self._pump.limits = [limit for event in events for limit in limits_of(event)]
        for event in events:
            if any(begin_s <= time.time() < end_s for begin_s, end_s, _ in limits_of(event)):
                await self._report(event["id"], self._pump.power_w())

    async def _sign_in(self) -> None:
        form = {"grant_type": "client_credentials", "client_id": self._client, "client_secret": self._secret}
        said = (await self._http.post("/auth/token", data=form)).raise_for_status().json()
        self._http.headers["authorization"] = f"Bearer {said['access_token']}"
        self._renew_s = time.monotonic() + said["expires_in"] / 2
        if not (await self._http.get("/vens")).raise_for_status().json():
            body = {"objectType": "VEN_VEN_REQUEST", "venName": self._resource}
            (await self._http.post("/vens", json=body)).raise_for_status()

    async def _report(self, event: str, power_w: float) -> None:
        id_, intervals = self._told.get(event, ("", []))
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        payloads = [{"type": "DEMAND", "values": [round(power_w / 1000, 4)]}]
        period = {"start": at, "duration": f"PT{STEP_S:.0f}S"}
        number = intervals[-1]["id"] + 1 if intervals else 0
        intervals = [*intervals, {"id": number, "intervalPeriod": period, "payloads": payloads}][-_KEPT:]
        descriptor = {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": "DEMAND", "units": "KW"}
        body = {
            "eventID": event, "clientName": self._resource, "payloadDescriptors": [descriptor],
            "resources": [{"resourceName": self._resource, "intervals": intervals}],
        }  # fmt: skip
        path = f"/reports/{id_}" if id_ else "/reports"
        said = await self._http.request("PUT" if id_ else "POST", path, json=body)
        self._told[event] = said.raise_for_status().json()["id"], intervals


def limits_of(event: dict[str, Any]) -> list[tuple[float, float, float]]:
    """Return what an event limits imports to: from, until [s since 1970], W."""
    units = {one["payloadType"]: one.get("units") for one in event.get("payloadDescriptors") or ()}
    factor = {"W": 1.0, "MW": 1e6}.get(units.get("IMPORT_CAPACITY_LIMIT") or "KW", 1e3)
    found = []
    begin = _time(event.get("intervalPeriod") or {})
    for one in event.get("intervals") or ():
        period = one.get("intervalPeriod") or event.get("intervalPeriod") or {}
        begin = _time(period) if one.get("intervalPeriod") else begin
        end = begin + _lasts(period.get("duration") or "PT0S")
        for payload in one["payloads"]:
            if payload["type"] == "IMPORT_CAPACITY_LIMIT":
                found.append((begin.timestamp(), end.timestamp(), payload["values"][0] * factor))
        begin = end
    return found


def _time(period: dict[str, Any]) -> datetime:
    start = period.get("start")
    return datetime.fromisoformat(start) if start else datetime.now(UTC)


def _lasts(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0, 0.0)
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


async def run(vtn: str, client: str, resource: str, seed: int, home_port: int) -> None:
    """Run until cancelled; what cannot be reached is asked again."""
    pump = HeatPump(seed)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wall:
        async with httpx.AsyncClient(base_url=vtn, timeout=5.0, trust_env=False) as http:
            ven = Ven(http, client, os.environ[SECRET_VARIABLE], resource, pump)
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    await ven.step()
                with contextlib.suppress(OSError):
                    said = json.dumps({"device": "heat pump", "power_w": pump.power_w()}).encode()
                    wall.sendto(said, ("127.0.0.1", home_port))
                await asyncio.sleep(STEP_S)


def main() -> None:
    """Run a heat pump."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vtn", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--resource", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home-port", type=int, default=9)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(run(given.vtn, given.client, given.resource, given.seed, given.home_port))


if __name__ == "__main__":
    main()
