"""An edge beside a node: leases ahead of time, orders without the node, readings in order and once."""

import asyncio
import time

import pytest
from running_node import AheadClock, until

from gridspine.apps.edge.wire import Ended, Progress, Report, RuleReport
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import READINGS
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.errors import Conflict, Invalid, Unavailable
from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.action import ActionModel

BATTERY_ID = "urn:example:battery"
SETPOINT, POWER = f"{BATTERY_ID}/activePowerSetpoint", f"{BATTERY_ID}/activePower"


def now_us() -> int:
    return time.time_ns() // 1000


async def test_a_lease_goes_to_the_device_and_its_story_back(beside):
    await beside.thing()
    await beside.start()
    command = await beside.command(1000)
    await until(lambda: beside.wire.value == 1000)
    await beside.becomes(command, "acknowledged")
    await asyncio.sleep(0.01)
    outcome = await beside.wire.read((POWER, now_us(), 1000.0))
    assert outcome.accepted == outcome.received == 1
    await beside.becomes(command, "applied")
    await beside.world.op.post(f"/commands/{command}/cancel")
    await until(lambda: beside.wire.value is None)
    assert beside.wire.orders[-1].fallback == 0


async def test_what_is_to_come_is_kept_before_it_is_acknowledged_and_needs_no_node(beside, world):
    await beside.thing()
    edge = await beside.start()
    await until(lambda: world.node.edges.state(beside.id).connected)
    soon_us, end_us = now_us() + 90 * US, now_us() + 120 * US
    first = await beside.command(1000, durationS=60)
    times = {"from": format_rfc3339(soon_us), "until": format_rfc3339(end_us)}
    ahead = await beside.command(-500, **times)
    await beside.becomes(ahead, "sent")
    assert len(await edge.documents.all("delivered")) == 2, "it was acknowledged before it was kept"
    await beside.becomes(first, "acknowledged")
    await beside.edge.stop()  # as a power cut would leave it: all it said it has is on disk
    beside.edge = None
    assert beside.wire.value == 1000
    await world.running.stop()
    world.running.stop = _nothing
    clock = AheadClock()
    edge = await beside.start(clock, node=world.url)
    clock.pass_until(soon_us)
    await until(lambda: beside.wire.value == -500)
    clock.pass_until(end_us)
    await until(lambda: beside.wire.value is None)
    assert [order.value for order in beside.wire.orders if order.value != 1000][:2] in ([None, -500], [-500, None])
    assert "not reached" in edge.link.error


async def _nothing() -> None:
    """The node was stopped already."""


async def test_readings_wait_for_the_node_and_come_in_order_once(beside, world):
    await beside.thing()
    edge = await beside.start()
    await until(lambda: beside.wire.context is not None)
    port = world.running.port
    edge.http._port = 1  # nobody there
    await edge.http.close()
    begin = now_us() - 3600 * US
    for minute in range(60):
        await beside.wire.read((f"{BATTERY_ID}/stateOfCharge", begin + minute * 60 * US, 10.0 + minute))
    await until(lambda: edge.buffer.waiting == 60)
    assert world.node.stored == 0
    # Live ones do not wait behind the hour of history.
    edge.buffer._live.clear()
    await beside.wire.read((f"{BATTERY_ID}/stateOfCharge", now_us(), 99.0))
    edge.http._port = port
    await until(lambda: edge.buffer.waiting == 0)
    answer = (await world.op.get(f"/things/{BATTERY_ID}/properties/stateOfCharge")).json()
    assert answer["value"] == 99
    assert world.node.stored == 61
    totals = world.node.intake.books.totals
    assert (totals.accepted, totals.duplicate, totals.refused) == (61, 0, 0)
    assert (await beside.view())["buffer"]["waiting"] in {0, 60, 61}


