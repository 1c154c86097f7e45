"""openleadr, from PyPI, as VEN of a running VTN: registration, report, events, opts, over mutual TLS."""

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, seed, settings

from gridspine.adapters.openadr2 import wire
from gridspine.adapters.openadr2.client import call, telemetry
from gridspine.energy.upstream import pace
from gridspine.kernel.time import US
from tests.ports import free_port

TESTS = Path(__file__).parents[1]
HERE = Path(__file__).parent / "openadr2"
HOME = TESTS.parent / ".tools" / "openadr2"
PYTHON = HOME / "bin" / "python"
pytestmark = [
    pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
]


def _lent(name, path):
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, path)
        assert specification is not None
        assert specification.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    return sys.modules[name]


_lent("hosted_node", TESTS / "apps" / "hosted.py")
_lent("csip_pki", TESTS / "adapters" / "ieee2030_5" / "pki.py")
utility = _lent("csip_utility", TESTS / "adapters" / "ieee2030_5" / "utility.py")
said = _lent("openadr2_said", TESTS / "adapters" / "openadr2" / "said.py")
vtns = _lent("openadr2_vtn", TESTS / "adapters" / "openadr2" / "vtn.py")
homes = _lent("openadr2_home", TESTS / "adapters" / "openadr2" / "home.py")


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vtn(tmp_path_factory):
    async with vtns.serving(tmp_path_factory.mktemp("vtn"), poll_s=1, report_s=1, signature="verified") as made:
        yield made


@contextlib.asynccontextmanager
async def program(script, asked):
    """Run a stranger's program; yield its process, to which ``asked`` was said."""
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(HERE / script), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        process.stdin.write(json.dumps(asked).encode())
        await process.stdin.drain()
        process.stdin.close()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ready(process, word="ready\n"):
    """Wait until a program says that it is; return what it said before."""
    said = []
    while (line := (await process.stderr.readline()).decode()) != word:
        assert line, "".join(said)
        said.append(line)
    return said


