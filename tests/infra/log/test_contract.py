"""What every engine of the event log must keep. A second engine joins by one more entry in ENGINES."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridspine.infra.log.port import MAX_RECORD_BYTES, EventLog, Record, Stored, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.errors import Gone

TOPICS = [Topic("one"), Topic("many", partitions=4), Topic("control", control=True)]
Open = Callable[[], EventLog]


def sqlite_engine(directory: Path) -> Open:
    return lambda: SqliteEventLog(directory / "log", TOPICS, segment_bytes=100_000)


ENGINES = {"sqlite": sqlite_engine}


@pytest.fixture(params=ENGINES)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    opened: list[EventLog] = []

    def open_() -> EventLog:
        while opened:
            opened.pop().close()
        opened.append(ENGINES[request.param](tmp_path)())
        return opened[-1]

    yield open_
    while opened:
        opened.pop().close()


def record(topic: str, key: str, body: bytes | str) -> Record:
    return Record(topic, key.encode(), body.encode() if isinstance(body, str) else body, 1)


def bodies(records: list[Stored]) -> list[bytes]:
    return [r.body for r in records]


def test_append_then_read_in_order(reopen: Open) -> None:
    log = reopen()
    places = log.append([record("one", "k", f"{i}") for i in range(10)])
    assert [p.offset for p in places] == sorted({p.offset for p in places})
    assert bodies(log.read("one", 0, 0)) == [f"{i}".encode() for i in range(10)]
    assert bodies(log.read("one", 0, places[7].offset)) == [b"7", b"8", b"9"]
    assert log.read("one", 0, places[9].offset + 1) == []


def test_a_key_has_one_partition_and_order_holds_in_it(reopen: Open) -> None:
    log = reopen()
    places = log.append([record("many", f"k{i % 7}", f"{i}") for i in range(70)])
    by_key: dict[int, set[int]] = {}
    for i, place in enumerate(places):
        by_key.setdefault(i % 7, set()).add(place.partition)
    assert all(len(partitions) == 1 for partitions in by_key.values())
    for partition in range(4):
        numbers = [int(b) for b in bodies(log.read("many", partition, 0))]
        assert numbers == sorted(numbers)


def test_what_was_appended_is_there_after_reopening(reopen: Open) -> None:
    log = reopen()
    places = log.append([record("one", "k", b"x" * 5000) for _ in range(100)])
    log = reopen()
    assert len(log.read("one", 0, 0)) == 100
    assert log.append([record("one", "k", "after")])[0].offset > places[-1].offset


def test_reading_is_bounded_but_always_moves(reopen: Open) -> None:
    log = reopen()
    log.append([record("one", "k", b"x" * 1000) for _ in range(10)])
    assert len(log.read("one", 0, 0, max_records=3)) == 3
    assert len(log.read("one", 0, 0, max_bytes=2500)) == 2
    assert len(log.read("one", 0, 0, max_bytes=1)) == 1


def test_a_record_too_large_keeps_the_whole_call_out(reopen: Open) -> None:
    log = reopen()
    with pytest.raises(ValueError, match="over"):
        log.append([record("one", "k", "fits"), record("one", "k", b"x" * (MAX_RECORD_BYTES + 1))])
    assert log.read("one", 0, 0) == []


def test_an_unknown_topic_is_refused(reopen: Open) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        reopen().append([record("nowhere", "k", "x")])


def test_a_group_goes_on_where_it_committed(reopen: Open) -> None:
    log = reopen()
    log.append([record("one", "k", f"{i}") for i in range(10)])
    follower = log.follow("group", ["one"])
    seen = follower.poll(max_records=4)
    follower.commit({("one", 0): seen[-1].position.offset + 1})
    follower.poll(max_records=4)  # not committed: comes again
    follower.close()
    log = reopen()
    follower = log.follow("group", ["one"])
    assert bodies(follower.poll()) == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert bodies(log.follow("another", ["one"]).poll(max_records=1)) == [b"0"]


def test_members_divide_partitions_and_take_over(reopen: Open) -> None:
    log = reopen()
    log.append([record("many", f"k{i}", f"{i}") for i in range(40)])
    first, second = log.follow("g", ["many"]), log.follow("g", ["many"])
    seen = {1: drain(first), 2: drain(second)}
    assert {p for p, _ in seen[1]}.isdisjoint({p for p, _ in seen[2]})
    assert len(seen[1]) + len(seen[2]) == 40
    for follower, places in ((first, seen[1]), (second, seen[2])):
        follower.commit({("many", p): max(o for q, o in places if q == p) + 1 for p, _ in places})
    second.close()
    log.append([record("many", f"k{i}", f"{i}") for i in range(40)])
    assert len(drain(first)) == 40


def drain(follower: object) -> list[tuple[int, int]]:
    places = []
    while found := follower.poll():  # type: ignore[attr-defined]
        places += [(r.position.partition, r.position.offset) for r in found]
    return places


def test_poll_waits_for_the_first_record(reopen: Open) -> None:
    log = reopen()
    follower = log.follow("g", ["one"])
    timer = threading.Timer(0.05, lambda: log.append([record("one", "k", "late")]))
    timer.start()
    assert bodies(follower.poll(timeout_s=10)) == [b"late"]
    timer.join()


def test_trim_holds_at_once_and_after_reopening(reopen: Open) -> None:
    log = reopen()
    places = log.append([record("one", "k", f"{i}") for i in range(10)])
    log.trim("one", 0, places[5].offset)
    assert log.bounds("one")[0][0] == places[5].offset
    with pytest.raises(Gone):
        log.read("one", 0, places[4].offset)
    log = reopen()
    assert bodies(log.read("one", 0, places[5].offset)) == [b"5", b"6", b"7", b"8", b"9"]
    assert bodies(log.follow("new group", ["one"]).poll()) == [b"5", b"6", b"7", b"8", b"9"]


def test_offsets_are_not_reused_after_everything_is_trimmed(reopen: Open) -> None:
    log = reopen()
    for _ in range(30):
        last = log.append([record("one", "k", b"x" * 10_000)])[-1]
    log.trim("one", 0, last.offset + 1)
    log = reopen()
    assert log.append([record("one", "k", "next")])[0].offset > last.offset


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=40)), max_size=5), max_size=12))
def test_nothing_is_lost_or_changed(
    calls: list[list[tuple[str, bytes]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = SqliteEventLog(tmp_path_factory.mktemp("log"), TOPICS, segment_bytes=20_000)
    sent = {
        place: body
        for call in calls
        for place, (_, body) in zip(log.append([record("many", k, b) for k, b in call]), call, strict=True)
    }
    kept = {r.position: r.body for p in range(4) for r in log.read("many", p, 0)}
    log.close()
    assert kept == sent
