"""Flapping states: first, last and count; at most one a window; alarms pass; survived by a failed commit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from things_intake_rig import Rig
from things_plant import NOW_US, Plant

from gridspine.kernel.quality import Quality
from gridspine.kernel.time import US
from gridspine.things.flap import FLAPPING

OSCILLATORY = int(Quality.QUESTIONABLE | Quality.OSCILLATORY)
WINDOW_S = 6  # of jFlaps, and more than two changes


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, Plant())
    yield rig
    await asyncio.to_thread(rig.writer.close)
    rig.log.close()


async def tell(rig: Rig, *states: int, every_s: float = 1.0) -> None:
    for state in states:
        now_s = (rig.clock.now_us() - NOW_US) / US
        await rig.send([("jFlaps", now_s, state, 0)])
        await rig.sweep()
        rig.clock.step_wall(every_s)


async def test_first_last_and_count(rig: Rig) -> None:
    await tell(rig, 1, 0, 1, 0, 1, 0, 1)  # changes at 1, 2, 3 (flapping), 4, 5, 6
    assert rig.kept() == [("jFlaps", 0, 1, 0), ("jFlaps", 1, 0, 0), ("jFlaps", 2, 1, 0), ("jFlaps", 3, 0, OSCILLATORY)]
    assert rig.twin("jFlaps") == (0, 3, OSCILLATORY)
    for _ in range(8):
        rig.clock.step_wall(1)
        await rig.sweep()
    assert rig.kept()[4:] == [("jFlaps", 6, 1, OSCILLATORY)]  # the last, released
    (event,) = rig.events()
    assert (event.type, event.subject) == (FLAPPING, "urn:dev:t0")
    assert event.data == {"point": "jFlaps", "firstUs": NOW_US + US, "lastUs": NOW_US + 6 * US, "count": 6}
    await tell(rig, 1)
    assert rig.kept()[-1][2:] == (1, 0)  # calm again, and said so


async def test_a_long_flapping_is_reported_once_a_window(rig: Rig) -> None:
    await tell(rig, *[0, 1] * 20)
    assert len(rig.kept()) == 4 + 36 // WINDOW_S
    assert rig.events() == []
    assert rig.intake.books.totals.accepted == len(rig.kept())


async def test_few_changes_and_steady_states_pass(rig: Rig) -> None:
    await tell(rig, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2)
    rig.clock.step_wall(10)
    await tell(rig, 0, 1, 0, 1, 0, 1, every_s=4)
    assert len(rig.kept()) == 16
    assert all(quality == 0 for *_, quality in rig.kept())
    assert rig.events() == []


async def test_a_reading_after_a_quiet_window_ends_it_with_its_event_in_the_same_commit(rig: Rig) -> None:
    rows = [("jFlaps", -20 + t, t % 2, 0) for t in range(6)] + [("jFlaps", 0, 5, 0)]
    await rig.send(rows)
    (event,) = rig.events()
    assert event.data["count"] == 5
    assert rig.kept()[-1] == ("jFlaps", 0, 5, 0)
    assert len(rig.intake.books.held) == 0


async def test_a_commit_that_failed_counts_no_changes(rig: Rig) -> None:
    await tell(rig, 0, 1, 0)
    rig.fill_disk()
    with pytest.raises(Exception, match="disk"):
        await tell(rig, 1, 0, 1, 0)
    rig.fill_disk(full=False)
    now_s = (rig.clock.now_us() - NOW_US) / US
    await rig.send([("jFlaps", now_s, 0, 0)])
    assert rig.kept()[-1] == ("jFlaps", now_s, 0, 0)  # two changes only: not flapping


async def test_an_end_that_could_not_be_kept_is_found_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await tell(rig, 0, 1, 0, 1, 0)
    rig.clock.step_wall(WINDOW_S + 1)
    with monkeypatch.context() as broken:
        broken.setattr(rig.log, "append", lambda _: 1 / 0)
        await rig.sweep()
    assert rig.events() == []
    await rig.sweep()
    assert [event.data["count"] for event in rig.events()] == [4]
    assert rig.twin("jFlaps")[:2] == (0, 4)