def fingerprint(issued):
    """Return how OpenADR calls a certificate: the last ten bytes of its SHA-256."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(issued.crt.read_text())).digest()[-10:].hex(":").upper()


async def test_what_is_written_passes_the_schema(record_property):
    documents = []

    @seed(1)
    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(said.MESSAGES)
    def make(message):
        documents.append(wire.write(message).decode())

    await asyncio.to_thread(make)
    assert len({text.partition("<oadr:oadrSignedObject")[2].partition("><oadr:")[2][:20] for text in documents}) > 15
    async with asyncio.timeout(60), program("schema.py", documents) as process:
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]
    wrong = json.loads(out)
    record_property("judged", {"passed": len(documents) - len(wrong), "failed": len(wrong)})
    assert wrong == []
    planted = documents[0].replace("</oadr:oadrSignedObject>", "<oadr:oadrPoll/></oadr:oadrSignedObject>")
    async with asyncio.timeout(60), program("schema.py", [planted]) as process:
        out, _ = await process.communicate()
    assert len(json.loads(out)) == 1


@pytest.mark.parametrize("signed", [False, True])
async def test_openleadr_is_a_ven(vtn, signed):
    ven = await vtn.ven(**({"signature": "required"} if signed else {}))
    programme, _ = await vtn.enrolled(ven.thing, signals=[{"payloadType": "SIMPLE"}])
    simple = {"signals": [{"type": "SIMPLE", "values": [1]}], "control": {"targetW": 3000}}
    event = await vtn.publish(programme, (120, 720, simple), randomiseStartS=60)
    asked = {
        "name": "openleadr", "url": f"{vtn.url}/OpenADR2/Simple/2.0b", "cert": str(ven.issued.crt),
        "key": str(ven.issued.pem), "ca": str(vtn.pki.ca.crt), "event": event.removeprefix("urn:uuid:"),
        "signed": signed, "fingerprint": fingerprint(vtn.pki.server) if signed else None,
    }  # fmt: skip
    async with asyncio.timeout(60), program("ven.py", asked) as process:
        await ready(process)
        while await vtn.reported(ven.thing, "activePower") is None:
            await asyncio.sleep(0.1)
        assert await vtn.opts(programme) == []
        newer = await vtn.publish(programme, (180, 720, simple), supersedes=event)
        await ready(process, "told\n")
        await vtn.world.op.post(f"/programmes/{programme}/events/{newer}/cancel", json={"reason": "over"})
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]
    said = json.loads(out)
    assert (said["ven_id"], said["poll_s"], said["after"], said["opts"]) == (ven.id, 1.0, None, [True, True])
    assert len(said["reports"]) == 1
    told = [one["event_descriptor"] for one in said["events"]]
    assert {one["event_id"] for one in told} == {event.removeprefix("urn:uuid:")}
    assert [one["modification_number"] for one in told] == [0, 1, 2]
    assert [one["event_status"] for one in told] == ["far", "far", "cancelled"]
    signals = {one["signal_name"]: one["intervals"][0]["signal_payload"] for one in said["events"][0]["event_signals"]}
    assert signals == {"SIMPLE": 1.0, "LOAD_DISPATCH": 3000.0}
    assert await vtn.value(ven.thing, "activePower") == 2500.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(vtn, tmp_path_factory):
    """Serve a node that may follow a VTN at a port that is free, and signs."""
    port = free_port()
    issued = vtn.pki.device("home")
    access = {
        "certificate": str(issued.crt), "key": str(issued.pem), "ca": str(vtn.pki.ca.crt), "signature": "verified",
        "origins": [f"https://127.0.0.1:{port}"], "organisations": ["northside-networks"],
    }  # fmt: skip
    made = homes.Home(vtn.pki, tmp_path_factory.mktemp("home"), {"vtns": {"utility": access}})
    made.port, made.url = port, f"https://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "GRACE_S", 3.0)
        patch.setattr(pace, "LONGEST_S", 1.0)
        patch.setattr(call, "KEPT_S", 0.0)  # asyncio's TLS waits long for a peer that is idle
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


async def test_openleadr_is_the_vtn(home):
    asked = {
        "port": home.port, "cert": str(home.pki.server.crt), "key": str(home.pki.server.pem),
        "ca": str(home.pki.ca.crt), "signed": True,
    }  # fmt: skip
    meter = {"id": "urn:example:meter", "title": "Meter", "model": utility.METER}
    assert (await home.world.op.post("/things", json=meter)).status_code == 201
    site = await home.site("urn:example:meter")
    async with asyncio.timeout(120), program("vtn.py", asked) as process:
        await ready(process)
        await home.follow(home, site, telemetry="urn:example:meter")
        meeting, told = asyncio.create_task(ready(process, "met\n")), []
        while not meeting.done():
            at_s = home.world.node.clock.now_us() / US
            told.append(1000.0 * (1 + len(told) % 2))  # the same again would be suppressed
            await home.world.send("urn:example:meter/activePower", told[-1:], begin_s=at_s)
            await asyncio.sleep(0.2)
        await meeting
        events = [event for _, event in await home.events()]
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]
    said = json.loads(out.splitlines()[-1])  # after what it says to people
    first, again = said["registrations"]
    assert (first["xml_signature"], first["http_pull_model"]) == (True, True)
    assert "registration_id" not in first and "registration_id" not in again
    assert {measurement for _, _, measurement, *_ in said["offers"]} == {"RealPower", "RealEnergy"}
    assert {(ven, resource) for ven, resource, *_ in said["offers"]} == {("ven-of-openleadr", "urn:example:meter")}
    assert all(1000.0 <= value <= 2000.0 for value in said["values"]["RealPower"])
    assert dict(said["opts"]) == {"dispatch": "optIn", "price": "optIn"}
    dispatch, price = sorted(events, key=lambda one: -len(one["intervals"]))
    assert [one["control"] for one in dispatch["intervals"]] == [{"targetW": 1500.0}, {"targetW": 500.0}]
    assert [one["signals"] for one in price["intervals"]] == [[{"type": "ELECTRICITY_PRICE", "values": [0.25]}]]
    # what it cancelled is over here, too; what it said else stands while it is away
    assert [event["title"] for _, event in await home.events()] == ["price"]
