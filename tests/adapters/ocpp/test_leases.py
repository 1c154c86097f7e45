"""Leases: a ceiling as a charging profile that ends in the charge point, its fallback, its release, its end."""

import asyncio

import pytest
from adapter_node import DictStore
from hypothesis import given
from hypothesis import strategies as st
from ocpp_bench import BOOT_16, LIMITED, ONE, STATION, TWO, at, binding, make_node, order, raw, serving, stored

from gridspine.adapters.ocpp import profile
from gridspine.adapters.ocpp.schema import schemas
from gridspine.adapters.ocpp.station import Stations
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US, parse_rfc3339
from gridspine.things.adapter import Order

ACCEPTED = {"status": "Accepted"}
UNKNOWN = {"status": "Rejected"}


def composite(node, limit, unit="A", version="1.6"):
    schedule = {"chargingRateUnit": unit, "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}]}
    if version == "1.6":
        return ACCEPTED | {"connectorId": 1, "scheduleStart": at(node), "chargingSchedule": schedule}
    return ACCEPTED | {"schedule": {"evseId": 1, "duration": 60, "scheduleStart": at(node), **schedule}}


def place(version="1.6", **connection):
    _, found = Stations([binding(points=LIMITED, **connection)]).of(ONE)
    return found


async def test_a_lease_becomes_a_profile_with_its_end_above_the_one_to_fall_back_to():
    node = make_node(binding(points=LIMITED))
    async with serving(node), raw(node) as point:
        point.answers = {
            "GetCompositeSchedule": [composite(node, 32.0), composite(node, 16.0)],
            "SetChargingProfile": ACCEPTED,
        }
        assert await point.answer_next() == "GetCompositeSchedule"
        await node.until(lambda: stored(node, "currentLimit") == [32])
        wanted = order(node)
        node.order(wanted)
        for _ in range(3):
            await point.answer_next()
        await node.until(lambda: stored(node, "currentLimit") == [32, 16])
        fallback, lease = [said["csChargingProfiles"] for action, said in point.called if action[0] == "S"]
    assert node.progressed == [("c1", "sent", ""), ("c1", "acknowledged", "")]
    assert node.sequences == [1, 1]
    assert fallback["stackLevel"] == 0
    assert "validTo" not in fallback
    assert fallback["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] == 32
    assert lease["stackLevel"] == 1
    assert lease["chargingProfilePurpose"] == "TxDefaultProfile"
    assert 0 <= parse_rfc3339(lease["validTo"]) - wanted.until_us < US
    schedule = lease["chargingSchedule"]
    assert parse_rfc3339(schedule["startSchedule"]) + schedule["duration"] * US == parse_rfc3339(lease["validTo"])
    assert schedule["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 16, "numberPhases": 3}]


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_the_same_lease_in_2(version):
    node = make_node(binding(points=LIMITED, rateUnit="W", purpose="ChargePointMaxProfile"))
    async with serving(node), raw(node, version) as point:
        point.answers = {
            "GetCompositeSchedule": [UNKNOWN, composite(node, 6900.0, "W", version)],
            "SetChargingProfile": ACCEPTED,
        }
        await point.answer_next()
        node.order(order(node, 10.0))
        for _ in range(3):
            await point.answer_next()
        await node.until(lambda: stored(node, "currentLimit") == [10])
        payload = point.called[2][1]
    assert payload["evseId"] == 0
    assert payload["chargingProfile"]["chargingProfilePurpose"] == "ChargingStationMaxProfile"
    (schedule,) = payload["chargingProfile"]["chargingSchedule"]
    assert schedule["chargingRateUnit"] == "W"
    assert schedule["chargingSchedulePeriod"][0]["limit"] == 6900


async def test_a_cancelled_lease_is_cleared_and_a_device_that_does_not_know_it_is_content():
    node = make_node(binding(points=LIMITED))
    async with serving(node), raw(node) as point:
        point.answers = {
            "GetCompositeSchedule": UNKNOWN,
            "SetChargingProfile": ACCEPTED,
            "ClearChargingProfile": {"status": "Unknown"},
        }
        await point.answer_next()
        node.order(order(node))
        for _ in range(3):
            await point.answer_next()
        node.order(order(node, None, "c2", sequence=2, lasts_s=0))
        assert await point.answer_next() == "ClearChargingProfile"
        assert point.called[-1][1] == {"id": 12}
        assert await point.answer_next() == "GetCompositeSchedule"
        await node.until(lambda: ("c2", "acknowledged", "") in node.progressed)


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([{"status": "Rejected"}], "rejected"),
        ([ACCEPTED, {"status": "NotSupported"}], "rejected"),
        (["NotSupported"], "rejected"),
        (["NotImplemented"], "rejected"),
        (["InternalError"], "failed"),
    ],
)
async def test_what_a_charge_point_refuses_is_told(answers, state):
    node = make_node(binding(points=LIMITED))
    async with serving(node), raw(node) as point:
        point.answers = {"GetCompositeSchedule": UNKNOWN, "SetChargingProfile": list(answers)}
        await point.answer_next()
        node.order(order(node))
        for _ in answers:
            await point.answer_next()
        await node.until(lambda: len(node.progressed) == 2)
    assert node.progressed[1][1] == state
    assert node.progressed[1][2]
    assert stored(node, "currentLimit") == []  # an answer is never a reading


async def test_a_point_that_is_no_limit_is_rejected_and_never_sent():
    node = make_node(binding(points=LIMITED))
    async with serving(node), raw(node) as point:
        point.answers = {"GetCompositeSchedule": UNKNOWN}
        await point.answer_next()
        node.order(order(node, 1.0, point="connectorState"))
        await node.until(lambda: node.progressed)
        assert await point.call("Heartbeat", {})
    assert [state for _, state, _ in node.progressed] == ["rejected"]
    assert [action for action, _ in point.called] == ["GetCompositeSchedule"]


async def test_a_charge_point_as_a_whole_is_limited_by_one_of_its_things(caplog):
    """Two would replace each other's profile, and each be told that its own holds."""
    whole = {"points": LIMITED, "purpose": "ChargePointMaxProfile"}
    node = make_node(binding(**whole), binding(TWO, evse=2, **whole))
    async with serving(node) as adapter, raw(node) as point:
        point.answers = {"GetCompositeSchedule": UNKNOWN, "SetChargingProfile": ACCEPTED}
        await point.answer_next()
        node.order(order(node, 30.0, "c2", thing=TWO))
        await node.until(lambda: node.progressed)
        node.order(order(node, 8.0, "c1"))
        while len(point.called) < 4:
            await point.answer_next()
        status = {"connectorId": 2, "errorCode": "NoError", "status": "Available"}
        await point.call("StatusNotification", status)
        assert adapter.server.stations.problems == [
            f"{TWO}: its limit: that of {STATION} as a whole is the limit of {ONE} already"
        ]
    assert [(one, state) for one, state, _ in node.progressed] == [
        ("c2", "rejected"), ("c1", "sent"), ("c1", "acknowledged"),
    ]  # fmt: skip
    assert "another Thing of the charge point" in node.progressed[0][2]
    assert stored(node, "connectorState", TWO) == [1], "what it measures is taken in"


async def test_who_comes_late_gets_the_latest_order_only_and_an_ended_one_is_never_sent():
    node = make_node(binding(points=LIMITED), binding(TWO, points=LIMITED, evse=2))
    async with serving(node):
        await node.until(lambda: node.waiting_orders == 0)
        node.order(order(node, 10.0, "c1", sequence=1))
        node.order(order(node, 8.0, "c3", sequence=3))
        node.order(order(node, 9.0, "c2", sequence=2))  # overtaken on the way
        node.order(order(node, 9.0, "gone", thing=TWO, lasts_s=-1))
        await node.until(lambda: node.waiting_orders == 0)
        async with raw(node) as point:
            point.answers = {"GetCompositeSchedule": UNKNOWN, "SetChargingProfile": ACCEPTED}
            for _ in range(4):
                await point.answer_next()
            assert await point.call("Heartbeat", {})
    sent = [said["csChargingProfiles"] for action, said in point.called if action == "SetChargingProfile"]
    assert [one["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] for one in sent] == [32, 8]
    assert [(command, state) for command, state, _ in node.progressed] == [
        ("gone", "failed"), ("c3", "sent"), ("c3", "acknowledged"),
    ]  # fmt: skip


async def test_after_a_restart_or_a_boot_what_is_in_force_is_told_again():
    store = DictStore()
    node = make_node(binding(points=LIMITED), store=store)
    node.order(order(node))
    async with serving(node), raw(node) as point:
        point.answers = {"GetCompositeSchedule": UNKNOWN, "SetChargingProfile": ACCEPTED}
        for _ in range(3):
            await point.answer_next()
        await node.until(lambda: len(node.progressed) == 2)
        await point.call("BootNotification", BOOT_16)
        for _ in range(6 - len(point.called)):
            await point.answer_next()
    assert [action for action, _ in point.called].count("SetChargingProfile") == 4
    assert len(node.progressed) == 2  # nothing new to say


async def test_no_answer_is_tried_again_then_failed():
    clock = VirtualClock()
    node = make_node(binding(points=LIMITED), clock=clock, settings={"call_timeout_s": 10.0})
    async with serving(node), raw(node) as point:
        point.answers = {"GetCompositeSchedule": UNKNOWN, "SetChargingProfile": None}
        await point.answer_next()
        node.order(order(node))
        for _ in range(3):
            assert await point.answer_next() == "SetChargingProfile"
            for _ in range(16):
                await asyncio.sleep(0.01)
                await clock.advance(1.0)
        await node.until(lambda: len(node.progressed) == 2)
    assert node.progressed[1] == ("c1", "failed", "the charge point did not answer")


async def test_the_end_of_a_lease_is_asked_about():
    clock = VirtualClock()
    node = make_node(binding(points=LIMITED), clock=clock)
    async with serving(node), raw(node) as point:
        point.answers = {
            "GetCompositeSchedule": [composite(node, 32.0), composite(node, 16.0), composite(node, 32.0)],
            "SetChargingProfile": ACCEPTED,
        }
        await point.answer_next()
        node.order(order(node, lasts_s=20.0))
        for _ in range(3):
            await point.answer_next()
        for _ in range(22):
            await clock.advance(1.0)
        assert await point.answer_next() == "GetCompositeSchedule"
        await node.until(lambda: stored(node, "currentLimit") == [32, 16, 32])


async def test_a_request_to_read_triggers_meter_values():
    from gridspine.things.adapter import ReadRequest

    node = make_node()
    async with serving(node):
        node.reading.put_nowait(ReadRequest("r0", ONE))
        await node.until(lambda: "r0" in node.read)
        assert node.read["r0"] == "the charge point is not connected"
        async with raw(node, "2.0.1") as point:
            await point.call("Heartbeat", {})
            point.answers = {"TriggerMessage": [{"status": "Accepted"}, {"status": "Rejected"}]}
            node.reading.put_nowait(ReadRequest("r1", ONE))
            assert await point.answer_next() == "TriggerMessage"
            assert point.called[-1][1] == {"requestedMessage": "MeterValues", "evse": {"id": 1}}
            values = [{"timestamp": at(node), "sampledValue": [{"value": 5}]}]
            await point.call("MeterValues", {"evseId": 1, "meterValue": values})
            await node.until(lambda: node.read.get("r1") == "")
            node.reading.put_nowait(ReadRequest("r2", ONE))
            await point.answer_next()
            await node.until(lambda: "r2" in node.read)
            assert "Rejected" in node.read["r2"]


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "connection", "limit"),
    [
        (16.0, {}, 16.0),
        (16.07, {}, 16.0),
        (6.0, {}, 6.0),
        (5.9, {}, 0.0),
        (0.0, {}, 0.0),
        (10.0, {"rateUnit": "W"}, 6900.0),
        (6.0, {"rateUnit": "W", "phases": 1}, 1380.0),
        (5.9, {"rateUnit": "W", "phases": 1}, 0.0),
    ],
)
def test_limits_in_amperes_and_watts(value, connection, limit):
    here = place(**connection)
    wanted = Order("c", ONE, "currentLimit", value, 1_800_000_000 * US, 32.0, 1)
    payload = profile.lease_profile(wanted, here, "1.6", 1_799_999_000 * US)
    assert payload["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] == limit


@given(
    st.floats(0, 80), st.sampled_from(["1.6", "2.0.1", "2.1"]), st.sampled_from(["A", "W"]), st.sampled_from([1, 2, 3]),
    st.sampled_from(["TxDefaultProfile", "ChargePointMaxProfile"]), st.integers(1, 86_400 * US),
)  # fmt: skip
def test_any_lease_is_a_profile_its_schema_allows_and_never_more_than_was_said(
    value, version, unit, phases, purpose, lasts_us
):
    here = place(rateUnit=unit, phases=phases, purpose=purpose)
    now_us = 1_800_000_000 * US + 123_456
    wanted = Order("c", ONE, "currentLimit", value, now_us + lasts_us, 32.0, 1)
    payload = profile.lease_profile(wanted, here, version, now_us)
    schemas(version).check("SetChargingProfile", "request", payload)
    schemas(version).check("SetChargingProfile", "request", profile.fallback_profile(32.0, here, version, now_us))
    schemas(version).check("ClearChargingProfile", "request", profile.clear(here, version))
    schemas(version).check("GetCompositeSchedule", "request", profile.ask(here, version))
    said = payload["csChargingProfiles"] if version == "1.6" else payload["chargingProfile"]
    schedule = said["chargingSchedule"] if version == "1.6" else said["chargingSchedule"][0]
    limit = schedule["chargingSchedulePeriod"][0]["limit"]
    amperes = limit if unit == "A" else limit / (phases * 230.0)
    assert amperes <= value + 1e-6
    assert amperes == 0 or amperes >= value - 0.1 - 1e-6
    assert parse_rfc3339(said["validTo"]) >= wanted.until_us


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_what_is_told_only_when_it_changes_is_asked_again(version):
    clock = VirtualClock()
    node = make_node(binding(points=LIMITED), clock=clock, settings={"refresh_s": 30.0})
    async with serving(node), raw(node, version) as point:
        point.answers = {
            "GetCompositeSchedule": composite(node, 32.0, version=version),
            "TriggerMessage": [ACCEPTED, "NotImplemented"],
        }
        assert await point.answer_next() == "GetCompositeSchedule"
        await node.until(lambda: stored(node, "currentLimit") == [32])
        for _ in range(2):
            await clock.advance(31.0)
            assert await point.answer_next() == "GetCompositeSchedule"
            assert await point.answer_next() == "TriggerMessage"
        asked = point.called[2][1]
        assert asked["requestedMessage"] == "StatusNotification"
        assert asked.get("connectorId", asked.get("evse")) in (1, {"id": 1, "connectorId": 1})
        await point.call("Heartbeat", {})
        await clock.advance(31.0)
        assert await point.answer_next() == "GetCompositeSchedule"
        await point.call("Heartbeat", {})
        assert [action for action, _ in point.called].count("TriggerMessage") == 2, "who cannot is asked no more"
