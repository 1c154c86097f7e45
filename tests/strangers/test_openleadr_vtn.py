r"""openleadr-vtn, from crates.io, is a utility's VTN of OpenADR 3.1 that the node follows as a VEN.

It is a program in Rust, which takes minutes to build, and keeps what it knows in PostgreSQL 16 or later: Debian's, or
that of the package pgserver. So who wants the node judged by it gets both once::

    cargo install openleadr-vtn@0.2.8 --no-default-features --features postgres,internal-oauth,compression-gzip \
        --debug --root .tools/openleadr
    uv venv .tools/openleadr/postgres
    uv pip install -p .tools/openleadr/postgres/bin/python pgserver==0.1.4

What came of a journey is read from its own API, in the name of its business logic.
"""

import asyncio
import contextlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ports import free_port

TESTS = Path(__file__).parents[1]
for _name, _path in {
    "openadr3_said": TESTS / "adapters/openadr3/said.py", "openadr3_follow": TESTS / "adapters/openadr3/test_follow.py",
    "openadr3_openleadr": Path(__file__).parent / "openadr3/openleadr.py",
}.items():  # fmt: skip
    if _name not in sys.modules:
        _specification = importlib.util.spec_from_file_location(_name, _path)
        sys.modules[_name] = _module = importlib.util.module_from_spec(_specification)
        _specification.loader.exec_module(_module)

from openadr3_follow import OVER, eventually, home, limited  # noqa: E402
from openadr3_openleadr import VTN, cluster, programs_of_postgres, serving  # noqa: E402
from openadr3_said import LIMIT, PRICE, at  # noqa: E402

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
pytestmark = [
    pytest.mark.skipif(not VTN.exists(), reason="openleadr-vtn is not built"),
    pytest.mark.skipif(programs_of_postgres() is None, reason="PostgreSQL 16 is not installed"), pytest.mark.slow,
]  # fmt: skip
LONG_S = 60


@pytest.fixture(scope="module")
def database():
    with cluster() as one:
        yield one


@contextlib.asynccontextmanager
async def following(vtn, folder, name="home"):
    """Yield a `Home` whose node may follow ``vtn``, with the client id that it has there."""
    client = await vtn.ven(name)
    async with home(folder, vtn, client=client) as one:
        one.connection |= {"vtn": vtn.url, "venName": name, "resource": "battery"}
        yield one, client[0]


async def program(vtn, name, **more):
    return await vtn.made("/programs", {"programName": name, "payloadDescriptors": [PRICE, LIMIT], **more})


async def one_lease(one, watts):
    """Return the command that holds the battery to so many watts, once there is one and no other."""
    (found,) = await eventually(
        lambda: standing(one), lambda found: [command["value"] for command in found] == [watts], LONG_S
    )
    return found


async def standing(one):
    return [command for command in await one.commands() if command["state"] not in OVER]


async def test_an_event_is_a_lease_until_it_changes_or_is_gone_and_while_the_vtn_is(database, tmp_path):
    async with serving(database, "journey", tmp_path) as vtn, following(vtn, tmp_path / "home") as (one, client):
        of = await program(vtn, "Evening")
        await one.follow()
        (programme,) = await eventually(one.programmes, lambda found: len(found) == 1, LONG_S)
        assert (programme["title"], programme["modes"], programme["open"]) == ("Evening", ["importLimitW"], False)
        (ven,), (resource,) = await vtn.listed("/vens"), await vtn.listed("/resources")
        assert (ven["venName"], ven["clientID"]) == ("home", client)
        assert (resource["resourceName"], resource["venID"]) == ("battery", ven["id"])

        first = await vtn.made("/events", limited(of, 2.5, eventName="Tonight", priority=1))
        (found,) = await eventually(one.events, lambda found: len(found) == 1, LONG_S)
        assert (found["title"], found["priority"]) == ("Tonight", 1)
        assert found["intervals"][0]["control"]["importLimitW"] == 2500
        assert found["intervals"][0]["signals"] == [{"type": "PRICE", "values": [0.3]}]
        lease = await one_lease(one, 2500)

        await vtn.stop()
        await eventually(one.connected, 0, LONG_S)
        assert (await one_lease(one, 2500))["id"] == lease["id"], "what was read holds"
        await vtn.start(secret="another secret of thirty-two bytes, at least")
        await eventually(one.connected, 1, LONG_S)
        assert [event["id"] for event in await one.events()] == [found["id"]], "and is not published anew"
        assert (await one_lease(one, 2500))["id"] == lease["id"]

        less = limited(of, 1.5, eventName="Less", priority=1)
        assert (await vtn.bl.put(f"/events/{first['id']}", json=less)).status_code == 200
        await eventually(one.events, lambda found: [e["title"] for e in found] == ["Less", "Tonight"], LONG_S)
        await one_lease(one, 1500)
        other = await vtn.made("/events", limited(of, 1, eventName="First", priority=0))
        await one_lease(one, 1000)
        for id_ in (other["id"], first["id"]):
            assert (await vtn.bl.delete(f"/events/{id_}")).status_code == 200
        await eventually(lambda: standing(one), [], LONG_S)
        assert {event["status"] for event in await one.events()} == {"cancelled"}
        assert (await vtn.bl.delete(f"/programs/{of['id']}")).status_code == 200
        await eventually(one.programmes, lambda found: all(p["retired"] for p in found), LONG_S)


