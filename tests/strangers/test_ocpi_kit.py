"""ocpi-kit, from crates.io: its conformance runner, models and pricing judge what we tell in OCPI 2.3.0 and 2.2.1, and
its operator is one that our provider registers at.

It is a program in Rust, which takes minutes to build; so who wants to be judged builds it once::

    cargo install ocpi-kit@0.4.0 --features cli --locked --root .tools/ocpi-kit
"""

import asyncio
import contextlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio

from gridspine.apps.node.adapters import RegistryStore
from tests.ports import free_port

TESTS = Path(__file__).parents[1]
OCPI = TESTS.parent / ".tools" / "ocpi-kit" / "bin" / "ocpi"
pytestmark = [
    pytest.mark.skipif(not OCPI.exists(), reason="ocpi-kit is not built"), pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]  # fmt: skip
for _name, _file in {
    "ocpi_pairing": "pairing.py", "ocpi_charge_point": "charge_point.py", "ocpi_roaming": "test_roaming.py",
}.items():  # fmt: skip
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, TESTS / "adapters" / "ocpi" / _file)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)

from ocpi_charge_point import charging  # noqa: E402
from ocpi_pairing import pair, registered, side  # noqa: E402
from ocpi_roaming import CHARGER, CPO, TOKENS, Journey, admitted  # noqa: E402
from running_node import until  # noqa: E402

OBJECTS = {"locations": "location", "sessions": "session", "cdrs": "cdr", "tariffs": "tariff", "tokens": "token"}
_NOTES = re.compile(r"^\[(\w+)\]", re.MULTILINE)
_COUNTED = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) warnings", re.MULTILINE)


async def ocpi(*words):
    """Run the program; return how it ended and what it said."""
    process = await asyncio.create_subprocess_exec(
        OCPI, "--insecure", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return process.returncode, said.decode()


async def token_of(one):
    """Return what a side shows its partner."""
    kept = await RegistryStore(one.world.node.registry, "ocpi").items()
    return msgspec.json.decode(kept[f"partner/{one.partner}"])["token"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roamed(tmp_path_factory):
    """Yield both sides, after a session that was billed."""
    async with contextlib.AsyncExitStack() as stack:
        folder, ours = tmp_path_factory.mktemp("kit"), {"tokens": TOKENS, "roles": ["EMSP"]}
        cpo, emsp = await stack.enter_async_context(pair(folder, cpo={**CPO, "roles": ["CPO"]}, emsp=ours))
        await until(lambda: "ocpp.ocpp" in cpo.world.node.adapters.listening)
        point = await stack.enter_async_context(charging(cpo.world, CHARGER))
        await registered(cpo, emsp)
        journey = Journey(cpo, emsp, point, "2.3.0")
        journey.evse = await admitted(emsp)
        await emsp.act("remoteStart", {"token": "RFID1"}, thing=journey.evse)
        session = await journey.kept("sessions", "sessions", lambda one: one["status"] == "ACTIVE")
        await emsp.act("remoteStop", {}, thing=journey.evse)
        await journey.kept("records", "records", lambda one: one["session_id"] == session["id"])
        yield cpo, emsp


@pytest.mark.parametrize(("role", "least"), [("CPO", 35), ("EMSP", 20)])
async def test_its_conformance_runner_finds_no_fault(roamed, role, least, record_property) -> None:
    asked, asker = roamed if role == "CPO" else reversed(roamed)
    code, said = await ocpi("conformance", "--token", await token_of(asker), f"{asked.url}/versions")
    counted = _COUNTED.search(said)
    assert counted is not None, said
    passed, failed, warnings = map(int, counted.groups())
    record_property("judged", {"passed": passed, "failed": failed + warnings})
    assert (code, failed, warnings) == (0, 0, 0), said
    assert passed >= least, said
    assert "checked against OCPI 2.3.0" in said


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_its_models_read_all_that_is_told_and_its_prices_are_ours(roamed, version, tmp_path) -> None:
    cpo, emsp = roamed
    for one, other, modules in ((cpo, emsp, ("locations", "sessions", "cdrs", "tariffs")), (emsp, cpo, ("tokens",))):
        async with one.http(await token_of(other)) as http:
            for module in modules:
                found = (await http.get(f"{one.url}/{version}/sender/{module}")).json()["data"]
                assert found, module
                for at, told in enumerate(found):
                    (tmp_path / f"{module}-{at}.json").write_text(json.dumps(told))
                    words = "--as", OBJECTS[module], "--version", version, str(tmp_path / f"{module}-{at}.json")
                    code, said = await ocpi("validate", *words)
                    assert code == 0, said
    if version == "2.3.0":
        code, said = await ocpi("price", str(tmp_path / "cdrs-0.json"), "--tariff", str(tmp_path / "tariffs-0.json"))
        assert "the CDR agrees with its own tariff and its own Charging Periods" in said
        assert _NOTES.findall(said) == ["no_price_component"], said  # of TIME there is no price, and none is asked
    planted = json.loads((tmp_path / "locations-0.json").read_text())
    planted["coordinates"]["latitude"] = "52.1"
    (tmp_path / "planted.json").write_text(json.dumps(planted))
    code, said = await ocpi("validate", "--as", "location", "--version", version, str(tmp_path / "planted.json"))
    assert code != 0 and "latitude" in said, "it finds what is wrong"


async def test_our_provider_registers_at_its_operator_and_takes_what_it_has(tmp_path) -> None:
    bound = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        OCPI, "--insecure", "serve-mock", "--bind", bound, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with side(tmp_path, country="DE", party="MSP", roles=["EMSP"], tokens=TOKENS) as emsp:
            async with httpx.AsyncClient() as http, asyncio.timeout(40):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        await http.get(f"http://{bound}/versions")
                        break
                    await asyncio.sleep(0.05)
            given = {"url": f"http://{bound}/versions", "token": "test-token-a", "party": "NL TNM"}
            said = await emsp.act("register", given)
            assert (said["registered"], said["version"]) == (True, "2.3.0")
            fetched = await emsp.act("pull")
            assert all(fetched[name] >= 1 for name in ("locations", "sessions", "cdrs", "tariffs")), fetched
            await admitted(emsp)
            assert await emsp.act("unregister") == {"told": True}
    finally:
        process.kill()
        await process.wait()
