"""The book of leases by itself: clocks that jump, cuts at any moment, a disk that takes nothing."""

import asyncio

import msgspec
import pytest

from gridspine.apps.edge.ballast import Ballast
from gridspine.apps.edge.book import OrderBook
from gridspine.apps.edge.documents import Documents
from gridspine.apps.edge.merge import COMMAND, DELIVERED
from gridspine.apps.edge.wire import Deliver, ServedPoint, ServedThing
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import DiskFull
from gridspine.kernel.time import US
from gridspine.things.command import StopChanged, become, new_command
from gridspine.things.lease import Authority, Lease
from gridspine.things.model import LeaseRule
from gridspine.things.schedule import Step

THING, POINT = "urn:x:battery", "setpoint"
RULE = LeaseRule(minimum=-5000, maximum=5000, reversion="device", fallback=0, max_duration_s=86_400)
SERVED = ServedThing(THING, "B", "o", "m", "wire", {}, (ServedPoint(POINT, "W", lease=RULE),))
T0 = VirtualClock().now_us()


def command(name, value, from_s, until_s, **more):
    lease = Lease(
        id=f"urn:lease:{name}", command=f"urn:command:{name}", thing=THING, point=POINT, value=value, role="setpoint",
        authority=Authority.OWNER, principal="op", from_us=T0 + round(from_s * US), until_us=T0 + round(until_s * US),
        issued_us=T0,
    )  # fmt: skip
    lease = msgspec.structs.replace(lease, **more)
    return become(new_command(lease, "", T0), "accepted", T0)


def deliver(*commands, now_us=T0):
    return Deliver(THING, "r", now_us, commands)


class Desk:
    """A book on a folder, with what its orders say now."""

    def __init__(self, folder, clock=None):
        self.folder, self.clock = folder, clock or VirtualClock()

    async def open(self):
        self.documents = Documents(self.folder, Ballast(self.folder, 0))
        self.book = OrderBook(self.documents, self.clock)
        await self.book.load([SERVED])
        return self.book

    async def cut(self):
        """End without a word, as a power cut would; what was not durable is gone."""
        await asyncio.to_thread(self.documents.close)
        return await self.open()

    @property
    def value(self):
        running = self.book.commander.in_force(self.clock.now_us())
        return running[0].value if running else None

    async def at(self, seconds):
        await self.clock.advance(seconds - (self.clock.now_us() - T0) / US)
        await self.book.tick()
        return self.value


@pytest.fixture
async def desk(tmp_path):
    made = Desk(tmp_path)
    await made.open()
    yield made
    await asyncio.to_thread(made.documents.close)


async def test_leases_run_by_the_clock_and_end_at_the_fallback(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60), command("b", -500, 30, 40)))
    assert [await desk.at(s) for s in (1, 29, 31, 41, 59, 61)] == [1000, 1000, -500, 1000, 1000, None]


async def test_a_cut_at_any_moment_changes_nothing(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60), command("b", -500, 30, 40)))
    seen = []
    for second in (1, 29, 31, 41, 59, 61):
        await desk.cut()
        seen.append(await desk.at(second))
    assert seen == [1000, 1000, -500, 1000, 1000, None]


async def test_schedules_are_carried_out_step_by_step(desk):
    steps = (Step(T0, 100.0), Step(T0 + 10 * US, 200.0), Step(T0 + 20 * US, 300.0))
    await desk.book.deliver(deliver(command("a", 100, 0, 30, steps=steps)))
    assert [await desk.at(s) for s in (1, 11, 21, 31)] == [100, 200, 300, None]


async def test_what_cannot_be_kept_is_not_taken(desk, monkeypatch):
    async def full(*_):
        raise DiskFull("full")

    monkeypatch.setattr(desk.documents, "put_all", full)
    with pytest.raises(DiskFull):
        await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    assert desk.value is None


async def test_a_full_disk_does_not_stop_an_end(desk, monkeypatch):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    kept = desk.documents.put_all

    async def full(*_):
        raise DiskFull("full")

    monkeypatch.setattr(desk.documents, "put_all", full)
    assert await desk.at(61) is None
    monkeypatch.setattr(desk.documents, "put_all", kept)
    assert await desk.at(75) is None  # what could not be kept is, now
    await desk.cut()
    assert desk.book.commander.command("urn:command:a").state == "expired"


