"""Set-points of power, either way (OCPP 2.1, V2X): the profile, what limits it, what it falls back to, who cannot."""

import asyncio

import pytest
from adapter_node import DictStore
from hypothesis import given
from hypothesis import strategies as st
from ocpp_bench import BOOT_2, LIMITED, ONE, STATION, binding, make_node, order, raw, serving, stored

from gridspine.adapters.ocpp import profile, setpoint
from gridspine.adapters.ocpp.schema import schemas
from gridspine.adapters.ocpp.setpoint import Beside
from gridspine.adapters.ocpp.station import Stations
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339
from gridspine.things.adapter import Order

POINTS = (*LIMITED, "activePowerSetpoint")
ACCEPTED, UNKNOWN = {"status": "Accepted"}, {"status": "Rejected"}
NOW_US = 1_800_000_000 * US


def able(enabled="true", modes="ChargingOnly,CentralSetpoint", status="Accepted"):
    """What a charge point answers for V2XChargingCtrlr."""
    said = {"Enabled": enabled, "SupportedOperationModes": modes}
    component = {"name": "V2XChargingCtrlr", "evse": {"id": 1}}
    results = [
        {"attributeStatus": status if value is not None else "UnknownVariable", "component": component,
         "variable": {"name": name}, **({"attributeValue": value} if value is not None else {})}
        for name, value in said.items()
    ]  # fmt: skip
    return {"getVariableResult": results}


def power(node, value=-5_000.0, command="p1", **more):
    return order(node, value, command, point="activePowerSetpoint", **{"fallback": 22_000.0, **more})


