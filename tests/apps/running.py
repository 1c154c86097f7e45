"""A whole node in this process on a free port, two organisations, and clients of both."""

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import msgspec

from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.cli.signing import SigningAuth
from gridspine.apps.node.run import Running, start
from gridspine.infra.identity import user
from gridspine.infra.runtime.clock import Clock, SystemClock
from gridspine.infra.runtime.settings import Archive, Http, Log, Settings
from gridspine.kernel.time import US

METER = "https://gridspine.org/models/meter"
BATTERY = "https://gridspine.org/models/battery"
SENML = {"content-type": "application/senml+json"}
ALL = ("administrator", "operator", "owner", "consumer", "auditor")
BEGIN_S = 1_700_000_000


def settings_for(*, archive: bool = False, http: dict[str, Any] | None = None, **more: Any) -> Settings:
    """Settings of a small node: ballast of a MiB, no archive unless asked for."""
    log = more.pop("log", Log(reserve_bytes=1 << 20))
    return Settings(
        organisation="Northside Networks", demo=True, http=Http(port=0, **(http or {})), log=log,
        archive=Archive(enabled=archive, flush_seconds=1.0), **more,
    )  # fmt: skip


class AheadClock(SystemClock):
    """The machine's clock, ahead by ``ahead_s`` [s]: as if so much more time had passed."""

    ahead_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + round(self.ahead_s * US)

    def monotonic_us(self) -> int:
        return super().monotonic_us() + round(self.ahead_s * US)

    def pass_until(self, time_us: int) -> None:
        """Let time pass until ``time_us`` [µs since 1970], and a moment."""
        self.ahead_s += max(0, time_us - self.now_us()) / US + 0.001


class World:
    """A running node with an operator (``op``) who may do all, and a consumer (``co``) of another organisation."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running, self.node, self.url, self.folder = running, running.node, running.url, folder
        self.clients: list[httpx.AsyncClient] = []
        directory = self.node.identity.directory
        if all(known.id != "brightfield" for known in directory.organisations()):
            directory.add_organisation("brightfield", "Brightfield")
        self.op_id, self.op = self.client("northside-networks", *ALL)
        self.co_id, self.co = self.client("brightfield", *ALL)
        self.nobody = _client(self.url)
        self.clients.append(self.nobody)

    @classmethod
    async def start(cls, folder: Path, settings: Settings | None = None, clock: Clock | None = None) -> "World":
        # What a password costs is not what is tested here, and half of a start.
        with mock.patch.object(user, "Cost", functools.partial(user.Cost, n=16, p=1)):
            return cls(await start(settings or settings_for(), folder, clock), folder)

    def client(self, organisation: str, *roles: str, kind: str = "application") -> tuple[str, httpx.AsyncClient]:
        """Add a principal and return its id and a client with its plain bearer token."""
        made = self.node.identity.directory.add_principal(organisation, kind, "c", roles)
        token = self.node.identity.demo.issue(made.id)
        http = _client(self.url, Authorization=f"Bearer {token}")
        self.clients.append(http)
        return made.id, http

    async def stop(self) -> None:
        await self.hang_up()
        await self.running.stop()

    async def hang_up(self) -> None:
        for http in self.clients:
            await http.aclose()

    async def thing(self, id: str = "urn:example:m1", model: str = METER, **more: Any) -> str:
        answer = await self.op.post("/things", json={"id": id, "title": id, "model": model, **more})
        assert answer.status_code == 201, answer.text
        return id

    async def product(self, *points: str, **contract: Any) -> str:
        body = {"title": "P", "points": points, "contract": {"licence": "MIT", "purposes": ["a", "b"], **contract}}
        answer = await self.op.post("/products", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def grant(self, product: str, purpose: str = "a", until: str = "2100-01-01T00:00:00Z") -> str:
        answer = await self.co.post("/grants", json={"product": product, "purpose": purpose, "until": until})
        assert answer.status_code == 201, answer.text
        id_ = answer.json()["id"]
        answer = await self.op.post(f"/grants/{id_}/approve")
        assert answer.status_code == 200, answer.text
        return id_

    async def shared(self, point: str = "activeEnergyImport") -> tuple[str, str, str]:
        """Make a Thing, a product of one of its points, and a grant; return point id, product and grant."""
        thing = await self.thing()
        product = await self.product(f"{thing}/{point}")
        return f"{thing}/{point}", product, await self.grant(product)

    async def send(self, point: str, values: Any, *, begin_s: float = BEGIN_S, **headers: str) -> dict[str, Any]:
        """Send ``values`` (one a second) of a point and return the answer's body."""
        body = [{"n": point, "v": value, "t": begin_s + at} for at, value in enumerate(values)]
        answer = await self.op.post("/readings", json=body, headers=SENML | headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def pull_all(self, product: str, cursor: str = "", limit: int = 100_000) -> tuple[list[Any], str]:
        """Pull until nothing more comes; return the records and the last cursor."""
        found: list[Any] = []
        while True:
            answer = await self.co.get(f"/products/{product}/readings", params={"cursor": cursor, "limit": limit})
            assert answer.status_code == 200, answer.text
            found += answer.json()
            if answer.headers["gridspine-cursor"] == cursor:
                return found, cursor
            cursor = answer.headers["gridspine-cursor"]


def _client(url: str, **headers: str) -> httpx.AsyncClient:
    # Plain HTTP on loopback: reading the authorities of TLS would be the better part of making a client.
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=30, verify=False)