async def test_reports_and_an_opt_out_are_kept_by_it(database, tmp_path):
    async with serving(database, "reports", tmp_path) as vtn, following(vtn, tmp_path / "home") as (one, client):
        of = await program(vtn, "Evening")
        await one.follow(telemetry="urn:example:b1")
        (programme,) = await eventually(one.programmes, lambda found: len(found) == 1, LONG_S)
        intervals = [{"id": n, "payloads": [{"type": "PRICE", "values": [0.1]}]} for n in range(2)]
        asked = [{"payloadType": "USAGE", "units": "KWH"}, {"payloadType": "DEMAND"}]
        short = {
            "programID": of["id"], "intervals": intervals, "reportDescriptors": asked,
            "intervalPeriod": {"start": at(15), "duration": "PT4S"},
        }  # fmt: skip
        asking, lasting = await vtn.made("/events", short), await vtn.made("/events", limited(of, 2.5))
        events = await eventually(one.events, lambda found: len(found) == 2, LONG_S)
        told = await reported(one, vtn)
        by_type = {report["payloadDescriptors"][0]["payloadType"]: report for report in told}
        assert {(r["eventID"], r["clientID"], r["clientName"]) for r in told} == {(asking["id"], client, "home")}
        assert [r["resourceName"] for report in told for r in report["resources"]] == ["battery"] * 2
        assert values(by_type["DEMAND"]) == [1.0, 1.0]
        assert all(0.1 < used < 1 for used in values(by_type["USAGE"])), told

        (enrolment,) = (await one.world.op.get(f"/programmes/{programme['id']}/enrolments")).json()
        (event,) = (event for event in events if event["commands"])
        path = f"/programmes/{programme['id']}/enrolments/{enrolment['id']}"
        for verb, state in (("opt-out", "RUNNING_OPTED_OUT"), ("opt-in", "NORMAL")):
            answer = await one.world.op.post(f"{path}/{verb}", json={"event": event["id"]})
            assert answer.status_code == 200, answer.text
            await eventually(lambda: states(vtn, lasting), lambda found, state=state: state in found, LONG_S)


async def reported(one, vtn):
    """Have the battery read, 1 kW and 100 Wh a second, until two reports of it are there."""
    began_s = time.time()
    while len(found := await vtn.listed("/reports")) < 2:
        passed_s = time.time() - began_s
        assert passed_s < 2 * LONG_S, found
        rows = [{"n": "urn:example:b1/activePower", "v": 1000, "t": time.time()},
                {"n": "urn:example:b1/activeEnergyImport", "v": 5000 + 100 * passed_s, "t": time.time()}]  # fmt: skip
        assert (await one.world.op.post("/readings", json=rows)).status_code == 200
        await asyncio.sleep(0.5)
    return found


async def states(vtn, event):
    """Return the operating states that were reported upon an event."""
    return [value for report in await vtn.listed(f"/reports?eventID={event['id']}") for value in values(report)]


def values(report):
    """Return the values of a report of one resource."""
    (resource,) = report["resources"]
    return [interval["payloads"][0]["values"][0] for interval in resource["intervals"]]


async def test_a_ven_that_it_keeps_under_its_own_name_hears_of_what_is_aimed_at_it(database, tmp_path):
    async with serving(database, "aimed", tmp_path) as vtn, following(vtn, tmp_path / "home") as (one, client):
        body = {"objectType": "BL_VEN_REQUEST", "clientID": client, "venName": "household-7", "targets": ["north"]}
        ven = await vtn.made("/vens", body)
        north, south = await program(vtn, "north", targets=["north"]), await program(vtn, "south", targets=["south"])
        await vtn.made("/events", limited(north, 4, targets=["elsewhere"]))
        await vtn.made("/events", limited(south, 5))
        await vtn.made("/events", limited(north, 3, targets=["north", "elsewhere"]))
        await one.follow()
        await one_lease(one, 3000)
        assert [p["title"] for p in await one.programmes()] == ["north"]
        (resource,) = await vtn.listed("/resources")
        assert (resource["venID"], resource["clientID"]) == (ven["id"], client)
        body = {
            "objectType": "BL_RESOURCE_REQUEST", "venID": ven["id"], "resourceName": "battery", "targets": ["feeder-3"]
        }  # fmt: skip
        answer = await vtn.bl.put(f"/resources/{resource['id']}", json=body)
        assert answer.status_code == 200, answer.text
        await vtn.made("/events", limited(north, 2, targets=["feeder-3"], priority=0))
        await one_lease(one, 2000)
        assert len(await one.events()) == 2


@contextlib.contextmanager
def broker(folder):
    """Yield the address of a Mosquitto that lets everybody in."""
    port = free_port()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([MOSQUITTO, "-v", "-c", "mosquitto.conf"], cwd=folder, stdout=log, stderr=log)
    try:
        end = time.monotonic() + LONG_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
                break
            assert process.poll() is None and time.monotonic() < end, (folder / "mosquitto.log").read_text()
            time.sleep(0.05)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(MOSQUITTO is None, reason="the program mosquitto is not installed")
async def test_what_it_tells_by_mqtt_is_read_at_once(database, tmp_path):
    with broker(tmp_path) as address:
        told = {"MQTT_URL": address, "MQTT_USERNAME": "vtn", "MQTT_PASSWORD": "p"}
        async with serving(database, "mqtt", tmp_path, **told) as vtn, following(vtn, tmp_path / "home") as (one, _):
            of = await program(vtn, "Evening")
            await one.follow(pollS=3600)
            await eventually(one.programmes, lambda found: len(found) == 1, LONG_S)
            heard = f"events/program/{of['id']}/+"
            log = tmp_path / "mosquitto.log"
            await eventually(lambda: asyncio.to_thread(log.read_text), lambda text: heard in text, LONG_S)
            published = await vtn.made("/events", limited(of, 2.5))
            await one_lease(one, 2500)
            assert (await vtn.bl.delete(f"/events/{published['id']}")).status_code == 200
            await eventually(lambda: standing(one), [], LONG_S)
