"""extrawest-ocpi, from PyPI, as a partner: a provider that our operator registers at, and that a session is told to."""

import asyncio
import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port

TESTS = Path(__file__).parents[1]
HERE = Path(__file__).parent / "ocpi"
HOME = TESTS.parent / ".tools" / "ocpi"
PYTHON = HOME / "bin" / "python"
pytestmark = [pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed"), pytest.mark.slow]

for _name, _file in (("ocpi_pairing", "pairing.py"), ("ocpi_charge_point", "charge_point.py")):
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, TESTS / "adapters" / "ocpi" / _file)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)

from ocpi_charge_point import charging  # noqa: E402
from ocpi_pairing import side  # noqa: E402
from running_node import until  # noqa: E402

CHARGER = "urn:example:charger"
ELEMENTS = [{"price_components": [{"type": "ENERGY", "price": 0.4, "step_size": 1, "vat": 20.0}]}]
SECTION = {
    "roles": ["CPO"], "tariffs": [{"id": "T", "currency": "EUR", "elements": ELEMENTS}],
    "locations": [{
        "id": "HOME", "address": "Street 1", "city": "Town", "country": "NLD", "latitude": "52.1", "longitude": "4.35",
        "time_zone": "Europe/Amsterdam", "postal_code": "1011",
        "evses": [{"thing": CHARGER, "uid": "E1", "evse_id": "NL*CPO*E1", "tariff_ids": ["T"]}],
    }],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def installed():
    """Install exactly what is locked, in an environment of its own, unless that is there."""
    mark, wanted = HOME / "installed", (HERE / "requirements.txt").read_text()
    if not mark.exists() or mark.read_text() != wanted:
        for command in (
            ["uv", "venv", "-q", "--clear", "-p", sys.executable, HOME],
            ["uv", "pip", "install", "-q", "-p", PYTHON, "--require-hashes", "-r", HERE / "requirements.txt"],
        ):
            subprocess.run(command, check=True, timeout=240)
        mark.write_text(wanted)


@contextlib.asynccontextmanager
async def stranger(token):
    """Run the provider; yield its port and what reads its next word."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(HERE / "emsp.py"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, limit=1 << 20,
    )  # fmt: skip
    try:
        process.stdin.write(json.dumps({"port": port, "token": token}).encode() + b"\n")
        await process.stdin.drain()

        async def said(member, wanted=lambda _: True):
            async with asyncio.timeout(60):
                while line := await process.stdout.readline():
                    found = json.loads(line)
                    if member in found and wanted(found):
                        return found
                raise AssertionError("the stranger ended")

        await said("ready")
        yield port, process.stdin, said
    finally:
        process.kill()
        await process.wait()


async def test_a_stranger_is_registered_at_and_told_of_a_session_and_fetches(tmp_path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        folder = tmp_path / "cpo"
        cpo = await stack.enter_async_context(
            side(folder, country="NL", party="CPO", allow=("ocpi", "ocpp"), **SECTION)
        )
        await until(lambda: "ocpp.ocpp" in cpo.world.node.adapters.listening)
        point = await stack.enter_async_context(charging(cpo.world, CHARGER))
        port, stdin, said = await stack.enter_async_context(stranger("token-a"))
        done = await cpo.act("register", {"url": f"http://127.0.0.1:{port}/ocpi/versions", "token": "token-a"})
        assert (done["registered"], done["version"]) == (True, "2.2.1")
        assert (await said("registered"))["registered"] == "CPO"
        place = await said("created", lambda one: one["created"] == "locations")
        assert place["data"]["evses"][0]["uid"] == "E1"
        stdin.write(b"token\n")
        await stdin.drain()
        assert (await said("pushed"))["pushed"] == 1000
        assert await point.start("RFID9") == "Accepted"
        await point.stop()
        session = await said("created", lambda one: one["created"] == "sessions")
        assert session["data"]["cdr_token"]["contract_id"] == "FR-EXT-1"
        record = await said("created", lambda one: one["created"] == "cdrs")
        assert (record["data"]["total_energy"], record["data"]["total_cost"]["incl_vat"]) == (5.0, 2.4)
        stdin.write(b"fetch\n")
        await stdin.drain()
        fetched = (await said("fetched"))["fetched"]
        assert {name: len(ids) for name, ids in fetched.items()} == {
            "locations": 1, "sessions": 1, "cdrs": 1, "tariffs": 1
        }  # fmt: skip