def composite(node, **period):
    schedule = {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, **period}]}
    start = format_rfc3339(node.clock.now_us() // US * US)
    return ACCEPTED | {"schedule": {"evseId": 1, "duration": 60, "scheduleStart": start, **schedule}}


def sent(point):
    """The profiles that the charge point was sent, in order."""
    return [said["chargingProfile"] for action, said in point.called if action == "SetChargingProfile"]


def periods(profile):
    return profile["chargingSchedule"][0]["chargingSchedulePeriod"]


async def test_a_lease_to_discharge_becomes_a_central_set_point_that_ends_by_itself():
    node = make_node(binding(points=POINTS))
    async with serving(node), raw(node, "2.1") as point:
        point.answers = {
            "GetCompositeSchedule": [composite(node, limit=22_000.0), composite(node, setpoint=-5_000.0)],
            "GetVariables": able(), "SetChargingProfile": ACCEPTED, "ClearChargingProfile": ACCEPTED,
        }  # fmt: skip
        await point.answer_next()
        wanted = power(node)
        node.order(wanted)
        for _ in range(4):
            await point.answer_next()
        await node.until(lambda: stored(node, "activePowerSetpoint") == [22_000, -5_000])
        point.answers["GetCompositeSchedule"] = UNKNOWN
        node.order(power(node, None, "p2", sequence=2, lasts_s=0))
        assert await point.answer_next() == "ClearChargingProfile"
        await node.until(lambda: ("p2", "acknowledged", "") in node.progressed)
    assert [action for action, _ in point.called] == [
        "GetCompositeSchedule", "GetVariables", "SetChargingProfile", "SetChargingProfile", "GetCompositeSchedule",
        "ClearChargingProfile",
    ]  # fmt: skip
    assert node.progressed[:2] == [("p1", "sent", ""), ("p1", "acknowledged", "")]
    fallback, lease = sent(point)
    assert fallback["stackLevel"] == 0
    assert periods(fallback) == [{"startPeriod": 0, "operationMode": "ChargingOnly", "limit": 22_000}]
    assert "validTo" not in fallback
    assert lease["stackLevel"] == 2
    assert periods(lease) == [
        {"startPeriod": 0, "operationMode": "CentralSetpoint", "setpoint": -5_000, "dischargeLimit": -5_000}
    ]
    assert 0 <= parse_rfc3339(lease["validTo"]) - wanted.until_us < US
    schedule = lease["chargingSchedule"][0]
    assert schedule["chargingRateUnit"] == "W"
    assert parse_rfc3339(schedule["startSchedule"]) + schedule["duration"] * US == parse_rfc3339(lease["validTo"])
    assert point.called[5][1] == {"chargingProfileId": lease["id"]}


async def test_a_limit_holds_above_a_set_point_and_for_as_long_as_it_does():
    node = make_node(binding(points=POINTS))
    async with serving(node), raw(node, "2.1") as point:
        point.answers = {"GetCompositeSchedule": UNKNOWN, "GetVariables": able(), "SetChargingProfile": ACCEPTED}
        await point.answer_next()
        node.order(power(node, 15_000.0, lasts_s=7200))
        for _ in range(4):
            await point.answer_next()
        limit = order(node, 10.0, "c1", lasts_s=600)
        node.order(limit)
        for _ in range(4):  # the set-point anew, the fallback of both, the limit, what holds
            await point.answer_next()
    first, alone, again, fallback, limited = sent(point)
    assert periods(first)[0]["limit"] == 22_000
    assert periods(alone) == [
        {"startPeriod": 0, "operationMode": "CentralSetpoint", "setpoint": 15_000, "dischargeLimit": 0}
    ]
    assert periods(fallback)[0] == {"startPeriod": 0, "operationMode": "ChargingOnly", "limit": 22_000}  # of 22 080 W
    assert {"stackLevel": limited["stackLevel"], "limit": periods(limited)[0]["limit"]} == {
        "stackLevel": 1,
        "limit": 10,
    }
    under, after = periods(again)
    assert (under["setpoint"], under["limit"]) == (6_900, 6_900)
    assert (after["setpoint"], after["limit"]) == (15_000, 22_080)
    start_us = parse_rfc3339(again["chargingSchedule"][0]["startSchedule"])
    assert 0 <= start_us + after["startPeriod"] * US - limit.until_us < US
    assert [(one, state) for one, state, _ in node.progressed] == [
        ("p1", "sent"), ("p1", "acknowledged"), ("c1", "sent"), ("c1", "acknowledged"),
    ]  # fmt: skip


TAKES = {
    "GetCompositeSchedule": UNKNOWN, "GetVariables": able(), "SetChargingProfile": ACCEPTED,
    "ClearChargingProfile": ACCEPTED,
}  # fmt: skip


async def until_sent(point, number):
    """Answer what is asked until that many profiles came in all."""
    async with asyncio.timeout(60):
        while len(sent(point)) < number:
            await point.answer_next()


@pytest.mark.parametrize("how", ["released", "expired"])
async def test_when_a_limit_is_over_a_set_point_is_held_to_what_it_falls_back_to(how):
    node = make_node(binding(points=POINTS))
    async with serving(node), raw(node, "2.1") as point:
        point.answers = dict(TAKES)
        node.order(power(node, 22_000.0, lasts_s=7200))
        await until_sent(point, 2)
        node.order(order(node, 8.0, "c1", lasts_s=3 if how == "expired" else 600, fallback=10.0))
        await until_sent(point, 5)
        if how == "released":
            node.order(order(node, None, "c2", sequence=2, lasts_s=0, fallback=10.0))
        await until_sent(point, 6)
    again, _, _, after = sent(point)[2:]
    assert [(one["setpoint"], one["limit"]) for one in periods(again)] == [(5_520, 5_520), (6_900, 6_900)]
    assert [(one["setpoint"], one["limit"]) for one in periods(after)] == [(6_900, 6_900)]


@pytest.mark.parametrize("how", ["connected", "booted", "restarted"])
async def test_what_a_limit_falls_back_to_stays_when_a_charge_point_comes_again(how):
    store = DictStore()
    node = make_node(binding(points=POINTS), store=store)
    limit = order(node, 8.0, "c1", lasts_s=3, fallback=10.0)
    async with serving(node):
        async with raw(node, "2.1") as point:
            point.answers = dict(TAKES)
            node.order(limit)
            await until_sent(point, 2)
            await node.until(lambda: node.clock.now_us() > limit.until_us)
            if how == "booted":
                await point.call("BootNotification", BOOT_2)
                node.order(power(node, 22_000.0))
                await until_sent(point, 4)
        if how == "connected":
            async with raw(node, "2.1") as point:
                point.answers = dict(TAKES)
                node.order(power(node, 22_000.0))
                await until_sent(point, 2)
    if how == "restarted":
        node = make_node(binding(points=POINTS), store=store)
        async with serving(node), raw(node, "2.1") as point:
            point.answers = dict(TAKES)
            node.order(power(node, 22_000.0))
            await until_sent(point, 2)
    fallback, lease = sent(point)[-2:]
    assert [(one["stackLevel"], periods(one)[0]["limit"]) for one in (fallback, lease)] == [(0, 6_900), (2, 6_900)]
    assert periods(lease)[0]["setpoint"] == 6_900


@pytest.mark.parametrize(("version", "points"), [("2.0.1", POINTS), ("2.1", LIMITED)])
async def test_a_set_point_that_cannot_be_any_more_has_no_part_in_what_is_fallen_back_to(version, points):
    node = make_node(binding(points=points))
    node.store.content[f"fallbacks/org/{STATION}"] = b'{"%s":{"activePowerSetpoint":-500.0}}' % ONE.encode()
    async with serving(node), raw(node, version) as point:
        point.answers = dict(TAKES)
        node.order(order(node, 8.0, fallback=10.0))
        await until_sent(point, 2)
    assert [periods(one)[0] for one in sent(point)] == [
        {"startPeriod": 0, "limit": limit, "numberPhases": 3} for limit in (10, 8)
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (able(enabled="false"), "Enabled is not true"),
        (able(modes="ChargingOnly,LocalFrequency"), "have no CentralSetpoint"),
        (able(None, None), "has no V2XChargingCtrlr"),
        ("NotSupported", "does not say whether it takes set-points"),
    ],
)
async def test_a_charge_point_that_says_it_cannot_is_not_sent_a_set_point(answer, words):
    node = make_node(binding(points=POINTS))
    async with serving(node), raw(node, "2.1") as point:
        point.answers = {"GetCompositeSchedule": UNKNOWN, "GetVariables": answer}
        await point.answer_next()
        node.order(power(node))
        assert await point.answer_next() == "GetVariables"
        await node.until(lambda: len(node.progressed) == 2)
    assert node.progressed[1][:2] == ("p1", "rejected")
    assert words in node.progressed[1][2]
    assert sent(point) == []


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_older_versions_have_no_set_points(version):
    node = make_node(binding(points=POINTS))
    async with serving(node), raw(node, version) as point:
        point.answers = {"GetCompositeSchedule": UNKNOWN}
        await point.answer_next()
        node.order(power(node))
        await node.until(lambda: node.progressed)
    assert node.progressed == [("p1", "rejected", f"OCPP {version} has no set-points of power: it takes 2.1")]
    assert sent(point) == []


