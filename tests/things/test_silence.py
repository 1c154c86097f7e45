"""Maximum silence: old data, once, with an event; heard again, it is over."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from things_intake_rig import Rig
from things_plant import NOW_US, POINTS, Plant, readings

from gridspine.kernel.quality import Quality
from gridspine.kernel.time import US
from gridspine.things import silence as silence_module
from gridspine.things.silence import SILENT, Silence
from gridspine.things.twin import TwinState

OLD = int(Quality.QUESTIONABLE | Quality.OLD_DATA)
LIMIT_S = 60  # of all points but lSettled, which is never silent


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, Plant(2))
    yield rig
    await asyncio.to_thread(rig.writer.close)
    rig.log.close()


async def test_silence_is_marked_once_with_one_event_a_thing(rig: Rig) -> None:
    await rig.send([("aPlain", 0, 1, 0), ("bDeadband", 0, 1, 0), ("urn:dev:t1/aPlain", 0, 1, 0), ("lSettled", 0, 1, 0)])
    rig.clock.step_wall(LIMIT_S)
    await rig.sweep()
    assert rig.events() == []
    rig.clock.step_wall(1)
    for _ in range(3):
        await rig.sweep()
    assert [(event.type, event.subject, event.data["points"]) for event in rig.events()] == [
        (SILENT, "urn:dev:t0", ["aPlain", "bDeadband"]), (SILENT, "urn:dev:t1", ["aPlain"]),
    ]  # fmt: skip
    assert rig.events()[0].data["heardUs"] == NOW_US
    assert rig.twin("aPlain") == (1, 0, OLD)  # the last value stays
    assert rig.twin("lSettled") == (1, 0, 0)
    assert rig.twin("cSpan")[2] == 0  # never heard of


async def test_being_heard_again_ends_it_whatever_became_of_the_reading(rig: Rig) -> None:
    await rig.send([("aPlain", 0, 1, 0), ("bDeadband", 0, 1, 0), ("eWaits", 0, 1, 0), ("cSpan", 0, 1, 0)])
    rig.clock.step_wall(LIMIT_S + 1)
    await rig.sweep()
    await rig.send([("aPlain", 61, 2, 0), ("bDeadband", 61, 1.5, 0), ("eWaits", 1, 1.5, 0), ("cSpan", 0, 1, 0)])
    assert [rig.twin(name)[2] for name in ("aPlain", "bDeadband", "eWaits")] == [0, 0, 0]
    assert rig.twin("cSpan")[2] == OLD  # the old value sent again is old
    rig.clock.step_wall(LIMIT_S + 1)
    await rig.sweep()
    assert len(rig.events()) == 2  # silent again: another event


async def test_a_full_disk_does_not_keep_silence_unseen(rig: Rig) -> None:
    await rig.send([("aPlain", 0, 1, 0)])
    rig.clock.step_wall(LIMIT_S + 1)
    rig.fill_disk()
    await rig.sweep()
    assert [event.type for event in rig.events()] == [SILENT]
    rig.fill_disk(full=False)


async def test_an_event_that_was_not_kept_is_tried_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.send([("aPlain", 0, 1, 0)])
    rig.clock.step_wall(LIMIT_S + 1)
    with monkeypatch.context() as broken:
        broken.setattr(rig.log, "append", lambda _: 1 / 0)
        await rig.sweep()
    assert rig.twin("aPlain") == (1, 0, 0)
    await rig.sweep()
    assert rig.twin("aPlain") == (1, 0, OLD)
    assert len(rig.events()) == 1


async def test_after_a_restart_silence_counts_anew_and_what_is_silent_stays_so(rig: Rig) -> None:
    await rig.send([("aPlain", 0, 1, 0)])
    rig.clock.step_wall(LIMIT_S + 1)
    await rig.send([("bDeadband", 61, 1, 0)])
    await rig.sweep()
    rig.clock.step_wall(1000)
    again = await rig.restart()
    await again.sweep()
    assert (again.twin("aPlain")[2], again.twin("bDeadband")[2]) == (OLD, 0)
    again.clock.step_wall(LIMIT_S + 1)
    await again.sweep()
    assert again.twin("bDeadband")[2] == OLD
    assert len(again.events()) == 2
    await again.stop()


def test_an_outage_of_everything_is_found_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_module, "MAX_THINGS", 4)
    plant, twins = Plant(10), TwinState()
    twins.apply(readings([(p, 0, 1, 0) for p in range(plant.points.count)], received_s=0))
    silence, found = Silence(plant.points, twins, NOW_US), []
    for _ in range(4):
        part = silence.sweep(NOW_US + (LIMIT_S + 1) * US)
        silence.mark(part)
        found.append(len(part))
    silent = len(POINTS) - 1  # all but lSettled
    assert found == [4 * silent, 4 * silent, 2 * silent, 0]


@given(st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 23), max_size=4)), max_size=20))
def test_no_sweep_that_is_skipped_misses_anything(steps: list) -> None:
    """Every sweep finds what a look at every point would find."""
    plant, twins = Plant(2), TwinState()
    twins.grow(plant.points.count)
    silence, heard, silent, now_s = Silence(plant.points, twins, NOW_US), {}, set(), 0
    never = {plant.number("lSettled", thing) for thing in (0, 1)}
    for later_s, points in steps:
        now_s += later_s
        if points:
            twins.heard(np.array(points), NOW_US + now_s * US)
        heard.update(dict.fromkeys(points, now_s))
        silent -= set(points)
        found = silence.sweep(NOW_US + now_s * US)
        silence.mark(found)
        due = {p for p, at_s in heard.items() if now_s - at_s > LIMIT_S and p not in never} - silent
        assert set(found.tolist()) == due
        silent |= due


def test_a_sweep_that_finds_nothing_due_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plant, twins = Plant(), TwinState()
    twins.apply(readings([(0, 0, 1, 0)], received_s=0))
    silence, looks, overdue = Silence(plant.points, twins, NOW_US), [], twins.overdue
    monkeypatch.setattr(twins, "overdue", lambda *a: looks.append(a) or overdue(*a))
    for second in range(1, LIMIT_S):
        silence.sweep(NOW_US + second * US)
    assert len(looks) == 1
    plant.add()  # another rule could be shorter; a new Thing of the same model is not
    silence.sweep(NOW_US + LIMIT_S * US - 1)
    assert len(looks) == 1


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_points_are_looked_at_some_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_module, "_AT_ONCE", at_once)
    plant, twins = Plant(3), TwinState()
    heard = [0, 5, 14, 30]
    twins.apply(readings([(point, 0, 1, 0) for point in heard], received_s=0))
    silence = Silence(plant.points, twins, NOW_US)
    assert silence.sweep(NOW_US + (LIMIT_S + 1) * US).tolist() == heard
