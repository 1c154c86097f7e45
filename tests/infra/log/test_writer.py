"""The writer on a real log: durable before it answers, classes in order, bounded, and no job harms another."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from gridspine.infra.log import writer as writer_module
from gridspine.infra.log.port import MAX_RECORD_BYTES, Position, Record, Topic
from gridspine.infra.log.room import Room
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.writer import AppendJob, LogWriter, Priority, append
from gridspine.kernel.errors import DiskFull, Overloaded, Unavailable

TOPICS = [Topic("data"), Topic("control", control=True)]


class Disk:
    """Free space that a test sets."""

    free = 10**12


class Job:
    """A job that writes down what happens to it."""

    def __init__(
        self, story: list[str], name: str, *, priority: Priority = Priority.LIVE, weight: int = 1, source: str = "",
        records: Sequence[Record] | None = None, prepare: Callable[[], object] = lambda: None, fails: str = "",
    ) -> None:  # fmt: skip
        self.priority, self.weight, self.source = priority, weight, source or name
        self._story, self._name, self._fails, self._prepare = story, name, fails, prepare
        self._records = [Record("data", b"k", name.encode(), 1)] if records is None else records
        self.done: asyncio.Future[Sequence[Position]] = asyncio.get_running_loop().create_future()
        self._positions: Sequence[Position] = ()

    def _tell(self, what: str) -> None:
        self._story.append(f"{what} {self._name}")
        if what == self._fails:
            raise RuntimeError(self._name)

    def prepare(self) -> Sequence[Record]:
        self._prepare()
        self._tell("prepare")
        return self._records

    def committed(self, positions: Sequence[Position]) -> None:
        self._positions = positions
        self._tell("commit")

    def undone(self) -> None:
        self._tell("undo")

    def finished(self, error: BaseException | None) -> None:
        if self._fails == "finish":
            self.done.set_result(())
        self._tell("finish")
        if error is None:
            self.done.set_result(self._positions)
        else:
            self.done.set_exception(error)


class Rig:
    """A writer on a real log, and a way to keep it busy until told to go on."""

    def __init__(self, folder: Path) -> None:
        self.disk = Disk()
        room = Room(folder, reserve_bytes=1_000_000, free_bytes=lambda: self.disk.free)
        self.log = SqliteEventLog(folder / "log", TOPICS, room=room)
        self.writer = LogWriter(self.log, asyncio.get_running_loop())
        self.story: list[str] = []
        self._gate = threading.Event()

    def job(self, name: str, **more: object) -> Job:
        return Job(self.story, name, **more)

    async def hold(self) -> Job:
        """Keep the writer busy with a job until `go`."""
        began = asyncio.Event()
        loop = asyncio.get_running_loop()
        job = self.job("gate", prepare=lambda: (loop.call_soon_threadsafe(began.set), self._gate.wait()))
        self.writer.submit(job)
        await began.wait()
        return job

    def go(self) -> None:
        self._gate.set()

    def bodies(self, topic: str = "data") -> list[str]:
        return [stored.body.decode() for stored in self.log.read(topic, 0, 0)]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.go()
    await asyncio.to_thread(rig.writer.close)
    rig.log.close()


async def test_a_job_is_durable_before_it_is_told(rig: Rig) -> None:
    job = rig.job("a")
    rig.writer.submit(job)
    (position,) = await job.done
    assert (position, rig.bodies()) == (Position("data", 0, 0), ["a"])
    assert rig.story == ["prepare a", "commit a", "finish a"]


async def test_what_waits_is_committed_together_each_with_its_own_places(rig: Rig) -> None:
    await rig.hold()
    records = [[Record("data", b"k", f"{n}.{k}".encode(), 1) for k in range(n)] for n in range(4)]
    jobs = [rig.job(str(n), records=its) for n, its in enumerate(records)]
    for job in jobs:
        rig.writer.submit(job)
    rig.go()
    places = [[p.offset for p in await job.done] for job in jobs]
    assert places == [[], [1], [2, 3], [4, 5, 6]]
    assert rig.bodies() == ["gate", "1.0", "2.0", "2.1", "3.0", "3.1", "3.2"]
    assert rig.story.index("prepare 3") < rig.story.index("commit 0")  # one group


async def test_control_goes_before_live_before_backfill_and_they_never_mix(rig: Rig) -> None:
    await rig.hold()
    jobs = [
        rig.job(f"{priority.name}{n}", priority=priority)
        for n in range(2)
        for priority in (Priority.BACKFILL, Priority.LIVE, Priority.CONTROL)
    ]
    for job in jobs:
        rig.writer.submit(job)
    rig.go()
    await asyncio.gather(*(job.done for job in jobs))
    assert rig.bodies()[1:] == ["CONTROL0", "CONTROL1", "LIVE0", "LIVE1", "BACKFILL0", "BACKFILL1"]
    order = [what for what in rig.story if "gate" not in what and not what.startswith("finish")]
    for first, then in (("CONTROL", "LIVE"), ("LIVE", "BACKFILL")):
        assert max(at for at, w in enumerate(order) if first in w) < min(at for at, w in enumerate(order) if then in w)


@pytest.mark.parametrize("how", ["prepare", "too large", "no such topic"])
async def test_one_bad_job_alone_fails(rig: Rig, how: str) -> None:
    await rig.hold()
    bad = {
        "prepare": lambda: rig.job("bad", fails="prepare"),
        "too large": lambda: rig.job("bad", records=[Record("data", b"k", bytes(MAX_RECORD_BYTES + 1), 1)]),
        "no such topic": lambda: rig.job("bad", records=[Record("other", b"k", b"", 1)]),
    }[how]()
    good = [rig.job("a"), rig.job("b")]
    for job in (good[0], bad, good[1]):
        rig.writer.submit(job)
    rig.go()
    for job in good:
        await job.done
    with pytest.raises((RuntimeError, ValueError)):
        await bad.done
    assert rig.bodies() == ["gate", "a", "b"]
    assert "undo bad" in rig.story
    assert "undo a" not in rig.story


async def test_a_full_disk_undoes_the_group_newest_first_and_control_goes_on(rig: Rig) -> None:
    gate = await rig.hold()
    jobs = [rig.job(name) for name in "abc"]
    for job in jobs:
        rig.writer.submit(job)
    rig.disk.free = 0
    rig.go()
    for job in (gate, *jobs):
        with pytest.raises(DiskFull):
            await job.done
    assert [what for what in rig.story if what.startswith("undo")] == ["undo gate", "undo c", "undo b", "undo a"]
    assert rig.bodies() == []
    (place,) = await append(rig.writer, [Record("control", b"k", b"order", 1)])
    assert rig.bodies("control") == ["order"]
    assert place.topic == "control"
    rig.disk.free = 10**12
    again = rig.job("d")
    rig.writer.submit(again)
    await again.done
    assert rig.bodies() == ["d"]


@pytest.mark.parametrize("where", ["undo", "commit", "finish"])
async def test_a_job_that_fails_where_it_must_not_stops_nobody(rig: Rig, where: str) -> None:
    gate = await rig.hold()
    jobs = [rig.job("a"), rig.job("bad", fails=where), rig.job("b")]
    for job in jobs:
        rig.writer.submit(job)
    rig.disk.free = 0 if where == "undo" else 10**12
    rig.go()
    for job in (gate, jobs[0], jobs[2]):
        if where == "undo":
            with pytest.raises(DiskFull):
                await job.done
        else:
            await job.done
    if where == "finish":
        await jobs[1].done
    else:
        with pytest.raises((RuntimeError, DiskFull)):
            await jobs[1].done
    rig.disk.free = 10**12
    after = rig.job("after")
    rig.writer.submit(after)
    await after.done


async def test_every_class_is_bounded_for_itself(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LIMITS", dict.fromkeys(Priority, 10))
    gate = await rig.hold()
    for priority in Priority:
        for name in "abcde":
            rig.writer.submit(rig.job(name, priority=priority, weight=2))
        assert rig.writer.waiting(priority) == 10
        with pytest.raises(Overloaded):
            rig.writer.submit(rig.job("f", priority=priority))
    rig.go()
    await gate.done
    while any(rig.writer.waiting(priority) for priority in Priority):
        await asyncio.sleep(0.001)
    last = rig.job("last", priority=Priority.BACKFILL, weight=999)  # alone, anything fits
    rig.writer.submit(last)
    await last.done
    assert [rig.writer.waiting(priority) for priority in Priority] == [0, 0, 0]


async def test_one_source_leaves_room_for_the_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LIMITS", dict.fromkeys(Priority, 10))
    await rig.hold()
    rig.writer.submit(rig.job("flood", weight=5))
    with pytest.raises(Overloaded) as refusal:
        rig.writer.submit(rig.job("flood", weight=1))
    assert refusal.value.headers["Retry-After"]
    rig.writer.submit(rig.job("other", weight=5))
    rig.go()


async def test_jobs_of_one_batch_are_queued_all_or_none(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LIMITS", dict.fromkeys(Priority, 10))
    await rig.hold()
    rig.writer.submit(rig.job("a", weight=4))
    parts = [rig.job("b", weight=4), rig.job("b", weight=4)]
    with pytest.raises(Overloaded):
        rig.writer.submit(*parts)
    assert rig.writer.waiting(Priority.LIVE) == 4
    rig.go()
    await asyncio.sleep(0)
    assert "prepare b" not in rig.story


async def test_closing_finishes_what_is_queued_and_takes_no_more(rig: Rig) -> None:
    await rig.hold()
    jobs = [rig.job(name) for name in "abc"]
    for job in jobs:
        rig.writer.submit(job)
    closing = asyncio.create_task(asyncio.to_thread(rig.writer.close))
    while not rig.writer._closing:
        await asyncio.sleep(0.001)
    with pytest.raises(Unavailable):
        rig.writer.submit(rig.job("late"))
    rig.go()
    await closing
    await asyncio.gather(*(job.done for job in jobs))
    assert rig.bodies() == ["gate", "a", "b", "c"]


async def test_a_caller_that_went_away_is_no_error(rig: Rig) -> None:
    job = AppendJob([Record("control", b"k", b"x", 1)])
    rig.writer.submit(job)
    job.done.cancel()
    await append(rig.writer, [Record("control", b"k", b"y", 1)])
    assert rig.bodies("control") == ["x", "y"]


class Part:
    """A part that is told what became of the job that it was made a part of."""

    def __init__(self, story: list[str], name: str, kin: str, *, weight: int = 1) -> None:
        self.priority, self.weight, self.source, self.kin = Priority.LIVE, weight, name, kin
        self.story, self.name = story, name
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def together(self, parts: "Sequence[Part]") -> "Joined":
        return Joined(parts)


class Joined:
    """The job of some parts; with a bad one among them it cannot be prepared."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts, self._name = parts, "+".join(part.name for part in parts)

    def prepare(self) -> Sequence[Record]:
        self._parts[0].story.append(f"prepare {self._name}")
        if any(part.name == "bad" for part in self._parts):
            raise RuntimeError(self._name)
        return [Record("data", b"k", self._name.encode(), 1)]

    def committed(self, positions: Sequence[Position]) -> None:
        assert len(positions) == 1

    def undone(self) -> None:
        self._parts[0].story.append(f"undo {self._name}")

    def finished(self, error: BaseException | None) -> None:
        for part in self._parts:
            if error is None:
                part.done.set_result(None)
            else:
                part.done.set_exception(error)


