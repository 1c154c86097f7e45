"""Set-points of ensembles spread over members: shares add up, and stay within what each can do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.ensemble import Gathered
from gridspine.energy.models import load_models
from gridspine.energy.plant import measured
from gridspine.energy.spread import MAX_MEMBERS, lever, spread
from gridspine.kernel.errors import Conflict
from gridspine.kernel.quality import Quality

MODELS = load_models()
BATTERY, CHARGER, INVERTER = (MODELS[name] for name in ("battery", "ev_charger", "pv_inverter"))
NAN = float("nan")


def gathered(power, low=-5000.0, high=5000.0):
    power = np.array(power, np.float64)
    shed, more = np.maximum(power - low, 0.0), np.maximum(high - power, 0.0)
    return Gathered(np.arange(len(power)), power, shed, more, np.full(len(power), NAN), len(power), {})


@pytest.mark.parametrize(
    ("model", "direction", "point", "watts"),
    [
        (BATTERY, "shed", "activePowerSetpoint", 1),
        (BATTERY, "raise", "activePowerSetpoint", 1),
        (CHARGER, "shed", "currentLimit", 690),
        (CHARGER, "raise", None, 0),
        (INVERTER, "raise", "activePowerLimit", -1),
        (INVERTER, "shed", None, 0),
        (MODELS["meter"], "shed", None, 0),
    ],
)
def test_the_lever_of_a_model(model, direction, point, watts):
    """A ceiling of import sheds only; one of export only raises, and its numbers have the other sign."""
    found = lever(model, direction)
    assert (found and found.point, found and found.watts) == (point, watts if point else None)


@given(st.lists(st.floats(-5000, 5000), min_size=1, max_size=30), st.floats(0, 1), st.booleans())
def test_shares_add_up_and_no_device_is_asked_for_more_than_it_can(power, part, shed):
    able = gathered(power)
    present, room = sum(power), float((able.shed_w if shed else able.raise_w).sum())
    target = present - part * room if shed else present + part * room
    shares = spread(target, present, able, lambda _: BATTERY)
    assert math.isclose(sum(share.w for share in shares), target, abs_tol=1e-3)
    assert all(-5000 <= share.value <= 5000 for share in shares)


def test_what_is_beyond_all_of_them_is_refused_with_how_far_they_go():
    with pytest.raises(Conflict, match=r"2 members .* from 3000 W to -10000 W at the furthest, not to -10100 W"):
        spread(-10_100, 3000, gathered([1000, 2000]), lambda _: BATTERY)
    with pytest.raises(Conflict, match="0 members"):
        spread(0, 0, gathered([]), lambda _: BATTERY)


def test_a_charger_is_told_amperes_and_a_plant_the_ceiling_of_its_export():
    (share,) = spread(3450, 6900, gathered([6900], low=0), lambda _: CHARGER)
    assert (share.lever.point, share.value) == ("currentLimit", 5)
    (share,) = spread(-1000, -4000, gathered([-4000], high=0), lambda _: INVERTER)
    assert (share.lever.point, share.value, share.w) == ("activePowerLimit", 1000, -1000)


def test_whose_lease_does_not_hold_so_long_is_left_out():
    with pytest.raises(Conflict, match="0 members"):
        spread(0, 1000, gathered([1000]), lambda _: BATTERY, for_s=1e6)


def test_of_too_many_those_that_can_do_the_most_are_told():
    able = gathered(np.linspace(-5000, 5000, MAX_MEMBERS + 100))
    shares = spread(float(able.power_w.sum()) - 1e6, float(able.power_w.sum()), able, lambda _: BATTERY)
    assert {share.thing for share in shares} == set(range(100, MAX_MEMBERS + 100))


@pytest.mark.parametrize(
    ("power", "quality"),
    [
        ([], Quality.GOOD),
        ([1, 2], Quality.GOOD),
        ([1, NAN], Quality.QUESTIONABLE | Quality.INACCURATE),
        ([NAN, NAN], Quality.INVALID),
    ],
)
def test_the_quality_of_a_sum_says_what_it_covers(power, quality):
    found = measured(gathered(power), 0.0)
    assert found.quality["activePower"] == quality
    assert found.quality["memberCount"] == 0
    assert found.values["unknownCount"] == sum(math.isnan(one) for one in power)
    assert found.values["activePower"] == sum(one for one in power if not math.isnan(one))


def test_what_did_not_change_is_not_told_again():
    before = measured(gathered([1000.0]), 0.0)
    assert before.differs(None) == list(before.values)
    assert measured(gathered([1000.5]), 0.0).differs(before) == []
    assert "activePower" in measured(gathered([1010.0]), 0.0).differs(before)
    assert "activePower" in measured(gathered([1000.0, NAN]), 0.0).differs(before), "the quality is another one"
