"""A battery, an inverter and a charger, each in every language that it can be had in: one command, as the wire has it.

One node serves all of them. What is expected is worked out by hand from each standard, beside the number; who hears it
shares no code with the adapters. First a lease by HTTP, then the same said once as a programme's control, which is an
event of OpenADR besides.
"""

import contextlib
from types import SimpleNamespace

import openadr2_vtn
import openadr3_serving
import pytest
import pytest_asyncio
from csip_pki import Pki
from csip_utility import Utility, until, xml
from one_event import CSIP, SEP, controls, events_2, lasts_us, moment_us, payloads, span_us, status_of, watts
from one_modbus import Limited, SetPoint
from one_mqtt import MqttSide
from one_ocpp import Ocpp21Side, Ocpp201Side, OcppSide, SetPointSide
from running_node import running, settings_for
from running_node import until as holds_true

from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.settings import Adapters
from gridspine.kernel.time import US, format_rfc3339

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODELS = "https://gridspine.org/models/"
BATTERY, INVERTER, CHARGER, V2X = (
    f"{MODELS}{name}" for name in ("battery", "pv_inverter", "ev_charger", "v2x_charger")
)
POINT = {"battery": "activePowerSetpoint", "inverter": "activePowerLimit", "charger": "currentLimit"}
VALUE = {"battery": -2_222.6, "inverter": 2_500.5, "charger": 10.87}
"""Discharging with 2222.6 W; no more than 2500.5 W of sun; no more than 10.87 A a phase."""
CONTROL = {
    "battery": {"targetW": -2_222.6}, "inverter": {"exportLimitW": 2_500.5}, "charger": {"importLimitW": 7_500.3},
}  # fmt: skip
"""The same, at a connection point: 10.87 A are 7500.3 W on three phases of 230 V."""
HOLDS = {
    "battery mqtt": -2_222.6, "battery sunspec": -2_223.0, "battery ocpp2.1": -2_222.6,
    "inverter mqtt": 2_500.5, "inverter sunspec": 2_496.0,
    "charger mqtt": 10.87, "charger ocpp1.6": 10.8 * 690, "charger ocpp2.0.1": 10.8 * 690,
    "charger ocpp2.1": 10.8 * 690,
}  # fmt: skip
"""WSet has whole watts; WMaxLimPct 41.6 % of 6000 W, rounded down as limits are; OCPP tenths of an ampere, down."""
THEN = {
    "battery mqtt": 0.0, "battery sunspec": 0.0, "battery ocpp2.1": 22_000.0,
    "inverter mqtt": 6_000.0, "inverter sunspec": 6_000.0,
    "charger mqtt": 32.0, "charger ocpp1.6": 22_080.0, "charger ocpp2.0.1": 22_080.0, "charger ocpp2.1": 22_080.0,
}  # fmt: skip
"""What each falls back to: rest, its rating, 32 A of three phases, for a vehicle what its charging point may draw."""
MODE = {
    "battery": f"{SEP}opModTargetW", "inverter": f"{CSIP}opModGenLimW", "charger": f"{CSIP}opModLoadLimW",
}  # fmt: skip
WATTS = {"battery": 2_222.6, "inverter": 2_500.5, "charger": 7_500.0}
"""In 2030.5: turned, as it counts generation positive; as it is; 7500.3 W in 16 bits, rounded down."""
SIGNAL_3 = {"battery": "DISPATCH_SETPOINT", "inverter": "EXPORT_CAPACITY_LIMIT", "charger": "IMPORT_CAPACITY_LIMIT"}
SIGNAL_2 = {
    "battery": "LOAD_DISPATCH", "inverter": "x-EXPORT_CAPACITY_LIMIT", "charger": "x-IMPORT_CAPACITY_LIMIT",
}  # fmt: skip
SIDES = {
    "battery mqtt": (MqttSide, BATTERY), "battery sunspec": (SetPoint, BATTERY), "battery ocpp2.1": (SetPointSide, V2X),
    "inverter mqtt": (MqttSide, INVERTER), "inverter sunspec": (Limited, INVERTER), "charger mqtt": (MqttSide, CHARGER),
    "charger ocpp1.6": (OcppSide, CHARGER), "charger ocpp2.0.1": (Ocpp201Side, CHARGER),
    "charger ocpp2.1": (Ocpp21Side, CHARGER),
}  # fmt: skip
DER = {"battery": BATTERY, "inverter": INVERTER, "charger": CHARGER}


