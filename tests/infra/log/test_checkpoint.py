"""Checkpoints: the newest whole one counts, a crash or a damage costs nothing, a gap is never taken for empty."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.infra.log.age import first_since
from gridspine.infra.log.checkpoint import Checkpoints
from gridspine.infra.log.port import Record, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.errors import Corrupt


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", "commands")


def test_there_is_nothing_at_first(kept: Checkpoints) -> None:
    assert kept.load(0) == (0, ())
    assert (kept.offset, kept.floor) == (0, 0)


@settings(deadline=None)
@given(items=st.lists(st.binary(max_size=200)))
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, items: list[bytes]) -> None:
    kept = Checkpoints(tmp_path_factory.mktemp("c") / "checkpoints", "commands")
    kept.save(7, items)
    assert kept.load(0) == (7, tuple(items))


def test_two_are_kept_and_the_older_is_how_far_a_topic_may_go(kept: Checkpoints, tmp_path: Path) -> None:
    kept.save(5, [b"a"])
    assert (kept.offset, kept.floor) == (5, 0)
    kept.save(8, [b"b"])
    kept.save(13, [b"c"])
    assert (kept.offset, kept.floor) == (13, 8)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert kept.load(8) == (13, (b"c",))


@pytest.mark.parametrize(
    "damage", [lambda body: body[:-1], lambda body: b"", lambda body: body[:30] + b"x" + body[31:]]
)
def test_a_damaged_one_is_passed_over(kept: Checkpoints, tmp_path: Path, damage) -> None:
    kept.save(5, [b"a"])
    kept.save(8, [b"b"])
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(damage(newest.read_bytes()))
    assert kept.load(3) == (5, (b"a",))
    assert kept.load(0) == (5, (b"a",))


def test_what_a_crash_left_is_taken_away(kept: Checkpoints, tmp_path: Path) -> None:
    kept.save(5, [b"a"])
    half = tmp_path / "checkpoints" / "commands-00000000000000000009.tmp"
    half.write_bytes(b"half")
    assert kept.load(0) == (5, (b"a",))
    assert not half.exists()


def test_a_gap_is_no_empty_state(kept: Checkpoints, tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="restore a backup"):
        kept.load(1)
    kept.save(5, [b"a"])
    with pytest.raises(Corrupt, match="trimmed up to 6"):
        kept.load(6)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(Corrupt, match="damaged"):
        kept.load(1)
    assert kept.load(0) == (0, ())  # the whole topic is there still


def test_names_do_not_meet(kept: Checkpoints, tmp_path: Path) -> None:
    other = Checkpoints(tmp_path / "checkpoints", "command")
    kept.save(5, [b"a"])
    other.save(9, [b"b"])
    assert (kept.load(0), other.load(0)) == ((5, (b"a",)), (9, (b"b",)))


@settings(deadline=None)  # a file is made each time
@given(times=st.lists(st.integers(0, 50), max_size=30).map(sorted), wanted=st.integers(-1, 51))
def test_where_a_time_begins_is_found(tmp_path_factory: pytest.TempPathFactory, times: list[int], wanted: int) -> None:
    log = SqliteEventLog(tmp_path_factory.mktemp("log"), [Topic("t")])
    try:
        if times:
            log.append([Record("t", b"k", b"", time_us) for time_us in times])
        log.trim("t", 0, len(times) // 3)
        expected = max(sum(time_us < wanted for time_us in times), len(times) // 3)
        assert first_since(log, "t", 0, wanted) == expected
    finally:
        log.close()