async def test_why_a_profile_was_rejected_reaches_the_person():
    info = {"reasonCode": "UnsupportedRateUnit", "additionalInfo": "watts\nonly of \x1b[31mthe whole\x1b[0m"}
    node = make_node(binding(points=POINTS))
    async with serving(node), raw(node, "2.1") as point:
        rejected = {"status": "Rejected", "statusInfo": {**info, "reasonCode": info["reasonCode"][:20]}}
        point.answers = {
            "GetCompositeSchedule": UNKNOWN, "GetVariables": able(), "SetChargingProfile": [ACCEPTED, rejected],
        }  # fmt: skip
        await point.answer_next()
        node.order(power(node))
        for _ in range(3):
            await point.answer_next()
        await node.until(lambda: len(node.progressed) == 2)
    state, words = node.progressed[1][1:]
    assert state == "rejected"
    assert words == (
        "the charge point answers the profile with Rejected (UnsupportedRateUnit: watts only of  [31mthe whole [0m)"
    )


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), None])
def test_what_holds_is_a_number_or_nothing(value):
    _, here = Stations([binding(points=POINTS)]).of(ONE)
    period = {"startPeriod": 0, "setpoint": value, "limit": value}
    assert setpoint.told(period, "A", here) is None
    assert profile.told(period, "A", here) is None


@given(
    st.floats(-30_000, 30_000), st.sampled_from([1, 2, 3]), st.integers(1, 86_400 * US),
    st.none() | st.floats(0, 40), st.integers(1, 86_400 * US), st.floats(-22_000, 22_000),
    st.sampled_from(["TxDefaultProfile", "ChargePointMaxProfile"]), st.none() | st.floats(0, 40),
)  # fmt: skip
def test_any_set_point_is_a_profile_its_schema_allows_and_never_more_than_was_said(
    value, phases, lasts_us, limit, limited_us, fallback, purpose, kept
):
    _, here = Stations([binding(points=POINTS, phases=phases, purpose=purpose)]).of(ONE)
    wanted = Order("p", ONE, "activePowerSetpoint", value, NOW_US + lasts_us, fallback, 1)
    beside = setpoint.beside(
        None if limit is None else Order("c", ONE, "currentLimit", limit, NOW_US + limited_us, 32.0, 1), here, kept
    )
    payload = setpoint.setpoint_profile(wanted, here, NOW_US, beside)
    base = setpoint.fallback_profile(fallback, here, NOW_US, limit)
    for one in (payload, base):
        schemas("2.1").check("SetChargingProfile", "request", one)
    schemas("2.1").check("ClearChargingProfile", "request", setpoint.clear(here))
    schemas("2.1").check("GetVariables", "request", setpoint.capability(here))
    for number, period in enumerate(periods(payload["chargingProfile"])):
        setpoint_w, most_w = period["setpoint"], beside.limit_w if number == 0 else beside.fallback_w
        assert abs(setpoint_w) <= abs(value) + 1e-6
        assert setpoint_w == 0 or setpoint_w * value > 0
        assert most_w is None or setpoint_w <= most_w == period["limit"]
        assert period["dischargeLimit"] == min(0, setpoint_w)
    if beside == Beside() and abs(value) >= 0.1:
        assert abs(periods(payload["chargingProfile"])[0]["setpoint"] - value) < 0.1 + 1e-6
    assert base["chargingProfile"]["id"] != payload["chargingProfile"]["id"]
