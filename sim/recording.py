"""A real node, its writes and what it said to the world, noted; a client that asks one thing at a time.

One thing at a time, so that what was written between a request and its answer was written for it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gridspine.adapters.mqtt.topics import usual_topic
from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.cli.signing import SigningAuth
from sim.disk import shim
from sim.disk.trace import Note, Trace

METER, BATTERY = "https://gridspine.org/models/meter", "https://gridspine.org/models/battery"
THING, STORE = "urn:sim:meter", "urn:sim:battery"
_POINT = f"{THING}/activeEnergyImport"
_UP = "import sys; from sim.recording import up; up(sys.argv[1])"
_START_TRIES = 3000
NEEDS = {
    "readings": ("log/readings/",),
    "mqtt": ("log/readings/",),
    "command": ("log/commands/",),
    "grant": ("registry.db", "log/ledger/"),
}
"""What must be durable before each kind of answer: paths in the data directory begin so."""


def up(plant: str) -> None:
    """Run ``gridspine up`` in this process, with a violation planted where ``plant`` names one."""
    import contextlib

    from gridspine.apps.cli.main import run
    from sim.plant import PLANTS

    sys.argv = ["gridspine", "up"]
    with PLANTS[plant]() if plant else contextlib.nullcontext():
        run()


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One answer: its kind, what it promised, and between which notes it was asked for and answered."""

    kind: str
    promise: Any
    first: int
    last: int


@dataclass(slots=True)
class Recording:
    """All notes of a run, and what was acknowledged meanwhile, in order."""

    data: Path
    notes: list[Note] = field(default_factory=list)
    answers: list[Acknowledged] = field(default_factory=list)


class Recorder:
    """Starts a node below ``folder``, asks, and kills it."""

    def __init__(self, folder: Path, plant: str = "") -> None:
        self._root, self._trace = folder / "root", Trace(folder / "notes")
        self._root.mkdir(parents=True)
        self._trace.path.touch()
        self.recording = Recording(self._root / "data")
        self._mqtt_port = _free_port()
        self.recording.data.mkdir(mode=0o700)
        (self.recording.data / "settings.toml").write_text(
            "organisation = 'Northside'\n[http]\nport = 0\n[archive]\nenabled = false\n[log]\nreserve_bytes = 1000000\n"
            f"[adapters]\nallow = ['mqtt']\n[adapters.settings.mqtt.mqtt]\nport = {self._mqtt_port}\n"
        )
        variables = os.environ | shim.environment(self._root, self._trace.path, sends=True)
        variables |= {"GRIDSPINE_DATA": str(self.recording.data), "PYTHONPATH": str(Path(__file__).parents[1])}
        with (folder / "log").open("wb") as out:
            self._process = subprocess.Popen([sys.executable, "-c", _UP, plant], env=variables, stdout=out, stderr=out)
        self._log = folder / "log"

    async def run(self, rounds: int) -> Recording:
        """Ask for ``rounds`` of everything, then kill the node; return what was noted."""
        try:
            async with await self._client() as http:
                await self._ask(http, rounds)
        finally:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._take()
        return self.recording

    async def _client(self) -> httpx.AsyncClient:
        address = self.recording.data / "address"
        for _ in range(_START_TRIES):
            if self._process.poll() is not None:
                raise RuntimeError(self._log.read_text()[-3000:])
            if address.exists() and (url := address.read_text().strip()):
                file = read_client_file(self.recording.data / "clients" / "operator.json")
                return httpx.AsyncClient(base_url=url, auth=SigningAuth(file, node=url), timeout=30)
            await asyncio.sleep(0.01)
        raise RuntimeError("the node does not start")

    async def _ask(self, http: httpx.AsyncClient, rounds: int) -> None:
        device = await _post(
            http, "/principals", {"kind": "device", "name": "d", "roles": ["device"], "password": True}
        )
        await _post(
            http, "/things", {"id": THING, "title": "m", "model": METER, "adapter": "mqtt", "devices": [device["id"]]}
        )
        await _post(http, "/things", {"id": STORE, "title": "b", "model": BATTERY})
        contract = {"licence": "MIT", "purposes": ["a"]}
        product = (await _post(http, "/products", {"title": "p", "points": [_POINT], "contract": contract}))["id"]
        broker = _Broker(self._mqtt_port, device["id"], device["password"])
        try:
            for round_ in range(rounds):
                await self._one_round(http, broker, product, round_)
        finally:
            broker.close()

    async def _one_round(self, http: httpx.AsyncClient, broker: "_Broker", product: str, round_: int) -> None:
        values = [float(1000 + round_ * 100 + place) for place in range(3)]
        begin_s = 1_700_000_000 + round_ * 100

        async def readings() -> Any:
            pack = [{"n": _POINT, "v": value, "t": begin_s + at} for at, value in enumerate(values)]
            answer = await http.post("/readings", json=pack, headers={"content-type": "application/senml+json"})
            assert answer.json()["accepted"] == len(pack), answer.text
            return values

        async def published() -> Any:
            value = 5000.0 + round_
            await broker.publish([{"n": "activeEnergyExport", "v": value, "t": begin_s}])
            return [value]

        async def command() -> Any:
            what = {"thing": STORE, "point": "activePowerSetpoint", "value": float(round_), "durationS": 60}
            return (await _post(http, "/commands", what))["id"]

        async def grant() -> Any:
            what = {"product": product, "purpose": "a", "until": "2100-01-01T00:00:00Z"}
            return (await _post(http, "/grants", what))["id"]

        for kind, ask in (("readings", readings), ("mqtt", published), ("command", command), ("grant", grant)):
            await self._acknowledged(kind, ask)

    async def _acknowledged(self, kind: str, ask: Callable[[], Awaitable[Any]]) -> None:
        first = self._take()
        promise = await ask()
        self.recording.answers.append(Acknowledged(kind, promise, first, self._take()))

    def _take(self) -> int:
        self.recording.notes += self._trace.read()
        return len(self.recording.notes)


class _Broker:
    """A device at the embedded broker."""

    def __init__(self, port: int, username: str, password: str) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="d", clean_session=True)
        self._client.username_pw_set(username, password)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    async def publish(self, pack: Any) -> None:
        """Publish and wait for the acknowledgement."""
        topic = usual_topic(THING, "readings")
        info = self._client.publish(topic, msgspec.json.encode(pack), qos=1)
        await asyncio.to_thread(info.wait_for_publish, 10)
        assert info.is_published(), "the broker did not acknowledge"

    def close(self) -> None:
        """Hang up."""
        self._client.disconnect()
        self._client.loop_stop()


async def _post(http: httpx.AsyncClient, path: str, what: Any) -> Any:
    answer = await http.post(path, json=what)
    assert answer.is_success, answer.text
    return answer.json()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