def thing_of(name):
    return f"urn:example:{name.replace(' ', '-')}"


class Bench:
    """A node with all adapters, a device of each row, and who reads events of OpenADR and controls of 2030.5."""

    def __init__(self, world, folder, pki):
        self.world, self.op, self.clock = world, world.op, SystemClock()
        self.sides = {name: kind(self.clock) for name, (kind, _) in SIDES.items()}
        self.utility = Utility(pki, folder, {})
        self.vtn2 = openadr2_vtn.Vtn(pki, folder, {})
        self.der, self.vens = {}, {}

    async def register(self, stack):
        for name, side in self.sides.items():
            if name.endswith("sunspec"):
                await stack.enter_async_context(side.listening(SimpleNamespace(set_bindings=lambda _: None)))
                where = {"host": "127.0.0.1", "port": side._tcp.port, "intervalS": 1, "timeoutS": 20}
                await self.world.thing(thing_of(name), SIDES[name][1], adapter="modbus", connection=where)
                continue
            body = {"kind": "device", "name": name, "roles": ["device"], "password": True}
            made = (await self.op.post("/principals", json=body)).json()
            side.thing, side.user, side.password = thing_of(name), made["id"], made["password"]
            side.station = name.replace(" ", "-")
            of_mqtt = name.endswith("mqtt")
            where = {"schedules": True} if of_mqtt else {"station": side.station, "device": side.user}
            await self.world.thing(
                side.thing, SIDES[name][1], adapter="mqtt" if of_mqtt else "ocpp", devices=[side.user], connection=where
            )

    async def connect(self, stack):
        listening = self.world.node.adapters.listening
        doors = {"mqtt.mqtt", "ocpp.ocpp", "ieee2030_5.server", "openadr3.http", "openadr2.vtn"}
        await holds_true(lambda: doors <= listening.keys())
        address = {"mqtt": listening["mqtt.mqtt"], "ocpp": listening["ocpp.ocpp"]}
        node = SimpleNamespace(address=address, until=holds_true)
        for side in self.sides.values():
            await stack.enter_async_context(side.connected(node))
        await holds_true(lambda: all(side.ready for side in self.sides.values()))
        for one, door in ((self.utility, "ieee2030_5.server"), (self.vtn2, "openadr2.vtn")):
            one.world, one.url = self.world, f"https://{listening[door][0]}:{listening[door][1]}"
        host, port = listening["openadr3.http"]
        self.vtn3 = openadr3_serving.Vtn(self.world, f"http://{host}:{port}/openadr3")
        stack.push_async_callback(self.vtn3.close)
        self.vens = {one: await self.vtn3.client("owner", edition=one) for one in ("3.1.0", "3.0.1")}
        self.ven2 = await self.vtn2.ven()
        await self.ven2.register()
        for kind, model in DER.items():
            await self._join(kind, model)
        for one in (self.utility, self.vtn2):
            for http in one.clients:
                stack.push_async_callback(http.aclose)

    async def _join(self, kind, model):
        """Register a device of IEEE 2030.5, and connect as it does."""
        issued = self.utility.pki.device(kind)
        name = f"urn:example:{kind}-2030-5"
        await self.utility.thing(await self.utility.known(issued, kind), issued.lfdi, model=model, name=name)
        http = await self.utility.client(issued)

        async def path():
            found = xml(await http.get("/edev?s=0&l=10")).find(f"{SEP}EndDevice")
            return None if found is None else found.get("href")

        self.der[kind] = name, http, await until(path)

    def of(self, kind):
        """Return the devices of a kind that take orders, by what they are called here."""
        return {name: side for name, side in self.sides.items() if name.startswith(kind)}

    def things(self, kind):
        return [*map(thing_of, self.of(kind)), self.der[kind][0]]

    async def hold(self, kind, expected, at_us=None):
        """Wait until each device of a kind does what is expected of it, now or (by its own clock) at a time."""
        of = self.of(kind)

        def so():
            at = self.clock.now_us() if at_us is None else at_us
            return all(side.holds(at) == pytest.approx(expected[name]) for name, side in of.items())

        try:
            await holds_true(so, 40.0)
        except AssertionError:
            found = {name: side.holds(at_us or self.clock.now_us()) for name, side in of.items()}
            pytest.fail(f"{found} are not {expected}")

    async def leased(self, kind):
        """Return the only control that a device of IEEE 2030.5 is told as a lease, None for none."""
        _, http, path = self.der[kind]
        found = await controls(http, path, leases=True)
        return found[0] if len(found) == 1 else None

    async def post(self, path, body=None):
        answer = await self.op.post(path, json=body)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    pki = Pki(folder / "pki")
    tls = {
        "port": 0, "tls": True, "client": "required", "ca": [str(pki.ca.crt)], "certificate": str(pki.server.crt),
        "key": str(pki.server.pem),
    }  # fmt: skip
    sections = {
        "mqtt": {"mqtt": {"port": 0}}, "ocpp": {"ocpp": {"port": 0}}, "modbus": {"allow": ["127.0.0.0/8"]},
        "ieee2030_5": {"server": tls, "pen": 12345}, "openadr3": {"http": {"port": 0}}, "openadr2": {"vtn": tls},
    }  # fmt: skip
    settings = settings_for(adapters=Adapters(allow=list(sections), settings=sections))
    async with contextlib.AsyncExitStack() as stack:
        world = await stack.enter_async_context(running(folder / "data", settings))
        made = Bench(world, folder, pki)
        await made.register(stack)
        await made.connect(stack)
        yield made


