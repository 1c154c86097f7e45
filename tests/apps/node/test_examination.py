"""Commissioning on a whole node: planted faults are named from what the log and the quarantine have."""

import asyncio

import numpy as np
from running_node import METER, SENML

PV = "https://gridspine.org/models/pv_inverter"


async def send(world, rows):
    answer = await world.op.post("/readings", json=rows, headers=SENML)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def examined(world, thing, **body):
    answer = await world.op.post(f"/things/{thing}/commissioning", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def faults(report):
    return {(one["code"], *one["points"]) for one in report["findings"] if one["severity"] == "fault"}


async def an_hour(world, meter, factor=1.0, hz=50.0):
    """A meter that took 2 kW for an hour, as its registers say; its power is reported times ``factor``."""
    now_s, seconds = world.node.clock.now_us() / 1e6, np.arange(0, 3_500, 20)
    power = 2_000 + 300 * np.sin(seconds / 200)
    energy = 7_000 + np.concatenate([[0], np.cumsum(power[:-1] * 20 / 3600)])
    rows = []
    for at, second in enumerate(seconds.tolist()):
        t = now_s - 3_510 + second
        rows += [
            {"n": f"{meter}/activePower", "v": float(power[at] * factor), "t": t},
            {"n": f"{meter}/activeEnergyImport", "v": float(energy[at]), "t": t},
            {"n": f"{meter}/activeEnergyExport", "v": 3.0, "t": t},
            {"n": f"{meter}/voltage", "v": 230 + at % 3, "t": t}, {"n": f"{meter}/frequency", "v": hz, "t": t},
        ]  # fmt: skip
    await send(world, rows)


async def test_a_healthy_meter_passes(world):
    meter = await world.thing()
    await an_hour(world, meter)
    report = await examined(world, meter, nameplateW=20_000)
    assert (report["passed"], report["findings"]) == (True, [])
    assert {"answers", "nominal", "nameplate", "registers"} <= set(report["checks"])
    assert report["readings"]["activePower"] > 100
    assert (await world.op.get(f"/things/{meter}/commissioning")).json() == [report]
    history = (await world.op.get(f"/things/{meter}/history")).json()["entries"]
    assert (history[0]["type"], history[0]["data"]["passed"]) == ("thing.examined", True)


async def test_a_reversed_and_a_wrongly_scaled_meter_are_named(world):
    for n, (factor, hz, expected) in enumerate((
        (-1.0, 50.0, {("reversed-ct", "activePower")}),
        (0.1, 50.0, {("wrong-scale", "activePower", "activeEnergyImport", "activeEnergyExport")}),
        (1.0, 500.0, {("wrong-scale", "frequency"), ("implausible", "frequency")}),
    )):  # fmt: skip
        meter = await world.thing(f"urn:example:m{n}", METER)
        await an_hour(world, meter, factor, hz)
        report = await examined(world, meter)
        assert faults(report) == expected, report["findings"]
        assert report["passed"] is False
        assert all(one["cure"] and one["evidence"] for one in report["findings"])


async def test_an_inverter_that_seems_to_import_is_named_by_what_the_screen_refused(world):
    inverter = await world.thing("urn:example:pv", PV)
    now_s = world.node.clock.now_us() / 1e6
    sent = await send(
        world, [{"n": f"{inverter}/activePower", "v": 3000 + at, "t": now_s - 600 + 20 * at} for at in range(30)]
    )
    assert sent["refused"] == 30
    report = await examined(world, inverter)
    assert report["role"] == "source"
    assert ("reversed-ct", "activePower") in faults(report)
    assert report["refused"] == {"activePower": 30}


async def test_another_meter_may_be_the_reference_and_only_ones_own(world):
    first, second = await world.thing("urn:example:a"), await world.thing("urn:example:b")
    await an_hour(world, first, -1.0)
    await an_hour(world, second)
    report = await examined(world, first, reference=f"{second}/activePower")
    assert "reference" in report["checks"]
    assert ("reversed-ct", "activePower") in faults(report)
    answer = await world.op.post(f"/things/{first}/commissioning", json={"reference": f"{second}/voltage"})
    assert answer.status_code == 400
    await world.co.post("/things", json={"id": "urn:example:c", "title": "C", "model": METER})
    for other in ("urn:example:c", "urn:example:none"):
        answer = await world.op.post(f"/things/{first}/commissioning", json={"reference": f"{other}/activePower"})
        assert answer.status_code == 403


async def test_what_cannot_be_asked(world):
    meter = await world.thing()
    for bad in ({"since": "2100-01-01T00:00:00Z"}, {"since": "1990-01-01T00:00:00Z"}, {"nameplateW": -5}, {"role": "x"},
                {"nominalHz": 0}, {"since": "yesterday"}, {"test": {"point": "voltage", "value": 1}}):  # fmt: skip
        answer = await world.op.post(f"/things/{meter}/commissioning", json=bad)
        assert answer.status_code == 400, (bad, answer.text)


async def test_many_who_ask_at_once_are_told_to_come_again(world):
    meter = await world.thing()
    async with world.node.examinations.turn():
        asked = [asyncio.ensure_future(world.op.post(f"/things/{meter}/commissioning", json={})) for _ in range(20)]
        done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 5:
            done, waiting = await asyncio.wait(asked, timeout=0.05)
        assert {one.result().status_code for one in done} == {429}
    answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in answers] == [201] * 15