async def test_parts_of_the_same_kin_become_one_job_in_the_order_they_came(rig: Rig) -> None:
    story = rig.story
    parts = [Part(story, f"{kin}{at}", kin) for at, kin in enumerate("abab")]
    between, after = rig.job("between"), Part(story, "a9", "a")
    with rig.writer._changed:
        for one in (*parts, between, after):
            rig.writer.submit(one)
    await asyncio.gather(*(one.done for one in (*parts, between, after)))
    assert rig.bodies() == ["a0+a2", "b1+b3", "between", "a9"]


async def test_a_joined_job_is_no_heavier_than_a_record(rig: Rig) -> None:
    parts = [Part(rig.story, str(at), "k", weight=writer_module.JOINED_WEIGHT // 2) for at in range(3)]
    with rig.writer._changed:
        for part in parts:
            rig.writer.submit(part)
    await asyncio.gather(*(part.done for part in parts))
    assert rig.bodies() == ["0+1", "2"]


async def test_a_joined_job_has_no_more_parts_than_a_record_can_name(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "JOINED_PARTS", 2)
    parts = [Part(rig.story, str(at), "k") for at in range(5)]
    with rig.writer._changed:
        for part in parts:
            rig.writer.submit(part)
    await asyncio.gather(*(part.done for part in parts))
    assert rig.bodies() == ["0+1", "2+3", "4"]


async def test_a_part_that_cannot_be_prepared_fails_alone(rig: Rig) -> None:
    parts = [Part(rig.story, name, "k") for name in ("one", "bad", "two")]
    with rig.writer._changed:
        for part in parts:
            rig.writer.submit(part)
    results = await asyncio.gather(*(part.done for part in parts), return_exceptions=True)
    assert [isinstance(result, RuntimeError) for result in results] == [False, True, False]
    assert rig.bodies() == ["one", "two"]
    assert rig.story[:2] == ["prepare one+bad+two", "undo one+bad+two"]