@pytest.mark.parametrize("kind", POINT)
async def test_a_lease_arrives_in_each_language_and_is_released(bench, kind) -> None:
    now_us = bench.clock.now_us()
    end_us = now_us // US * US + 600_400_000
    order = {"point": POINT[kind], "value": VALUE[kind], "until": format_rfc3339(end_us)}
    given = await bench.post("/commands/batch", [{"thing": thing, **order} for thing in bench.things(kind)])
    await bench.hold(kind, HOLDS)
    assert _as_said(bench, kind) == HEARD[kind]
    for name, side in bench.of(kind).items():
        late_us = side.told_end_us - end_us
        exact = 0 if name.endswith("mqtt") else 600_000  # whole seconds, rounded up
        assert late_us >= 0 if name.endswith("sunspec") else late_us == exact, name
    control = await until(lambda: bench.leased(kind))
    assert watts(control.find(f"{SEP}DERControlBase/{MODE[kind]}")) == pytest.approx(WATTS[kind])
    start_us, over_us = span_us(control)
    assert start_us <= bench.clock.now_us()
    assert over_us - end_us == 600_000
    for one in given["commands"] if isinstance(given, dict) else given:
        await bench.post(f"/commands/{one['id']}/cancel")
    await bench.hold(kind, THEN)

    async def gone():
        return await bench.leased(kind) is None

    await until(gone)


HEARD = {
    "battery": {
        "battery mqtt": ("activePowerSetpoint", -2_222.6),
        "battery sunspec": {"WSet": 2_223, "WSet_SF": 0, "WSetMod": 1, "WSetEna": 1},
        "battery ocpp2.1": (
            "W", {"operationMode": "CentralSetpoint", "setpoint": -2_222.6, "dischargeLimit": -2_222.6}
        ),
    },
    "inverter": {
        "inverter mqtt": ("activePowerLimit", 2_500.5),
        "inverter sunspec": {"WMaxLimPct": 416, "WMaxLimPct_SF": -1, "WMaxLimPctEna": 1},
    },
    "charger": {
        "charger mqtt": ("currentLimit", 10.87),
        "charger ocpp1.6": ("A", {"limit": 10.8, "numberPhases": 3}),
        "charger ocpp2.0.1": ("A", {"limit": 10.8, "numberPhases": 3}),
        "charger ocpp2.1": ("A", {"limit": 10.8, "numberPhases": 3}),
    },
}  # fmt: skip
"""The fields as the wire has them: SunSpec's discharging is positive, OCPP's negative."""


