"""Charge points of another party: the PyPI ``ocpp``, which checks every frame by its own code."""

import asyncio
import contextlib
import datetime

import pytest
from ocpp.routing import on
from ocpp.v16 import ChargePoint as ChargePoint16
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v16.enums import ChargePointErrorCode, ChargePointStatus
from ocpp.v21 import ChargePoint as ChargePoint21
from ocpp.v21 import call as call21
from ocpp.v21 import call_result as result21
from ocpp.v201 import ChargePoint as ChargePoint201
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201
from ocpp_bench import LIMITED, binding, connect, make_node, order, serving, stored


def now():
    return datetime.datetime.now(datetime.UTC).isoformat()


class Limits:
    """What a charge point does about smart charging: it keeps profiles by level, and says which limit holds."""

    def __init__(self):
        self.limits = {}

    def holds(self):
        return self.limits[max(self.limits)] if self.limits else 32.0


class Wallbox16(ChargePoint16):
    def __init__(self, *args):
        super().__init__(*args)
        self.kept = Limits()

    @on("SetChargingProfile")
    def set_profile(self, connector_id, cs_charging_profiles):
        schedule = cs_charging_profiles["charging_schedule"]
        limit = schedule["charging_schedule_period"][0]["limit"]
        self.kept.limits[cs_charging_profiles["stack_level"]] = float(limit)
        return result16.SetChargingProfile("Accepted")

    @on("ClearChargingProfile")
    def clear_profile(self, id):
        self.kept.limits.pop(1, None)
        return result16.ClearChargingProfile("Accepted")

    @on("GetCompositeSchedule")
    def composite(self, connector_id, duration, charging_rate_unit):
        period = {"start_period": 0, "limit": self.kept.holds()}
        schedule = {"charging_rate_unit": "A", "charging_schedule_period": [period]}
        return result16.GetCompositeSchedule(
            "Accepted", connector_id=connector_id, schedule_start=now(), charging_schedule=schedule
        )


def station(base, result):
    class Station(base):
        def __init__(self, *args):
            super().__init__(*args)
            self.kept = Limits()

        @on("SetChargingProfile")
        def set_profile(self, evse_id, charging_profile):
            schedule = charging_profile["charging_schedule"][0]
            self.kept.limits[charging_profile["stack_level"]] = schedule["charging_schedule_period"][0]["limit"]
            return result.SetChargingProfile("Accepted")

        @on("ClearChargingProfile")
        def clear_profile(self, charging_profile_id):
            self.kept.limits.pop(1, None)
            return result.ClearChargingProfile("Accepted")

        @on("GetCompositeSchedule")
        def composite(self, evse_id, duration, charging_rate_unit):
            period = {"start_period": 0, "limit": self.kept.holds()}
            schedule = {
                "evse_id": evse_id, "duration": duration, "schedule_start": now(), "charging_rate_unit": "A",
                "charging_schedule_period": [period],
            }  # fmt: skip
            return result.GetCompositeSchedule("Accepted", schedule=schedule)

    return Station


@contextlib.asynccontextmanager
async def running(node, version, made):
    async with connect(node, version) as socket:
        point = made("CP001", socket)
        task = asyncio.create_task(point.start())
        try:
            yield point
        finally:
            task.cancel()
            await asyncio.wait([task])


async def lease_and_release(node):
    """A lease is told, confirmed by what the charge point says, and released."""
    await node.until(lambda: stored(node, "currentLimit")[-1:] == [32])
    node.order(order(node, 13.0))
    await node.until(lambda: stored(node, "currentLimit")[-1:] == [13])
    node.order(order(node, None, "c2", sequence=2, lasts_s=0))
    await node.until(lambda: stored(node, "currentLimit")[-2:] == [13, 32])
    assert [(command, state) for command, state, _ in node.progressed] == [
        ("c1", "sent"), ("c1", "acknowledged"), ("c2", "sent"), ("c2", "acknowledged"),
    ]  # fmt: skip


async def test_a_charge_point_of_1_6():
    node = make_node(binding(points=LIMITED))
    async with serving(node), running(node, "1.6", Wallbox16) as point:
        boot = await point.call(call16.BootNotification(charge_point_model="Wall", charge_point_vendor="Acme"))
        assert boot.status == "Accepted"
        await point.call(
            call16.StatusNotification(1, ChargePointErrorCode.no_error, ChargePointStatus.charging, timestamp=now())
        )
        begun = await point.call(call16.StartTransaction(1, "CAFE01", 10, now()))
        assert begun.id_tag_info["status"] == "Accepted"
        sampled = [
            {"value": "16.0", "measurand": "Current.Import", "phase": f"L{phase}", "unit": "A"} for phase in (1, 2, 3)
        ]
        meter_value = [{"timestamp": now(), "sampled_value": sampled}]
        await point.call(call16.MeterValues(1, meter_value, begun.transaction_id))
        await lease_and_release(node)
        await point.call(call16.StopTransaction(20, now(), begun.transaction_id, id_tag="CAFE01"))
    assert stored(node, "activeEnergyImport") == [10, 20]
    assert stored(node, "current") == [16]
    assert stored(node, "connectorState") == [3]


@pytest.mark.parametrize(
    ("version", "base", "call", "result"),
    [("2.0.1", ChargePoint201, call201, result201), ("2.1", ChargePoint21, call21, result21)],
)
async def test_a_charging_station_of_2(version, base, call, result):
    node = make_node(binding(points=LIMITED))
    async with serving(node), running(node, version, station(base, result)) as point:
        boot = await point.call(call.BootNotification({"model": "Wall", "vendor_name": "Acme"}, "PowerUp"))
        assert boot.status == "Accepted"
        await point.call(
            call.StatusNotification(evse_id=1, connector_id=1, connector_status="Occupied", timestamp=now())
        )
        for number, (kind, wh) in enumerate((("Started", 10), ("Updated", 15), ("Ended", 20))):
            meter_value = [{"timestamp": now(), "sampled_value": [{"value": wh}]}]
            answer = await point.call(
                call.TransactionEvent(
                    event_type=kind, timestamp=now(), trigger_reason="MeterValuePeriodic", seq_no=number,
                    transaction_info={"transaction_id": "t", "charging_state": "Charging"}, meter_value=meter_value,
                    evse={"id": 1}, id_token={"id_token": "CAFE01", "type": "ISO14443"},
                )
            )  # fmt: skip
            assert answer.id_token_info["status"] == "Accepted"
        await lease_and_release(node)
    assert stored(node, "activeEnergyImport") == [10, 15, 20]
