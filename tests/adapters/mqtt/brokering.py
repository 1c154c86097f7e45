"""A real Mosquitto with the configuration we write, and a node that is its client."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from adapter_node import FakeNode
from mqtt_authority import Authority
from mqtt_device import OTHER, PASSWORD, THING, raw

from gridspine.adapters.mqtt import MqttAdapter
from gridspine.adapters.mqtt.mosquitto import MosquittoSettings, Tls, write_mosquitto
from gridspine.adapters.mqtt.topics import Routes
from gridspine.things.adapter import Binding
from tests.ports import free_port

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="the program mosquitto is not installed")
NODE_PASSWORD = "of the node"
BINDINGS = [
    Binding(THING, "Meter", "org", "m", {"topics": {"power": {"topic": "home1/power", "unit": "kW"}}}),
    Binding(OTHER, "Meter", "org", "m", {"username": "meter-two"}),
]


@dataclass
class Broker:
    """A Mosquitto process."""

    folder: Path
    authority: Authority
    password_port: int
    tls_port: int
    process: subprocess.Popen[bytes] | None = None

    def write(self, **more: Any) -> None:
        certificate, key = self.authority.issue("localhost", "broker")
        settings = MosquittoSettings(
            tls=Tls(self.authority.path, certificate, key, port=self.tls_port),
            password_port=self.password_port,
            run_as="root" if os.geteuid() == 0 else "",
            **more,
        )
        passwords = {"gridspine-node": NODE_PASSWORD, "meter-two": PASSWORD, "stranger": PASSWORD}
        write_mosquitto(self.folder, settings, Routes(BINDINGS), passwords=passwords, randbytes=os.urandom)

    async def start(self) -> None:
        assert MOSQUITTO is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
            )
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    async with raw(("127.0.0.1", self.password_port)):
                        return
                assert self.process.poll() is None, (self.folder / "log").read_text()
                await asyncio.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(60)
            self.process = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.password_port

    @property
    def tls_address(self) -> tuple[str, int]:
        return "localhost", self.tls_port


@contextlib.contextmanager
def broker_in(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "pki").mkdir()
    (tmp_path / "broker").mkdir()
    it = Broker(tmp_path / "broker", Authority(tmp_path / "pki"), free_port(), free_port())
    it.write()
    try:
        yield it
    finally:
        it.stop()


def make_node(broker: Broker, protocol: str = "5", **options: Any) -> FakeNode:
    settings = {
        "mode": "external", "port": broker.password_port, "protocol": protocol, "username": "gridspine-node",
        "reconnect_min_s": 0.2, "reconnect_max_s": 0.5, "hold_off_s": 0.2,
    } | options.pop("settings", {})  # fmt: skip
    return FakeNode(BINDINGS, settings=settings, secrets={"password": NODE_PASSWORD}, **options)


@contextlib.asynccontextmanager
async def linked(node: FakeNode, *, wait: bool = True) -> AsyncIterator[MqttAdapter]:
    adapter = MqttAdapter()
    async with node.running(adapter):
        if wait:
            await node.until(lambda: adapter.ready)
        yield adapter
