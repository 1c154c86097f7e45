"""The point table: numbers for names, only for those they belong to, and never twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from things_plant import POINTS, Plant

from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.errors import Conflict
from gridspine.kernel.names import PackedNames
from gridspine.things import point as point_module
from gridspine.things.bases import Bases
from gridspine.things.column import Column
from gridspine.things.name_index import Spans
from gridspine.things.point import NOT_YOURS, UNKNOWN, WRONG_UNIT, Block, PointTable
from gridspine.things.resolve import Recent, split


def binding(first: int, thing: str, *, model: str = "urn:x:plant") -> PointBinding:
    names = tuple(sorted(POINTS))
    return PointBinding(first, thing, "org", model, names, tuple(POINTS[n][0]["unit"] for n in names), 0)


@given(st.lists(st.integers(0, 300), max_size=8))
def test_columns_keep_what_they_hold_when_they_grow(sizes: list[int]) -> None:
    column, held = Column(np.float64, np.nan), 0
    for size in sizes:
        column.grow(size)
        assert len(column.array) >= size
        assert (column.array[:held] == np.arange(held)).all()
        assert np.isnan(column.array[held:]).all()
        held = max(held, size)
        column.array[:held] = np.arange(held)


def test_names_numbers_and_models_go_together() -> None:
    plant = Plant(3)
    table = plant.points
    for number in range(len(table)):
        thing, point = table.place(number)
        assert table.point_id(number) == f"{thing}/{point.name}"
        assert table.number(f"{thing}/{point.name}") == number
        assert table.things()[table.things_of(np.array([number]))[0]] == thing
    assert table.thing_points("urn:dev:t1") == (len(POINTS), plant.model)
    assert table.thing_points("urn:dev:t9") is None
    for unknown in ("urn:dev:t9/aPlain", "urn:dev:t1/nothing", "urn:dev:t1", "", "/", "//"):
        assert table.number(unknown) == UNKNOWN


def test_names_are_resolved_for_those_they_belong_to_only() -> None:
    plant = Plant()
    plant.add("other")
    names = ["urn:dev:t0/aPlain", "urn:dev:t1/aPlain", "urn:dev:t9/aPlain", "urn:dev:t0/x", "urn:dev:t0/aPlain"]
    resolved = plant.points.resolve(names, ["kW", "W", "W", "W", "VA"], "org")
    assert resolved.point.tolist() == [0, NOT_YOURS, UNKNOWN, UNKNOWN, WRONG_UNIT]
    assert resolved.scale is not None
    assert resolved.scale[0] == 1000
    assert plant.points.resolve(names[:1], [""], "nobody").point.tolist() == [NOT_YOURS]
    narrowed = plant.points.resolve(names[:1], [""], "org", ["urn:dev:t1"])
    assert narrowed.point.tolist() == [NOT_YOURS]


def test_a_unit_that_means_something_else_is_wrong_and_the_own_one_changes_nothing() -> None:
    plant = Plant()
    names = ["urn:dev:t0/aPlain"] * 5
    resolved = plant.points.resolve(names, ["var", "VA", "furlong", "W", "MW"], "org")
    assert resolved.point.tolist() == [WRONG_UNIT, WRONG_UNIT, WRONG_UNIT, 0, 0]
    assert resolved.scale is not None
    assert resolved.scale[3:].tolist() == [1, 1e6]


@pytest.mark.parametrize("many", [1, 300])
def test_nothing_is_known_where_there_are_no_things_whatever_the_unit(many: int) -> None:
    resolved = PointTable().resolve(["urn:dev:t0/aPlain"] * many, ["W"] * many, "org")
    assert resolved.point.tolist() == [UNKNOWN] * many


def test_the_same_binding_again_changes_nothing_and_another_is_a_conflict() -> None:
    plant = Plant()
    plant.points.bind(binding(0, "urn:dev:t0"))
    assert len(plant.points) == len(POINTS)
    with pytest.raises(Conflict):
        plant.points.bind(binding(50, "urn:dev:t0"))
    with pytest.raises(Conflict):
        plant.points.bind(binding(50, "urn:dev:new", model="urn:x:none"))
    assert PointTable().model("urn:x:none") is None


def test_registers_and_energies_are_not_negative_unless_said_otherwise() -> None:
    plant = Plant()
    minimum = plant.points.rules.possible_min.array
    for name in ("gRegister", "hEnergy"):
        assert minimum[plant.points.rule.array[plant.number(name)]] == 0
    assert np.isnan(minimum[plant.points.rule.array[plant.number("bDeadband")]])


NAMES = st.lists(
    st.one_of(
        st.builds(
            "{}/{}".format, st.sampled_from([f"urn:dev:t{n}" for n in range(6)]), st.sampled_from([*POINTS, "no"])
        ),
        st.sampled_from(["", "/", "//", "urn:dev:t0", "/aPlain", "urn:dev:t0//aPlain", "urn:dev:t0/aPlain/", "ü/a"]),
    ),
    max_size=30,
)
UNITS = st.sampled_from(["", "", "", "W", "kW", "V", "furlong"])


@given(NAMES, st.sampled_from(["org", "other", "nobody"]), st.data())
def test_names_are_resolved_alike_one_by_one_and_all_at_once(
    names: list[str], organisation: str, data: st.DataObject
) -> None:
    plant = Plant(3)
    for _ in range(2):
        plant.add("other")
    units = data.draw(st.lists(UNITS, min_size=len(names), max_size=len(names)))
    only = data.draw(st.sampled_from([None, frozenset({"urn:dev:t1", "urn:dev:t9"}), ["urn:dev:t0"], frozenset()]))
    wanted = []
    for name in names:
        thing, _, word = name.partition("/")
        number = plant.number(word, int(thing[-1])) if thing.startswith("urn:dev:t") else UNKNOWN
        if number >= 0 and (
            plant.points.organisation_of(thing) != organisation or (only is not None and thing not in only)
        ):
            number = NOT_YOURS
        wanted.append(number)
    one = plant.points.resolve(names, units, organisation, only)
    assert [n if n != WRONG_UNIT else w for n, w in zip(one.point.tolist(), wanted, strict=True)] == wanted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(point_module, "_MANY", 0)
        patch.setattr(point_module, "_FEW", 0)
        for many in (names, PackedNames.of(names), PackedNames.of(names)):  # the last comes again
            got = plant.points.resolve(many, units, organisation, only)
            assert got.point.tolist() == one.point.tolist()
            assert (listed(got.scale), listed(got.shift)) == (listed(one.scale), listed(one.shift))


def listed(column: np.ndarray | None) -> list[float] | None:
    return None if column is None else column.tolist()


@pytest.mark.parametrize("count", [20, 300])
def test_a_list_that_comes_again_is_resolved_anew_when_things_were_added(count: int) -> None:
    plant = Plant(1)
    names = PackedNames.of(f"urn:dev:t{n}/aPlain" for n in range(count))
    before = plant.points.resolve(names, [""] * count, "org")
    assert before.point.tolist() == [0] + [UNKNOWN] * (count - 1)
    plant.add()
    after = plant.points.resolve(names, [""] * count, "org")
    assert after.point[1] == len(POINTS)
    wanted = [NOT_YOURS] * 2 + [UNKNOWN] * (count - 2)
    assert plant.points.resolve(names, [""] * count, "other").point.tolist() == wanted


def test_lists_kept_take_no_more_than_they_may() -> None:
    recent, point = Recent(max_bytes=40_000), np.zeros(10, np.int32)
    lists = [PackedNames.of(f"urn:x:{n}-{k}/p" for k in range(10)) for n in range(100)]
    for names in lists:
        recent.keep(names, "asked", point)
    assert recent.get(lists[-1], "asked") is not None
    assert recent.get(lists[-1], "another") is None
    assert recent.get(lists[0], "asked") is None
    huge = PackedNames.of(["x" * 20_000])
    recent.keep(huge, "asked", point[:1])
    assert recent.get(huge, "asked") is None


@given(st.lists(st.text("a/", max_size=5), max_size=9))
def test_point_ids_are_split_at_the_first_slash(names: list[str]) -> None:
    things, words = split(PackedNames.of(names))
    got = [(things.text(row).decode(), words.text(row).decode()) for row in range(len(names))]
    assert got == [(name.partition("/")[0], name.partition("/")[2]) for name in names]
    assert len(Spans.of(PackedNames.of(names))) == len(names)


@given(st.permutations(range(12)), st.integers(1, 12))
def test_numbers_find_their_things_in_whatever_order_those_come(order: list[int], lot: int) -> None:
    bases, first = Bases(), np.array(order, np.int32) * 7
    for start in range(0, len(first), lot):
        bases.add(first[start : start + lot], np.arange(start, min(start + lot, 12), dtype=np.int32))
        known = np.arange(start, min(start + lot, len(first)))
        assert bases.things_of(first[known] + 6).tolist() == known.tolist() or start + lot < len(first)
    assert bases.things_of(first + 3).tolist() == list(range(12))


def test_all_things_at_once_are_bound_as_one_by_one() -> None:
    plant = Plant(4)
    plant.add("other")
    again = PointTable()
    again.add_model(plant.model)
    again.bind_all(plant.points.block())
    assert list(again.things()) == list(plant.points.things())
    assert len(again) == len(plant.points)
    for number in range(len(again)):
        assert again.place(number) == plant.points.place(number)
    assert again.organisation_of("urn:dev:t4") == "other"
    assert again.owned("other").tolist() == [4]
    with pytest.raises(Conflict):
        PointTable().bind_all(plant.points.block())
    empty = PackedNames.of(())
    none = np.zeros(0, np.int32)
    again.bind_all(Block(empty, none, [], none, [], none))
    assert len(again) == len(plant.points)
