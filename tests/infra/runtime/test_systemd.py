"""What a service manager hears, on a real socket: ready, signs of life while the node lives, stopping."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gridspine.infra.runtime import systemd


@pytest.fixture
def manager(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(200)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_states_come_as_lines(manager):
    systemd.notify(systemd.READY, "STATUS=well")
    assert manager.recv(1000) == b"READY=1\nSTATUS=well"


def test_an_abstract_name(monkeypatch):
    name = f"gridspine-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        systemd.notify(systemd.STOPPING)
        assert listening.recv(1000) == b"STOPPING=1"


def test_without_a_manager_nothing_happens(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify(systemd.READY)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.notify(systemd.READY)


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"), [("", "", 0), ("2000000", "", 1), ("2000000", "1", 0), ("x", "", 0)]
)
def test_how_often_a_sign_of_life_is_wanted(monkeypatch, usec, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert systemd.watchdog_s() == seconds


async def test_signs_of_life_end_with_life(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    alive, asked = True, asyncio.Event()

    def is_alive():
        if not alive:
            asked.set()
        return alive

    task = asyncio.create_task(systemd.keep_alive(is_alive))
    assert await asyncio.to_thread(manager.recv, 1000) == b"WATCHDOG=1"
    alive = False
    await asked.wait()
    manager.setblocking(False)
    while True:
        try:
            manager.recv(1000)
        except BlockingIOError:
            break
    asked.clear()
    await asked.wait()
    with pytest.raises(BlockingIOError):
        manager.recv(1000)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_node_says_when_it_is_ready_and_when_it_stops(manager, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "settings.toml").write_text(
        "[http]\nport = 0\n[archive]\nenabled = false\n[log]\nreserve_bytes = 1000000\n"
    )
    environment = os.environ | {"WATCHDOG_USEC": "200000"}
    words = [sys.executable, "-m", "gridspine.apps.cli", "up", "--data", data]
    with Path(tmp_path / "log").open("wb") as out:
        node = subprocess.Popen(words, env=environment, stdout=out, stderr=out)
    try:
        assert manager.recv(1000).startswith(b"READY=1\nSTATUS=ready at http://127.0.0.1:")
        assert manager.recv(1000) == b"WATCHDOG=1"
        node.terminate()
        while (heard := manager.recv(1000)) == b"WATCHDOG=1":
            pass
        assert heard == b"STOPPING=1"
        assert node.wait(30) == 0
    finally:
        node.kill()
        node.wait()
