"""The point table: numbers for names, only for those they belong to, and never twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from things_plant import POINTS, Plant

from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.errors import Conflict
from gridspine.things.point import NOT_YOURS, UNKNOWN, WRONG_UNIT, Column, PointTable


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
    assert resolved.scale[0] == 1000
    assert plant.points.resolve(names[:1], [""], "nobody").point.tolist() == [NOT_YOURS]
    narrowed = plant.points.resolve(names[:1], [""], "org", ["urn:dev:t1"])
    assert narrowed.point.tolist() == [NOT_YOURS]


def test_a_unit_that_means_something_else_is_wrong_and_the_own_one_changes_nothing() -> None:
    plant = Plant()
    names = ["urn:dev:t0/aPlain"] * 5
    resolved = plant.points.resolve(names, ["var", "VA", "furlong", "W", "MW"], "org")
    assert resolved.point.tolist() == [WRONG_UNIT, WRONG_UNIT, WRONG_UNIT, 0, 0]
    assert resolved.scale[3:].tolist() == [1, 1e6]


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
