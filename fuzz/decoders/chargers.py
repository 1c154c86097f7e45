"""What charge points send: OCPP-J frames, by every version's schemas, and the meter values in them."""

import json
import math
from typing import Any

from target import Target, target

from gridspine.adapters.ocpp import profile, setpoint
from gridspine.adapters.ocpp.meter import take
from gridspine.adapters.ocpp.schema import schemas
from gridspine.adapters.ocpp.station import Connection, Place
from gridspine.adapters.ocpp.wire import VERSIONS, Call, Malformed, Refusal, Result, decode, encode_call, encode_result
from gridspine.kernel.errors import Invalid

_T = "2026-01-01T00:00:00Z"
_POINTS = frozenset(
    {"activePower", "current", "voltage", "activeEnergyImport", "activeEnergyExport", "stateOfCharge", "temperature",
     "reactivePower", "frequency", "powerFactor"}
)  # fmt: skip
_ANSWERED = ("SetChargingProfile", "GetCompositeSchedule", "TriggerMessage", "GetConfiguration", "GetVariables")
_PLACE = Place("urn:example:evse", Connection("CP001"), frozenset({"currentLimit", "activePowerSetpoint"}))
_SIGNED = {"value": "OCMF|{}|{}", "format": "SignedData"}
_SEEDS: list[list[Any]] = [
    [2, "a", "BootNotification", {"chargePointVendor": "Acme", "chargePointModel": "Wall"}],
    [2, "a", "BootNotification", {"chargingStation": {"model": "Wall", "vendorName": "Acme"}, "reason": "PowerUp"}],
    [2, "b", "StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": _T}],
    [2, "b", "StatusNotification", {"timestamp": _T, "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1}],
    [2, "c", "StartTransaction", {"connectorId": 1, "idTag": "CAFE01", "meterStart": 5, "timestamp": _T}],
    [2, "d", "StopTransaction", {"transactionId": 7, "meterStop": 9, "timestamp": _T, "transactionData": [
        {"timestamp": _T, "sampledValue": [_SIGNED]}]}],
    [2, "e", "MeterValues", {"connectorId": 1, "meterValue": [{"timestamp": _T, "sampledValue": [
        {"value": "7.5", "measurand": "Power.Active.Import", "unit": "kW", "phase": "L1"},
        {"value": "20", "measurand": "Temperature", "unit": "Celcius", "location": "EV"}]}]}],
    [2, "e", "MeterValues", {"evseId": 1, "meterValue": [{"timestamp": _T, "sampledValue": [
        {"value": 1.5, "measurand": "Power.Active.Export", "unitOfMeasure": {"unit": "W", "multiplier": 3}},
        {"value": 42.0, "signedMeterValue": {"signedMeterData": "a", "signingMethod": "b", "encodingMethod": "c",
                                             "publicKey": "d"}}]}]}],
    [2, "f", "TransactionEvent", {"eventType": "Started", "timestamp": _T, "triggerReason": "Authorized", "seqNo": 0,
        "transactionInfo": {"transactionId": "t1", "chargingState": "Charging"}, "evse": {"id": 1, "connectorId": 1},
        "idToken": {"idToken": "CAFE01", "type": "ISO14443"},
        "meterValue": [{"timestamp": _T, "sampledValue": [{"value": 1000}]}]}],
    [2, "g", "Heartbeat", {}], [3, "h", {"status": "Accepted"}], [4, "i", "NotImplemented", "", {}],
    [3, "j", {"configurationKey": [{"key": "a", "readonly": True, "value": "1"}], "unknownKey": ["b"]}],
    [3, "k", {"status": "Accepted", "schedule": {"evseId": 1, "duration": 60, "scheduleStart": _T,
        "chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}]}}],
    [3, "k", {"status": "Accepted", "schedule": {"evseId": 1, "duration": 60, "scheduleStart": _T,
        "chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "operationMode": "CentralSetpoint",
        "setpoint": -5000.0, "dischargeLimit": -5000.0, "limit": 22000.0}]}}],
    [3, "k", {"getVariableResult": [{"attributeStatus": "Accepted", "attributeValue": "ChargingOnly,CentralSetpoint",
        "component": {"name": "V2XChargingCtrlr"}, "variable": {"name": "SupportedOperationModes"}}]}],
    [2, "n", "ReportDERControl", {"requestId": 7, "tbc": True, "fixedVar": [{"id": "a", "isDefault": False,
        "isSuperseded": False, "fixedVar": {"priority": 1, "setpoint": 10, "unit": "PctMaxVar"}}]}],
    [5, "l", "FormatViolation", "", {}], [6, "m", "NotifyPeriodicEventStream", {"id": 1, "pending": 0, "basetime": _T,
        "data": [{"t": 1.0, "v": "2"}]}],
]  # fmt: skip
_WORDS = [
    b"[2,", b"[3,", b"[4,", b'"sampledValue":[', b'"multiplier":-999', b"1e999", b"-0.0", b"9007199254740993",
    b'"L1-N"', b'"SignedData"', b"\\u0000", b"null", b"[[[[", b"1" + b"0" * 320, b'"seqNo":', b'"9999-12-31T23:59:60Z"',
]  # fmt: skip


@target
def ocpp_frames() -> Target:
    """A frame as each version reads it: its kind, its schema, the readings in it; written again it is the same."""

    def run(data: bytes) -> tuple[str, ...]:
        return tuple(_as(data, version) for version in VERSIONS)

    seeds = [json.dumps(seed).encode() for seed in _SEEDS]
    return Target(
        "ocpp-frames", "OCPP frames (1.6, 2.0.1, 2.1)", run, (), seeds, _WORDS, shape=lambda shapes: shapes
    )  # fmt: skip


def _as(data: bytes, version: Any) -> str:
    try:
        frame = decode(data, version)
        if isinstance(frame, Refusal):
            return "refusal"
        known = schemas(version)
        if isinstance(frame, Result):
            if decode(encode_result(frame), version) != frame:
                raise AssertionError("a result is not what it was")
            return _fits(known, frame)
        return _call(frame, known, version)
    except Malformed as fault:
        return fault.code.name
    except Invalid:  # a time that is none: the session answers it as a bad value
        return "invalid"


def _fits(known: Any, frame: Result) -> str:
    """Return which of the node's calls this answers, by the schemas."""
    for action in _ANSWERED:
        if action in known.actions:
            try:
                known.check(action, "response", frame.payload)
            except Malformed:
                continue
            _read(action, frame.payload, known.version)
            return action
    return "result"


def _read(action: str, payload: dict[str, Any], version: Any) -> None:
    """Read of an answer what the node reads of it: limits and set-points are finite, or none."""
    if action == "GetCompositeSchedule":
        period, unit = profile.now(payload, version)
        for value in (profile.told(period, unit, _PLACE), setpoint.told(period, unit, _PLACE)):
            if value is not None and not math.isfinite(value):
                raise AssertionError("a limit that is no number")
    elif action == "GetVariables":
        setpoint.lacks(payload)


def _call(frame: Call, known: Any, version: Any) -> str:
    if frame.action not in known.actions:
        return "unknown"
    known.check(frame.action, "request", frame.payload, frame.id)
    if not frame.send and decode(encode_call(frame), version) != frame:
        raise AssertionError("a call is not what it was")
    payload = frame.payload
    values = payload.get("meterValue") or payload.get("transactionData") or ()
    evse = payload.get("connectorId", payload.get("evseId", 1)) if frame.action == "MeterValues" else 1
    taken = take(values, version, evse, _POINTS)
    return f"{frame.action} {min(len(taken.rows), 3)} {min(len(taken.problems), 2)} {min(len(taken.signed), 2)}"
