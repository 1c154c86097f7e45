"""The demonstration's programme: a VEN of OpenADR is told to draw less, and reports what it draws."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from gridspine.apps.cli.connect import check
from gridspine.apps.demo.homes import MODELS, Home
from gridspine.apps.demo.processes import Process, Processes
from gridspine.apps.demo.ven import SECRET_VARIABLE

SETTINGS = """[adapters.settings.openadr3.http]
port = 0
"""
RESOURCE = "heat-pump-1"
LIMIT_W = 1_000.0
"""What an evening's event leaves to the heat pump."""


def ven_id(home: Home) -> str:
    """Return the URN of a home's heat pump."""
    return f"urn:example:home-{home.number}:heat-pump"


async def add_ven(admin: httpx.AsyncClient, owner: httpx.AsyncClient, organisation: str, home: Home) -> tuple[str, str]:
    """Make a home's VEN known and register the Thing that it reports of; return its client id and secret."""
    name = f"VEN of home {home.number}"
    asked = {"kind": "application", "name": name, "roles": ["owner"], "organisation": organisation}
    client = str(check(await admin.post("/principals", json=asked)).json()["id"])
    secret = str(check(await admin.post(f"/principals/{client}/device-password", json={})).json()["password"])
    wanted = {
        "id": ven_id(home), "title": f"Home {home.number}: heat pump (VEN)", "model": f"{MODELS}appliance",
        "adapter": "openadr3", "connection": {"resource": RESOURCE}, "devices": [client],
    }  # fmt: skip
    check(await owner.post("/things", json=wanted))
    return client, secret


async def start_ven(processes: Processes, home: Home, address: str, client: str, secret: str) -> Process:
    """Start a home's VEN; its secret reaches it by the environment."""
    arguments = ["-m", "gridspine.apps.demo.ven", "--vtn", f"http://{address}/openadr3/3.1.0", "--client", client]
    arguments += ["--resource", RESOURCE, "--seed", str(home.number), "--home-port", str(home.wall)]
    return await processes.start(f"home-{home.number}-ven", arguments, waits=False, secrets={SECRET_VARIABLE: secret})


async def publish_evening(http: httpx.AsyncClient) -> str:
    """Publish a programme and an event of an hour that limits what is drawn; return the programme's id."""
    programme = {
        "title": "Evening peak", "modes": ["importLimitW"],
        "signals": [{"payloadType": "PRICE", "units": "KWH", "currency": "EUR"}],
    }  # fmt: skip
    id_ = str(check(await http.post("/programmes", json=programme)).json()["id"])
    now = datetime.now(UTC)
    interval = {
        "from": (now - timedelta(seconds=1)).isoformat(), "until": (now + timedelta(hours=1)).isoformat(),
        "signals": [{"type": "PRICE", "values": [0.61]}], "control": {"importLimitW": LIMIT_W},
    }  # fmt: skip
    event = {"title": "This evening", "intervals": [interval]}
    check(await http.post(f"/programmes/{id_}/events", json=event))
    return id_


async def drawn(http: httpx.AsyncClient, home: Home) -> dict[str, Any] | None:
    """Return the power that a home's VEN reported, as soon as there is one; None after half a minute."""
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        points = check(await http.get(f"/things/{ven_id(home)}/properties")).json()
        found: dict[str, Any] = next(one for one in points if one["name"] == "activePower")
        if found["value"] is not None:
            return found
        await asyncio.sleep(0.3)
    return None
