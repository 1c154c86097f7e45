"""What was appended is what the archive and the log's tail answer, however they divide it."""

import random

import pytest

from gridspine.infra.archive.compact import InlineCompactor, compact_day
from gridspine.infra.archive.published import read_published
from gridspine.infra.archive.table import ReadingsTable
from gridspine.infra.archive.worker import Archiver
from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.errors import Corrupt
from gridspine.kernel.readings import Channel

SECOND = 1_000_000
DAY = 86_400 * SECOND
T0 = 1_772_323_200 * SECOND


def noise(node, seed, batches, *, days=2, revisions=0.3):
    """Append random batches: several days, all channels, late readings, revisions of earlier ones."""
    source = random.Random(seed)
    for _ in range(batches):
        rows = []
        for _ in range(source.randint(1, 40)):
            number = source.randrange(node.bound * 4)
            if node.rows and source.random() < revisions:
                at = source.choice(node.rows)[3]
            else:
                at = T0 + source.randrange(days * 1440) * 60 * SECOND + source.choice([0, 1, 999, 123_456])
            rows.append((number, at, float(source.randint(-50, 50)), source.choice([0, 3, 0x2000])))
        node.append(
            rows,
            received_us=T0 + source.randrange(5 * DAY),
            source=source.choice(["urn:a", "urn:b"]),
            channel=Channel(source.randrange(4)),
            backfill=source.random() < 0.2,
        )


def test_everything_is_in_the_tail_before_the_first_commit(node, ask):
    node.bind(3)
    noise(node, 1, 10)
    assert ask.revisions() == sorted(node.rows)
    assert ask.readings() == node.latest()


def test_archive_and_tail_together(node, ask):
    node.bind(3)
    for seed in range(4):
        noise(node, seed, 8)
        assert ask.readings() == node.latest()
        node.archive_all()
        assert ask.readings() == node.latest()
        assert ask.revisions() == sorted(node.rows)
    assert read_published(node.archive).offsets == {0: 32}


def test_empty_archive_and_log_answer_nothing(node, ask):
    assert ask("SELECT count(*) FROM readings") == [(0,)]
    node.archive_all()
    assert ask("SELECT count(*), sum(value) FROM revisions") == [(0, None)]


def test_small_commits_restarts_and_compaction_keep_everything(node, ask):
    node.bind(3)
    for seed in range(12):
        noise(node, seed, 4, days=3)
        node.archive_all(max_rows=20)
    table, _ = node.archiver()
    assert any(file.pending for file in table.files())
    table.close()
    before = ask.revisions()
    assert before == sorted(node.rows)
    compact_all(node, slice_rows=100)
    assert ask.revisions() == before
    assert ask.readings() == node.latest()
    noise(node, 99, 6, revisions=0.9)
    assert ask.readings() == node.latest()
    node.archive_all()
    assert ask.readings() == node.latest()


def compact_all(node, **options):
    table, _ = node.archiver()
    for day in sorted({file.day for file in table.files()}):
        compact_day(table, day, **options)
    assert {file.pending for file in table.files()} == {0}
    table.close()


@pytest.mark.parametrize("compacted", [False, True])
def test_as_of_tells_what_was_known_then(node, ask, compacted):
    node.bind(2)
    noise(node, 5, 30, revisions=0.6)
    node.archive_all(max_rows=100)
    if compacted:
        compact_all(node)
    noise(node, 6, 10, revisions=0.6)
    for moment in (T0, T0 + DAY, T0 + 3 * DAY, T0 + 5 * DAY):
        wanted = node.latest(moment)
        assert ask.readings(as_of_us=moment) == wanted
        for channel in ("planned", "emulated"):
            assert ask.readings(channel, as_of_us=moment) == node.latest(moment, channel)
        assert ask.readings(f"readings_as_of(make_timestamptz({moment}))") == wanted
        assert ask.revisions(as_of_us=moment) == sorted(row for row in node.rows if row[4] <= moment)


def test_a_replay_gives_the_same_sums(node, ask):
    node.bind(2)
    rows = [(n % 8, T0 + n * 900 * SECOND, float(n), 0) for n in range(400)]
    sums = "SELECT point, sum(value), count(*) FROM readings GROUP BY point ORDER BY point"
    node.append(rows)
    node.archive_all()
    once = ask(sums)
    for _ in range(2):
        node.append(rows, backfill=True)
        assert ask(sums) == once
        node.archive_all()
        assert ask(sums) == once
    compact_all(node)
    assert ask(sums) == once
    assert ask("SELECT count(*) FROM revisions") == [(1200,)]


def test_revisions_of_one_reading_within_one_batch(node, ask):
    node.bind(1)
    node.append([(1, T0, 1.0, 0), (1, T0, 2.0, 0), (1, T0, 3.0, 0)])
    node.append([(1, T0, 4.0, 0)], channel=Channel.EMULATED)
    node.archive_all()
    assert ask("SELECT value, channel FROM readings") == [(3.0, "reported")]
    assert ask("SELECT value, channel FROM emulated") == [(4.0, "emulated")]
    assert ask("SELECT count(*) FROM revisions") == [(4,)]


def test_a_record_nobody_can_read_is_set_aside_and_the_rest_goes_on(node, ask, capsys):
    node.bind(1)
    node.append([(1, T0, 1.0, 0)])
    node.log.append([Record("readings", b"k", b"rubbish", 0)])
    node._offset += 1
    node.append([(1, T0 + 1, 2.0, 0)])
    assert ask("SELECT count(*) FROM readings") == [(2,)]
    node.archive_all()
    assert ask("SELECT count(*) FROM readings") == [(2,)]
    assert (node.archive / "damaged" / "readings-0-1.bin").read_bytes() == b"rubbish"
    assert "readings-0-1.bin" in capsys.readouterr().err


def test_an_unbound_number_is_kept_under_its_number(node, ask):
    node.append([(7, T0, 1.0, 0)])
    node.archive_all()
    assert ask("SELECT point, value FROM readings") == [("unbound/7", 1.0)]


def test_the_log_may_be_trimmed_up_to_what_is_published(node, ask):
    node.bind(2)
    noise(node, 3, 400)
    node.archive_all(max_rows=500)
    published = read_published(node.archive).offsets[0]
    node.log.trim("readings", 0, published)
    noise(node, 4, 5)
    assert ask.revisions() == sorted(node.rows)
    node.archive_all()
    assert ask.revisions() == sorted(node.rows)
    assert ask.readings() == node.latest()


def test_an_archive_ahead_of_its_log_is_an_error(node):
    node.bind(1)
    node.append([(1, T0, 1.0, 0)])
    node.append([(1, T0 + 1, 1.0, 0)])
    node.archive_all()
    shorter = SqliteEventLog(node.archive / "other", [Topic("readings"), Topic("points")])
    table = ReadingsTable(node.archive, node.clock.now_us)
    with pytest.raises(Corrupt):
        Archiver(table, shorter, node.clock, compactor=InlineCompactor(node.archive))
    table.close()
    shorter.close()
