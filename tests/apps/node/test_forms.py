"""Twins live and emulated at one address: leases end first, no order of an emulated Thing reaches a wire, and back."""

import asyncio
import contextlib
import sys
from unittest import mock

import pytest

from gridspine.apps.node.engines import Engines
from gridspine.apps.node.forms import FormChange
from gridspine.apps.node.run import start
from gridspine.infra.runtime.settings import Adapters
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.errors import DiskFull
from gridspine.kernel.readings import Channel
from gridspine.kernel.time import US
from gridspine.things.command import EMULATED, EMULATED_OUTSIDE
from gridspine.things.lease import Authority

running_node = sys.modules["running_node"]
BATTERY, METER, until = running_node.BATTERY, running_node.METER, running_node.until
SETPOINT = "activePowerSetpoint"


class Wire:
    """An adapter that writes down every order, as a device would see it."""

    name = "wire"

    def __init__(self):
        self.orders = []

    async def run(self, context):
        async for order in context.orders():
            self.orders.append(order)
            if order.value is not None:
                await context.progress(order.command, "acknowledged")

    def of(self, thing):
        return [order.value for order in self.orders if order.thing == thing]


@contextlib.asynccontextmanager
async def wired(folder):
    wire = Wire()
    settings = running_node.settings_for(adapters=Adapters(allow=["wire"]))
    world = running_node.World(await start(settings, folder, engines=Engines(adapters={"wire": lambda: wire})), folder)
    try:
        yield world, wire
    finally:
        await world.stop()


