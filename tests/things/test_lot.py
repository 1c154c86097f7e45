"""Postings that wait become one lot: one batch of the log, and an answer for each as if it had come alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from things_intake_rig import SOURCE, Rig
from things_plant import Plant

from gridspine.infra.log.port import MAX_RECORD_BYTES
from gridspine.infra.log.writer import JOINED_PARTS
from gridspine.kernel.codecs.batch import decode_batch, encode_batch
from gridspine.kernel.ids import MAX_ID_LENGTH
from gridspine.kernel.readings import MAX_BATCH, Channel, ItemProblem, NamedReadings, Readings
from gridspine.things.adapter import Outcome, Source
from gridspine.things.lot import MAX_PROBLEMS
from gridspine.things.posting import Posting
from gridspine.things.quarantine import Quota, decode_quarantined
from gridspine.things.resolve import Resolved
from gridspine.things.screen import Screened

Row = tuple[str, float, float, int]
KINDS = ((1 << 31, np.int32), (1 << 15, np.uint16), (JOINED_PARTS, np.uint16))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, Plant(4))
    yield rig
    await asyncio.to_thread(rig.writer.close)
    rig.log.close()


@contextmanager
def waiting(rig: Rig) -> Iterator[None]:
    """Let the writer take nothing from its queues meanwhile."""
    with rig.writer._changed:
        yield


async def together(rig: Rig, postings: list[tuple[list[Row], Source]], **more: object) -> list[Outcome]:
    with waiting(rig):
        tasks = [asyncio.ensure_future(rig.intake.submit(rig.named(rows), source, **more)) for rows, source in postings]
        await asyncio.sleep(0)
    return list(await asyncio.gather(*tasks))


def batches(rig: Rig) -> list[Readings]:
    return [decode_batch(stored.body) for stored in rig.read("readings")]


def source(number: int, organisation: str = "org") -> Source:
    return Source(f"device-{number}", organisation, f"session-{number}")


async def test_many_small_postings_are_one_record_that_knows_who_sent_what(rig: Rig) -> None:
    rows = [[("aPlain", n - 99.0, float(n), 0), ("nothing", 0, 1, 0), ("aPlain", n - 98.5, 99, 0)] for n in range(20)]
    outcomes = await together(rig, [(rows[n], source(n % 3)) for n in range(20)])
    assert {(o.received, o.accepted, o.refused) for o in outcomes} == {(3, 1, 2)}
    assert all({(p.index, p.reason) for p in o.problems} == {(1, "unknown-point"), (2, "impossible")} for o in outcomes)
    (batch,) = batches(rig)
    assert batch.origin is not None
    sent_by = dict(zip(batch.value.tolist(), (batch.sources[at] for at in batch.origin), strict=True))
    assert sent_by == {float(n): f"device-{n % 3}" for n in range(20)}
    assert len(rig.told) == 1
    assert rig.intake.books.totals.accepted == 20
    refused = [decode_quarantined(stored.body) for stored in rig.read("quarantine")]
    assert sorted((one.source.principal, *one.item) for one in refused) == sorted(
        (f"device-{n % 3}", 1, 2) for n in range(20)
    )


async def test_organisations_channels_and_history_never_share_a_lot(rig: Rig) -> None:
    other = rig.plant.add("other")
    with waiting(rig):
        tasks = [
            asyncio.ensure_future(rig.intake.submit(rig.named([(name, 0.0, 1.0, 0)]), source(0, organisation), **more))
            for name, organisation, more in (
                ("aPlain", "org", {}),
                (f"{other}/aPlain", "other", {}),
                ("urn:dev:t1/aPlain", "org", {}),
                ("aPlain", "org", {"channel": Channel.PLANNED}),
                ("aPlain", "org", {"backfill": True}),
            )
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*tasks)
    assert sum(outcome.accepted for outcome in outcomes) == 4  # what was declared history is a repetition
    records = rig.read("readings")
    kept = [(stored.key, decode_batch(stored.body)) for stored in records]
    assert [(key, len(batch), batch.channel, batch.backfill) for key, batch in kept] == [
        (b"org", 2, Channel.REPORTED, False), (b"other", 1, Channel.REPORTED, False),
        (b"org", 1, Channel.PLANNED, False),
    ]  # fmt: skip


async def test_a_posting_that_cannot_be_screened_fails_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = rig.screen.screen

    def picky(readings: Readings) -> Screened:
        if (readings.value == 13).any():
            raise ZeroDivisionError
        return screen(readings)

    monkeypatch.setattr(rig.screen, "screen", picky)
    with waiting(rig):
        tasks = [
            asyncio.ensure_future(rig.intake.submit(rig.named([("aPlain", n, 11.0 + n, 0)]), source(n)))
            for n in range(5)
        ]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, ZeroDivisionError) for result in results] == [n == 2 for n in range(5)]
    assert [batch.value.tolist() for batch in batches(rig)] == [[11], [12], [14], [15]]
    assert rig.intake.books.totals.received == 4


async def test_a_lot_holds_no_more_than_a_record(rig: Rig) -> None:
    half = [("aPlain", t / 1000 - 500, 5.0, 0) for t in range(MAX_BATCH // 2)]
    later = [("aPlain", t / 1000 - 100, 5.0, 0) for t in range(MAX_BATCH // 2)]
    outcomes = await together(rig, [(half, source(0)), (later, source(1)), ([("aPlain", 0, 1, 0)], source(2))])
    assert [outcome.accepted for outcome in outcomes] == [len(half), len(later), 1]
    assert [len(batch) for batch in batches(rig)] == [MAX_BATCH, 1]


def test_a_lot_of_the_longest_names_fits_a_record_though_nothing_of_it_can_be_compressed() -> None:
    sources = tuple(f"adapter:some-name:{at:0{MAX_ID_LENGTH}}" for at in range(JOINED_PARTS))
    noise = np.random.default_rng(1)
    point, quality, origin = (noise.integers(0, most, MAX_BATCH).astype(kind) for most, kind in KINDS)
    readings = Readings(
        point, noise.integers(0, 1 << 62, MAX_BATCH), noise.random(MAX_BATCH), quality, sources, Channel.REPORTED, 1,
        origin=origin,
    )  # fmt: skip
    assert len(encode_batch(readings)) <= MAX_RECORD_BYTES


async def test_a_quota_counts_all_that_a_lot_refuses(rig: Rig) -> None:
    rig.intake.books.quota = Quota(30)
    nothing: list[Row] = [("nothing", t, 1, 0) for t in range(20)]
    await together(rig, [(nothing, SOURCE), (nothing, SOURCE), ([("nothing", 0, 1, 0)], source(1))])
    kept = [decode_quarantined(stored.body) for stored in rig.read("quarantine")]
    assert [(len(one.item), one.beyond) for one in kept] == [(20, {}), (10, {"unknown-point": 10}), (1, {})]


@pytest.mark.parametrize("left", [0, 1_500, 10_000])
async def test_of_a_quarantined_sources_flood_only_the_first_items_are_listed_and_all_are_counted(
    rig: Rig, left: int
) -> None:
    flood: list[Row] = [("aPlain", t / 1000 - 900, 5.0, 0) for t in range(5_000)]
    rig.offences.restore({"device-0": "org"})
    rig.intake.books.quota = Quota(left)
    (outcome,) = await together(rig, [(flood, source(0))])
    assert (outcome.received, outcome.refused, len(outcome.problems)) == (5_000, 5_000, MAX_PROBLEMS)
    rig.check_counts(outcome)
    kept = [decode_quarantined(stored.body) for stored in rig.read("quarantine")]
    assert sum(len(one.item) for one in kept) == min(left, 5_000)
    assert sum(one.beyond.get("source-quarantined", 0) for one in kept) == max(5_000 - left, 0)
    assert batches(rig) == []


@given(unreadable=st.integers(0, 5), known=st.integers(0, 5), most=st.integers(0, 12))
async def test_what_is_not_listed_is_counted(unreadable: int, known: int, most: int) -> None:
    named = NamedReadings(
        ["x"], [""], np.zeros(known, np.int32), np.arange(known), np.zeros(known, np.int64), np.zeros(known),
        np.zeros(known, np.uint16), [ItemProblem(known + at, "time", "") for at in range(unreadable)],
    )  # fmt: skip
    posting = Posting(named, SOURCE, Resolved(np.zeros(1, np.int32), np.ones(1), np.zeros(1)))
    whole, nothing = posting.quarantined(100)
    problems, beyond = posting.quarantined(most)
    assert (len(whole), nothing.total()) == (unreadable + known, 0)
    assert problems == whole[:most]
    assert beyond == Counter(problem.reason for problem in whole[most:])


POINTS = ("aPlain", "bDeadband", "dInterval")
row = st.tuples(st.sampled_from(POINTS), st.integers(-60, 0), st.integers(-2, 25), st.sampled_from([0, 0, 0, 1]))


@settings(max_examples=60, deadline=None)
@given(postings=st.lists(st.lists(row, max_size=6), min_size=1, max_size=8))
async def test_together_or_one_by_one_is_the_same_for_things_of_their_own(
    postings: list[list[Row]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each Thing's postings in order; two of the same Thing are as if sent in one."""
    answers, twins = [], []
    for joined in (True, False):
        rig = Rig(tmp_path_factory.mktemp("lot"), Plant(len(postings)))
        named = [
            ([(f"urn:dev:t{at}/{name}", float(t), float(v), q) for name, t, v, q in rows], source(at))
            for at, rows in enumerate(postings)
        ]
        if joined:
            outcomes = await together(rig, named)
        else:
            outcomes = [await rig.intake.submit(rig.named(rows), who) for rows, who in named]
        answers.append(outcomes)
        twins.append([rig.twin(name, thing) for thing in range(len(postings)) for name in POINTS])
        for outcome in outcomes:
            rig.check_counts(outcome)
        await rig.stop()
    assert answers[0] == answers[1]
    assert repr(twins[0]) == repr(twins[1])
