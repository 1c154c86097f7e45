"""The mappings name points that exist, in the units of the Thing Models, and every sign is accounted for."""

import msgspec
import pytest

from gridspine.adapters.modbus.layout import PointLayout, load_layout
from gridspine.adapters.modbus.mapping import (
    Control,
    Mapping,
    PointRef,
    builtin_mappings,
    choose_mapping,
    sign_factor,
    sign_table,
)
from gridspine.energy.models import load_models
from gridspine.kernel.errors import Invalid

MAPPINGS = builtin_mappings()
SOURCES = [
    (mapping, name, source)
    for mapping in MAPPINGS
    for name, wanted in mapping.properties.items()
    for source in wanted.sources
]
CONTROLS = [
    (mapping, name, control)
    for mapping in MAPPINGS
    for name, wanted in mapping.properties.items()
    for control in wanted.controls
]
SIGNED = {"W", "VAr", "Var", "WSet", "WSetRvrt", "InWRte", "OutWRte"}


def layout_of(ref: PointRef) -> PointLayout:
    layout = load_layout(ref.model)
    assert layout is not None, ref
    return layout.points[ref.point]


@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda mapping: mapping.name)
def test_mapping_covers_its_thing_model_in_its_units(mapping: Mapping):
    model = next(model for model in load_models().values() if model.id == mapping.model)
    assert {point.name for point in model.points} == set(mapping.properties)
    for name, wanted in mapping.properties.items():
        point = model.point(name)
        assert wanted.unit == point.reading_type.unit
        assert bool(wanted.controls) == (point.lease is not None)
        assert wanted.sources or wanted.controls


@pytest.mark.parametrize(("mapping", "name", "source"), SOURCES)
def test_sources_exist_and_their_codes_are_all_translated(mapping: Mapping, name: str, source: object):
    point = next(m for m in load_models().values() if m.id == mapping.model).point(name)
    for point_name in source.points:  # type: ignore[attr-defined]
        layout = layout_of(PointRef(source.model, point_name))  # type: ignore[attr-defined]
        if point.reading_type.kind != "state":
            continue
        translated = source.codes or {str(value): value for _, value in layout.symbols}  # type: ignore[attr-defined]
        assert {str(value) for _, value in layout.symbols} == set(translated)
        words = point.reading_type.codes
        for symbol, value in layout.symbols:
            word = words[str(translated[str(value)])].replace(" ", "_")
            # The definition of one model begins its symbols with "gg".
            assert word == {"MPPT": "running"}.get(symbol.removeprefix("gg"), symbol.removeprefix("gg").lower())


@pytest.mark.parametrize(("mapping", "name", "control"), CONTROLS)
def test_controls_exist_and_can_be_written(mapping: Mapping, name: str, control: Control):
    for ref in control.points():
        layout_of(ref)
    for point in (control.value, control.enable, control.reversion_time, control.mirror, control.reversion_value):
        assert not point or layout_of(PointRef(control.model, point)).writable
    assert not control.remaining or not layout_of(PointRef(control.model, control.remaining)).writable


def test_every_point_with_a_direction_has_a_row_in_the_sign_table():
    rows = {(model, point) for row in sign_table() for model in row.models for point in row.points}
    for _, _, source in SOURCES:
        for point in source.points:
            assert point not in SIGNED or (source.model, point) in rows
    for _, _, control in CONTROLS:
        for ref in control.points():
            assert ref.point not in SIGNED or (ref.model, ref.point) in rows
    for model, point in rows:
        layout_of(PointRef(model, point))


def test_no_mapping_uses_a_point_whose_sign_is_open():
    for mapping, _, source in SOURCES:
        for point in source.points:
            sign_factor(source.model, point, mapping.device_class)
    for mapping, _, control in CONTROLS:
        for ref in control.points():
            sign_factor(ref.model, ref.point, mapping.device_class)
    with pytest.raises(Invalid, match="not defined"):
        sign_factor(802, "W", "storage")


def test_generation_is_positive_in_sunspec_and_negative_here():
    assert sign_factor(701, "W", "generator") == -1
    assert sign_factor(103, "W", "storage") == -1
    assert sign_factor(701, "Var", "generator") == -1
    assert sign_factor(704, "WSet", "storage") == -1
    assert sign_factor(704, "WMaxLimPct", "generator") == 1
    assert sign_factor(701, "TotWhInj", "generator") == 1


def test_a_mapping_of_ones_own_comes_first_and_a_wrong_one_is_named():
    own = msgspec.to_builtins(MAPPINGS[0]) | {"name": "mine"}
    assert choose_mapping(MAPPINGS[0].model, more={"mine": own}).name == "mine"
    assert choose_mapping("", "mine", {"mine": own}).name == "mine"
    with pytest.raises(Invalid, match="settings: mappings"):
        choose_mapping("", "mine", {"mine": {"name": "mine"}})
    with pytest.raises(Invalid, match="no mapping"):
        choose_mapping("https://example.org/models/kettle")
