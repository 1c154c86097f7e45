"""What a charge point of OCPP 1.6 is answered, action by action; durable first.

Source: OCPP 1.6 (edition 2), §4 (operations initiated by the charge point) and §6 (messages).
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gridspine.adapters.ocpp.answers_certificates import sign_certificate
from gridspine.adapters.ocpp.chargepoint import ChargePoint
from gridspine.adapters.ocpp.meter import Row
from gridspine.adapters.ocpp.token import Verdict
from gridspine.adapters.ocpp.transaction import with_signed
from gridspine.kernel.time import parse_rfc3339

Payload = dict[str, Any]
Answers = dict[str, Callable[[ChargePoint, Payload], Awaitable[Payload]]]

STATES = {
    "Available": 1, "Preparing": 2, "Charging": 3, "SuspendedEV": 4, "SuspendedEVSE": 5, "Finishing": 6,
    "Reserved": 7, "Unavailable": 8, "Faulted": 9,
}  # fmt: skip
"""ChargePointStatus (§7.7) and the codes of the model's ``connectorState``."""


async def boot_notification(point: ChargePoint, said: Payload) -> Payload:
    """Accept it."""
    return await point.booted(said)


async def heartbeat(point: ChargePoint, said: Payload) -> Payload:
    """Tell the time."""
    return {"currentTime": point.now()}


async def status_notification(point: ChargePoint, said: Payload) -> Payload:
    """Take in the state of a connector; that of the charge point as a whole where a Thing stands for it."""
    observed_us = parse_rfc3339(said["timestamp"]) if "timestamp" in said else point.now_us
    if said["errorCode"] != "NoError":
        point.common.counters.add(f"errors:{said['errorCode']}")
    row = Row("connectorState", "", observed_us, STATES[said["status"]])
    await point.readings(point.place(said["connectorId"]), [row])
    return {}


async def authorize(point: ChargePoint, said: Payload) -> Payload:
    """Say whether a token may charge."""
    return {"idTagInfo": _info(await point.authorise(said["idTag"]))}


async def start_transaction(point: ChargePoint, said: Payload) -> Payload:
    """Begin a transaction; a repetition, known by all that it says, gets the number it had."""
    info = _info(await point.authorise(said["idTag"], evse=said["connectorId"]))
    asked = "|".join(str(said[name]) for name in ("connectorId", "idTag", "meterStart", "timestamp"))
    known = point.record.asked(asked)
    if known is not None:
        point.common.counters.add("repeated")
        await point.tell(known)  # it may be said again because this failed
        return {"transactionId": int(known.id), "idTagInfo": info}
    evse, started_us = said["connectorId"], parse_rfc3339(said["timestamp"])
    await point.readings(point.place(evse), [_register(started_us, said["meterStart"])])
    record, id_ = point.record.next_id(point.now_us)
    record, transaction = record.begin(str(id_))
    begun = msgspec.structs.replace(
        transaction, evse=evse, token=said["idTag"], started_us=started_us, meter_start_wh=float(said["meterStart"]),
        asked=asked,
    )  # fmt: skip
    await point.keep_transaction(record, begun, ended=False)
    return {"transactionId": id_, "idTagInfo": info}


async def stop_transaction(point: ChargePoint, said: Payload) -> Payload:
    """End a transaction. One that this charge point never began is kept as what it is; nobody else's is touched."""
    id_, stopped_us = str(said["transactionId"]), parse_rfc3339(said["timestamp"])
    known = point.record.find(id_)
    if known is None:
        point.common.counters.add("stopped_unknown")
    elif known.stopped_us is not None:
        point.common.counters.add("repeated")
    evse = point.evse_of(known)
    register = _register(stopped_us, said["meterStop"])
    taken = await point.meter(evse, said.get("transactionData", ()), transaction=id_, more=[register])
    record, transaction = (point.record, known) if known else point.record.begin(id_)
    ended = msgspec.structs.replace(
        transaction, evse=evse, stopped_us=stopped_us, meter_stop_wh=float(said["meterStop"]),
        reason=said.get("reason", "Local"),
    )  # fmt: skip
    await point.keep_transaction(record, with_signed(ended, taken.number), ended=True)
    return {"idTagInfo": _info(await point.authorise(said["idTag"], evse=evse))} if "idTag" in said else {}


async def meter_values(point: ChargePoint, said: Payload) -> Payload:
    """Take in meter values."""
    transaction = str(said.get("transactionId", ""))
    taken = await point.meter(said["connectorId"], said["meterValue"], transaction=transaction)
    known = point.record.find(transaction)
    if taken.signed and known is not None:
        signed = with_signed(known, taken.number)
        await point.keep_transaction(point.record, signed, ended=known.stopped_us is not None)
    return {}


async def data_transfer(point: ChargePoint, said: Payload) -> Payload:
    """Say that no vendor's own messages are known here."""
    return {"status": "UnknownVendorId"}


def _register(observed_us: int, wh: float) -> Row:
    return Row("activeEnergyImport", "Wh", observed_us, float(wh))


def _info(verdict: Verdict) -> Payload:
    info = {"status": verdict.status}
    if verdict.expires:
        info["expiryDate"] = verdict.expires
    if verdict.group:
        info["parentIdTag"] = verdict.group[:20]
    return info


def notice(action: str) -> Callable[[ChargePoint, Payload], Awaitable[Payload]]:
    """Return what answers ``action`` by keeping what it said last."""

    async def keep(point: ChargePoint, said: Payload) -> Payload:
        return await point.noticed(action, said)

    return keep


NOTICES = (
    "FirmwareStatusNotification", "DiagnosticsStatusNotification", "LogStatusNotification", "SecurityEventNotification",
    "SignedFirmwareStatusNotification",
)  # fmt: skip
ANSWERS: Answers = {
    "BootNotification": boot_notification,
    "Heartbeat": heartbeat,
    "StatusNotification": status_notification,
    "Authorize": authorize,
    "StartTransaction": start_transaction,
    "StopTransaction": stop_transaction,
    "MeterValues": meter_values,
    "DataTransfer": data_transfer,
    "SignCertificate": sign_certificate,
    **{action: notice(action) for action in NOTICES},
}
"""By action; what is in the schemas and not here is answered NotSupported."""
