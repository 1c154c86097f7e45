"""Channels at the API: who may send what, what is shown side by side, and what a product delivers."""

import asyncio

import httpx
import pytest
import pytest_asyncio
from running_node import BATTERY, BEGIN_S, SENML, Sse, World, running, until

from gridspine.kernel.time import parse_rfc3339

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = ("planned", "plannedNext", "commanded", "reported", "emulated")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    async with running(tmp_path_factory.mktemp("channels") / "data") as world:
        yield world


async def battery(world: World, **more: object) -> str:
    return await world.thing(f"urn:example:b{world.node.points.thing_count}", BATTERY, **more)


async def channels_of(world: World, thing: str, point: str) -> dict:
    found = {one["name"]: one for one in (await world.op.get(f"/things/{thing}/channels")).json()}
    return found[point]


async def test_four_channels_of_a_point_side_by_side(world):
    thing = await battery(world)
    point, now_s = f"{thing}/activePower", world.node.clock.now_us() / 1e6
    empty = await channels_of(world, thing, "activePower")
    assert [empty[name] for name in NAMES] == [None] * 5
    await world.send(point, [100.0], begin_s=now_s - 5)
    await world.send(point, [200.0], begin_s=now_s - 4, channel="emulated")
    body = [{"n": point, "v": value, "t": now_s + at} for at, value in ((-3600, 300.0), (1800, 400.0), (3600, 500.0))]
    answer = await world.op.post("/readings", json=body, headers=SENML | {"channel": "planned"})
    assert answer.json()["accepted"] == 3
    await world.op.post(
        "/commands", json={"thing": thing, "point": "activePowerSetpoint", "value": 1500, "durationS": 600}
    )
    power, setpoint = [await channels_of(world, thing, name) for name in ("activePower", "activePowerSetpoint")]
    assert [power[name] and power[name]["value"] for name in NAMES] == [300.0, 400.0, None, 100.0, 200.0]
    assert 3500 < power["planned"]["ageS"] < 3700
    assert -1900 < power["plannedNext"]["ageS"] < -1700
    assert parse_rfc3339(power["emulated"]["observed"]) == round((now_s - 4) * 1e6)
    assert setpoint["commanded"]["value"] == 1500
    assert setpoint["commanded"]["state"] == "accepted"
    assert 0 <= setpoint["commanded"]["ageS"] < 60
    assert setpoint["commanded"]["command"].startswith("urn:uuid:")
    assert [setpoint[name] for name in NAMES if name != "commanded"] == [None] * 4
    shown = (await world.op.get(f"/things/{thing}/properties/activePower")).json()
    assert shown["value"] == 100.0


async def test_emulated_readings_raise_no_alarm_and_confirm_no_command(world):
    thing = await battery(world)
    command = {"thing": thing, "point": "activePowerSetpoint", "value": 1500, "durationS": 600}
    id_ = (await world.op.post("/commands", json=command)).json()["id"]
    await world.node.commands.progress(id_, "acknowledged")
    now_s = world.node.clock.now_us() / 1e6
    answer = await world.send(f"{thing}/activePower", [5500.0, 1500.0], begin_s=now_s, channel="emulated")
    assert answer["accepted"] == 2
    alarms = (await world.op.get("/alarms")).json()
    assert not [alarm for alarm in alarms if alarm["point"].startswith(thing)]
    assert (await world.op.get(f"/commands/{id_}")).json()["state"] == "acknowledged"
    await world.send(f"{thing}/activePower", [1500.0], begin_s=now_s + 1)
    await until(lambda: world.node.commands.commander.command(id_).state == "applied")


@pytest.mark.parametrize("channel", ["commanded", "Reported", "anything"])
async def test_what_is_no_channel_of_readings_is_refused(world, channel):
    thing = await battery(world)
    body = [{"n": f"{thing}/activePower", "v": 1.0, "t": BEGIN_S}]
    answer = await world.op.post("/readings", json=body, headers=SENML | {"channel": channel})
    assert answer.status_code == (200 if channel == "Reported" else 400)


async def test_who_may_send_on_which_channel(world):
    device, http = world.client("northside-networks", "device", kind="device")
    _, auditor = world.client("northside-networks", "auditor")
    thing = await battery(world, devices=[device])
    other = await battery(world)

    async def sent(who: httpx.AsyncClient, of: str, channel: str) -> int | str:
        body = [{"n": f"{of}/activePower", "v": 1.0, "t": BEGIN_S}]
        answer = await who.post("/readings", json=body, headers=SENML | {"channel": channel})
        return answer.json()["accepted"] if answer.status_code == 200 else answer.status_code

    assert [await sent(http, thing, channel) for channel in ("reported", "planned", "emulated")] == [1, 1, 403]
    assert [await sent(http, other, channel) for channel in ("reported", "planned")] == [0, 0]
    assert [await sent(auditor, thing, channel) for channel in ("reported", "planned", "emulated")] == [403] * 3
    assert await sent(world.co, thing, "emulated") == 0


async def test_a_product_delivers_the_channel_of_its_contract_and_no_other(world):
    thing = await battery(world)
    point = f"{thing}/activePower"
    products = {}
    for channel in ("reported", "planned", "emulated"):
        named = {} if channel == "reported" else {"channel": channel}
        products[channel] = await world.product(point, sample="readings", **named)
        await world.grant(products[channel])
    streams = {channel: Sse() for channel in products}
    following = [
        asyncio.ensure_future(stream.follow(world.co, products[channel], enough=1))
        for channel, stream in streams.items()
    ]
    await asyncio.gather(*(stream.opened.wait() for stream in streams.values()))
    for value, channel in enumerate(products, 1):
        await world.send(point, [value], channel=channel)
    await asyncio.wait_for(asyncio.gather(*following), 60)
    for value, channel in enumerate(products, 1):
        assert [record["v"] for record in streams[channel].records] == [value]
        records, _ = await world.pull_all(products[channel])
        assert [record["v"] for record in records] == [value]
        sample = (await world.co.get(f"/products/{products[channel]}/sample")).json()
        assert [one["v"] for one in sample["readings"]] == [value]
        assert (await world.co.get(f"/products/{products[channel]}")).json()["contract"]["channel"] == channel
    contract = {"licence": "MIT", "purposes": ["a"], "channel": "commanded"}
    answer = await world.op.post("/products", json={"title": "P", "points": [point], "contract": contract})
    assert answer.status_code == 400


@pytest.mark.parametrize("snapshot", [True, False])
async def test_channels_outlive_the_node_by_snapshot_and_by_log(tmp_path, snapshot):
    data = tmp_path / "data"
    async with running(data) as world:
        thing = await battery(world)
        now_s = world.node.clock.now_us() / 1e6
        for channel, value in (("reported", 1.0), ("planned", 2.0), ("emulated", 3.0)):
            await world.send(f"{thing}/activePower", [value], begin_s=now_s - 60, channel=channel)
    if not snapshot:
        (data / "twins.npz").unlink()
    async with running(data) as world:
        world.op.headers["authorization"] = f"Bearer {world.node.identity.demo.issue(world.op_id)}"
        point = await channels_of(world, thing, "activePower")
        assert [point[name] and point[name]["value"] for name in NAMES] == [2.0, None, None, 1.0, 3.0]
