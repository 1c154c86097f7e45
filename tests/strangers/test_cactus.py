"""CACTUS, the test system of CSIP-AUS, judges the node as a utility server: its procedures, over mutual TLS.

It needs Python 3.12 or later and other versions of libraries than ours: an environment of its own is made of what
``cactus/requirements.txt`` pins. ``GRIDSPINE_TALLY=docs/data/cactus.json`` writes down what came of all procedures.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_CSIP = HERE.parent / "adapters" / "ieee2030_5"
for _name, _path in (
    ("hosted_node", HERE.parent / "apps" / "hosted.py"), ("csip_pki", _CSIP / "pki.py"),
    ("csip_utility", _CSIP / "utility.py"), ("cactus_node", HERE / "cactus" / "node.py"),
):  # fmt: skip
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _path)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)
from cactus_node import judged_node  # noqa: E402

FEW = ["S-ALL-01", "S-ALL-03", "S-ALL-05", "S-ALL-17", "S-ALL-25", "S-ALL-47", "S-ALL-55"]
"""Registration, authorisation, controls, subscriptions, telemetry: what a test of a minute can see of all of it."""
BATCHES = (
    [f"S-ALL-{number:02}" for number in range(1, 26)],
    [*(f"S-ALL-{number:02}" for number in range(26, 41)), "S-ALL-42"],
    [f"S-ALL-{number:02}" for number in (43, 44, 45, 47, 48, 49, 51, 52, 53, 55, 56, 57)],
    ["S-ALL-41", *(f"S-OPT-{number:02}" for number in range(1, 6))],
    ["S-ALL-46"],
)  # fmt: skip
NOT_RUN = {"S-ALL-50": "it goes on for 72 hours"}


def python():
    """Return a Python that CACTUS runs on, "" when there is none."""
    own = [sys.executable] if sys.version_info >= (3, 12) else []
    named = [found for name in ("python3.13", "python3.12") if (found := shutil.which(name))]
    kept = sorted(Path.home().glob(".pyenv/versions/3.1[23].*/bin/python"), reverse=True)
    for one in (*own, *named, *map(str, kept)):
        if subprocess.run([one, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return one
    return ""


@pytest.fixture(scope="module")
def judge():
    """Return the Python of an environment with just what is pinned; skip where it cannot be had."""
    folder = HERE.parents[1] / ".tools" / "cactus"
    mine, wanted = folder / "bin" / "python", HERE / "cactus" / "requirements.txt"
    stamp = folder / "installed"
    if stamp.is_file() and stamp.read_text() == wanted.read_text():
        return mine
    found = python()
    if not found:
        pytest.skip("CACTUS needs Python 3.12 or later")
    subprocess.run([found, "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
    install = [str(mine), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(wanted)]
    if subprocess.run(install, timeout=300).returncode != 0:
        pytest.skip("CACTUS cannot be had: there is no package index")
    stamp.write_text(wanted.read_text())
    return mine


async def verdicts(judge, folder, procedures, timeout_s):
    """Return who judged, and what came of each procedure."""
    folder.mkdir()
    async with judged_node(folder, timeout_s=timeout_s) as job:
        command = [str(judge), str(HERE / "cactus" / "judge.py"), str(job), *procedures]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={**os.environ}
        )
        said, _ = await process.communicate()
    who, *found = [json.loads(line) for line in said.decode().splitlines() if line.startswith("{")]
    assert [one["procedure"] for one in found] == procedures, said.decode()[-2000:]
    return who, found


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_cactus(judge, tmp_path) -> None:
    _, found = await verdicts(judge, tmp_path / "few", FEW, 120)
    assert [one for one in found if not one["passed"]] == []


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_every_procedure(judge, tmp_path) -> None:
    told = [verdicts(judge, tmp_path / str(number), batch, 1200) for number, batch in enumerate(BATCHES)]
    batches = await asyncio.gather(*told)
    found = sorted((one for _, batch in batches for one in batch), key=lambda one: one["procedure"])
    if tally := os.environ.get("GRIDSPINE_TALLY"):
        Path(tally).write_text(json.dumps({**batches[0][0], "procedures": found, "notRun": NOT_RUN}, indent=1) + "\n")
    assert [one for one in found if not one["passed"]] == []