def _as_said(bench, kind):
    return {name: _said(name, side) for name, side in bench.of(kind).items()}


def _said(name, side):
    """Return what a device was told, field by field."""
    if name.endswith("mqtt"):
        return side._order["point"], round(side._order["value"], 9)  # watts divided by volts end in a digit more
    if name.endswith("sunspec"):
        return {field: _signed(side.raw(field)) for field in HEARD[name.split()[0]][name]}
    highest = max(side._profiles.values(), key=lambda one: one["stackLevel"])
    schedule = highest["schedule"]
    (period,) = schedule["chargingSchedulePeriod"]
    return schedule["chargingRateUnit"], {key: value for key, value in period.items() if key != "startPeriod"}


def _signed(word):
    return word - 0x1_0000 if word >= 0x8000 else word


@pytest.mark.parametrize("kind", POINT)
async def test_a_control_said_once_is_an_event_and_every_devices_order(bench, kind) -> None:
    (mode, value), end_us = *CONTROL[kind].items(), bench.clock.now_us() // US * US + 600_000_000
    begin_us = end_us - 605 * US
    programme = (await bench.post("/programmes", {"title": kind, "modes": [mode]}))["id"]
    for thing in [*bench.things(kind), bench.ven2.thing]:
        body = {"thing": thing, "until": "2099-01-01T00:00:00Z"}
        await bench.post(f"/programmes/{programme}/enrolments", body)
    interval = {"from": format_rfc3339(begin_us), "until": format_rfc3339(end_us), "control": CONTROL[kind]}
    event = (await bench.post(f"/programmes/{programme}/events", {"title": kind, "intervals": [interval]}))["id"]
    await bench.hold(kind, HOLDS)
    assert _as_said(bench, kind) == HEARD[kind]
    await bench.hold(kind, THEN, end_us + 60 * US)  # by its own clock, with nobody there
    for edition in bench.vens:
        (seen,) = await _events_3(bench, edition)
        (one,) = seen["intervals"]
        assert payloads(one)[SIGNAL_3[kind]] == [pytest.approx(value / 1e3)]
        assert {"payloadType": SIGNAL_3[kind], "units": "KW"}.items() <= seen["payloadDescriptors"][0].items()
        start_us = moment_us(one["intervalPeriod"]["start"])
        assert (start_us, start_us + lasts_us(one["intervalPeriod"]["duration"])) == (begin_us, end_us)
    (seen,) = await _events_2(bench, kind)
    values, units = seen.signals[SIGNAL_2[kind]]
    assert (values, units) == ([pytest.approx(value)], ["W", "none"])
    assert (seen.start_us, seen.start_us + seen.duration_us, seen.status) == (begin_us, end_us, "active")
    _, http, path = bench.der[kind]
    (control,) = await controls(http, path)
    assert watts(_only(control)) == pytest.approx(-value if kind == "battery" else WATTS[kind])
    assert span_us(control) == (begin_us, end_us)
    await bench.post(f"/programmes/{programme}/events/{event}/cancel")
    await bench.hold(kind, THEN)
    for edition in bench.vens:
        assert await _events_3(bench, edition) == []
    assert [one.status for one in await _events_2(bench, kind)] == ["cancelled"]
    assert [status_of(one) for one in await controls(http, path)] == [2]


def _only(control):
    (said,) = control.find(f"{SEP}DERControlBase")
    return said


async def _events_3(bench, edition):
    return (await bench.vens[edition].get("/events")).json()


async def _events_2(bench, kind):
    """Return the events of a kind's signal; those that were cancelled are told for a while."""
    return [one for one in (await events_2(bench.ven2))[0] if SIGNAL_2[kind] in one.signals]
