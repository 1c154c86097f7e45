"""Intake on a real log: durable before the answer, undone when not kept, counted, and rebuilt from the log."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from things_intake_rig import SOURCE, Rig
from things_plant import NOW_US, Plant

from gridspine.infra.log import writer as writer_module
from gridspine.infra.log.writer import Priority
from gridspine.kernel.errors import DiskFull, Overloaded
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import MAX_BATCH, Channel, ItemProblem
from gridspine.kernel.time import US
from gridspine.things.adapter import Outcome, Source
from gridspine.things.lot import MAX_PROBLEMS
from gridspine.things.offence import QUARANTINED
from gridspine.things.quarantine import Quota, decode_quarantined

OUT = int(Quality.QUESTIONABLE | Quality.OUT_OF_RANGE)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, Plant(2))
    yield rig
    await asyncio.to_thread(rig.writer.close)
    rig.log.close()


def counts(outcome: Outcome) -> tuple[int, int, int, int]:
    return outcome.accepted, outcome.suppressed, outcome.duplicate, outcome.refused


async def test_the_answer_says_what_became_of_each_and_the_log_has_it(rig: Rig) -> None:
    rows = [("bDeadband", 0, 1, 0), ("bDeadband", 1, 1.5, 0), ("aPlain", 0, 21, 0), ("aPlain", 1, 60, 0),
            ("nothing", 0, 1, 0), ("urn:dev:other/aPlain", 0, 1, 0), ("bDeadband", 0, 1, 0)]  # fmt: skip
    outcome = await rig.send(rows)
    assert counts(outcome) == (2, 1, 1, 3)
    assert {(p.index, p.reason) for p in outcome.problems} == {
        (3, "impossible"), (4, "unknown-point"), (5, "unknown-point"),
    }  # fmt: skip
    assert rig.kept() == [("bDeadband", 0, 1, 0), ("aPlain", 0, 21, OUT)]
    (told,) = rig.told
    assert (told.position, told.screened.beyond.tolist()) == (rig.read("readings")[0].position, [False, True])
    assert rig.twin("aPlain") == (21, 0, OUT)
    (stored,) = rig.read("quarantine")
    kept = decode_quarantined(stored.body)
    assert sorted(zip(kept.item, kept.value, strict=True)) == [(3, 60), (4, 1), (5, 1)]
    assert kept.source == SOURCE


async def test_an_answer_comes_only_after_the_commit(rig: Rig) -> None:
    append, seen = rig.log.append, []

    def slow_append(records: list) -> list:
        seen.append(pending.done())
        return append(records)

    rig.log.append = slow_append
    pending = asyncio.create_task(rig.send([("aPlain", 0, 1, 0)]))
    await pending
    assert seen == [False]
    assert rig.kept() == [("aPlain", 0, 1, 0)]


async def test_units_become_the_point_s_own(rig: Rig) -> None:
    outcome = await rig.intake.submit(rig.named([("aPlain", 0, 0.02, 0)], unit="kW"), SOURCE)
    assert outcome.accepted == 1
    assert rig.twin("aPlain")[0] == 20
    outcome = await rig.intake.submit(rig.named([("aPlain", 1, 1, 0)], unit="kvar"), SOURCE)
    assert [p.reason for p in outcome.problems] == ["wrong-unit"]
    outcome = await rig.intake.submit(rig.named([("aPlain", 1, 1e306, 0)], unit="MW"), SOURCE)
    assert [p.reason for p in outcome.problems] == ["not-finite"]


async def test_a_source_reaches_its_own_things_only(rig: Rig) -> None:
    stranger = Source("stranger", "other", "s")
    assert counts(await rig.send([("aPlain", 0, 1, 0)], stranger)) == (0, 0, 0, 1)
    rows = [("urn:dev:t0/aPlain", 0, 1, 0), ("urn:dev:t1/aPlain", 0, 1, 0)]
    assert counts(await rig.send(rows, only=["urn:dev:t1"])) == (1, 0, 0, 1)
    unknown, not_yours = (await rig.send([(n, 0, 1, 0) for n in ("urn:dev:t9/aPlain", "aPlain")], stranger)).problems
    assert (unknown.reason, unknown.detail) == (not_yours.reason, not_yours.detail)


async def test_a_full_disk_is_said_and_leaves_everything_as_it_was(rig: Rig) -> None:
    await rig.send([("bDeadband", 0, 1, 0), ("dInterval", 0, 1, 0)])
    before = rig.kept(), rig.twin("bDeadband"), rig.intake.books.totals.received
    rig.fill_disk()
    rows = [("bDeadband", 5, 9, 0), ("dInterval", 1, 9, 0), ("aPlain", 5, 99, 0)]
    attempts = [rig.intake.submit(rig.named(rows), SOURCE) for _ in range(3)]
    for result in await asyncio.gather(*attempts, return_exceptions=True):
        assert isinstance(result, DiskFull)
    assert (rig.kept(), rig.twin("bDeadband"), rig.intake.books.totals.received) == before
    assert len(rig.intake.books.held) == 0
    rig.fill_disk(full=False)
    assert counts(await rig.send([("bDeadband", 4.9, 1.5, 0)])) == (0, 1, 0, 0)  # the reference did not move
    assert counts(await rig.send(rows)) == (1, 1, 0, 1)  # nothing of it is a duplicate


async def test_queues_are_bounded_by_what_was_sent_readable_or_not(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LIMITS", dict.fromkeys(Priority, 10))
    unreadable = rig.named([])
    unreadable.problems.extend(ItemProblem(at, "malformed", "") for at in range(6))
    with rig.writer._changed:  # the writer cannot take anything from its queues
        first = asyncio.ensure_future(rig.intake.submit(unreadable, SOURCE))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await rig.intake.submit(unreadable, Source("other", "org", "other"))
        history = asyncio.ensure_future(rig.intake.submit(rig.named([("aPlain", 0, 1, 0)]), SOURCE, backfill=True))
        await asyncio.sleep(0)
        assert (rig.writer.waiting(Priority.LIVE), rig.writer.waiting(Priority.BACKFILL)) == (6, 1)
    assert (await first).refused == 6
    assert (await history).accepted == 1


async def test_a_large_batch_is_one_answer_and_its_items_keep_their_places(rig: Rig) -> None:
    rows = [("aPlain", -t / 1000, 1 if t % 1000 else 99, 0) for t in range(2 * MAX_BATCH + 10)]
    outcome = await rig.send(rows)
    assert outcome.received == len(rows)
    assert [p.index for p in outcome.problems] == list(range(0, len(rows), 1000))
    assert len(rig.read("readings")) == 3


async def test_problems_are_capped_in_the_answer_and_kept_in_full(rig: Rig) -> None:
    outcome = await rig.send([("aPlain", t, 99, 0) for t in range(2_500)])
    assert (outcome.refused, len(outcome.problems)) == (2_500, MAX_PROBLEMS)
    kept = [decode_quarantined(stored.body) for stored in rig.read("quarantine")]
    assert sorted(item for part in kept for item in part.item) == list(range(2_500))


async def test_beyond_its_quota_refusals_of_a_source_are_counted_instead_of_kept(rig: Rig) -> None:
    rig.intake.books.quota = Quota(30)
    for _ in range(3):
        await rig.send([("nothing", t, 1, 0) for t in range(20)], Source("flood", "org", "f"))
    await rig.send([("nothing", 0, 1, 0)], Source("other", "org", "o"))
    kept = [decode_quarantined(stored.body) for stored in rig.read("quarantine")]
    assert [(len(part.item), part.beyond) for part in kept] == [
        (20, {}), (10, {"source-quarantined": 10}), (0, {"source-quarantined": 20}), (1, {}),
    ]  # fmt: skip


async def test_a_source_in_quarantine_is_refused_kept_and_seen_and_others_are_not_harmed(rig: Rig) -> None:
    outcome = await rig.send([("aPlain", t, 99, 0) for t in range(20)])
    assert outcome.refused == 20
    (event,) = rig.events()
    assert (event.type, event.subject) == (QUARANTINED, "device")
    outcome = await rig.send([("aPlain", 1, 5, 0)], Source("device", "org", "session-2"))
    assert [p.reason for p in outcome.problems] == ["source-quarantined"]
    kept = decode_quarantined(rig.read("quarantine")[-1].body)
    assert (kept.name, kept.value) == (["urn:dev:t0/aPlain"], [5])
    assert (await rig.send([("aPlain", 1, 5, 0)], Source("other", "org", "session-3"))).accepted == 1


async def test_backfill_other_channels_and_late_readings_never_move_a_twin(rig: Rig) -> None:
    await rig.send([("aPlain", 0, 5, 0)])
    await rig.send([("aPlain", 4, 7, 0)], backfill=True)
    for channel in (Channel.PLANNED, Channel.COMMANDED, Channel.EMULATED):
        assert counts(await rig.send([("aPlain", 3, 6, 0)], channel=channel)) == (1, 0, 0, 0)
    await rig.send([("aPlain", -50, 8, 0)])
    assert rig.twin("aPlain") == (5, 0, 0)
    assert len(rig.kept()) == 6


async def test_a_listener_that_fails_stops_nobody(rig: Rig) -> None:
    rig.intake.books.listeners.insert(0, lambda _: 1 / 0)
    outcomes = [await rig.send([("aPlain", t, 1, 0)]) for t in range(3)]
    assert [outcome.accepted for outcome in outcomes] == [1, 1, 1]
    assert len(rig.told) == 3


async def test_a_caller_that_went_away_lets_its_batch_be_kept(rig: Rig) -> None:
    task = asyncio.create_task(rig.intake.submit(rig.named([("aPlain", 0, 1, 0)]), SOURCE))
    await asyncio.sleep(0)
    task.cancel()
    await rig.send([("aPlain", 1, 1, 0)])
    assert len(rig.kept()) == 2


async def test_nothing_at_all_is_answered_too(rig: Rig) -> None:
    assert counts(await rig.send([])) == (0, 0, 0, 0)


NAMES = sorted(["aPlain", "bDeadband", "dInterval", "eWaits", "gRegister", "jFlaps", "nothing"])
ROWS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 5), st.integers(0, 12), st.sampled_from([0, 0, 1])), max_size=10
)
STEPS = st.lists(
    st.tuples(ROWS, st.sampled_from(["live", "live", "backfill", "emulated", "full", "sweep"])), max_size=8
)


@given(steps=STEPS, save=st.sampled_from(["at the end", "halfway", "never"]))
@settings(max_examples=25, deadline=None)
async def test_a_restart_finds_what_was_there(steps: list, save: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The log alone, or with a snapshot of any age, gives the twins, the duplicates and what is held."""
    rig = Rig(tmp_path_factory.mktemp("node"), Plant())
    for turn, (rows, how) in enumerate(steps):
        if save == "halfway" and turn == len(steps) // 2:
            rig.twins.save(rig.folder / "twins.npz", dict(rig.intake.books.applied))
        rows = [(name, turn * 3 + time_s, value, quality) for name, time_s, value, quality in rows]
        rig.clock.step_wall(3)
        rig.fill_disk(full=how == "full")
        if how == "sweep":
            await rig.sweep()
            continue
        more = {"backfill": how == "backfill", "channel": Channel.EMULATED if how == "emulated" else Channel.REPORTED}
        try:
            await rig.send(rows, Source(f"s{turn}", "org", f"s{turn}"), **more)
        except DiskFull:
            assert how == "full"
    rig.fill_disk(full=False)
    names = [name for name in NAMES if name != "nothing"]
    before = [repr(rig.twin(name)) for name in names]
    held = sorted(due_rows(rig))
    sent_again = rig.kept()
    again = await rig.restart(save=save == "at the end")
    assert [repr(again.twin(name)) for name in names] == before
    assert sorted(due_rows(again)) == held
    live = [row for row in sent_again if row[3] in {0, 1}]
    outcome = await again.send(live, Source("again", "org", "again"))
    emulated = await again.send(live, Source("again", "org", "again"), channel=Channel.EMULATED)
    assert outcome.accepted + emulated.accepted + outcome.suppressed <= len(live)
    await again.stop()


def due_rows(rig: Rig) -> list[tuple[int, int, float, int]]:
    far_us = NOW_US + 10**6 * US
    return [
        row
        for _, batch in rig.intake.books.held.due(far_us, rig.screen.memory)
        for row in zip(*(c.tolist() for c in (batch.point, batch.observed_us, batch.value, batch.quality)), strict=True)
    ]
