"""The Thing Models that come with the house say what the domain's rules ask of them."""

from typing import get_args

import pytest

from gridspine.energy.models import load_models
from gridspine.kernel.reading_type import Commodity
from gridspine.kernel.units import unit
from gridspine.things.model import PointModel, ThingModel
from gridspine.things.td.check import check_model

MODELS = load_models()
POINTS = [(name, point) for name, model in MODELS.items() for point in model.points]


def test_the_models_are_there_and_a_caller_cannot_spoil_them():
    assert set(MODELS) >= {"meter", "pv_inverter", "battery", "home"}
    load_models().clear()
    assert set(load_models()) == set(MODELS)


@pytest.mark.parametrize(("name", "model"), MODELS.items())
def test_model_is_named_and_carries_no_binding(name: str, model: ThingModel):
    assert model.id == f"https://gridspine.org/models/{name}"
    assert model.document["@context"][0] == "https://www.w3.org/2022/wot/td/v1.1"
    assert all("forms" not in affordance for affordance in model.document["properties"].values())
    assert {point.name for point in model.points} == set(model.document["properties"])
    for pointer in model.document.get("tm:optional", []):
        assert pointer.removeprefix("/properties/") in model.document["properties"]


@pytest.mark.parametrize(("name", "model"), MODELS.items())
def test_model_is_a_thing_model_by_the_schema_of_w3c(name: str, model: ThingModel):
    """W3C WoT Thing Description 1.1: the JSON Schema for Thing Models."""
    assert check_model(model.document) == []
    assert check_model({**model.document, "properties": []}) != []


@pytest.mark.parametrize(("name", "point"), POINTS)
def test_point_is_described_and_its_unit_agrees(name: str, point: PointModel):
    affordance = MODELS[name].document["properties"][point.name]
    assert affordance["title"]
    assert affordance["description"]
    assert affordance.get("unit", "code") == point.reading_type.unit
    unit(point.reading_type.unit)


@pytest.mark.parametrize(("name", "point"), POINTS)
def test_operating_limits_lie_within_what_is_possible(name: str, point: PointModel):
    screen = point.screen
    low = screen.possible_min if screen.possible_min is not None else float("-inf")
    high = screen.possible_max if screen.possible_max is not None else float("inf")
    assert low < high
    for limit in (screen.limit_min, screen.limit_max):
        assert limit is None or low <= limit <= high


@pytest.mark.parametrize(("name", "point"), [(name, p) for name, p in POINTS if p.lease])
def test_a_commandable_point_falls_back_by_the_device_and_can_be_confirmed(name: str, point: PointModel):
    lease = point.lease
    assert lease is not None
    assert lease.reversion == "device"
    assert lease.minimum <= lease.fallback <= lease.maximum
    assert MODELS[name].point(lease.confirm_point).reading_type.unit == point.reading_type.unit
    assert lease.tolerance > 0
    assert point.reading_type.kind == "setting"


@pytest.mark.parametrize(("name", "point"), [(name, p) for name, p in POINTS if p.reading_type.kind == "register"])
def test_registers_are_never_negative_and_one_way(name: str, point: PointModel):
    assert point.screen.possible_min == 0
    if point.reading_type.unit not in {"1", "mm"}:  # a count and rain have no direction
        assert point.reading_type.flow in {"import", "export"}
    assert point.screen.effective_deadband == 0


@pytest.mark.parametrize(("name", "rated_w"), [("pv_inverter", 6000), ("chp", 50_000), ("wind_turbine", 3_000_000)])
def test_a_generator_with_its_sign_reversed_is_impossible(name: str, rated_w: float):
    screen = MODELS[name].point("activePower").screen
    assert screen.possible_max is not None
    assert screen.possible_max < rated_w / 5


@pytest.mark.parametrize(("name", "point"), [(name, p) for name, p in POINTS if p.reading_type.flow == "net"])
def test_a_signed_point_says_which_direction_is_positive(name: str, point: PointModel):
    words = MODELS[name].document["properties"][point.name]["description"]
    assert any(word in words for word in ("positive", "negative"))


@pytest.mark.parametrize(("name", "point"), [(name, p) for name, p in POINTS if p.reading_type.codes])
def test_codes_are_what_the_screen_lets_pass(name: str, point: PointModel):
    codes = [int(code) for code in point.reading_type.codes]
    assert (point.screen.possible_min, point.screen.possible_max) == (min(codes), max(codes))


def test_there_is_a_model_for_each_class_of_the_house():
    assert len(MODELS) >= 20
    assert {point.reading_type.commodity for _, point in POINTS} == set(get_args(Commodity))
