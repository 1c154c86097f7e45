"""The story of the demonstration, told step by step and checked.

*Northside Networks* runs the node and owns the meters; *Brightfield* owns inverters and batteries. Brightfield asks
for the meters' data, gets a grant, commands a battery; the grant is revoked and the stream beside it ends; the node
is killed while a lease runs, and the battery falls back by itself. Beside it (`gridspine.apps.demo.neighbourhood`) one
of the batteries comes out of its box, an ensemble is saved, and emulated neighbours join.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gridspine.apps.cli.connect import check
from gridspine.apps.cli.keys import ClientFile, new_key, read_client_file, write_client_file
from gridspine.apps.cli.signing import SigningAuth
from gridspine.apps.demo import csip
from gridspine.apps.demo.bidding import Bidding, words
from gridspine.apps.demo.charging import SETTINGS as CHARGING
from gridspine.apps.demo.charging import add_charger, charger_id, save_chargers, start_charger
from gridspine.apps.demo.evening import SETTINGS as EVENING
from gridspine.apps.demo.evening import add_ven, publish_evening, start_ven, ven_id
from gridspine.apps.demo.homes import MODELS, Home, start_homes, start_meter
from gridspine.apps.demo.neighbourhood import (
    NEIGHBOURS,
    Box,
    announce_battery,
    locate,
    neighbours_joined,
    save_ensemble,
    start_neighbours,
)
from gridspine.apps.demo.processes import Process, Processes
from gridspine.apps.demo.subscriber import Subscriber
from gridspine.infra.runtime.clock import SystemClock, new_urn
from gridspine.kernel.errors import Unavailable

NORTHSIDE, BRIGHTFIELD = "northside-networks", "brightfield"
PURPOSE = "balancing"
SET_POINT_W = 2000.0
Say = Callable[[str], None]


@dataclass(slots=True)
class Story:
    """The demonstration under way: its processes, its clients, and what has happened."""

    data: Path
    say: Say
    port: int = 0
    processes: Processes = field(init=False)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    homes: list[Home] = field(default_factory=list)
    url: str = ""
    node: Process = field(init=False)
    northside: httpx.AsyncClient = field(init=False)
    brightfield: httpx.AsyncClient = field(init=False)
    bearer: str = ""
    product: str = ""
    withheld: str = ""
    grant: str = ""
    commands: list[str] = field(default_factory=list)
    granted: Subscriber = field(default_factory=Subscriber)
    ungranted: Subscriber = field(default_factory=Subscriber)
    following: "asyncio.Task[None]" = field(init=False)
    joining: "asyncio.Task[bool]" = field(init=False)
    box: Box = field(init=False)
    report: dict[str, Any] = field(default_factory=dict)
    ensemble: str = ""
    chargers: str = ""
    programme: str = ""
    bidding: Bidding = field(init=False)
    keys: csip.Keys = field(init=False)

    def __post_init__(self) -> None:
        self.processes = Processes(self.data / "demo-logs")

    async def start(self) -> None:
        """Start devices and node, admit the parties, register the Things."""
        self.say("starting three homes: an inverter and a battery each, speaking SunSpec over Modbus TCP")
        self.homes = await start_homes(self.processes)
        self.say("starting the node of Northside Networks")
        await self._start_node()
        await self._admit()
        await self._register()

    async def share(self) -> None:
        """Publish, ask, approve; let both organisations listen."""
        self.say("Northside publishes the meters' readings; Brightfield asks for them, for balancing")
        points = [f"{home.meter_id}/{name}" for home in self.homes for name in ("activePower", "activeEnergyImport")]
        self.product = await self._publish(self.northside, "Power and energy of three homes", points)
        batteries = [f"{home.battery_id}/activePower" for home in self.homes]
        self.withheld = await self._publish(self.brightfield, "Batteries of three homes", batteries)
        until = (datetime.now(UTC) + timedelta(hours=8)).isoformat()
        asked = {"product": self.product, "purpose": PURPOSE, "until": until}
        self.grant = check(await self.brightfield.post("/grants", json=asked)).json()["id"]
        check(await self.northside.post(f"/grants/{self.grant}/approve", json={"reason": "agreed"}))
        self.say(f"Northside approves until {until[:16]}Z: Brightfield's stream begins")
        self.following = asyncio.create_task(self.granted.follow(self.brightfield, self.product))
        await self.ungranted.follow(self.northside, self.withheld)
        self.say(f"Northside tries Brightfield's batteries without a grant: {self.ungranted.status}")

    async def take_in(self) -> None:
        """Examine and commission the battery that came out of its box, plan for it, and save an ensemble."""
        self.report = await self.box.commission()
        found = ", ".join(one["code"] for one in self.report["findings"]) or "nothing wrong"
        self.say(f"the battery of home {self.box.home.number} is examined ({found}) and commissioned")
        await self.box.plan()
        self.ensemble = await save_ensemble(self.brightfield)
        self.chargers = await save_chargers(self.brightfield)
        self.say("Brightfield saves ensembles: batteries in the street that can take 1 kW for ten minutes; chargers")

    async def command(self, home: Home, seconds: float) -> dict[str, Any]:
        """Lease a battery for ``seconds`` [s] and wait until a reading shows that it obeys."""
        self.say(f"Brightfield has the battery of home {home.number} charge at {SET_POINT_W:.0f} W for {seconds:.0f} s")
        wanted = {
            "thing": home.battery_id, "point": "activePowerSetpoint", "value": SET_POINT_W, "durationS": seconds,
        }  # fmt: skip
        command = check(await self.brightfield.post("/commands", json=wanted)).json()
        self.commands.append(command["id"])
        said = ""
        deadline = time.monotonic() + min(seconds, 30.0)
        while time.monotonic() < deadline:
            command = check(await self.brightfield.get(f"/commands/{command['id']}")).json()
            if command["state"] != said:
                said = command["state"]
                self.say(f"  the command is {said}{': ' + command['reason'] if command['reason'] else ''}")
            if said in {"applied", "refused", "rejected", "failed", "ended", "expired"}:
                break
            await asyncio.sleep(0.1)
        return dict(command)

    async def bid(self) -> None:
        """Bid for the battery of home 3, and have Northside accept."""
        self.bidding = Bidding(self.brightfield, self.northside, self.homes[2].battery_id)
        self.say(await self.bidding.offer())

    async def settle(self) -> dict[str, Any]:
        """Wait until the bid is settled, say what it came to, and make the line again from its receipts alone."""
        line = await self.bidding.settled()
        self.say(words(line))
        if line and await self.bidding.proven(self.data / "evidence"):
            self.say(f"  four receipts and the ledger's key prove it without the node: {self.data / 'evidence'}")
        return line

    async def revoke(self) -> float:
        """Revoke the grant; return the time from the revocation's record to the end of the stream [s]."""
        self.say("Northside revokes the grant")
        check(await self.northside.post(f"/grants/{self.grant}/revoke", json={"reason": "the demonstration is over"}))
        await asyncio.wait_for(self.following, 60)
        events = check(await self.northside.get("/receipts", params={"subject": self.grant})).json()
        revoked = datetime.fromisoformat(next(e["time"] for e in events if e["type"] == "grant.revoke"))
        cut_s = self.granted.ended_us / 1e6 - revoked.timestamp()
        self.say(f"Brightfield's stream ended {cut_s * 1000:.0f} ms later: {self.granted.ended}")
        return cut_s

    async def kill_node(self) -> None:
        """Kill the node without a warning."""
        self.say("killing the node (kill -9) while the battery's lease runs")
        await self.node.end(signal.SIGKILL)

    async def close(self) -> None:
        """End clients and processes."""
        tasks = [getattr(self, name) for name in ("following", "joining") if hasattr(self, name)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.stack.aclose()
        await self.processes.close()

    async def _start_node(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keys = await asyncio.to_thread(csip.make_keys, self.data / "csip")
        settings = f"""organisation = "Northside Networks"
demo = true
log_level = "warning"
[http]
port = {self.port}
[archive]
flush_seconds = 2.0
[adapters]
allow = ["mqtt", "modbus", "ocpp", "ieee2030_5", "openadr3"]
connect_for = ["{BRIGHTFIELD}"]
{CHARGING}{EVENING}{csip.settings(self.keys)}"""
        (self.data / "settings.toml").write_text(settings)
        self.node = await self.processes.start("node", ["-m", "gridspine.apps.cli", "up", "--data", str(self.data)])
        self.url = (self.data / "address").read_text().strip()
        self.northside = await self._client("operator")

    async def _join(self) -> bool:
        """Start the emulated neighbours, and say when they are there."""
        process = await start_neighbours(self.processes, self.data)
        joined = await neighbours_joined(self.northside, process)
        words = "join, on the channel emulated" if joined else "did not come: see the log of the neighbourhood"
        self.say(f"  {NEIGHBOURS} emulated neighbours {words}")
        return joined

    async def _client(self, name: str) -> httpx.AsyncClient:
        auth = SigningAuth(read_client_file(self.data / "clients" / f"{name}.json"), node=self.url)
        http = httpx.AsyncClient(base_url=self.url, auth=auth, timeout=30.0)
        await self.stack.enter_async_context(http)
        return http

    async def _admit(self) -> None:
        check(await self.northside.post("/organisations", json={"id": BRIGHTFIELD, "name": "Brightfield"}))
        clock = SystemClock()
        file = ClientFile(new_urn(clock), (self.data / "issuer").read_text().strip(), new_key())
        write_client_file(self.data / "clients" / "brightfield.json", file, clock)
        asked = {
            "id": file.client, "kind": "application", "name": "brightfield", "organisation": BRIGHTFIELD,
            "roles": ["operator", "owner", "consumer", "auditor"], "jwk": file.public_jwk(),
        }  # fmt: skip
        self.bearer = check(await self.northside.post("/principals", json=asked)).json()["bearer"]
        self.brightfield = await self._client("brightfield")

    async def _register(self) -> None:
        self.say("registering twelve Things, and starting the meters, speaking MQTT; one battery announces itself")
        self.joining = asyncio.create_task(self._join())
        for home in self.homes:
            for kind, id_, device in (
                ("pv_inverter", home.inverter_id, home.inverter),
                ("battery", home.battery_id, home.battery),
            ):
                connection = {"host": "127.0.0.1", "port": device.port, "unit": 1, "intervalS": 1.0}
                if device is self.homes[1].battery:
                    self.box = Box(self.brightfield, home)
                    await announce_battery(self.brightfield, home, f"Home {home.number}: battery", connection)
                else:
                    await self._thing(self.brightfield, home, kind, id_, "modbus", connection, [])
            asked = {"kind": "device", "name": f"meter of home {home.number}", "roles": ["device"], "password": True}
            device_principal = check(await self.northside.post("/principals", json=asked)).json()
            await self._thing(self.northside, home, "meter", home.meter_id, "mqtt", {}, [device_principal["id"]])
            address = await self._listener("mqtt.mqtt")
            await start_meter(self.processes, home, address, device_principal["id"], device_principal["password"])
            await locate(self.northside, [home.meter_id], home.number)
            await locate(self.brightfield, [home.inverter_id, home.battery_id], home.number)

        await self._charge(self.homes[2])
        await self._export(self.homes[0])
        await self._follow(self.homes[0])

    async def _follow(self, home: Home) -> None:
        client, secret = await add_ven(self.northside, self.brightfield, BRIGHTFIELD, home)
        await locate(self.brightfield, [ven_id(home)], home.number)
        await start_ven(self.processes, home, await self._listener("openadr3.http"), client, secret)
        self.programme = await publish_evening(self.brightfield)
        self.say(f"the heat pump of home {home.number} is a VEN of OpenADR 3: an event has it draw 1 kW at most")

    async def _charge(self, home: Home) -> None:
        password = await add_charger(self.northside, self.brightfield, BRIGHTFIELD, home)
        await locate(self.brightfield, [charger_id(home)], home.number)
        await start_charger(self.processes, home, await self._listener("ocpp.ocpp"), password)
        self.say(f"a car charges at home {home.number}: the charge point speaks OCPP 1.6")

    async def _export(self, home: Home) -> None:
        await csip.add_inverter(self.northside, self.brightfield, BRIGHTFIELD, home, self.keys)
        await locate(self.brightfield, [csip.inverter_id(home)], home.number)
        await csip.start_inverter(self.processes, home, await self._listener(csip.LISTENER), self.keys)
        self.say(f"home {home.number} may export {csip.LIMIT_W:.0f} W for a while: its second inverter speaks CSIP-AUS")

    async def _thing(
        self, http: httpx.AsyncClient, home: Home, kind: str, id_: str, adapter: str, connection: Any, devices: Any
    ) -> None:
        title = f"Home {home.number}: {kind.replace('pv_', 'PV ').replace('_', ' ')}"
        wanted = {
            "id": id_, "title": title, "model": MODELS + kind, "adapter": adapter, "connection": connection,
            "devices": devices,
        }  # fmt: skip
        check(await http.post("/things", json=wanted))

    async def _listener(self, name: str) -> str:
        for _ in range(100):
            listening = check(await self.northside.get("/status")).json()["listening"]
            if name in listening:
                return str(listening[name])
            await asyncio.sleep(0.1)
        raise Unavailable(f"the node does not listen for {name}: see its log")

    async def _publish(self, http: httpx.AsyncClient, title: str, points: list[str]) -> str:
        contract = {"licence": "CC-BY-4.0", "purposes": [PURPOSE], "description": "As reported, as it comes."}
        product = check(await http.post("/products", json={"title": title, "points": points, "contract": contract}))
        return str(product.json()["id"])


def receipts_file(folder: Path, event_id: str, body: bytes) -> Path:
    """Keep a receipt in ``folder`` and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{event_id}.json"
    file.write_bytes(msgspec.json.format(body))
    return file
