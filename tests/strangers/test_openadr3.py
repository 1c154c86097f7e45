"""openadr3 and toadr3, from PyPI, are clients of a running VTN: from program to event, report and notification."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running_node import World, settings_for, until

from gridspine.infra.runtime.settings import Adapters
from gridspine.kernel.time import US, format_rfc3339

HERE = Path(__file__).parent / "openadr3"
HOME = Path(__file__).parents[2] / ".tools" / "openadr3"
PYTHON = HOME / "bin" / "python"
pytestmark = pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed")


@pytest.fixture(scope="module", autouse=True)
def installed():
    """Install exactly what is locked, in an environment of its own, unless that is there."""
    mark, wanted = HOME / "installed", (HERE / "requirements.txt").read_text()
    if not mark.exists() or mark.read_text() != wanted:
        for command in (
            ["uv", "venv", "-q", "--clear", "-p", sys.executable, HOME],
            ["uv", "pip", "install", "-q", "-p", PYTHON, "-r", HERE / "requirements.txt"],
        ):
            subprocess.run(command, check=True, timeout=240)
        mark.write_text(wanted)


@contextlib.asynccontextmanager
async def listener():
    """Yield an address to post to, and what was posted (token, body)."""
    taken = asyncio.Queue()

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(fields["content-length"]))
        taken.put_nowait((fields.get("authorization", ""), json.loads(body)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback", taken
    finally:
        server.close()


@contextlib.asynccontextmanager
async def serving(folder):
    """Yield a node, the address of its VTN, and what makes credentials of a role."""
    given = {"plain_callbacks": True, "allow": ["127.0.0.0/8"]}
    settings = settings_for(adapters=Adapters(allow=["openadr3", "mqtt"], settings={"openadr3": given}))
    world = await World.start(folder, settings)

    async def credentials(role):
        id_, _ = world.client("northside-networks", role)
        return id_, await asyncio.to_thread(world.node.identity.new_device_password, id_)

    try:
        await until(lambda: {"openadr3.http", "mqtt.mqtt"} <= world.node.adapters.listening.keys())
        _, port = world.node.adapters.listening["openadr3.http"]
        yield world, f"http://127.0.0.1:{port}/openadr3", credentials
    finally:
        await world.stop()


async def run(script, asked):
    """Run a stranger's program and return what it says."""
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(HERE / script), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(json.dumps(asked).encode()), 90)
    assert process.returncode == 0, errors.decode()[-3000:]
    return json.loads(out)


def soon():
    return format_rfc3339(time.time_ns() // 1000 + 600 * US)


async def test_openadr3_runs_a_program_and_takes_part_in_3_1_0(tmp_path) -> None:
    async with serving(tmp_path / "data") as (world, url, credentials), listener() as (callback, taken):
        asked = {"url": url, "callback": callback, "start": soon()}
        said = await run("newer.py", asked | {"bl": await credentials("operator"), "ven": await credentials("owner")})
        token, told = await asyncio.wait_for(taken.get(), 60)
        assert (token, told["operation"], told["object"]["id"]) == ("bearer t", "CREATE", said["event"])
        events = (await world.op.get(f"/programmes/urn:uuid:{said['program']}/events")).json()
        assert [(one["title"], one["intervals"][0]["signals"]) for one in events] == [
            ("E", [{"type": "PRICE", "values": [0.17]}])
        ]  # fmt: skip


async def test_toadr3_takes_part_in_3_0_1(tmp_path) -> None:
    async with serving(tmp_path / "data") as (world, url, credentials), listener() as (callback, taken):
        programme = {"title": "P", "signals": [{"payloadType": "PRICE"}], "open": True}
        of = (await world.op.post("/programmes", json=programme)).json()["id"]
        intervals = [
            {"from": soon(), "until": "2100-01-01T00:00:00Z", "signals": [{"type": "PRICE", "values": [0.17]}]}
        ]
        path = f"/programmes/{of}/events"
        assert (await world.op.post(path, json={"title": "E", "intervals": intervals})).status_code == 201
        said = await run("older.py", {"url": url, "callback": callback, "ven": await credentials("owner")})
        assert said["program"] == of.removeprefix("urn:uuid:")
        assert (await world.op.post(path, json={"title": "F", "intervals": intervals})).status_code == 201
        _, told = await asyncio.wait_for(taken.get(), 60)
        assert (told["operation"], told["object"]["eventName"]) == ("POST", "F")
