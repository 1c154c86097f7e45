"""What each standard calls positive; a reversed current transformer shows where a Thing can flow one way only."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.modbus.mapping import sign_factor as adapter_sign
from gridspine.energy.mapping import emit
from gridspine.energy.mapping.sign import (
    model_class,
    quadrant,
    reversed_direction,
    sign_factor,
    sign_row,
    sign_table,
    turned_quadrant,
)
from gridspine.energy.models import load_models
from gridspine.kernel.errors import Invalid
from tests.energy.mapping.readers.openfmb import read as read_openfmb
from tests.energy.mapping.samples import MODELS, snapshot_of

POWERS = st.floats(-1e9, 1e9, allow_nan=False)


def test_every_row_says_what_it_rests_on_and_none_is_there_twice() -> None:
    seen = set()
    for row in sign_table():
        assert row.sense
        assert row.basis
        for device_class in row.device_classes:
            for quantity in row.quantities:
                assert (row.standard, device_class, quantity) not in seen
                seen.add((row.standard, device_class, quantity))


@pytest.mark.parametrize(
    ("standard", "device_class", "quantity", "factor"),
    [("sunspec 701", "generator", "activePower", -1), ("sunspec 701", "storage", "reactivePower", -1),
     ("sunspec meter", "meter", "activePower", 1), ("ieee2030_5 control", "storage", "activePower", -1),
     ("ieee2030_5 reading", "generator", "activePower", 1), ("cim", "network", "reactivePower", 1),
     ("ocpp", "load", "activePower", 1)],
)  # fmt: skip
def test_factors_to_import_positive(standard: str, device_class: str, quantity: str, factor: int) -> None:
    assert sign_factor(standard, device_class, quantity) == factor  # type: ignore[arg-type]


def test_a_sign_that_is_open_is_not_guessed() -> None:
    for standard in ("sunspec 802", "iec61850", "openfmb"):
        with pytest.raises(Invalid, match="is not defined"):
            sign_factor(standard, "storage", "activePower")
        assert sign_row(standard, "storage", "activePower").written == 1
    with pytest.raises(Invalid, match="no row"):
        sign_factor("smoke signals", "load", "activePower")


def test_the_table_and_the_modbus_adapter_agree() -> None:
    for device_class in ("generator", "storage"):
        assert adapter_sign(701, "W", device_class) == sign_factor("sunspec 701", device_class, "activePower")
        assert adapter_sign(701, "Var", device_class) == sign_factor("sunspec 701", device_class, "reactivePower")
        assert adapter_sign(704, "WSet", device_class) == sign_factor("sunspec 704", device_class, "activePower")
        assert adapter_sign(103, "W", device_class) == sign_factor("sunspec 10x", device_class, "activePower")


@pytest.mark.parametrize(("active", "reactive", "number"), [(1, 1, 1), (-1, 1, 2), (-1, -1, 3), (1, -1, 4), (0, 0, 1)])
def test_quadrants_seen_from_the_load(active: float, reactive: float, number: int) -> None:
    assert quadrant(active, reactive) == number


@given(POWERS.filter(bool), POWERS.filter(bool))
def test_from_the_other_end_a_quadrant_is_that_of_both_signs_turned(active: float, reactive: float) -> None:
    assert turned_quadrant(quadrant(active, reactive)) == quadrant(-active, -reactive)
    assert turned_quadrant(turned_quadrant(quadrant(active, reactive))) == quadrant(active, reactive)


def test_there_is_no_fifth_quadrant() -> None:
    with pytest.raises(Invalid):
        turned_quadrant(5)


def test_every_model_with_active_power_has_a_class_and_its_screen_agrees() -> None:
    for name, model in load_models().items():
        points = {point.name: point for point in model.points}
        known = model_class(name)
        assert (known is not None) == ("activePower" in points or name == "home" or name == "pmu"), name
        if known is None or "activePower" not in points:
            continue
        low, high = points["activePower"].screen.possible_min, points["activePower"].screen.possible_max
        assert low is not None
        assert high is not None
        if known.direction == "export":
            assert high < -low / 5
        elif known.direction == "import":
            assert -low < high / 5
        else:
            assert low < 0 < high


def test_a_planted_reversed_transformer_is_seen_where_power_has_one_direction() -> None:
    assert reversed_direction("pv_inverter", 4000)
    assert reversed_direction("https://gridspine.org/models/wind_turbine", 2e6)
    assert reversed_direction("heat_pump", -3000)
    assert not reversed_direction("pv_inverter", -4000)
    assert not reversed_direction("battery", 4000)
    assert not reversed_direction("https://example.org/models/kettle", -4000)


def test_the_readers_of_the_walk_see_a_reversed_sign() -> None:
    """The walk can fail: a document of the opposite sign is read as one."""
    word = "metermodule.MeterReadingProfile.meterReading.readingMMXU.W.net"
    right = read_openfmb(emit("openfmb", snapshot_of(MODELS["meter"], {"activePower": 1500.0})))
    wrong = read_openfmb(emit("openfmb", snapshot_of(MODELS["meter"], {"activePower": -1500.0})))
    assert (right[word].value, wrong[word].value) == (1500.0, -1500.0)
    document = emit("sunspec", snapshot_of(MODELS["battery"], {"activePower": 1500.0})).documents[0]
    assert json.loads(document.body)["models"][1]["W"] < 0
