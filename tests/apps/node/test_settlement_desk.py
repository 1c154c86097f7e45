"""Settlement whatever happens between: a clock that is set, a node that ends anywhere, readings at any time."""

import asyncio
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_node import METER, SENML, Child, running, until

from gridspine.apps.node.bids import Bids, part_of
from gridspine.apps.node.settlement_desk import SettlementDesk
from gridspine.energy.bid import Bid
from gridspine.energy.models import load_models
from gridspine.energy.register_record import RegisterRecord, Samples, reading_at
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, DiskFull, Unavailable
from gridspine.kernel.time import US, format_rfc3339

FOREVER = "2100-01-01T00:00:00Z"
BEGIN_US = 1_767_225_600 * US
POINTS = [load_models()["meter"].point(name) for name in ("activeEnergyImport", "activeEnergyExport")]


class Books:
    """What a desk keeps documents in, which outlives it, and may fail."""

    def __init__(self, bid):
        self.bids = object.__new__(Bids)
        self.bids._of_bid = {}
        self.kept = {}
        self.bids.book = self.bids.record_book = self.bids.line_book = self
        self.bids.keep = self.keep
        self.fail = 0
        self.kept[bid.id] = bid

    async def keep(self, type_, part):
        if self.fail:
            self.fail -= 1
            raise DiskFull("no room")
        assert part.id not in self.kept, "kept once"
        self.kept[part.id] = part

    def records(self, bid, which):
        found = [one for one in self.kept.values() if isinstance(one, RegisterRecord) and one.which == which]
        return sorted(found, key=lambda one: one.number)


class Meter:
    """A meter's readings as they are known, which a desk looks at and may ask for."""

    def __init__(self, clock):
        self.clock, self.rows, self.asked, self.answers, self.fail = clock, [], 0, True, 0

    def level(self, at_us):
        return (at_us - BEGIN_US) / US * 2.0, 1_000.0

    def tell(self, at_us):
        self.rows.append(at_us)

    async def read(self, thing, points):
        self.asked += 1
        if not self.answers:
            raise Conflict("it reports by itself")
        if self.fail:
            self.fail -= 1
            raise Unavailable("no answer")
        self.tell(self.clock.now_us())

    async def record(self, bid, which, *, id, number, supersedes):
        at_us = bid.from_us if which == "start" else bid.until_us
        rows = sorted(set(self.rows))
        found = []
        for at, point in enumerate(POINTS):
            values = np.array([self.level(one)[at] for one in rows], np.float64)
            samples = Samples(np.array(rows, np.int64), values, np.zeros(len(rows), np.int64))
            found.append(reading_at(bid, point, which, samples))
        known = tuple(one for one in found if one is not None)
        missing = tuple(p.name for p, one in zip(POINTS, found, strict=True) if one is None)
        return RegisterRecord(
            id=id, organisation="home", buyer="grid", bid=bid.id, meter=bid.meter, which=which, at_us=at_us,
            readings=known, missing=missing, number=number, supersedes=supersedes, kept_us=self.clock.now_us(),
        )  # fmt: skip


class Scene:
    """A bid, a meter, documents, and the desk of today."""

    def __init__(self, **more):
        self.clock = VirtualClock(BEGIN_US)
        self.meter = Meter(self.clock)
        fields = {
            "id": "urn:uuid:01a201fd-fdbe-79ff-a636-379145f07488", "organisation": "home", "buyer": "grid",
            "programme": "p", "title": "B", "meter": "urn:x:m", "import_register": POINTS[0].name,
            "export_register": POINTS[1].name, "from_us": BEGIN_US + 60 * US, "until_us": BEGIN_US + 120 * US,
            "direction": "shed", "energy_wh": 1_000, "baseline_wh": 1_120, "price": "1", "currency": "EUR",
            "tolerance_s": 5, "wait_s": 30, "state": "accepted", **more,
        }  # fmt: skip
        self.bid = Bid(**fields)
        self.books = Books(self.bid)
        self.task = None

    async def start(self):
        desk = object.__new__(SettlementDesk)
        desk._bids, desk._registers, desk._clock = self.bids(), self.meter, self.clock
        desk._cases, desk._by_number, desk._numbers, desk._reading = {}, None, np.empty(0, np.int32), 0
        desk._heard_of = lambda case, which: any(at >= case.at_us(which) for at in self.meter.rows)
        desk._exchanges = self.no_exchanges
        desk.watch(self.bid)
        self.desk = desk
        self.task = asyncio.ensure_future(desk.work(self.meter))
        for _ in range(5):  # let it come to wait for the clock
            await asyncio.sleep(0)

    def bids(self):
        bids = self.books.bids
        bids._of_bid = {self.bid.id: [one for one in self.books.kept if one != self.bid.id]}
        keep = self.books.keep

        async def kept(type_, part):
            await keep(type_, part)
            bids._of_bid[self.bid.id].append(part.id)

        bids.keep = kept
        bids.records = self.books.records
        bids.lines = lambda _: sorted(
            (o for o in self.books.kept.values() if hasattr(o, "outcome")), key=lambda o: o.number
        )
        return bids

    async def no_exchanges(self, bid):
        return []

    async def kill(self):
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    @property
    def lines(self):
        return self.books.bids.lines(self.bid.id)

    def news(self, at_us):
        self.meter.tell(at_us)
        for case in self.desk._cases.values():
            case.hear(at_us)


