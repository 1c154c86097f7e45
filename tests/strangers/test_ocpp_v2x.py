"""V2X and DER control (OCPP 2.1) at a running node, with a charging point of another party: the PyPI ``ocpp``."""

import asyncio
import base64
import contextlib
import importlib.util
import time
from pathlib import Path

import pytest
import pytest_asyncio
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from running_node import running, settings_for, until

from gridspine.apps.cli import ocpp as cli
from gridspine.infra.runtime.settings import Adapters
from gridspine.kernel.errors import Conflict, Invalid, NotFound

pytestmark = pytest.mark.asyncio(loop_scope="module")
_FILE = Path(__file__).parent / "ocpp" / "v2x.py"
_specification = importlib.util.spec_from_file_location("ocpp_v2x", _FILE)
v2x = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(v2x)

THING, MODEL = "urn:example:either-way", "https://gridspine.org/models/v2x_charger"
RATED_W = 22_080.0


class Bench:
    """A running node and the stranger at it."""

    def __init__(self, world, point):
        self.world, self.op, self.point = world, world.op, point

    async def do(self, action, given=None):
        """Have an action carried out; return its output."""
        answer = await self.op.post(f"/things/{THING}/actions/{action}", json=given)
        assert answer.status_code < 300, answer.text
        async with asyncio.timeout(60):
            while (status := (await self.op.get(answer.json()["href"])).json())["status"] not in {
                "completed",
                "failed",
            }:
                await asyncio.sleep(0.02)
        assert status["status"] == "completed", status
        return status["output"]

    async def lease(self, point, value, lasts_s=600):
        """Order a value; return the command and when it ends [s since 1970]."""
        body = {"thing": THING, "point": point, "value": value, "durationS": lasts_s}
        answer = await self.op.post("/commands", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"], time.time() + lasts_s

    async def is_at(self, command, state):
        async with asyncio.timeout(60):
            while (said := (await self.op.get(f"/commands/{command}")).json())["state"] != state:
                await asyncio.sleep(0.02)
        return said

    async def value(self, point):
        return (await self.op.get(f"/things/{THING}/properties/{point}")).json()["value"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory):
    settings = settings_for(adapters=Adapters(allow=["ocpp"], settings={"ocpp": {"ocpp": {"port": 0}}}))
    async with running(tmp_path_factory.mktemp("v2x") / "data", settings) as world:
        asked = {"kind": "device", "name": "EW1", "roles": ["device"], "password": True}
        device = (await world.op.post("/principals", json=asked)).json()
        connection = {"station": "EW1", "device": device["id"]}
        await world.thing(THING, MODEL, adapter="ocpp", devices=[device["id"]], connection=connection)
        await until(lambda: "ocpp.ocpp" in world.node.adapters.listening)
        port = world.node.adapters.listening["ocpp.ocpp"][1]
        basic = base64.b64encode(f"EW1:{device['password']}".encode()).decode()
        async with websockets.connect(
            f"ws://127.0.0.1:{port}/ocpp/EW1", subprotocols=["ocpp2.1"],
            additional_headers={"Authorization": f"Basic {basic}"},
        ) as socket:  # fmt: skip
            assert socket.subprotocol == "ocpp2.1"
            point = v2x.V2xPoint("EW1", socket, response_timeout=60)
            serving = asyncio.create_task(point.start())
            answer = await point.plug_in("t1")
            assert answer.status == "NoChargingProfile"
            yield Bench(world, point)
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


async def test_what_a_vehicle_can_is_told_and_allowed(bench):
    said = (await bench.do("station"))["notices"]["NotifyEVChargingNeeds"]
    assert said["chargingNeeds"]["availableEnergyTransfer"] == ["DC", "DC_BPT"]
    assert said["chargingNeeds"]["v2xChargingParameters"] == {"maxChargePower": 11_000, "maxDischargePower": 8_000}
    assert await bench.do("allowEnergyTransfer", {"modes": ["DC", "DC_BPT"]}) == {"transaction": "t1"}
    assert bench.point.allowed == {"t1": ["DC", "DC_BPT"]}
    answer = await bench.op.post(f"/things/{THING}/actions/allowEnergyTransfer", json={"modes": ["Steam"]})
    assert answer.status_code == 400
    assert bench.point.allowed == {"t1": ["DC", "DC_BPT"]}


async def test_a_lease_takes_energy_from_the_vehicle_until_its_end_and_no_longer(bench):
    point = bench.point
    assert point.power_w() == 11_000
    command, ends_s = await bench.lease("activePowerSetpoint", -5_000)
    await bench.is_at(command, "acknowledged")
    assert point.power_w() == point.power_w(ends_s - 5) == -5_000
    assert point.power_w(ends_s + 5) == 11_000, "by its own clock, with nobody there"
    await point.meter("Updated", "t1")
    await bench.is_at(command, "applied")
    assert await bench.value("activePower") == -5_000, "export is negative at the node, and apart on the wire"
    assert (await bench.op.post(f"/commands/{command}/cancel")).status_code == 200
    await until(lambda: point.power_w() == 11_000)
    assert all(one["stack_level"] == 0 for one in point.profiles.values())


async def test_a_set_point_to_charge_stays_beneath_a_limit_and_never_discharges(bench):
    point = bench.point
    charge, _ = await bench.lease("activePowerSetpoint", 9_000)
    await bench.is_at(charge, "acknowledged")
    assert point.power_w() == 9_000
    (held,) = [one for one in point.profiles.values() if one["stack_level"] == 2]
    assert held["charging_schedule"][0]["charging_schedule_period"][0]["discharge_limit"] == 0
    limit, limit_ends_s = await bench.lease("currentLimit", 10, 300)
    await until(lambda: point.power_w() == 6_900)
    assert point.power_w(limit_ends_s + 5) == 9_000, "the set-point outlives the limit, and is itself again"
    for command in (limit, charge):
        assert (await bench.op.post(f"/commands/{command}/cancel")).status_code == 200
    await until(lambda: point.power_w() == 11_000)


async def test_a_der_control_is_set_reported_told_of_and_cleared(bench):
    point = bench.point
    limit = {"priority": 0, "pctMaxDischargePower": 50}
    given = {"type": "LimitMaxDischarge", "control": limit, "id": "half", "durationS": 600}
    began_s = time.time()
    assert await bench.do("setDerControl", given) == {"id": "half", "superseded": []}
    kind, default, control = point.controls["half"]
    told = control["limit_max_discharge"]
    assert (kind, default, told["pct_max_discharge_power"], told["duration"]) == ("LimitMaxDischarge", False, 50, 600)
    assert abs(v2x.moment(told["start_time"]) - began_s) < 60
    command, ends_s = await bench.lease("activePowerSetpoint", -7_500)
    await bench.is_at(command, "acknowledged")
    assert point.power_w() == -4_000, "half of what it can"
    await point.meter("Updated", "t1")
    assert (await bench.op.get(f"/commands/{command}")).json()["state"] == "acknowledged", "told is not done"
    curve = {"priority": 1, "yUnit": "PctMaxVar", "curveData": [{"x": 95, "y": 40}, {"x": 105, "y": -40}]}
    await bench.do("setDerControl", {"type": "VoltVar", "control": curve, "id": "vv", "default": True})
    reports = (await bench.do("getDerControls"))["reports"]
    assert [list(one) for one in reports] == [["limitMaxDischarge"], ["curve"]]
    assert reports[0]["limitMaxDischarge"][0]["limitMaxDischarge"]["pctMaxDischargePower"] == 50
    assert reports[1]["curve"][0]["curve"]["curveData"] == curve["curveData"]
    assert reports[1]["curve"][0]["isDefault"] is True
    started = v2x.call.NotifyDERStartStop(control_id="half", started=True, timestamp=v2x.now())
    alarm = v2x.call.NotifyDERAlarm(
        control_type="LimitMaxDischarge", timestamp=v2x.now(), grid_event_fault="OverVoltage"
    )
    for message in (started, alarm):
        assert await point.call(message) is not None
    notices = (await bench.do("station"))["notices"]
    assert notices["NotifyDERStartStop"]["controlId"] == "half"
    assert notices["NotifyDERAlarm"]["gridEventFault"] == "OverVoltage"
    assert await bench.do("clearDerControl", {"id": "half"}) == {"status": "Accepted"}
    assert point.power_w() == -7_500
    assert await bench.do("clearDerControl", {"type": "VoltVar", "default": True}) == {"status": "Accepted"}
    assert await bench.do("getDerControls") == {"reports": []}
    assert point.power_w(ends_s + 5) == 11_000


def request(name, key):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


async def test_its_certificate_is_signed_in_one_step_and_only_in_its_own_name(bench, monkeypatch):
    @contextlib.asynccontextmanager
    async def connected(*_args, **_more):
        yield bench.op

    monkeypatch.setattr(cli, "connected", connected)
    point, key = bench.point, ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(NotFound, match="asked for no certificate"):
        await cli._sign(None, "", THING, any_name=False)
    await point.ask_for_certificate(request("EW2", key))
    with pytest.raises(Invalid, match="in the name of EW2, the charge point is called EW1: "):
        await cli._sign(None, "", THING, any_name=False)
    assert point.certificates == []
    await point.ask_for_certificate(request("EW1", key))
    made = await cli._sign(None, "", THING, any_name=False)
    certificate = x509.load_pem_x509_certificate(point.certificates[0].encode())
    assert certificate.public_key() == key.public_key()
    caller = bench.world.node.identity.by_certificate(certificate.public_bytes(Encoding.DER))
    assert (made["station"], made["device"]) == ("EW1", caller.principal)
    authority, point.takes_certificates = bench.world.node.identity.authority, False
    before = [one.id for one in authority.issued_to(caller.principal)]
    with pytest.raises(Conflict, match="Rejected"):
        await cli._sign(None, "", THING, any_name=False)
    assert [one.id for one in authority.issued_to(caller.principal)] == before == [made["thumbprint"]]
