"""Held readings: the latest waits, comes out once, durably, and survives a restart."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from things_intake_rig import SOURCE, Rig
from things_plant import Plant

from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.time import US
from gridspine.things.adapter import Source


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, Plant(2))
    yield rig
    await asyncio.to_thread(rig.writer.close)
    rig.log.close()


async def test_the_latest_is_released_when_due_and_counts_as_accepted_then(rig: Rig) -> None:
    outcome = await rig.send([("dInterval", 0, 0, 0), ("dInterval", 1, 9, 0), ("dInterval", 2, 7, 0)])
    assert (outcome.accepted, outcome.suppressed) == (1, 2)
    assert rig.kept("held") == [("dInterval", 1, 9, 0), ("dInterval", 2, 7, 0)]
    rig.clock.step_wall(4.9)
    await rig.sweep()
    assert rig.twin("dInterval") == (0, 0, 0)
    rig.clock.step_wall(0.1)
    await rig.sweep()
    assert rig.twin("dInterval") == (7, 2, 0)
    assert rig.kept() == [("dInterval", 0, 0, 0), ("dInterval", 2, 7, 0)]
    totals, held = rig.intake.books.totals, rig.intake.books.held
    assert (totals.accepted, totals.suppressed, len(held)) == (2, 1, 0)
    told = next(committed for committed in rig.told[1:] if committed.position is not None)
    assert told.position == rig.read("readings")[-1].position
    assert told.screened.accepted.value.tolist() == [7]
    assert told.screened.accepted.sources == (SOURCE.principal,)
    assert decode_batch(rig.read("readings")[-1].body).received_us == rig.clock.now_us()
    await rig.sweep()
    assert len(rig.kept()) == 2  # once


async def test_a_released_reading_is_the_reference_and_starts_an_interval(rig: Rig) -> None:
    await rig.send([("dInterval", 0, 0, 0), ("dInterval", 1, 9, 0)])
    rig.clock.step_wall(6)
    await rig.sweep()
    assert (await rig.send([("dInterval", 7, 9.5, 0)])).suppressed == 1  # unchanged
    assert len(rig.intake.books.held) == 0
    assert (await rig.send([("dInterval", 8, 20, 0)])).suppressed == 1  # held: the interval runs from the release
    assert len(rig.intake.books.held) == 1
    assert (await rig.send([("dInterval", 1, 9, 0), ("dInterval", 8, 20, 0)])).duplicate == 2


async def test_a_later_accepted_reading_supersedes_and_a_late_one_does_not(rig: Rig) -> None:
    await rig.send([("eWaits", 0, 1, 0), ("dInterval", 0, 1, 0)])
    await rig.send([("eWaits", 1, 2, 0), ("dInterval", 1, 9, 0)])
    assert len(rig.intake.books.held) == 2
    await rig.send([("eWaits", 2, 3, 1), ("dInterval", -5, 50, 0)])  # another quality passes; a late one is history
    assert len(rig.intake.books.held) == 1
    rig.clock.step_wall(9)
    await rig.sweep()
    assert rig.twin("eWaits") == (3, 2, 1)
    assert rig.twin("dInterval") == (9, 1, 0)


async def test_held_readings_were_heard(rig: Rig) -> None:
    await rig.send([("eWaits", 0, 1, 0)])
    rig.clock.step_wall(1)
    await rig.send([("eWaits", 1, 2, 0)])
    assert rig.twins.get(rig.plant.number("eWaits")).heard_us == rig.clock.now_us()


async def test_what_could_not_be_released_is_held_still(rig: Rig) -> None:
    await rig.send([("dInterval", 0, 0, 0), ("dInterval", 1, 9, 0)])
    rig.clock.step_wall(9)
    rig.fill_disk()
    await rig.sweep()
    assert rig.twin("dInterval") == (0, 0, 0)
    assert len(rig.intake.books.held) == 1
    rig.fill_disk(full=False)
    await rig.sweep()
    assert rig.twin("dInterval") == (9, 1, 0)
    rig.check_counts(await rig.intake.submit(rig.named([]), SOURCE))


async def test_sources_stay_apart(rig: Rig) -> None:
    rig.plant.add("other")
    names = {"a": "urn:dev:t0/dInterval", "b": "urn:dev:t1/dInterval"}
    for principal, name in names.items():
        await rig.send([(name, 0, 0, 0), (name, 1, 9, 0)], Source(principal, "org", principal))
    stranger = Source("c", "other", "c")
    await rig.send([("urn:dev:t2/dInterval", 0, 0, 0), ("urn:dev:t2/dInterval", 1, 9, 0)], stranger)
    rig.clock.step_wall(9)
    await rig.sweep()
    released = [(stored.key, decode_batch(stored.body)) for stored in rig.read("readings")[3:]]
    assert [(key, batch.sources, len(batch)) for key, batch in released] == [
        (b"org", ("a",), 1), (b"org", ("b",), 1), (b"other", ("c",), 1),
    ]  # fmt: skip


@pytest.mark.parametrize("save", [True, False])
async def test_what_was_held_is_released_after_a_restart(rig: Rig, save: bool) -> None:
    await rig.send([("dInterval", 0, 0, 0), ("dInterval", 1, 9, 0), ("eWaits", 0, 1, 0), ("eWaits", 1, 2, 0)])
    rig.clock.step_wall(3)
    await rig.sweep()  # eWaits is out, dInterval not yet
    assert rig.twin("eWaits") == (2, 1, 0)
    again = await rig.restart(save=save)
    assert len(again.intake.books.held) == 1
    await again.sweep()
    assert again.twin("dInterval") == (9, 1, 0)
    await again.sweep()
    again.check_counts(await again.intake.submit(again.named([]), SOURCE))
    assert again.intake.books.totals.accepted == 1
    assert again.kept().count(("dInterval", 1, 9, 0)) == again.kept().count(("eWaits", 1, 2, 0)) == 1
    await again.stop()


async def test_nothing_newer_on_its_way_is_overtaken(rig: Rig) -> None:
    """A release in one commit with a batch of the same point must not put the reference back."""
    await rig.send([("dInterval", 0, 0, 0), ("dInterval", 1, 9, 0)])
    rig.clock.step_wall(9)
    with rig.writer._changed:  # both go into one group
        newer = asyncio.ensure_future(rig.send([("dInterval", 9, 30, 0)]))
        await asyncio.sleep(0)
        sweep = asyncio.ensure_future(rig.sweep())
        await asyncio.sleep(0)
    await asyncio.gather(newer, sweep)
    assert rig.twin("dInterval") == (30, 9, 0)
    assert int(rig.screen.memory.observed_us.array[rig.plant.number("dInterval")]) == rig.clock.now_us()
    assert ("dInterval", 1, 9, 0) not in rig.kept()
    assert len(rig.intake.books.held) == 0


def test_an_interval_is_in_whole_microseconds() -> None:
    plant = Plant()
    rule = plant.points.rule.array[plant.number("dInterval")]
    assert plant.points.rules.min_interval_us.array[rule] == 5 * US


async def test_a_revision_of_the_last_report_lets_what_is_held_wait_on(rig: Rig) -> None:
    await rig.send([("dInterval", 0, 0, 0), ("dInterval", 1, 9, 0)])
    revised = await rig.send([("dInterval", 0, 5, 0)])
    assert (revised.accepted, len(rig.intake.books.held)) == (1, 1)
    rig.clock.step_wall(10)
    await rig.sweep()
    assert rig.kept() == [("dInterval", 0, 0, 0), ("dInterval", 0, 5, 0), ("dInterval", 1, 9, 0)]
