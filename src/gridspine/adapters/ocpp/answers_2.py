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
    info = await _placed(point, known, said, evse) or info
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


async def _placed(point: ChargePoint, known: Transaction | None, said: Payload, evse: int) -> Payload | None:
    """Have a token judged at the EVSE that its transaction has just got; return what is answered where it may not.

    What the node itself started is not ended by that: its word may be longer ago than the token is expected.
    """
    if known is None or known.evse >= 0 or evse < 0 or not known.token:
        return None
    if said.get("idToken", {}).get("idToken", "").casefold() == known.token.casefold():
        return None  # it is judged there as it was shown
    info = _told(await point.authorise(known.token, evse=evse))
    return None if info["status"] == "Accepted" or known.remote_start is not None else info


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
    registers = [row for row in rows if row.point == "activeEnergyImport"]
    if said["eventType"] == "Started":
        change["started_us"] = parse_rfc3339(said["timestamp"])
    if said["eventType"] == "Ended":
        change["stopped_us"] = parse_rfc3339(said["timestamp"])
        change["meter_stop_wh"] = registers[-1].value if registers else transaction.meter_stop_wh
        change["reason"] = info.get("stoppedReason", "Local")
    change |= _start(transaction, said["eventType"], registers, taken.begin_wh)
    changed = with_signed(msgspec.structs.replace(transaction, **change), taken.number)
    return with_seen(changed, said["seqNo"])


def _start(transaction: Transaction, kind: str, registers: list[Row], begin_wh: float | None) -> dict[str, Any]:
    """Return what an event's ``registers``, by their time, change of the register at the start.

    What *Started* has counts, and what is said to be of the beginning; until either is there, what was read first.
    """
    started = kind == "Started"
    known = transaction.meter_start_wh is not None and transaction.start_read_us is None
    if begin_wh is None and started and registers:
        begin_wh = registers[0].value
    if begin_wh is not None and (started or not known):
        return {"meter_start_wh": begin_wh, "start_read_us": None}
    first = next(iter(registers[:-1] if kind == "Ended" else registers), None)  # what it ended with is no beginning
    before_us = transaction.start_read_us
    if known or first is None or (before_us is not None and before_us <= first.observed_us):
        return {}
    return {"meter_start_wh": first.value, "start_read_us": first.observed_us}


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
    return _told(await point.authorise(token["idToken"], token["type"], evse))


def _told(verdict: Verdict) -> Payload:
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