class Sse:
    """What came by one event stream: ``records``, ``events`` (name, data), and its last id."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.events: list[tuple[str, str]] = []
        self.id = ""
        self.status = 0
        self.opened = asyncio.Event()

    async def follow(self, http: httpx.AsyncClient, product: str, *, enough: int = 1 << 60, **more: Any) -> "Sse":
        """Follow until the stream ends, or ``enough`` records came."""
        async with http.stream("GET", f"/products/{product}/stream", timeout=None, **more) as answer:
            self.status = answer.status_code
            name = ""
            async for line in answer.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                    self.opened.set()
                elif field == "id":
                    self.id = value
                elif field == "data":
                    self.events.append((name, value))
                    if name == "readings":
                        self.records += json.loads(value)
                elif not line and len(self.records) >= enough:
                    break
        return self

    @property
    def ended(self) -> dict[str, Any]:
        name, data = self.events[-1]
        assert name == "end", self.events[-1][:200]
        return json.loads(data)


async def until(condition: Any, timeout_s: float = 60.0) -> None:
    """Wait until ``condition()`` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)


class Child:
    """A node as a process of its own: ``gridspine up``."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "settings.toml").exists():
            self.settings()
        variables = os.environ | {"GRIDSPINE_DATA": str(folder)} | environment
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gridspine.apps.cli", "up"], env=variables, stdout=out, stderr=out
            )

    def settings(self) -> None:
        text = "organisation = 'Northside Networks'\n[http]\nport = 0\n[archive]\nenabled = false\n"
        (self.folder / "settings.toml").write_text(text + "[log]\nreserve_bytes = 1000000\n")

    async def ready(self) -> httpx.AsyncClient:
        """Return a client that signs as the operator, once the node takes requests."""
        address = self.folder / "address"
        before = address.read_text() if address.exists() else ""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            if address.exists() and (text := address.read_text().strip()) and (text + "\n" != before or _alive(text)):
                return self.signing(text)
            await asyncio.sleep(0.01)
        raise AssertionError("the node did not start")

    def signing(self, url: str) -> httpx.AsyncClient:
        file = read_client_file(self.folder / "clients" / "operator.json")
        return httpx.AsyncClient(base_url=url, auth=SigningAuth(file, node=url), timeout=30)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.kill()


def _alive(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=1).is_success
    return False


async def pull_own(http: httpx.AsyncClient, product: str) -> list[Any]:
    """Pull a whole product as its own organisation."""
    found, cursor = [], ""
    while True:
        answer = await http.get(f"/products/{product}/readings", params={"cursor": cursor, "limit": 100_000})
        assert answer.status_code == 200, answer.text
        found += answer.json()
        if answer.headers["gridspine-cursor"] == cursor:
            return found
        cursor = answer.headers["gridspine-cursor"]


@contextlib.asynccontextmanager
async def running(folder: Path, settings: Settings | None = None) -> AsyncIterator[World]:
    """A world for the length of a block."""
    world = await World.start(folder, settings)
    try:
        yield world
    finally:
        await world.stop()


def with_http(settings: Settings, **changes: Any) -> Settings:
    return msgspec.structs.replace(settings, http=msgspec.structs.replace(settings.http, **changes))
