"""What a charging station of OCPP 2.0.1 or 2.1 is answered, action by action; durable first.

Source: OCPP 2.0.1 Part 2 (use cases B, C, E, G, J), as its JSON schemas have the messages; the numbers of single
requirements were not at hand.
"""

from typing import Any

import msgspec

from gridspine.adapters.ocpp.answers_16 import Answers, Payload, data_transfer, heartbeat, notice
from gridspine.adapters.ocpp.answers_certificates import ANSWERS_CERTIFICATES
from gridspine.adapters.ocpp.chargepoint import ChargePoint
from gridspine.adapters.ocpp.meter import Row, Taken
from gridspine.adapters.ocpp.token import Verdict
from gridspine.adapters.ocpp.transaction import Transaction, has_seen, with_seen, with_signed
from gridspine.kernel.time import parse_rfc3339

STATUS = {"Available": 1, "Occupied": 2, "Reserved": 7, "Unavailable": 8, "Faulted": 9}
"""ConnectorStatusEnumType and the codes of ``connectorState``; of an occupied one its transaction tells more."""
CHARGING = {"EVConnected": 2, "Charging": 3, "SuspendedEV": 4, "SuspendedEVSE": 5, "Idle": 6}
"""ChargingStateEnumType, the same."""


async def boot_notification(point: ChargePoint, said: Payload) -> Payload:
    """Accept it."""
    return await point.booted(said)


async def status_notification(point: ChargePoint, said: Payload) -> Payload:
    """Take in the state of a connector."""
    place = point.place(said["evseId"])
    if place is not None and place.connection.connector not in {0, said["connectorId"]}:
        point.common.counters.add("unbound")
        return {}
    code, running = STATUS[said["connectorStatus"]], point.record.on(said["evseId"])
    if said["connectorStatus"] == "Occupied" and running is not None:
        code = CHARGING.get(running.state, code)
    await point.readings(place, [Row("connectorState", "", parse_rfc3339(said["timestamp"]), code)])
    return {}


async def authorize(point: ChargePoint, said: Payload) -> Payload:
    """Say whether a token may charge."""
    return {"idTokenInfo": await _info(said["idToken"], point)}


async def meter_values(point: ChargePoint, said: Payload) -> Payload:
    """Take in meter values."""
    await point.meter(said["evseId"], said["meterValue"])
    return {}


async def transaction_event(point: ChargePoint, said: Payload) -> Payload:
    """Take in an event of a transaction, in whatever order it comes; a repetition changes nothing."""
    id_, number = said["transactionInfo"]["transactionId"], said["seqNo"]
    known = point.record.find(id_)
    evse = said["evse"]["id"] if "evse" in said else point.evse_of(known)
    repeated = known is not None and has_seen(known, number)
    info = await _info(said["idToken"], point, evse) if "idToken" in said else None
    taken = await point.meter(
        evse, said.get("meterValue", ()), transaction=id_, offline=said.get("offline", False),
        more=[] if repeated else _state(said),
    )  # fmt: skip
    if known is not None and repeated:
        point.common.counters.add("repeated")
        await point.tell(known)  # it may be said again because this failed
    else:
        record, transaction = (point.record, known) if known else point.record.begin(id_)
        ended = said["eventType"] == "Ended" or transaction.stopped_us is not None
        await point.keep_transaction(record, _changed(transaction, said, evse, taken), ended=ended)
    return {} if info is None else {"idTokenInfo": info}


def _state(said: Payload) -> list[Row]:
    state = said["transactionInfo"].get("chargingState")
    return [Row("connectorState", "", parse_rfc3339(said["timestamp"]), CHARGING[state])] if state else []


def _changed(transaction: Transaction, said: Payload, evse: int, taken: Taken) -> Transaction:
    """Return the transaction with what an event says of it."""
    info, newest = said["transactionInfo"], said["seqNo"] > transaction.last
    change: dict[str, Any] = {"evse": evse, "offline": transaction.offline or said.get("offline", False)}
    if newest:
        change["state"] = info.get("chargingState", transaction.state)
    if "idToken" in said and (said["eventType"] == "Started" or not transaction.token):  # who ends it may be another
        change["token"] = said["idToken"]["idToken"]
    if "remoteStartId" in info:
        change["remote_start"] = info["remoteStartId"]
    rows = sorted(taken.rows, key=lambda row: row.observed_us)
    registers = [row.value for row in rows if row.point == "activeEnergyImport"]
    if said["eventType"] == "Started":
        change["started_us"] = parse_rfc3339(said["timestamp"])
        change["meter_start_wh"] = registers[0] if registers else transaction.meter_start_wh
    if said["eventType"] == "Ended":
        change["stopped_us"] = parse_rfc3339(said["timestamp"])
        change["meter_stop_wh"] = registers[-1] if registers else transaction.meter_stop_wh
        change["reason"] = info.get("stoppedReason", "Local")
    changed = with_signed(msgspec.structs.replace(transaction, **change), taken.number)
    return with_seen(changed, said["seqNo"])


async def charging_needs(point: ChargePoint, said: Payload) -> Payload:
    """Keep what a vehicle asks for. No profile is made for it: what its charge point has of leases holds."""
    await point.noticed("NotifyEVChargingNeeds", said)
    return {"status": "NoChargingProfile" if point.version == "2.1" else "Rejected"}


async def der_report(point: ChargePoint, said: Payload) -> Payload:
    """Hand a part of a report to whoever waits for it."""
    report = point.reports.get(said["requestId"])
    if report is None:
        point.common.counters.add("reports_nobody_asked_for")
    else:
        report.add(said)
    return {}


async def _info(token: Payload, point: ChargePoint, evse: int = 0) -> Payload:
    verdict: Verdict = await point.authorise(token["idToken"], token["type"], evse)
    info: Payload = {"status": verdict.status}
    if verdict.expires:
        info["cacheExpiryDateTime"] = verdict.expires
    if verdict.group:
        info["groupIdToken"] = {"idToken": verdict.group[:36], "type": "Central"}
    return info


NOTICES = ("FirmwareStatusNotification", "LogStatusNotification", "SecurityEventNotification")
NOTICES_21 = ("NotifyDERAlarm", "NotifyDERStartStop")
ANSWERS: Answers = {
    "BootNotification": boot_notification,
    "Heartbeat": heartbeat,
    "StatusNotification": status_notification,
    "Authorize": authorize,
    "TransactionEvent": transaction_event,
    "MeterValues": meter_values,
    "DataTransfer": data_transfer,
    "NotifyEVChargingNeeds": charging_needs,
    "ReportDERControl": der_report,
    **ANSWERS_CERTIFICATES,
    **{action: notice(action) for action in (*NOTICES, *NOTICES_21)},
}
"""By action; what is in the schemas and not here is answered NotSupported."""
