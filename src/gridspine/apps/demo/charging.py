"""The demonstration's charge point: registered, started, behind a home's connection point, gathered with its like."""

import asyncio
import time
from typing import Any

import httpx

from gridspine.apps.cli.connect import check
from gridspine.apps.demo.charger import PASSWORD_VARIABLE, TOKEN
from gridspine.apps.demo.homes import MODELS, Home
from gridspine.apps.demo.processes import Process, Processes

STATION = "CP003"
SETTINGS = f"""[adapters.settings.ocpp]
tokens = [{{id = "{TOKEN}"}}]
[adapters.settings.ocpp.ocpp]
port = 0
"""
IMPORT_LIMIT_W = 17_250.0
"""The connection point of a home of 3 × 25 A."""
HOUSEHOLD_W = 3_000.0
"""What of it is left to all else in the home."""


def charger_id(home: Home) -> str:
    """Return the URN of a home's charge point."""
    return f"urn:example:home-{home.number}:charger"


async def add_charger(admin: httpx.AsyncClient, owner: httpx.AsyncClient, organisation: str, home: Home) -> str:
    """Register a home's charge point for its owner, put it behind the home's connection point; return its password."""
    asked = {
        "kind": "device", "name": f"charge point of home {home.number}", "roles": ["device"], "password": True,
        "organisation": organisation,
    }  # fmt: skip
    device = check(await admin.post("/principals", json=asked)).json()
    wanted = {
        "id": charger_id(home), "title": f"Home {home.number}: charge point", "model": f"{MODELS}ev_charger",
        "adapter": "ocpp", "connection": {"station": STATION, "device": device["id"]}, "devices": [device["id"]],
    }  # fmt: skip
    check(await owner.post("/things", json=wanted))
    site = {
        "title": f"Home {home.number}", "importLimitW": IMPORT_LIMIT_W, "uncontrolledLoadW": HOUSEHOLD_W,
        "things": [charger_id(home)],
    }  # fmt: skip
    check(await owner.post("/sites", json=site))
    return str(device["password"])


async def start_charger(processes: Processes, home: Home, address: str, password: str) -> Process:
    """Start a home's charge point; its password reaches it by the environment."""
    arguments = ["-m", "gridspine.apps.demo.charger", "--address", address, "--station", STATION]
    arguments += ["--seed", str(home.number), "--home-port", str(home.wall)]
    name = f"home-{home.number}-charger"
    return await processes.start(name, arguments, waits=False, secrets={PASSWORD_VARIABLE: password})


async def save_chargers(http: httpx.AsyncClient) -> str:
    """Save the ensemble of charging points; return its id."""
    wanted = {"title": "Charging points", "criteria": {"models": [f"{MODELS}ev_charger"], "maxAgeS": 60}, "holdS": 2}
    return str(check(await http.post("/ensembles", json=wanted)).json()["id"])


async def limited(http: httpx.AsyncClient, home: Home, current_a: float, seconds: float) -> dict[str, Any]:
    """Limit the charge point's current for ``seconds`` [s]; return the command when the charge point said it holds."""
    wanted = {"thing": charger_id(home), "point": "currentLimit", "value": current_a, "durationS": seconds}
    command = check(await http.post("/commands", json=wanted)).json()
    deadline = time.monotonic() + min(seconds, 20.0)
    while command["state"] not in {"applied", "refused", "rejected", "failed"} and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        command = check(await http.get(f"/commands/{command['id']}")).json()
    return dict(command)


async def charging(http: httpx.AsyncClient, home: Home) -> dict[str, Any]:
    """Return who charges at a home, and by how much [W], as soon as something is known of either."""
    thing, deadline = charger_id(home), time.monotonic() + 20.0
    while True:
        page = check(await http.get(f"/things/{thing}/transactions")).json()
        points = check(await http.get(f"/things/{thing}/properties")).json()
        power_w = next((one["value"] for one in points if one["name"] == "activePower"), None)
        if (page["transactions"] and power_w is not None) or time.monotonic() > deadline:
            return {"power_w": power_w or 0.0, "transactions": page["transactions"]}
        await asyncio.sleep(0.2)