async def test_what_was_sent_twice_is_known_as_a_duplicate(beside, world):
    await beside.thing()
    edge = await beside.start()
    await until(lambda: beside.wire.context is not None)
    done, edge.buffer.done = edge.buffer.done, _nothing_done
    await beside.wire.read((POWER, now_us(), 5.0))
    await until(lambda: world.node.intake.books.totals.duplicate >= 1)
    edge.buffer.done = done
    await until(lambda: edge.buffer.waiting == 0)
    assert world.node.intake.books.totals.accepted == 1


async def _nothing_done(_postings) -> None:
    """As if the edge died between the node's answer and its own disk."""


async def test_only_what_the_node_still_holds_is_carried_out_after_a_cut(beside, world):
    await beside.thing()
    edge = await beside.start()
    command = await beside.command(1000)
    await beside.becomes(command, "acknowledged")
    await edge.stop()
    beside.edge = None
    await world.op.post(f"/commands/{command}/cancel")
    await beside.start()
    await until(lambda: beside.wire.orders and beside.wire.value is None)


async def test_a_thing_that_another_serves_is_let_go(beside, world):
    await beside.thing()
    edge = await beside.start()
    command = await beside.command(1000)
    await beside.becomes(command, "acknowledged")
    await world.node.things.change(BATTERY_ID, actor="test", adapter="none", connection={})
    await until(lambda: not edge.host.things)
    assert edge.book.commander.command(command).state == "cancelled"


async def test_all_stop_reaches_the_edge(beside, world):
    await beside.thing()
    edge = await beside.start()
    await beside.becomes(await beside.command(1000), "acknowledged")
    await world.op.post("/all-stop", json={"reason": "fire"})
    await until(lambda: beside.wire.value is None)
    await until(lambda: edge.book.commander.stopped is not None)
    await world.op.post("/all-stop?release=true", json={"reason": "over"})
    await until(lambda: edge.book.commander.stopped is None)


async def test_a_rejection_by_the_device_is_told(beside):
    await beside.thing()
    beside.wire.answer = "rejected"
    await beside.start()
    await beside.becomes(await beside.command(1000), "rejected")


async def test_an_edge_whose_key_is_taken_away_is_cut_and_goes_on_alone(beside, world):
    await beside.thing()
    edge = await beside.start()
    await beside.becomes(await beside.command(1000, durationS=600), "acknowledged")
    await world.op.post(f"/principals/{beside.id}/deactivate")
    await until(lambda: not world.node.edges.state(beside.id).connected)
    await until(lambda: not edge.link.connected)
    assert edge.book.commander.in_force(now_us())[0].value == 1000


async def test_a_newer_link_of_the_same_edge_ends_the_older(beside, world):
    await beside.thing()
    first = await beside.start()
    await until(lambda: first.link.connected)
    answer = world.node.edges.messages(_caller(world, beside))
    assert (await anext(answer)).now_us
    await until(lambda: not first.link.connected)
    await answer.aclose()


def _caller(world, beside):
    return world.node.identity._caller(beside.id, None, f"key:{_kid(world, beside)}", "dpop", _epoch(world, beside))


def _kid(world, beside):
    return world.node.identity.directory.keys_of(beside.id)[0].kid


def _epoch(world, beside):
    return world.node.identity.directory.epoch(beside.id)


async def test_a_day_without_the_node_comes_in_order_with_its_own_times(beside, world):
    await beside.thing()
    await beside.start()
    await until(lambda: beside.edge.host.things)
    begin_us = now_us() - 86_405 * US
    clock = VirtualClock(now_us=begin_us)
    await beside.start(clock, node="http://127.0.0.1:9")
    await until(lambda: beside.wire.context is not None)
    sent = []
    for minute in range(1440):
        sent.append((f"{BATTERY_ID}/stateOfCharge", clock.now_us(), 20.0 + minute % 60))
        await beside.wire.read(sent[-1])
        clock.step_wall(60)
    assert beside.edge.buffer.waiting == 1440
    edge = await beside.start(node=world.url)
    await until(lambda: edge.buffer.waiting == 0)
    log = world.node.log
    found = []
    for record in await asyncio.to_thread(lambda: list(scan(log, READINGS, 0, *log.bounds(READINGS)[0]))):
        batch = decode_batch(record.body)
        assert batch.backfill
        found += zip(batch.observed_us.tolist(), batch.value.tolist(), strict=True)
    assert found == [(at_us, value) for _, at_us, value in sent], "in order, once each, as they were observed"


