"""The index of entries by key: pages newest first, repetitions once, bounded, and begun anew when it is damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.log.keyed_index import KeyedIndex, Row

LATEST = (1 << 62, "~")


def row(key, at, id=None, kind="life"):
    return Row(key, at, id or f"{key}{at}", kind, b"{}")


@pytest.fixture
def make(tmp_path):
    made = []

    def make(**more):
        made.append(KeyedIndex(tmp_path / "index.db", passing=("alarm",), **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ids(index, key, limit=100, before=LATEST, since=0, kinds=()):
    return [one.id for one in index.page(key, before, since, limit, kinds)]


def test_pages_go_back_in_time_and_repetitions_count_once(make):
    index = make()
    rows = [row("a", at) for at in range(10)] + [row("b", 3)]
    index.add(rows, {"events": 11})
    index.add(rows, {"events": 11})
    assert (len(index), index.consumed("events"), index.consumed("ledger")) == (11, 11, 0)
    first = index.page("a", LATEST, 0, 4, ())
    assert [one.at_us for one in first] == [9, 8, 7, 6]
    assert [one.at_us for one in index.page("a", (first[-1].at_us, first[-1].id), 0, 4, ())] == [5, 4, 3, 2]
    assert ids(index, "a", since=8) == ["a9", "a8"]
    assert ids(index, "b") == ["b3"]
    assert ids(index, "c") == []


@given(st.lists(st.tuples(st.integers(0, 5), st.text("xyz", min_size=1, max_size=2)), max_size=40), st.integers(1, 7))
def test_page_by_page_is_all_of_it_once(tmp_path_factory, rows, limit):
    index = KeyedIndex(tmp_path_factory.mktemp("index") / "i.db", passing=())
    try:
        index.add([row("k", at, name) for at, name in rows], {})
        found, place = [], LATEST
        while page := index.page("k", place, 0, limit, ()):
            found += [(one.at_us, one.id) for one in page]
            place = found[-1]
        assert found == sorted(set(rows), reverse=True)
    finally:
        index.close()


def test_what_comes_and_goes_makes_room_and_a_life_stays(make):
    index = make(max_of_key=10)
    index.add([row("a", 0), row("a", 1)], {})
    index.add([row("a", at, kind="alarm") for at in range(2, 60)], {})
    kept = ids(index, "a")
    assert len(kept) <= 11
    assert kept[-2:] == ["a1", "a0"]
    assert kept[0] == "a59", "the newest alarms stay"
    assert ids(index, "a", kinds=("life",)) == ["a1", "a0"]


def test_of_all_together_the_oldest_go_first(make):
    index = make(max_rows=100)
    index.add([row(f"k{at}", at, kind="alarm") for at in range(150)], {})
    assert len(index) <= 100
    assert ids(index, "k0") == []
    assert ids(index, "k149") == ["k149149"]


def test_it_is_there_after_a_restart_and_begun_anew_when_damaged(make, tmp_path):
    index = make()
    index.add([row("a", 1)], {"events": 5})
    index.close()
    again = make()
    assert (len(again), again.consumed("events")) == (1, 5)
    again.close()
    for name in ("index.db-wal", "index.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "index.db").write_bytes(b"no database at all" * 100)
    anew = make()
    assert (len(anew), anew.consumed("events")) == (0, 0)
