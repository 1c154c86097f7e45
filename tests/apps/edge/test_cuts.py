"""Node, edge and device on machines of their own: each is cut off and killed, and the device ends at its fallback."""

import asyncio
import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running_node import BATTERY

sys.path.insert(0, str(Path(__file__).parent))
import netns

BATTERY_ID = "urn:example:battery"
GRIDSPINE = (sys.executable, "-m", "gridspine.apps.cli")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(netns.why_not()), reason=netns.why_not())]


class Site:
    """The processes on the three machines."""

    def __init__(self, machines: netns.Machines, folder: Path) -> None:
        self.machines, self.folder = machines, folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.talkers: dict[str, asyncio.subprocess.Process] = {}

    def start(self, name: str, namespace: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                self.machines.inside(namespace, *command), stdout=out, stderr=out, env=self.environment
            )

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"GRIDSPINE_DATA": str(self.folder / "node")}

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    async def run(self, namespace: str, *command: str) -> None:
        """Run a command on a machine to its end."""
        inside = self.machines.inside(namespace, *command)

        def work() -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(inside, capture_output=True, env=self.environment, timeout=60, check=False)

        done = await asyncio.to_thread(work)
        assert done.returncode == 0, done.stderr.decode() + self.said()

    async def talk(self, namespace: str, kind: str, where: str, question: object) -> Any:
        """Have a question answered on a machine, by a process that stays there."""
        if kind not in self.talkers:
            program = str(Path(__file__).with_name("inside.py"))
            self.talkers[kind] = await asyncio.create_subprocess_exec(
                *self.machines.inside(namespace, sys.executable, program, kind, where),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        talker = self.talkers[kind]
        talker.stdin.write(json.dumps(question).encode() + b"\n")
        line = await asyncio.wait_for(talker.stdout.readline(), 60)
        assert line, self.said()
        return json.loads(line)

    async def ask(self, path: str, body: object = None) -> Any:
        """Ask the node, on its own machine, as its operator."""
        return await self.talk(self.machines.node, "node", str(self.folder / "node"), [path, body])

    async def device(self) -> tuple[bool, int]:
        """Return whether a set-point is in force at the device, and which one [W, discharging is positive]."""
        enabled, value = await self.talk(self.machines.device, "device", "5020", None)
        return enabled, value

    async def until(self, wanted: "tuple[bool, int] | bool") -> None:
        """Wait until the device is as ``wanted``: in force and the value, or not in force."""
        async with asyncio.timeout(90):
            while True:
                found = await self.device()
                if found == wanted or found[0] == wanted:
                    return
                await asyncio.sleep(0.2)

    def said(self) -> str:
        return "\n".join(path.read_text()[-1500:] for path in self.folder.glob("*.log"))

    async def end(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        for talker in self.talkers.values():
            talker.stdin.close()
            await asyncio.wait_for(talker.wait(), 60)


@pytest.fixture
async def site(tmp_path):
    with netns.machines() as machines:
        made = Site(machines, tmp_path)
        yield made
        await made.end()


async def set_up(site: Site) -> None:
    """Start node, device and edge, and let the edge serve the battery."""
    data = site.folder / "node"
    data.mkdir()
    (data / "settings.toml").write_text(
        "organisation = 'Northside Networks'\n[http]\nport = 8600\n[archive]\nenabled = false\n"
        f"[log]\nreserve_bytes = 1000000\n[tls]\nenabled = true\nhost = '{netns.NODE}'\nnames = ['{netns.NODE}']\n"
    )
    battery = (
        sys.executable,
        "-m",
        "gridspine.apps.demo.battery",
        "--host",
        "0.0.0.0",
        "--port",
        "5020",
        "--seed",
        "7",
    )
    site.start("device", site.machines.device, *battery)
    site.start("node", site.machines.node, *GRIDSPINE, "up")
    async with asyncio.timeout(60):
        while not (data / "address").exists():
            assert site.processes["node"].poll() is None, site.said()
            await asyncio.sleep(0.1)
    await site.run(site.machines.node, *GRIDSPINE, "client", "edge", "--role", "device", "--kind", "device")
    edge = json.loads((data / "clients" / "edge.json").read_text())["client"]
    (site.folder / "ca.pem").write_text(await site.ask("/authority"))
    connection = {"host": netns.DEVICE, "port": 5020, "unit": 1}
    thing = {
        "id": BATTERY_ID, "title": "Battery", "model": BATTERY, "adapter": "edge", "devices": [edge],
        "connection": {"edge": edge, "adapter": "modbus", "connection": connection},
    }  # fmt: skip
    await site.ask("/things", thing)
    (site.folder / "edge.toml").write_text(
        f"node = 'https://{netns.NODE}:8643'\nkey = 'node/clients/edge.json'\ndata = 'edge'\nca = 'ca.pem'\n"
    )
    site.start("edge", site.machines.edge, *GRIDSPINE, "edge", "--settings", str(site.folder / "edge.toml"))


async def test_the_device_ends_at_its_fallback_whatever_is_cut_or_killed(site):
    await set_up(site)
    begin = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)

    def at(seconds: float) -> str:
        return (begin + datetime.timedelta(seconds=seconds)).isoformat()

    wanted = (
        (-1000, 0, 20),
        (500, 20, 35),
        (-700, 35, 65),
    )  # import is positive at the node, discharging at the device
    sent = []
    for value, from_s, until_s in wanted:
        body = {"thing": BATTERY_ID, "point": "activePowerSetpoint", "value": value}
        sent.append(await site.ask("/commands", body | {"from": at(from_s), "until": at(until_s)}))
    async with asyncio.timeout(60):
        for one in sent:
            while (await site.ask(f"/commands/{one['id']}"))["state"] == "accepted":
                await asyncio.sleep(0.1)
    await site.until((True, 1000))
    await asyncio.sleep(3)  # what was sent is on its way: those to come must have arrived, too
    site.kill("node")
    await site.until((True, -500))  # the edge goes on by its clock
    site.machines.cable("up", "down")
    await site.until((True, 700))
    site.kill("edge")
    assert await site.device() == (True, 700)
    site.machines.cable("down", "down")
    await site.until(False)  # the device's own timer
    # Everything comes back, and nothing that is over is ordered again.
    site.machines.cable("down", "up")
    site.machines.cable("up", "up")
    site.start("node", site.machines.node, *GRIDSPINE, "up")
    site.start("edge", site.machines.edge, *GRIDSPINE, "edge", "--settings", str(site.folder / "edge.toml"))
    async with asyncio.timeout(60):
        while not ((edges := await site.ask("/edges")) and edges[0]["connected"]):
            await asyncio.sleep(0.2)
    assert (await site.device())[0] is False
    assert (await site.ask(f"/commands/{sent[2]['id']}"))["state"] in {"expired", "ended"}