async def test_the_meter_is_read_at_both_instants_by_the_node_itself():
    scene = Scene()
    await scene.start()
    await scene.clock.advance(200)
    assert scene.meter.rows == [scene.bid.from_us, scene.bid.until_us], "at the instants, to the microsecond"
    (line,) = scene.lines
    assert (line.outcome, line.import_wh, line.paid_wh, line.amount_minor) == ("settled", "120", "1000", 100)
    await scene.kill()


async def test_a_meter_that_does_not_answer_at_once_is_asked_again_and_a_full_disk_waited_for():
    scene = Scene()
    scene.meter.fail, scene.books.fail = 3, 4
    await scene.start()
    await scene.clock.advance(300)
    (line,) = scene.lines
    assert line.outcome == "settled"
    assert scene.meter.asked == 5
    await scene.kill()


async def test_a_bid_that_is_accepted_although_the_log_took_it_not_at_once_is_settled():
    scene = Scene()
    await scene.start()
    scene.desk._cases.clear()

    async def decide(*_):
        raise DiskFull("accepted, and not told of")

    scene.books.bids.decide = decide
    with pytest.raises(DiskFull):
        await scene.desk.decide(scene.bid, "accept", "grid", "")
    await scene.clock.advance(200)
    assert [one.outcome for one in scene.lines] == ["settled"]
    await scene.kill()


async def test_a_clock_that_is_set_back_settles_once_and_one_set_on_says_what_is_missing():
    scene = Scene()
    await scene.start()
    await scene.clock.advance(90)
    scene.clock.step_wall(-60)
    await scene.clock.advance(300)
    assert [one.outcome for one in scene.lines] == ["settled"]
    await scene.kill()
    scene = Scene()
    await scene.start()
    await scene.clock.advance(30)
    scene.clock.step_wall(3_600)
    await scene.clock.advance(60)
    (line,) = scene.lines
    assert (line.outcome, "at the start" in line.reason and "at the end" in line.reason) == ("unsettled", True)
    await scene.kill()


async def test_a_late_reading_supersedes_and_the_same_again_does_not(monkeypatch):
    scene = Scene()
    scene.meter.answers = False
    await scene.start()
    await scene.clock.advance(60)
    scene.news(scene.bid.from_us + US)
    await scene.clock.advance(240)
    assert [one.outcome for one in scene.lines] == ["unsettled"]
    scene.news(scene.bid.until_us + 2 * US)
    await scene.clock.advance(60)
    scene.news(scene.bid.until_us)
    await scene.clock.advance(120)
    scene.news(scene.bid.until_us)
    await scene.clock.advance(120)
    assert [(one.outcome, one.number) for one in scene.lines] == [("unsettled", 0), ("settled", 1), ("settled", 2)]
    assert [one.supersedes for one in scene.lines] == ["", scene.lines[0].id, scene.lines[1].id]
    assert scene.lines[2].id == part_of(scene.bid.id, "line", 2)
    await scene.kill()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["wait", "kill", "tell", "step", "full"]), st.integers(-40, 60)), max_size=14),
    st.sampled_from(["none", "interpolate"]), st.booleans(),
)  # fmt: skip
def test_whatever_happens_there_is_one_chain_of_lines_and_the_last_is_what_is_known(steps, estimate, answers):
    async def story():
        scene = Scene(estimate=estimate)
        scene.meter.answers = answers
        await scene.start()
        for what, number in steps:
            if what == "wait":
                await scene.clock.advance(abs(number))
            elif what == "kill":
                await scene.kill()
                await scene.clock.advance(abs(number))
                await scene.start()
            elif what == "tell":
                scene.news(BEGIN_US + (90 + number) * US)
            elif what == "step":
                scene.clock.step_wall(number)
            else:
                scene.books.fail = abs(number) % 4
        scene.books.fail = 0
        await scene.clock.advance(600)
        lines = scene.lines
        assert [one.number for one in lines] == list(range(len(lines))) and lines
        assert [one.supersedes for one in lines] == ["", *(one.id for one in lines[:-1])]
        for which, id_ in (("start", lines[-1].start), ("end", lines[-1].end)):
            known = await scene.meter.record(scene.bid, which, id="x", number=0, supersedes="")
            assert scene.books.kept[id_].same(known), "the last line is what is known now"
        await scene.kill()

    asyncio.run(story())