async def test_what_the_node_no_longer_names_is_over(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    await desk.book.deliver(deliver())
    assert desk.value is None
    assert desk.book.commander.command("urn:command:a").state == "cancelled"


async def test_told_twice_is_told_once(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    await desk.book.report("urn:command:a", "acknowledged")
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    assert desk.book.commander.command("urn:command:a").state == "acknowledged"
    (order,) = desk.book.commander.in_force(T0)
    assert order.sequence == 1


async def test_a_clock_that_is_set_does_not_lengthen_or_cut_what_runs(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    await desk.at(10)
    for step_s in (3600, -7200):
        desk.clock.step_wall(step_s)
        await desk.book.tick()
        assert desk.value == 1000
    await desk.clock.advance(49)
    await desk.book.tick()
    assert desk.value == 1000
    await desk.clock.advance(2)
    await desk.book.tick()
    assert desk.value is None


async def test_an_edge_whose_clock_is_wrong_holds_a_lease_for_as_long_as_the_node_meant(desk):
    hour_ago = T0 - 3600 * US
    late = command("a", 1000, -3600, -3540)  # a minute from the node's now
    await desk.book.deliver(deliver(late, now_us=hour_ago))
    assert [await desk.at(s) for s in (1, 59, 61)] == [1000, 1000, None]


async def test_a_clock_behind_its_last_at_a_start_ends_what_ran(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 3600), command("b", 500, 4000, 5000)))
    await desk.at(60)
    desk.clock = VirtualClock(now_us=T0 - 365 * 86_400 * US)
    await desk.cut()
    assert desk.value is None
    assert desk.book.commander.command("urn:command:a").state == "failed"
    assert desk.book.progress["urn:command:a"].state == "failed", "the node is not told"
    assert desk.book.commander.command("urn:command:b").state == "accepted"


async def test_all_stop_holds_through_a_cut_and_takes_no_rule(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    await desk.book.stop(StopChanged(True, T0, "op", "fire"))
    await desk.cut()
    assert desk.value is None
    lease = command("r", 300, 0, 60).lease
    asked = msgspec.structs.replace(lease, authority=Authority.SERVICE, principal="rule:r")
    assert (await desk.book.request(asked)).state == "refused"
    await desk.book.stop(StopChanged(False, T0, "op", "over"))
    asked = msgspec.structs.replace(asked, id="urn:lease:r2", command="urn:command:r2")
    assert (await desk.book.request(asked)).state == "accepted"


async def test_a_rule_gives_way_to_the_node_and_is_not_told_of(desk):
    lease = msgspec.structs.replace(command("r", 300, 0, 60).lease, authority=Authority.SERVICE, principal="rule:r")
    await desk.book.request(lease)
    await desk.book.report("urn:command:r", "acknowledged")
    assert desk.value == 300
    assert not desk.book.progress
    await desk.book.deliver(deliver(command("a", 1000, 0, 30)))
    assert [await desk.at(s) for s in (1, 31, 61)] == [1000, 300, None]
    await desk.book.cancel_all("rule:r", "gone")


async def test_progress_is_kept_until_the_node_has_it(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    await desk.book.report("urn:command:a", "sent")
    told = list(desk.book.progress.values())
    await desk.book.report("urn:command:a", "acknowledged")
    await desk.book.heard(told)
    assert desk.book.progress["urn:command:a"].state == "acknowledged"
    await desk.cut()
    assert desk.book.progress["urn:command:a"].state == "acknowledged"
    await desk.book.heard(list(desk.book.progress.values()))
    await desk.cut()
    assert not desk.book.progress


async def test_a_late_word_on_an_older_order_does_not_count(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    await desk.book.deliver(deliver(command("a", 1000, 0, 60), command("b", 500, 10, 20)))
    await desk.at(11)
    await desk.at(21)
    await desk.book.report("urn:command:a", "rejected", sequence=1)
    assert desk.book.commander.command("urn:command:a").state == "accepted"
    assert "urn:command:a" not in desk.book.progress


async def test_orders_begin_with_those_in_force(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60), command("b", 200, 5, 6)))
    orders = desk.book.orders("wire")
    assert (await anext(orders)).value == 1000
    waiting = asyncio.ensure_future(anext(orders))
    await asyncio.sleep(0)
    await desk.at(5.5)
    assert (await waiting).value == 200
    await orders.aclose()


async def test_what_ended_long_ago_is_forgotten(desk):
    await desk.book.deliver(deliver(command("a", 1000, 0, 60)))
    await desk.at(61)
    await desk.at(2 * 86_400)
    assert await desk.documents.all(COMMAND) == {}
    assert await desk.documents.all(DELIVERED) == {}


async def test_what_is_to_come_begins_by_the_nodes_time(desk):
    hour = 3600 * US
    coming = command("a", 1000, -3600 + 100, -3600 + 200)  # in 100 s for the node, which is an hour behind this clock
    await desk.book.deliver(deliver(coming, now_us=T0 - hour))
    assert await desk.at(50) is None
    desk.clock.step_wall(-3600)  # this clock is set right
    await desk.book.tick()
    await desk.cut()
    elapsed = 0
    for seconds, value in ((49, None), (2, 1000), (98, 1000), (2, None)):
        await desk.clock.advance(seconds)
        await desk.book.tick()
        elapsed += seconds
        assert desk.value == value, elapsed


async def test_a_node_that_says_its_time_moves_what_is_to_come(desk):
    await desk.book.deliver(deliver(command("a", 1000, 100, 200)))
    await desk.book.node_time(T0 - 50 * US)
    assert await desk.at(101) is None
    assert await desk.at(151) == 1000
    await desk.book.node_time(desk.clock.now_us())
    assert await desk.at(199) == 1000, "what runs is not cut by what the node's clock shows"
