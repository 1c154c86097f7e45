"""py20305, from PyPI, is a client of the node as utility server: it finds its controls, obeys, and answers.

It offers TLS 1.2 with ECDHE-ECDSA-AES256-GCM-SHA384 and ECDHE-ECDSA-AES128-CCM8; the node here has the latter only.
"""

import asyncio
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "ieee2030_5"
HOME = Path(__file__).parents[2] / ".tools" / "ieee2030_5"
PYTHON = HOME / "bin" / "python"
_CSIP = HERE.parents[1] / "adapters" / "ieee2030_5"
for _name, _path in (
    ("hosted_node", HERE.parents[1] / "apps" / "hosted.py"), ("csip_pki", _CSIP / "pki.py"),
    ("csip_utility", _CSIP / "utility.py"), ("csip_device", _CSIP / "registered.py"),
):  # fmt: skip
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _path)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
from csip_utility import serving, until  # noqa: E402

from gridspine.adapters.ieee2030_5.record import Book  # noqa: E402
from gridspine.apps.node.adapters import RegistryStore  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed")]
CCM8 = {"maximum": "1.2", "ciphers": "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"}


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


async def test_a_strangers_client_obeys_and_answers_over_ccm_8(tmp_path) -> None:
    async with serving(tmp_path, listener=CCM8) as utility:
        issued = utility.pki.device("inverter")
        thing = await utility.thing(await utility.known(issued), issued.lfdi)
        programme, _ = await utility.programme(thing, kind="thing", defaultControl={"exportLimitW": 1500})
        files = [str(one) for one in (issued.crt, issued.pem, utility.pki.ca.crt)]
        process = await asyncio.create_subprocess_exec(
            str(PYTHON), str(HERE / "client.py"), utility.url, *files,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        told: list[dict] = []
        reading = asyncio.create_task(_read(process, told))

        async def loaded():
            return {"did": "loaded"} in told

        async def answered():
            book = Book(RegistryStore(utility.world.node.registry, "ieee2030_5"))  # a new one remembers nothing
            statuses = [one.status for one in (await book.device(issued.lfdi)).responses]
            return {1, 2, 3} <= set(statuses) and any(one["did"] == "default" for one in told)

        try:
            await until(loaded, 60)  # before the control begins to run out
            await utility.event(programme, {"exportLimitW": 700}, duration_s=15)
            process.stdin.write(b"go\n")
            await until(answered, 60)
        finally:
            process.terminate()
            await process.wait()
            await reading
        assert {"did": "connected"} in told
        (control,) = [one for one in told if one["did"] == "control"]
        assert "700" in control["base"]
        assert "1500" in [one for one in told if one["did"] == "default"][-1]["base"]


async def _read(process, told):
    async for line in process.stdout:
        told.append(json.loads(line))
