"""Controls divided over Things: together they stay within the limit, and each within what it can do."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.allocation import Told, aimed, handles, limited
from gridspine.energy.control import NOTHING, Control
from gridspine.energy.models import load_models

MODELS = load_models()
NAMES = ("battery", "ev_charger", "pv_inverter", "heat_pump", "chp", "appliance", "meter", "thermostat")
SETPOINT = "activePowerSetpoint"
powers = st.floats(0, 100_000, allow_subnormal=False)


def own(*names):
    return [one for at, name in enumerate(names) for one in handles(f"urn:x:{at}-{name}", MODELS[name])]


def told_w(told, given_handles):
    """Return what each handle may do at most [W]: what it was told, else what it may by itself."""
    values = {(one.thing, one.point, one.role): one for one in told}
    found = []
    for one in given_handles:
        word = values.get((one.thing, one.point, one.role))
        allowed_w = one.base_w if word is None else abs(word.value * one.watts)
        found.append(min(allowed_w, one.base_w) if word is not None and word.bounding else allowed_w)
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("battery", [(SETPOINT, "import", "limit_max", 5000), (SETPOINT, "export", "limit_min", 5000)]),
        ("pv_inverter", [("activePowerLimit", "export", "limit_max", 6000)]),
        ("ev_charger", [("currentLimit", "import", "limit_max", 32 * 690)]),
        ("chp", [(SETPOINT, "export", "limit_min", 50_000)]),
        ("site", [("exportLimit", "export", "limit_max", 43_500), ("importLimit", "import", "limit_max", 43_500)]),
        ("meter", []), ("thermostat", []),
    ],
)  # fmt: skip
def test_what_a_model_can_be_limited_by(name, expected):
    assert [(one.point, one.direction, one.role, one.most_w) for one in handles("urn:x:y", MODELS[name])] == expected


@given(st.lists(st.sampled_from(NAMES), max_size=6), powers, powers, st.one_of(st.none(), powers), st.floats(0, 5_000))
def test_all_of_them_together_never_pass_a_limit(names, import_w, export_w, load_w, aside_w):
    given_handles = own(*names)
    control = Control(import_limit_w=import_w, export_limit_w=export_w, load_limit_w=load_w)
    allowed = told_w(limited(control, NOTHING, given_handles, set_aside_w=aside_w), given_handles)
    sums = {way: sum(w for w, one in zip(allowed, given_handles, strict=True) if one.direction == way)
            for way in ("import", "export")}  # fmt: skip
    room_w = min(import_w, import_w if load_w is None else load_w)
    assert sums["import"] <= max(0.0, room_w - aside_w) * (1 + 1e-9) + 1e-6
    assert sums["export"] <= export_w * (1 + 1e-9) + 1e-6
    for w, one in zip(allowed, given_handles, strict=True):
        assert 0 <= w <= one.most_w * (1 + 1e-9)


@given(st.lists(st.sampled_from(NAMES), max_size=6), powers, powers)
def test_a_limit_of_the_point_itself_never_lets_more_than_without_it(names, import_w, export_w):
    given_handles = own(*names)
    static = Control(import_limit_w=import_w, export_limit_w=export_w)
    for w, one in zip(told_w(limited(NOTHING, static, given_handles), given_handles), given_handles, strict=True):
        assert w <= one.base_w * (1 + 1e-9)


def test_parts_are_as_large_as_what_each_can():
    found = limited(Control(export_limit_w=5_500.0), NOTHING, own("battery", "pv_inverter"))
    assert found == [
        Told("urn:x:0-battery", "activePowerSetpoint", "limit_min", -2_500.0),
        Told("urn:x:1-pv_inverter", "activePowerLimit", "limit_max", 3_000.0),
    ]


def test_a_limit_that_none_can_reach_tells_nothing():
    assert (
        limited(Control(export_limit_w=11_000.0, import_limit_w=99_000.0), NOTHING, own("battery", "pv_inverter")) == []
    )


@pytest.mark.parametrize("limit_w", [0.0, 4_000.0])
def test_a_limit_that_is_just_what_one_may_by_itself_is_told_before_others_let_it_do_more(limit_w):
    (charger,) = own("ev_charger")
    careful = charger._replace(base_w=limit_w)
    control = Control(import_limit_w=limit_w)
    told = limited(control, NOTHING, [careful])
    assert [one.value * charger.watts for one in told] == [pytest.approx(limit_w)]
    bounding = [one._replace(bounding=True) for one in told]
    assert limited(NOTHING, control, [careful]) == bounding, "so is the connection point's own"


def test_a_limit_of_the_point_itself_clamps_others_also_where_the_device_does_less_by_itself():
    (charger,) = own("ev_charger")
    careful = charger._replace(base_w=6_900.0)
    (told,) = limited(NOTHING, Control(import_limit_w=11_040.0), [careful])
    assert (told.value, told.bounding) == (16.0, True)
    assert limited(NOTHING, Control(import_limit_w=99_000.0), [careful]) == [], "more than it can take limits nothing"


def with_least(least_a, **rule):
    (charger,) = own("ev_charger")
    return charger._replace(rule=msgspec.structs.replace(charger.rule, minimum=least_a, **rule))


def test_a_limit_below_what_a_device_can_do_is_never_loosened():
    charger = with_least(6.0)
    (told,) = limited(Control(import_limit_w=3 * 690.0), NOTHING, [charger])
    assert (told.value, told.beyond) == (3.0, False), "it pauses: off is less"
    (told,) = limited(Control(import_limit_w=3 * 690.0), NOTHING, [with_least(6.0, off=6.0)])
    assert (told.value, told.beyond) == (3.0, True), "it has no off: the lease is refused"


@given(st.floats(0, 40), powers)
def test_what_is_told_is_never_more_than_the_limit(least_a, limit_w):
    for one in limited(Control(import_limit_w=limit_w), NOTHING, [with_least(min(least_a, 32.0))]):
        assert one.value * 690 <= limit_w * (1 + 1e-9)


def test_a_guard_keeps_the_points_limits_and_only_those():
    given_handles = own("site", "battery", "pv_inverter")
    control = Control(export_limit_w=5_000.0, generation_limit_w=5_500.0)
    found = {(one.thing, one.role): one.value for one in limited(control, NOTHING, given_handles, guard="urn:x:0-site")}
    assert found == {
        ("urn:x:0-site", "limit_max"): 5_000.0, ("urn:x:1-battery", "limit_min"): -2_500.0,
        ("urn:x:2-pv_inverter", "limit_max"): 3_000.0,
    }  # fmt: skip


def test_a_guard_may_export_more_than_by_itself_when_told_so_and_only_then():
    given_handles, guard = own("site"), "urn:x:0-site"
    static = Control(export_limit_w=10_000.0)
    (alone,) = limited(NOTHING, static, given_handles, guard=guard)
    assert (alone.value, alone.bounding) == (10_000.0, True), "by itself it exports 1.5 kW at most"
    (told,) = limited(Control(export_limit_w=20_000.0), static, given_handles, guard=guard)
    assert told.value == 10_000.0


def test_amperes_are_told_in_amperes():
    (told,) = limited(Control(import_limit_w=6_900.0), NOTHING, own("ev_charger"))
    assert told == Told("urn:x:0-ev_charger", "currentLimit", "limit_max", 10.0)


@given(st.lists(st.sampled_from(NAMES), max_size=6), st.floats(-80_000, 80_000))
def test_a_target_is_met_as_far_as_the_set_points_go(names, target_w):
    given_handles = own(*names)
    told = aimed(target_w, given_handles)
    way = "import" if target_w > 0 else "export"
    most_w = sum(one.most_w for one in given_handles if one.rule.role == "setpoint" and one.direction == way)
    expected = max(-most_w, min(most_w, target_w)) if target_w else 0.0
    assert sum(one.value for one in told) == pytest.approx(expected, abs=1e-3)
    assert all(one.role == "setpoint" for one in told)


def test_nothing_is_a_target_too():
    assert [one.value for one in aimed(0.0, own("battery", "chp", "pv_inverter"))] == [0.0, 0.0]
