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
from gridspine.things.point import NOT_YOURS
from gridspine.things.roll import Roll
from gridspine.things.roll_file import read_roll, save_roll, take_up
from gridspine.things.thing import Former, Thing

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
    check_served(roll, things)
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


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 399), st.sampled_from(["org", "other"]), st.text(max_size=2_000),
        st.sampled_from(["", "mqtt", "x"]), st.lists(st.sampled_from(["urn:d:1", "urn:d:2"]), unique=True).map(tuple),
        st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)), st.booleans(),
    ), max_size=40,
)  # fmt: skip


@given(THINGS, CHANGES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_things_are_as_they_were_changed(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], changes: list[Any], anew: bool
) -> None:
    """Other numbers with another organisation; what was there before is found by its old numbers, and is silent."""
    path, things = tmp_path_factory.mktemp("changed") / "things.npz", {thing.id: thing for thing in made(rows)}
    roll, following = roll_of(list(things.values())), 400 * len(NAMES)
    stale = list(things.values())
    for number, organisation, title, adapter, devices, location, retired in changes:
        before = things.get(f"urn:x:{number}")
        if before is None:
            continue
        after = msgspec.structs.replace(
            before, organisation=organisation, title=title, adapter=adapter, devices=devices, location=location,
            retired_us=int(retired), version=before.version + 1, modified_us=before.version,
        )  # fmt: skip
        if organisation != before.organisation:
            former = Former(before.first, before.model, before.organisation, before.version)
            after = msgspec.structs.replace(after, first=following, former=(*before.former, former))
            following += len(NAMES)
        things[after.id] = after
        roll.add([after])
    if anew:
        save_roll(path, roll, "stamp", 0, following)
        snapshot, roll = read_roll(path), Roll(Plant(0).points)
        assert snapshot is not None
        assert take_up(snapshot, roll)
    roll.add(stale)  # versions of the past change nothing
    check_changed(roll, things)


def check_served(roll: Roll, present: list[Thing]) -> None:
    """Of each adapter how many Things of an organisation there are, and the newest two, the newest first."""
    own = [one for one in present if one.organisation == "org" and one.adapter]
    by_adapter = {name: [one for one in own if one.adapter == name] for name in {one.adapter for one in own}}
    assert roll.served("org", 2) == {name: (len(some), some[:-3:-1]) for name, some in by_adapter.items()}


def check_changed(roll: Roll, things: dict[str, Thing]) -> None:
    present = [thing for thing in things.values() if not thing.retired]
    assert [roll.get(id_) for id_ in things] == list(things.values())
    assert [roll.version(id_) for id_ in things] == [thing.version for thing in things.values()]
    assert list(roll.ordered()) == sorted(present, key=lambda thing: thing.id)
    own = sorted((thing for thing in present if thing.organisation == "org"), key=lambda thing: thing.id)
    assert list(roll.ordered("org")) == own
    assert roll.points.held("org") == len(own)
    assert sorted(one.id for one in roll.of_device("urn:d:1")) == sorted(
        one.id for one in present if "urn:d:1" in one.devices
    )
    assert roll.of_adapter("mqtt") == [one for one in things.values() if one in present and one.adapter == "mqtt"]
    check_served(roll, present)
    numbers, latitude, longitude = roll.located()
    places = dict(zip(numbers.tolist(), zip(latitude.tolist(), longitude.tolist(), strict=True), strict=True))
    assert {roll.at(n).id: place for n, place in places.items()} == {
        one.id: one.location for one in present if one.location is not None
    }
    silence_us = roll.points.rules.max_silence_us.array
    for thing in things.values():
        for first in (thing.first, *(former.first for former in thing.former)):
            urn, model = roll.points.place(first)
            assert (urn, model.name) == (thing.id, NAMES[0])
            assert bool(silence_us[roll.points.rule.array[first]]) == (first == thing.first and not thing.retired)
        found = [thing.first] if not thing.retired else [NOT_YOURS]
        assert roll.points.resolve([f"{thing.id}/{NAMES[0]}"], [""], thing.organisation).point.tolist() == found


def test_bodies_of_the_past_make_room() -> None:
    (thing,) = made([(1, "org", "t", "", {}, ())])
    roll = roll_of([thing, *made([(2, "org", "t", "", {}, ())])])
    for version in range(2, 80):
        thing = msgspec.structs.replace(thing, version=version, connection={"path": "x" * 16_000 + str(version)})
        roll.add([thing])
        assert roll.get(thing.id) == thing
    assert len(roll.copy()[0]["body"]) < 1_200_000
    assert roll.get("urn:x:2") == made([(2, "org", "t", "", {}, ())])[0]


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
        {"offsets": good["offsets"][::-1]}, {"span": good["span"] + 99}, {"model": good["model"] + 1},
        {"organisation": good["organisation"] + 9}, {"adapter": good["adapter"] - 1}, {"body": good["body"][:-1]},
        {"version": good["version"][1:]}, {"latitude": good["latitude"].astype(np.float32)}, {"span": -good["span"]},
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