async def test_many_that_end_at_one_instant_are_settled_some_at_once():
    scene = Scene()
    await scene.start()
    running, most, seen = 0, 0, []

    async def see_to(case):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        seen.append(case)

    scene.desk._see_to = see_to
    await scene.desk._see_to_all(range(100))
    assert (sorted(seen), most) == (list(range(100)), 32)
    await scene.kill()


# -- whole nodes ------------------------------------------------------------------------------------------------


async def offer(http, begin_us, end_us):
    made = []
    for path, body in (
        ("/programmes", {"title": "P"}), ("/things", {"id": "urn:example:m", "title": "M", "model": METER}),
    ):  # fmt: skip
        answer = await http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
    return made[0], {
        "title": "B", "programme": made[0], "meter": "urn:example:m", "from": format_rfc3339(begin_us),
        "until": format_rfc3339(end_us), "direction": "raise", "energyWh": 500, "baselineWh": 0, "price": "0.1",
        "currency": "EUR", "toleranceS": 1, "waitS": 8,
    }  # fmt: skip


async def tell(http, at_us, value):
    rows = [{"n": f"urn:example:m/{name}", "t": at_us / US, "v": value} for name in
            ("activeEnergyImport", "activeEnergyExport")]  # fmt: skip
    rows[1]["v"] = 7
    assert (await http.post("/readings", json=rows, headers=SENML)).json()["refused"] == 0


async def test_a_node_that_is_killed_between_the_registers_settles_once(tmp_path):
    """Ended after the start's record, killed after the line, and started again: there is one line."""
    folder = tmp_path / "data"
    node = None
    try:
        async with running(folder) as world:
            programme, body = await offer(world.op, 0, 0)
            _, consenting = world.client("northside-networks", "owner", "operator")
            asked = {"thing": "urn:example:m", "until": FOREVER}
            assert (await consenting.post(f"/programmes/{programme}/enrolments", json=asked)).status_code == 201
            begin_us = time.time_ns() // 1000 + 2 * US
            end_us = begin_us + 6 * US
            body |= {"from": format_rfc3339(begin_us), "until": format_rfc3339(end_us)}
            bid = (await world.op.post("/bids", json=body)).json()["id"]
            await world.op.post(f"/bids/{bid}/decision", json={"decision": "accept"})
            await until(lambda: time.time_ns() // 1000 > begin_us)
            await tell(world.op, begin_us, 100)
            await until(lambda: bool(world.node.controls.bids.records(bid, "start")))
        for _ in range(2):
            node = Child(folder)
            http = await node.ready()
            await until(lambda: time.time_ns() // 1000 > end_us)
            await tell(http, end_us, 700)
            found = {"lines": []}
            deadline = time.monotonic() + 20
            while not found["lines"]:
                assert time.monotonic() < deadline, found
                found = (await http.get(f"/bids/{bid}/settlement")).json()
                await asyncio.sleep(0.1)
            await http.aclose()
            node.kill()
            (line,) = found["lines"]
            assert (line["outcome"], line["importWh"], line["amountMinor"]) == ("settled", "600", 5)
            assert len(found["records"]) == 2
    finally:
        if node is not None:
            node.stop()
