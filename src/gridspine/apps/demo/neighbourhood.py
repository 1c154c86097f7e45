"""The second thread of the story: a battery out of its box, an ensemble, a plan, and emulated neighbours.

::

    home 2's battery: announced ─► taken in ─► examined ─► commissioned ─► commanded ─► its meter exchanged
    batteries that can take 1 kW: an ensemble, saved; whoever is commanded leaves it
    neighbours: `gridspine emulate`, a process of its own, on the channel *emulated*
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from gridspine.apps.cli.connect import check
from gridspine.apps.demo.homes import MODELS, Home
from gridspine.apps.demo.processes import Process, Processes

NEIGHBOURS = 40
STEP_S = 2.0
PREFIX = "urn:example:neighbourhood:"
EMULATED_BATTERY = f"{PREFIX}battery-000000"
STREET = (52.0907, 5.1214)
"""Where the homes are [degrees, WGS 84]: latitude, longitude."""

JOIN_TIMEOUT_S = 90.0
_SERIAL = "BA-5000-0002"
_APART_DEGREES = 0.0003


async def start_neighbours(processes: Processes, data: Any) -> Process:
    """Start the emulated neighbourhood; it registers its Things and goes on live until it is ended."""
    arguments = ["-m", "gridspine.apps.cli", "emulate", "--devices", str(NEIGHBOURS), "--hours", "0"]
    arguments += ["--step", str(STEP_S), "--stay", "--prefix", PREFIX, "--data", str(data)]
    return await processes.start("neighbourhood", arguments, waits=False)


async def neighbours_joined(http: httpx.AsyncClient, process: Process) -> bool:
    """Wait until an emulated battery has said something; False when its process ended or time was up."""
    deadline = time.monotonic() + JOIN_TIMEOUT_S
    while time.monotonic() < deadline and process.process.returncode is None:
        answer = await http.get(f"/things/{EMULATED_BATTERY}/channels")
        if answer.is_success and any(point["emulated"] for point in answer.json()):
            return True
        await asyncio.sleep(0.3)
    return False


async def announce_battery(http: httpx.AsyncClient, home: Home, title: str, connection: dict[str, Any]) -> None:
    """Let a home's battery be announced by its installer's application, and be taken in by its owner."""
    said = {"make": "Sunward", "model": "BA-5000", "serial": _SERIAL, "thingModel": f"{MODELS}battery"}
    announced = check(await http.post("/announcements", json=said)).json()
    verdict = {
        "id": home.battery_id, "title": title, "adapter": "modbus", "connection": connection,
        "why": f"installed in home {home.number}",
    }  # fmt: skip
    check(await http.post(f"/announcements/{announced['id']}/accept", json=verdict))


async def locate(http: httpx.AsyncClient, ids: list[str], number: int) -> None:
    """Say where the Things of home ``number`` are."""
    patch = {"geo:lat": STREET[0] + number * _APART_DEGREES, "geo:long": STREET[1]}
    headers = {"content-type": "application/merge-patch+json"}
    for id_ in ids:
        check(await http.patch(f"/things/{id_}", json=patch, headers=headers))


@dataclass(slots=True)
class Box:
    """The battery that came out of its box, as its owner ``http`` sees it."""

    http: httpx.AsyncClient
    home: Home

    @property
    def thing(self) -> str:
        """Its id."""
        return self.home.battery_id

    async def commission(self) -> dict[str, Any]:
        """Wait for its first readings, examine it by them, and commission it upon the report."""
        await self.wait_for("activeEnergyImport", "activeEnergyExport", "activePower")
        report: dict[str, Any] = check(await self.http.post(f"/things/{self.thing}/commissioning", json={})).json()
        step = {"to": "commissioned", "why": "it answers, and what it says is plausible", "evidence": [report["id"]]}
        check(await self.http.post(f"/things/{self.thing}/lifecycle", json=step))
        return report

    async def plan(self) -> None:
        """Send a plan: rest now, charge in ten minutes."""
        name, now_s = f"{self.thing}/activePower", time.time()
        steps = [{"n": name, "t": now_s + at_s, "v": power_w} for at_s, power_w in ((-60.0, 0), (600.0, 2000))]
        check(await self.http.post("/readings", json=steps, headers={"channel": "planned"}))

    async def exchange_meter(self) -> None:
        """Note that the meter inside was exchanged, set on to the old one's readings."""
        values = await self.wait_for("activeEnergyImport", "activeEnergyExport")
        exchange = {
            "at": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(), "oldSerial": "M-17", "newSerial": "M-42",
            "final": values, "first": values, "why": "recalled by its maker",
        }  # fmt: skip
        check(await self.http.post(f"/things/{self.thing}/meter-exchanges", json=exchange))

    async def channels(self, point: str) -> dict[str, Any]:
        """Return one of its points on all channels."""
        found = check(await self.http.get(f"/things/{self.thing}/channels")).json()
        return next(one for one in found if one["name"] == point)

    async def wait_for(self, *names: str) -> dict[str, float]:
        """Return the reported values of points as soon as all of them are there."""
        deadline = time.monotonic() + 30.0
        while True:
            points = check(await self.http.get(f"/things/{self.thing}/properties")).json()
            values = {one["name"]: one["value"] for one in points if one["name"] in names and one["value"] is not None}
            if len(values) == len(names) or time.monotonic() > deadline:
                return values
            await asyncio.sleep(0.2)


async def save_ensemble(http: httpx.AsyncClient) -> str:
    """Save the ensemble of batteries in the street that can take 1 kW more for ten minutes; return its id."""
    can = {"direction": "raise", "atLeastW": 1000, "forS": 600, "ratedEnergyWh": 10_000, "marginW": 100}
    street = {"latitude": STREET[0], "longitude": STREET[1], "radiusM": 2000}
    criteria = {"models": [f"{MODELS}battery"], "can": can, "place": {"circle": street}, "maxAgeS": 60}
    wanted = {"title": "Batteries that can take 1 kW", "criteria": criteria, "holdS": 2}
    return str(check(await http.post("/ensembles", json=wanted)).json()["id"])


async def members(http: httpx.AsyncClient, ensemble: str, wanted: int) -> dict[str, Any]:
    """Return who is in an ensemble, as soon as ``wanted`` are; after ten seconds whoever is."""
    deadline = time.monotonic() + 10.0
    while True:
        found: dict[str, Any] = check(await http.get(f"/ensembles/{ensemble}")).json()["gathered"]
        if found["sums"]["count"] == wanted or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


async def plant_values(http: httpx.AsyncClient, ensemble: str, wanted: set[str]) -> dict[str, Any]:
    """Return what an ensemble reports as a Thing, as soon as all ``wanted`` properties are there, or after 10 s."""
    deadline = time.monotonic() + 10.0
    while True:
        found: dict[str, Any] = check(await http.get(f"/things/{ensemble}/values")).json()
        if wanted <= found.keys() or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)