async def command(world, thing, value, **more):
    body = {"thing": thing, "point": SETPOINT, "value": value, "durationS": 600, **more}
    answer = await world.op.post("/commands", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def change(world, thing, form, **more):
    return await world.op.post(f"/things/{thing}/form", json={"form": form, **more})


def state(world, id_):
    return world.node.commands.commander.command(id_).state


def emulated(world, thing, name="activePower"):
    return world.node.twins.channels.emulated(world.node.points.number(f"{thing}/{name}"))


def spoken_since(world, thing, at_us, names):
    """Whether any of a device's points was told of since: one that is as before is not said again for a minute."""
    told = (emulated(world, thing, name) for name in ("activePower", *names))
    return any(one is not None and one.observed_us > at_us for one in told)


async def test_to_the_emulator_and_back_at_one_address(tmp_path):
    async with wired(tmp_path / "data") as (world, wire):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        live = await command(world, thing, 1500)
        await until(lambda: state(world, live) == "acknowledged")
        answer = await change(world, thing, "emulator", seed=7, stepS=0.2, reason="a drill")
        assert answer.status_code == 200, answer.text
        view = answer.json()
        assert (view["form"], view["seed"], view["emulator"], view["reason"]) == ("emulator", 7, BATTERY, "a drill")
        assert state(world, live) == "cancelled"
        await until(lambda: wire.of(thing) == [1500, None])
        assert (await change(world, thing, "emulator")).status_code == 409

        drill = await command(world, thing, 2500)
        await until(lambda: state(world, drill) == "acknowledged")
        await until(lambda: (known := emulated(world, thing)) is not None and abs(known.value - 2500) < 30, 60)
        body = [{"n": f"{thing}/activePower", "v": 2500.0, "t": world.node.clock.now_us() / 1e6}]
        commanded = (await world.op.get(f"/things/{thing}/channels")).json()
        assert {one["name"]: one["commanded"] for one in commanded}[SETPOINT]["value"] == 2500
        assert state(world, drill) == "acknowledged", "what is emulated confirms nothing"
        assert world.node.commands.commander.command(drill).reason == EMULATED
        assert wire.of(thing) == [1500, None], "and reaches no wire"
        sent = await world.op.post("/readings", json=body, headers=running_node.SENML)
        assert sent.json()["accepted"] == 1
        shown = (await world.op.get(f"/things/{thing}/properties/activePower")).json()
        assert shown["value"] == 2500.0, "what the real device says is kept as reported"

        answer = await change(world, thing, "adapter")
        assert answer.status_code == 200, answer.text
        assert state(world, drill) == "cancelled"
        real = await command(world, thing, -500)
        await until(lambda: state(world, real) == "acknowledged")
        assert wire.of(thing) == [1500, None, -500]
        said = emulated(world, thing)
        await asyncio.sleep(0.5)
        assert emulated(world, thing) == said, "its emulator is silent"
        await until(lambda: world.node.forms.emulation._child is None)
        assert len(world.node.forms.emulation._cohorts) == 0


async def test_an_adapter_or_a_node_that_starts_again_is_told_what_is_its_own(tmp_path):
    async with wired(tmp_path / "data") as (world, wire):
        things = [await world.thing(f"urn:example:b{at}", BATTERY, adapter="wire") for at in range(2)]
        for thing in things:
            await command(world, thing, 1500)
        assert (await change(world, things[0], "emulator", external=True)).status_code == 200
        await command(world, things[0], 777)
        await until(lambda: wire.of(things[0]) == [1500, None])
        await world.node.supervisor.stop("adapter:wire")
        wire.orders.clear()
        world.node.supervisor.start("adapter:wire", world.node.adapters.load()["wire"])
        await until(lambda: wire.of(things[1]) == [1500])
        assert wire.of(things[0]) == [None], "the end of its lease, and nothing of the drill"
    async with wired(tmp_path / "data") as (world, wire):
        await until(lambda: wire.of(things[1]) == [1500])
        assert world.node.forms.forms.of(things[0]) == "emulator"
        assert set(wire.of(things[0])) <= {None}
        world.op.headers["authorization"] = f"Bearer {world.node.identity.demo.issue(world.op_id)}"
        await command(world, things[0], 888)
        assert (await change(world, things[0], "adapter")).status_code == 200
        await world.node.supervisor.stop("adapter:wire")
        wire.orders.clear()
        world.node.supervisor.start("adapter:wire", world.node.adapters.load()["wire"])
        await until(lambda: wire.of(things[1]) == [1500])
        assert set(wire.of(things[0])) <= {None}
        await command(world, things[0], 999)
        await until(lambda: wire.of(things[0])[-1:] == [999])


async def test_a_fleet_changes_and_each_is_answered(tmp_path):
    async with wired(tmp_path / "data") as (world, wire):
        batteries = [await world.thing(f"urn:example:b{at}", BATTERY, adapter="wire") for at in range(3)]
        home = await world.thing("urn:example:h", "https://gridspine.org/models/home")
        held = await command(world, batteries[0], 1200)
        body = {"form": "emulator", "things": [*batteries, home], "leases": "hand-over", "stepS": 0.2, "seed": 1}
        answer = await world.op.post("/things/form", json=body)
        assert answer.status_code == 200, answer.text
        views = answer.json()
        assert [view["form"] for view in views] == ["emulator"] * 3 + ["adapter"]
        assert "has no emulator" in views[3]["problem"]
        assert state(world, held) == "cancelled"
        await until(lambda: all(emulated(world, thing) is not None for thing in batteries), 60)
        handed = [one for one in world.node.commands.commander.commands(batteries[0]) if not one.final]
        assert [(one.lease.value, one.lease.principal) for one in handed] == [(1200, world.op_id)]
        await until(lambda: abs(emulated(world, batteries[0]).value - 1200) < 30, 60)
        assert wire.of(batteries[0]) == [1200, None]
        records = world.node.log.read("readings", 0, 0, max_records=1000)
        assert {decode_batch(record.body).channel for record in records} == {Channel.EMULATED}
        forms = {row["thing"]: row["form"] for row in world.node.archive._thing_rows()}
        assert forms == {**dict.fromkeys(batteries, "emulator"), home: "adapter"}
        answer = await world.op.post("/things/form", json={"form": "adapter", "things": batteries[:2]})
        assert [view["form"] for view in answer.json()] == ["adapter"] * 2
        await until(lambda: emulated(world, batteries[2]).received_us > emulated(world, batteries[0]).received_us)
        events = [record.body for record in world.node.log.read("events", 0, 0, max_records=1000)]
        assert sum(b"thing.form-changed" in body for body in events) == 5


async def test_what_the_network_holds_is_not_ended_by_a_change_of_form(tmp_path):
    async with wired(tmp_path / "data") as (world, _):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        now_us = world.node.clock.now_us()
        lease = world.node.commands.new_lease(
            thing=thing, point=SETPOINT, value=500.0, role="limit_max", authority=Authority.NETWORK, principal="p",
            from_us=now_us, until_us=now_us + 600 * US,
        )  # fmt: skip
        assert (await world.node.commands.request(lease, "")).state != "refused"
        answer = await change(world, thing, "emulator", external=True)
        assert answer.status_code == 409
        assert "network holds a lease" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [{"form": "emulator", "stepS": 0.0}, {"form": "emulator", "seed": -1}, {"form": "adapter", "leases": "hand-over"}],
)
async def test_what_makes_no_sense_is_refused_and_nothing_ended(tmp_path, body):
    async with wired(tmp_path / "data") as (world, _):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        if body["form"] == "adapter":
            assert (await change(world, thing, "emulator", external=True)).status_code == 200
        held = await command(world, thing, 1200)
        assert (await world.op.post(f"/things/{thing}/form", json=body)).status_code == 400
        assert state(world, held) in {"accepted", "sent", "acknowledged"}


