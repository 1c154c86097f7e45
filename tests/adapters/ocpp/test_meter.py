"""Meter values to readings: the table of `meter`, row by row, and whatever is sent."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.ocpp.meter import _RULES, take

TIME = "2026-01-01T12:00:00Z"
ALL = frozenset(rule.point for rule in _RULES)


def rows(*sampled, version="1.6", evse=1, points=ALL):
    taken = take([{"timestamp": TIME, "sampledValue": list(sampled)}], version, evse, points)
    return {row.point: (row.value, row.unit) for row in taken.rows}, taken


def value(number, measurand=None, unit=None, phase=None, location=None):
    said = {"value": str(number), "measurand": measurand, "unit": unit, "phase": phase, "location": location}
    return {name: one for name, one in said.items() if one is not None}


IMPORT, EXPORT = "Power.Active.Import", "Power.Active.Export"
REGISTER = "Energy.Active.Import.Register"


@pytest.mark.parametrize(
    ("sampled", "wanted"),
    [
        ([value(1234)], {"activeEnergyImport": (1234, "Wh")}),
        ([value(1.5, REGISTER, "kWh")], {"activeEnergyImport": (1500, "Wh")}),
        (
            [value(5, REGISTER), value(7, "Energy.Active.Export.Register")],
            {"activeEnergyImport": (5, "Wh"), "activeEnergyExport": (7, "Wh")},
        ),
        ([value(1, REGISTER, phase="L1"), value(2, REGISTER, phase="L2")], {"activeEnergyImport": (3, "Wh")}),
        (
            [value(9, REGISTER), value(1, REGISTER, phase="L1")],
            {"activeEnergyImport": (9, "Wh")},
        ),  # a whole beside its parts
        ([value(7.4, IMPORT, "kW")], {"activePower": (7400, "W")}),
        ([value(500, EXPORT)], {"activePower": (-500, "W")}),
        ([value(100, IMPORT), value(500, EXPORT)], {"activePower": (-400, "W")}),
        ([value(1, IMPORT, "kW", f"L{one}") for one in (1, 2, 3)], {"activePower": (3000, "W")}),
        ([value(3, "Power.Reactive.Export", "kvar")], {"reactivePower": (-3000, "var")}),
        ([value(one, "Current.Import", "A", f"L{one}") for one in (1, 2, 3)], {"current": (3, "A")}),
        ([value(30, "Current.Import", "A", "N")], {}),
        ([value(0, "Current.Import"), value(8, "Current.Export")], {"current": (8, "A")}),
        ([value(228 + one, "Voltage", "V", f"L{one}-N") for one in (1, 2, 3)], {"voltage": (230, "V")}),
        ([value(400, "Voltage", "V", "L1-L2")], {}),
        ([value(50.01, "Frequency")], {"frequency": (50.01, "Hz")}),
        ([value(0.9, "Power.Factor")], {"powerFactor": (0.9, "1")}),
        ([value(40, "SoC", "Percent", location="EV")], {"stateOfCharge": (40, "%")}),
        ([value(20, "Temperature", "Celcius", location="EV")], {"temperature": (20, "degC")}),
        ([value(77, "Temperature", "Fahrenheit")], {"temperature": (pytest.approx(25), "degC")}),
        ([value(5, REGISTER, location="Inlet")], {}),
        ([value(5, "Energy.Active.Import.Interval")], {}),
        ([value(5, "Power.Offered")], {}),
    ],
)
def test_the_table(sampled, wanted):
    assert rows(*sampled)[0] == wanted


def test_the_charge_point_as_a_whole_is_measured_at_its_inlet():
    assert rows(value(5, REGISTER, location="Inlet"), evse=0)[0] == {"activeEnergyImport": (5, "Wh")}


def test_what_the_model_has_no_point_for_is_left_out_and_named():
    found, taken = rows(value(50, "Frequency"), value(1), points=frozenset({"activeEnergyImport"}))
    assert list(found) == ["activeEnergyImport"]
    assert taken.left_out == ["Frequency"]


def test_a_signed_value_of_2_is_kept_whole_and_counts_as_a_number_too():
    signed = {"value": 5.0, "signedMeterValue": {"signedMeterData": "x", "encodingMethod": "OCMF"}}
    found, taken = rows(signed, version="2.0.1")
    assert found == {"activeEnergyImport": (5, "Wh")}
    assert taken.signed == [{"timestamp": TIME, "sampledValue": signed}]


@pytest.mark.parametrize(
    ("sampled", "wanted"),
    [
        ([value(7000, IMPORT), value(0, EXPORT)], ("activePower", 7000)),
        ([value(2300, IMPORT, "W", f"L{one}") for one in (1, 2, 3)], ("activePower", 6900)),
        ([value(100 * one, REGISTER, phase=f"L{one}") for one in (1, 2, 3)], ("activeEnergyImport", 600)),
    ],
)
@pytest.mark.parametrize("spellings", [[TIME], [TIME, "2026-01-01T13:00:00+01:00"]])
def test_what_is_said_of_one_moment_in_several_elements_is_one_reading(sampled, wanted, spellings):
    times = (spellings * 3)[:3]
    elements = [{"timestamp": time, "sampledValue": [one]} for time, one in zip(times, sampled, strict=False)]
    later = {"timestamp": "2026-01-01T12:00:01Z", "sampledValue": [value(1, "Frequency")]}
    taken = take([elements[0], later, *elements[1:]], "1.6", 1, ALL)
    assert [(row.point, row.value) for row in taken.rows] == [wanted, ("frequency", 1)]


measurands = st.sampled_from(
    [*(name for rule in _RULES for name in rule.measurands), "Power.Offered", "Energy.Active.Import.Interval"]
)
texts = st.text(max_size=6) | st.floats().map(str) | st.integers(-(10**30), 10**30).map(str)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"value": texts},
            optional={
                "measurand": measurands,
                "unit": st.sampled_from(["Wh", "kWh", "W", "kW", "A", "V", "Celcius", "Fahrenheit", "K", "Percent"]),
                "phase": st.sampled_from(["L1", "L2", "L3", "N", "L1-N", "L1-L2"]),
                "location": st.sampled_from(["Outlet", "Inlet", "EV", "Body"]),
                "format": st.sampled_from(["Raw", "SignedData"]),
            },
        ),
        max_size=8,
    )
)
def test_whatever_is_sampled_is_a_finite_reading_or_has_its_reason(sampled):
    taken = take([{"timestamp": TIME, "sampledValue": sampled}], "1.6", 1, ALL)
    assert all(math.isfinite(row.value) for row in taken.rows)
    assert len({row.point for row in taken.rows}) == len(taken.rows)
    signed_only = sum(one.get("format") == "SignedData" for one in sampled)
    assert len(taken.signed) == signed_only
    assert len(taken.problems) + len(taken.left_out) + signed_only <= len(sampled)
    assert all(0 <= one.index < len(sampled) for one in taken.problems)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**6), 10**6))
def test_multipliers_never_overflow_into_a_reading(number, multiplier):
    sampled = {"value": number, "unitOfMeasure": {"unit": "Wh", "multiplier": multiplier}}
    taken = take([{"timestamp": TIME, "sampledValue": [sampled]}], "2.0.1", 1, ALL)
    assert len(taken.rows) + len(taken.problems) == 1
    assert all(math.isfinite(row.value) for row in taken.rows)


def test_an_integer_beyond_what_a_float_can_be_is_a_problem_of_its_own():
    found, taken = rows({"value": 10**400}, {"value": 5.0, "measurand": "Voltage"}, version="2.0.1")
    assert (found, len(taken.problems)) == ({"voltage": (5.0, "V")}, 1)
