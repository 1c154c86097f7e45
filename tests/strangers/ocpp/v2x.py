"""A charging point that takes energy from vehicles, with nothing but the PyPI ``ocpp`` (2.1): its messages and schemas.

It keeps charging profiles by level and DER controls by id, and obeys them by its own clock; `power_w` is what it does
at a time, import positive. Plugged in is a vehicle that would charge with 11 kW if nobody said otherwise.
"""

import datetime

from ocpp.routing import after, on
from ocpp.v21 import ChargePoint, call, call_result, datatypes

WISHES_W, MAX_DISCHARGE_W = 11_000.0, 8_000.0


def moment(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def now(by_s=0.0):
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=by_s)).isoformat()


def most_w(period):
    """Return the limit of a schedule's period [W], three phases of 230 V; None where it has none."""
    limit = period.get("limit")
    return None if limit is None else limit * (3 * 230.0 if period["unit"] == "A" else 1.0)


class V2xPoint(ChargePoint):
    """``allowed`` is which ways of transferring energy it was told of; ``refused`` what it would not do."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.profiles, self.controls, self.allowed, self.asked = {}, {}, {}, []
        self.reported, self._number = 0, -1
        self.certificates, self.takes_certificates = [], True

    # -- what it is told ---------------------------------------------------------------------------------------

    @on("GetVariables")
    def variables(self, get_variable_data):
        values = {"Enabled": "true", "SupportedOperationModes": "ChargingOnly,CentralSetpoint"}
        results = [
            datatypes.GetVariableResultType(
                "Accepted", datatypes.ComponentType(**one["component"]), datatypes.VariableType(**one["variable"]),
                attribute_value=values[one["variable"]["name"]],
            )
            for one in get_variable_data
        ]  # fmt: skip
        return call_result.GetVariables(results)

    @on("SetChargingProfile")
    def set_profile(self, evse_id, charging_profile):
        assert evse_id == 1
        self.profiles[charging_profile["id"]] = charging_profile
        return call_result.SetChargingProfile("Accepted")

    @on("ClearChargingProfile")
    def clear_profile(self, charging_profile_id):
        gone = self.profiles.pop(charging_profile_id, None)
        return call_result.ClearChargingProfile("Accepted" if gone else "Unknown")

    @on("GetCompositeSchedule")
    def composite(self, evse_id, duration, charging_rate_unit):
        assert charging_rate_unit == "W"
        at_s = datetime.datetime.now(datetime.UTC).timestamp()
        period = self._period(at_s) or {"operation_mode": "ChargingOnly", "limit": 22_000.0, "unit": "W"}
        told = datatypes.ChargingSchedulePeriodType(
            start_period=0, operation_mode=period.get("operation_mode"), setpoint=period.get("setpoint"),
            discharge_limit=period.get("discharge_limit"), limit=most_w(period),
        )  # fmt: skip
        schedule = datatypes.CompositeScheduleType(
            evse_id=evse_id, duration=duration, schedule_start=now(), charging_rate_unit="W",
            charging_schedule_period=[told],
        )  # fmt: skip
        return call_result.GetCompositeSchedule("Accepted", schedule=schedule)

    @on("NotifyAllowedEnergyTransfer")
    def allow(self, transaction_id, allowed_energy_transfer):
        self.allowed[transaction_id] = allowed_energy_transfer
        return call_result.NotifyAllowedEnergyTransfer("Accepted")

    @on("SetDERControl")
    def set_control(self, is_default, control_id, control_type, **control):
        older = [id_ for id_, one in self.controls.items() if one[:2] == (control_type, is_default)]
        self.controls[control_id] = control_type, is_default, control
        return call_result.SetDERControl("Accepted", superseded_ids=older or None)

    @on("GetDERControl")
    def controls_asked(self, request_id, **which):
        self.asked.append(which)
        return call_result.GetDERControl("Accepted" if self.controls else "NotFound")

    @after("GetDERControl")
    async def report(self, request_id, **which):
        """Report control by control, each in a message of its own."""
        ids = list(self.controls)
        for id_ in ids:
            kind, default, control = self.controls[id_]
            head = {"id": id_, "is_default": default, "is_superseded": False}
            if kind == "LimitMaxDischarge":
                part = {"limit_max_discharge": [head | control]}
            else:
                part = {"curve": [{**head, "curve_type": kind, **control}]}
            await self.call(call.ReportDERControl(request_id=request_id, tbc=id_ != ids[-1], **part))
            self.reported += 1

    @on("ClearDERControl")
    def clear_control(self, is_default, control_id=None, control_type=None):
        gone = [
            id_ for id_, (kind, default, _) in self.controls.items()
            if default == is_default and control_id in {None, id_} and control_type in {None, kind}
        ]  # fmt: skip
        for id_ in gone:
            del self.controls[id_]
        return call_result.ClearDERControl("Accepted" if gone else "NotFound")

    @on("CertificateSigned")
    def certificate_signed(self, certificate_chain, certificate_type, request_id):
        assert (certificate_type, request_id) == ("ChargingStationCertificate", 7)
        if not self.takes_certificates:
            return call_result.CertificateSigned("Rejected")
        self.certificates.append(certificate_chain)
        return call_result.CertificateSigned("Accepted")

    # -- what it does ------------------------------------------------------------------------------------------

    def power_w(self, at_s=None):
        """Return what it does at a time [s since 1970; now without], import positive: of its own and by what holds."""
        at_s = datetime.datetime.now(datetime.UTC).timestamp() if at_s is None else at_s
        period = self._period(at_s)
        wanted_w = WISHES_W
        if period is not None:
            limit_w = most_w(period)
            wanted_w = wanted_w if limit_w is None else min(wanted_w, limit_w)
            if period.get("operation_mode", "ChargingOnly") == "CentralSetpoint":
                set_w = period["setpoint"] if limit_w is None else min(period["setpoint"], limit_w)
                wanted_w = max(set_w, period.get("discharge_limit", 0.0))
        return max(wanted_w, -self.most_discharge_w(at_s))

    def most_discharge_w(self, at_s):
        """Return the most it discharges with by the DER controls that hold at a time [W]."""
        found = MAX_DISCHARGE_W
        for kind, default, control in self.controls.values():
            if kind == "LimitMaxDischarge":
                said = control["limit_max_discharge"]
                begins_s = moment(said["start_time"]) if not default else 0.0
                if default or begins_s <= at_s < begins_s + said["duration"]:
                    found = min(found, MAX_DISCHARGE_W * said["pct_max_discharge_power"] / 100.0)
        return found

    def _period(self, at_s):
        """Return what the highest profile that holds at a time says, with its schedule's unit."""
        for profile in sorted(self.profiles.values(), key=lambda one: -one["stack_level"]):
            (schedule,) = profile["charging_schedule"]
            since_s = at_s - moment(schedule["start_schedule"])
            over = "valid_to" in profile and at_s >= moment(profile["valid_to"])
            if over or not 0 <= since_s < schedule.get("duration", float("inf")):
                continue
            held = [one for one in schedule["charging_schedule_period"] if one["start_period"] <= since_s]
            return held[-1] | {"unit": schedule["charging_rate_unit"]}
        return None

    # -- what it tells -----------------------------------------------------------------------------------------

    async def plug_in(self, transaction):
        """Boot, begin a transaction, and say what the vehicle can and wants."""
        await self.call(call.BootNotification({"model": "Either", "vendor_name": "Way"}, "PowerUp"))
        await self.meter("Started", transaction)
        either_way = datatypes.V2XChargingParametersType(max_charge_power=WISHES_W, max_discharge_power=MAX_DISCHARGE_W)
        needs = datatypes.ChargingNeedsType(
            "DC_BPT", available_energy_transfer=["DC", "DC_BPT"], control_mode="DynamicControl",
            v2x_charging_parameters=either_way,
        )  # fmt: skip
        return await self.call(call.NotifyEVChargingNeeds(needs, evse_id=1))

    async def ask_for_certificate(self, csr):
        return await self.call(
            call.SignCertificate(csr=csr, certificate_type="ChargingStationCertificate", request_id=7)
        )

    async def meter(self, kind, transaction):
        """Tell what it draws and gives, apart as OCPP has them."""
        self._number += 1
        power_w = self.power_w()
        sampled = [
            {"value": max(0.0, power_w), "measurand": "Power.Active.Import", "unit_of_measure": {"unit": "W"}},
            {"value": max(0.0, -power_w), "measurand": "Power.Active.Export", "unit_of_measure": {"unit": "W"}},
        ]
        return await self.call(
            call.TransactionEvent(
                event_type=kind, timestamp=now(), trigger_reason="MeterValuePeriodic", seq_no=self._number,
                transaction_info={"transaction_id": transaction, "charging_state": "Charging",
                                  "operation_mode": "CentralSetpoint"},
                meter_value=[{"timestamp": now(), "sampled_value": sampled}], evse={"id": 1, "connector_id": 1},
            )
        )  # fmt: skip