async def test_a_device_is_read_now_through_its_edge(beside, world):
    await beside.thing()
    with pytest.raises(Unavailable, match="not connected"):
        await world.node.adapters.reads.read(BATTERY_ID)
    edge = await beside.start()
    await until(lambda: beside.wire.context is not None and edge.link.connected)

    async def serve() -> None:
        async for request in beside.wire.context.reads():
            await beside.wire.read((POWER, now_us(), 77.0))
            beside.wire.context.read_ended(request.id)

    serving = asyncio.ensure_future(serve())
    await asyncio.sleep(0)
    try:
        await world.node.adapters.reads.read(BATTERY_ID, ["activePower"])
    finally:
        serving.cancel()
    answer = (await world.op.get(f"/things/{BATTERY_ID}/properties/activePower")).json()
    assert answer["value"] == 77, "it was told that it is over before it was"


async def test_an_action_is_carried_out_beside_the_device_and_its_answer_comes_back(beside, world):
    await beside.thing()
    requests = world.node.adapters.requests
    act = ActionModel("blink", "Blink", "", "request", {}, {"type": "object", "properties": {"times": {"minimum": 1}}})

    async def ask(**given):
        return await requests.ask(BATTERY_ID, act, given, "me")

    with pytest.raises(Unavailable, match="not connected: nothing was sent"):
        await ask()
    edge = await beside.start()
    await until(lambda: beside.wire.context is not None and edge.link.connected)
    await until(lambda: (report := world.node.edges.state(beside.id).report) is not None and report.carries)
    with pytest.raises(Conflict, match="at the edge carries out no actions"):
        await ask()
    seen = []

    async def serve() -> None:
        async for request in beside.wire.context.requests():
            seen.append(request)
            end = {1: ("done", {"lamp": "on"}, ""), 2: ("refused", None, "no lamp"), 3: ("done", "x" * 40_000, "")}
            edge.host.requests.end(request.id, "done", "forged", "", "another adapter")
            beside.wire.context.request_ended(request.id, *end[request.input["times"]])

    serving = asyncio.ensure_future(serve())
    await asyncio.sleep(0)
    try:
        assert await ask(times=1) == {"lamp": "on"}
        with pytest.raises(Conflict, match="no lamp"):
            await ask(times=2)
        with pytest.raises(Unavailable, match="more than 32768 bytes"):
            await ask(times=3)
        with pytest.raises(Invalid, match="times"):
            await ask(times=0)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert [(one.thing, one.action) for one in seen] == [(BATTERY_ID, "blink")] * 3
    assert 0 < seen[0].until_us - now_us() <= 120 * US
    await until(lambda: not edge.host.requests.ended and not edge.host.requests._asked)
    # What nobody asked an edge is not its to end.
    await world.node.edges.report(_caller(world, beside), Report(1, requests={"urn:x": Ended("done", 1)}))


async def test_one_edge_at_a_time_works_on_a_folder(beside):
    await beside.thing()
    await beside.start()
    with pytest.raises(Conflict, match="in use"):
        beside.make()


async def test_what_an_edge_says_of_itself_is_kept_within_bounds(beside, world):
    await beside.thing()
    rules = tuple(RuleReport("n" * 10_000, 1, "running", "d" * 10_000) for _ in range(1_000))
    adapters = {f"{n}": "w" * 10_000 for n in range(1_000)}
    report = Report(1, {"urn:x:nothing": "r"}, (Progress("urn:x:no", "failed"),), rules, None, adapters, "v" * 10_000)
    await world.node.edges.report(_caller(world, beside), report)
    view = await beside.view()
    assert (len(view["rules"]), len(view["adapters"])) == (100, 100)
    assert len(str(view)) < 200_000
