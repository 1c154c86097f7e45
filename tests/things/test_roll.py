"""All Things in packed form: as they were registered, in order, found by device and adapter; and their snapshot."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from things_plant import POINTS, Plant

from gridspine.kernel.errors import Conflict, Invalid
from gridspine.things.roll import Roll
from gridspine.things.roll_file import read_roll, save_roll, take_up
from gridspine.things.thing import Thing

NAMES = tuple(sorted(POINTS))
THINGS = st.lists(
    st.tuples(
        st.integers(0, 399), st.sampled_from(["org", "other"]), st.text(max_size=9), st.sampled_from(["", "mqtt", "x"]),
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        st.lists(st.sampled_from(["urn:d:1", "urn:d:2"]), unique=True).map(tuple),
    ), unique_by=lambda row: row[0], max_size=20,
)  # fmt: skip


def made(rows: list[Any]) -> list[Thing]:
    return [
        Thing(f"urn:x:{n}", organisation, title, "urn:x:plant", (399 - n) * len(NAMES), adapter, connection, devices,
              NAMES, n)
        for n, organisation, title, adapter, connection, devices in rows
    ]  # fmt: skip


def roll_of(things: list[Thing], lot: int = 7) -> Roll:
    roll = Roll(Plant(0).points)
    for start in range(0, len(things), lot):
        roll.add(things[start : start + lot])
    return roll


def check(roll: Roll, things: list[Thing]) -> None:
    assert [roll.get(thing.id) for thing in things] == things
    assert list(roll.ordered()) == sorted(things, key=lambda thing: thing.id)
    own = sorted((thing for thing in things if thing.organisation == "org"), key=lambda thing: thing.id)
    ordered = roll.ordered("org")
    assert ordered[:] == own
    assert [ordered[at] for at in range(len(ordered))] == own
    for id_ in ("", "urn:x:2", "urn:x:200", "urn:y"):
        assert ordered[ordered.after(id_) :] == [thing for thing in own if thing.id > id_]
    assert roll.of_device("urn:d:1") == [thing for thing in things if "urn:d:1" in thing.devices]
    assert roll.of_adapter("mqtt") == [thing for thing in things if thing.adapter == "mqtt"]
    assert roll.of_adapter("none") == []
    assert roll.get("urn:x:none") is None
    for thing in things:
        assert roll.points.number(f"{thing.id}/{NAMES[3]}") == thing.first + 3
        assert roll.points.place(thing.first + 3)[0] == thing.id


@given(THINGS, st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_things_are_as_they_were_registered(rows: list[Any], lot: int) -> None:
    things = made(rows)
    roll = roll_of(things, lot)
    check(roll, things)
    roll.add(things)  # they are there
    assert len(roll) == len(things)


@given(THINGS, THINGS)
@settings(max_examples=40, deadline=None)
def test_a_snapshot_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], later: list[Any]) -> None:
    path, things = tmp_path_factory.mktemp("roll") / "things.npz", made(rows)
    save_roll(path, roll_of(things), "stamp", 7, 9)
    snapshot, again = read_roll(path), Roll(Plant(0).points)
    assert snapshot is not None
    assert (snapshot.head.stamp, snapshot.head.offset, snapshot.head.bound) == ("stamp", 7, 9)
    assert take_up(snapshot, again)
    check(again, things)
    more = [thing for thing in made(later) if thing.id not in {known.id for known in things}]
    again.add(more)
    check(again, things + more)


def test_a_thousand_things_are_put_in_order_at_once_and_later_ones_between() -> None:
    rows = [(n, "org", "t", "", {}, ()) for n in range(400)]
    roll = roll_of(made(rows[:300]), 300)
    assert len(roll.ordered()) == 300
    roll.add(made(rows[300:]))
    assert [thing.id for thing in roll.ordered()] == sorted(f"urn:x:{n}" for n in range(400))


def test_a_changed_model_is_refused(tmp_path: Path) -> None:
    thing = made([(1, "org", "t", "", {}, ())])[0]
    with pytest.raises(Conflict):
        roll_of([msgspec.structs.replace(thing, points=NAMES[1:])])
    with pytest.raises(Invalid):
        roll_of([msgspec.structs.replace(thing, model="urn:x:none")])
    save_roll(tmp_path / "things.npz", roll_of([thing]), "stamp", 0, 0)
    snapshot = read_roll(tmp_path / "things.npz")
    assert snapshot is not None
    head = msgspec.structs.replace(snapshot.head, models={"urn:x:plant": NAMES[1:]})
    assert not take_up(msgspec.structs.replace(snapshot, head=head), Roll(Plant(0).points))
    head = msgspec.structs.replace(snapshot.head, models={"urn:x:none": NAMES})
    assert not take_up(msgspec.structs.replace(snapshot, head=head), Roll(Plant(0).points))


def test_columns_that_do_not_belong_together_are_no_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "things.npz"
    assert read_roll(path) is None
    save_roll(path, roll_of(made([(n, "org", "t", "", {}, ()) for n in range(5)])), "stamp", 0, 0)
    with np.load(path) as stored:
        good = dict(stored)
    wrong: list[dict[str, Any]] = [
        {"first": good["first"][1:]}, {"first": good["first"].astype(np.int64)}, {"first": -good["first"] - 1},
        {"offsets": good["offsets"][::-1]}, {"start": good["start"] + 1}, {"model": good["model"] + 1},
        {"organisation": good["organisation"] + 9}, {"adapter": good["adapter"] - 1}, {"body": good["body"][:-1]},
        {"head": good["head"][:-1]}, {"ids": good["ids"].reshape(1, -1)},
    ]  # fmt: skip
    for change in wrong:
        np.savez(path, **(good | change))
        assert read_roll(path) is None, change
    np.savez(path, **good)
    assert read_roll(path) is not None


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_snapshot_gives_nothing_or_what_was_written(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "things.npz"
    things = made([(n, "org", "t", "", {}, ()) for n in range(9)])
    save_roll(path, roll_of(things), "stamp", 3, 4)
    body, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for at in rng.integers(0, len(body), 3):
        body[at] = rng.integers(0, 256)
    path.write_bytes(body)
    snapshot, again = read_roll(path), Roll(Plant(0).points)
    if snapshot is not None and take_up(snapshot, again):
        check(again, things)