async def test_what_the_registry_has_counts_though_the_log_did_not_take_its_event(tmp_path):
    async with wired(tmp_path / "data") as (world, wire):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        forms, run = world.node.forms, world.node.registry.run

        async def committed_and_failed(work, *, write=True):
            done = await run(work, write=write)
            if write:
                raise DiskFull("no room for the event")
            return done

        forms._registry = mock.Mock(run=committed_and_failed)
        assert (await change(world, thing, "emulator", external=True)).json()["form"] == "emulator"
        assert forms.forms.of(thing) == "emulator"
        await command(world, thing, 1500)
        assert wire.of(thing) == []


async def test_where_emulators_cannot_run_nothing_is_ended(tmp_path, monkeypatch):
    async with wired(tmp_path / "data") as (world, wire):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        held = await command(world, thing, 1500)
        await until(lambda: state(world, held) == "acknowledged")
        monkeypatch.setattr(sys, "executable", "/bin/false")
        answer = await change(world, thing, "emulator")
        assert answer.status_code == 503
        assert "gridspine[emulator]" in answer.json()["detail"]
        assert state(world, held) == "acknowledged"
        assert world.node.forms.forms.of(thing) == "adapter"
        assert wire.of(thing) == [1500]


async def test_a_change_that_another_overtook_says_so(tmp_path, monkeypatch):
    async with wired(tmp_path / "data") as (world, _):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        assert (await change(world, thing, "emulator", external=True)).status_code == 200
        forms = world.node.forms
        real, emulate = forms._adapt, forms._emulate

        async def adapt(things, wanted, actor):
            await real(things, wanted, actor)
            await emulate(things, FormChange("emulator", external=True), actor)

        monkeypatch.setattr(forms, "_adapt", adapt)
        answer = await change(world, thing, "adapter")
        assert answer.status_code == 409
        assert "it is in emulator form now" in answer.json()["detail"]


async def test_an_emulator_that_dies_is_started_again_and_holds_what_was_ordered(tmp_path):
    async with wired(tmp_path / "data") as (world, _):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        assert (await change(world, thing, "emulator", seed=3, stepS=0.2)).status_code == 200
        await command(world, thing, 2000)
        await until(lambda: (known := emulated(world, thing)) is not None and abs(known.value - 2000) < 30, 60)
        world.node.forms.emulation._child.kill()
        before = world.node.clock.now_us()
        await until(lambda: spoken_since(world, thing, before + 200_000, ("activeEnergyImport",)), 60)
        await until(lambda: abs(emulated(world, thing).value - 2000) < 30, 60)


@pytest.mark.parametrize(("external", "words"), [(False, EMULATED), (True, EMULATED_OUTSIDE)])
async def test_a_command_to_the_emulated_ends_with_a_plain_reason(tmp_path, external, words):
    async with wired(tmp_path / "data") as (world, wire):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        assert (await change(world, thing, "emulator", seed=3, stepS=0.2, external=external)).status_code == 200
        drill = await command(world, thing, 2000, durationS=1)
        await until(lambda: state(world, drill) == "expired", 60)
        assert world.node.commands.commander.command(drill).reason == words
        assert wire.of(thing) == []


async def test_emulated_devices_go_on_after_a_restart_where_they_were(tmp_path):
    names = ("stateOfCharge", "activeEnergyImport")
    async with wired(tmp_path / "data") as (world, _):
        thing = await world.thing("urn:example:b", BATTERY, adapter="wire")
        assert (await change(world, thing, "emulator", seed=3, stepS=0.1)).status_code == 200
        await until(lambda: emulated(world, thing) is not None, 60)
        began = [emulated(world, thing, name).value for name in names]
        await command(world, thing, 5000)
        await until(lambda: emulated(world, thing, names[1]).value > began[1] + 1.0, 60)
        await world.node.supervisor.stop("emulation")
        before = [emulated(world, thing, name).value for name in names]
    (path,) = (tmp_path / "data" / "emulators").iterdir()
    kept = path.read_bytes()
    async with wired(tmp_path / "data") as (world, _):
        at_us = world.node.clock.now_us()
        await until(lambda: spoken_since(world, thing, at_us, names), 60)
        after = [emulated(world, thing, name).value for name in names]
        assert before[0] > began[0]
        assert all(now >= then for now, then in zip(after, before, strict=True)), (before, after)
        assert abs(emulated(world, thing).value - 5000) < 60, "and it holds what was ordered"
    path.write_bytes(kept[:-40])  # what is broken is not used, and stops nothing
    async with wired(tmp_path / "data") as (world, _):
        at_us = world.node.clock.now_us()
        await until(lambda: spoken_since(world, thing, at_us, names), 60)
        world.op.headers["authorization"] = f"Bearer {world.node.identity.demo.issue(world.op_id)}"
        assert (await change(world, thing, "adapter")).status_code == 200
        await until(lambda: not list((tmp_path / "data" / "emulators").iterdir()))
