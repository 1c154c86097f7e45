"""Actions around charging: start, stop, unlock, reserve, availability, cache, trigger.

A start, a stop and a reservation are *accepted*, no more: what comes of them, readings and transactions tell.

Source: OCPP 1.6 §5 (operations initiated by the central system); OCPP 2.0.1 and 2.1 Part 2, use cases B, C, E, F, G, H,
as their JSON schemas have the messages.
"""

from typing import Any, Literal

import msgspec

from gridspine.adapters.ocpp.asked import Action, Asked, Payload, Refused
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339

Kind = Literal[
    "Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress", "NoAuthorization", "DirectPayment",
    "EVCCID", "VIN",
]  # fmt: skip


_STATE = "StatusNotification"


class ActionInput(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What actions are given; members that they do not know are refused."""


class Start(ActionInput, frozen=True):
    """``token`` pays for it, of ``id_type`` (2.x); "": the node's own word.

    No limit goes with it: a profile of one transaction would stand above the leases.
    """

    token: str = ""
    id_type: Kind = "Central"


class Stop(ActionInput, frozen=True):
    """Which ``transaction``; "": the one that runs on this EVSE."""

    transaction: str = ""


class Reserve(ActionInput, frozen=True):
    """For ``token``, until ``until`` (RFC 3339); ``reservation`` is its number, a new one without."""

    token: str
    until: str
    id_type: Kind = "ISO14443"
    group: str = ""
    reservation: int | None = None


class Reservation(ActionInput, frozen=True):
    """The number of a reservation."""

    reservation: int


class Availability(ActionInput, frozen=True):
    """Whether it is to take vehicles; ``whole``: all of the charge point, not this EVSE alone."""

    available: bool
    whole: bool = False


class Trigger(ActionInput, frozen=True):
    """Which message the charge point is to send now, as its version names it."""

    message: str
    whole: bool = False


class Unlock(ActionInput, frozen=True):
    """Which ``connector`` of the EVSE (2.x); 0: the one its Thing names, or the first."""

    connector: int = 0


async def remote_start(asked: Asked) -> Any:
    """Have the charge point begin a transaction."""
    given, point = asked.input(Start), asked.point
    number = point.next_number()
    token = given.token or f"node{number:016x}"[-20:]
    if asked.version == "1.6":
        payload: Payload = {"connectorId": asked.evse or None, "idTag": token}
    else:
        kind = {"idToken": token, "type": given.id_type}
        payload = {"evseId": asked.evse or None, "remoteStartId": number, "idToken": kind}
    name = "RemoteStartTransaction" if asked.version == "1.6" else "RequestStartTransaction"
    point.expect(token, asked.evse)
    answer = await asked.accepted(name, payload)
    return _known({"token": token, "remoteStart": number, "transaction": answer.get("transactionId", "")})


async def remote_stop(asked: Asked) -> Any:
    """Have the charge point end a transaction."""
    id_ = asked.input(Stop).transaction
    if not id_:
        running = asked.point.record.on(asked.evse)
        if running is None:
            raise Refused("no transaction runs here, as far as the node knows")
        id_ = running.id
    else:
        found = asked.point.record.find(id_)
        if found is None or not asked.point.here(found, asked.place):
            raise Refused(f"transaction {id_[:40]!r} is none of this charge point's here that the node knows")
    if asked.version == "1.6":
        if not id_.isdecimal():
            raise Refused("a transaction of OCPP 1.6 is a number")
        await asked.accepted("RemoteStopTransaction", {"transactionId": int(id_)})
    else:
        await asked.accepted("RequestStopTransaction", {"transactionId": id_})
    return {"transaction": id_}


async def unlock(asked: Asked) -> Any:
    """Have a connector unlocked, so that a cable can be taken out."""
    connector = asked.input(Unlock).connector or asked.place.connection.connector or 1
    if asked.version == "1.6":
        await asked.accepted("UnlockConnector", {"connectorId": asked.evse}, {"Unlocked"})
    else:
        await asked.accepted("UnlockConnector", {"evseId": asked.evse, "connectorId": connector}, {"Unlocked"})
    return {"status": "Unlocked"}


async def reserve(asked: Asked) -> Any:
    """Keep the EVSE for a token."""
    given = asked.input(Reserve)
    try:
        until_us = parse_rfc3339(given.until)
    except Invalid as error:
        raise Refused(f"until: {error.detail}") from error
    if until_us <= asked.point.now_us:
        raise Refused("until: that is over")
    number = asked.point.next_number() if given.reservation is None else given.reservation
    until = format_rfc3339(until_us // US * US)
    if asked.version == "1.6":
        payload: Payload = {
            "connectorId": asked.evse, "expiryDate": until, "idTag": given.token, "reservationId": number,
            "parentIdTag": given.group or None,
        }  # fmt: skip
    else:
        group = {"idToken": given.group, "type": "Central"} if given.group else None
        payload = {
            "id": number, "expiryDateTime": until, "idToken": {"idToken": given.token, "type": given.id_type},
            "evseId": asked.evse or None, "groupIdToken": group,
        }  # fmt: skip
    await asked.accepted("ReserveNow", payload)
    return {"reservation": number, "until": until}


async def cancel_reservation(asked: Asked) -> Any:
    """Give a reservation up."""
    number = asked.input(Reservation).reservation
    await asked.accepted("CancelReservation", {"reservationId": number})
    return {"reservation": number}


async def change_availability(asked: Asked) -> Any:
    """Put the EVSE, or all of the charge point, in or out of service; it may be *Scheduled* for when it is free."""
    given = asked.input(Availability)
    word, evse = "Operative" if given.available else "Inoperative", 0 if given.whole else asked.evse
    payload: Payload = (
        {"connectorId": evse, "type": word}
        if asked.version == "1.6"
        else {"evse": {"id": evse} if evse else None, "operationalStatus": word}
    )
    answer = await asked.accepted("ChangeAvailability", payload, {"Accepted", "Scheduled"})
    return {"status": answer["status"]}


async def clear_cache(asked: Asked) -> Any:
    """Have the charge point forget the tokens it remembers."""
    await asked.accepted("ClearCache", {})
    return {"status": "Accepted"}


async def trigger(asked: Asked) -> Any:
    """Have the charge point send a message now."""
    given = asked.input(Trigger)
    evse = 0 if given.whole else asked.evse
    payload: Payload = {"requestedMessage": given.message}
    action = "TriggerMessage"
    if asked.version != "1.6":
        # The state is a connector's, not an EVSE's.
        connector = {"connectorId": asked.place.connection.connector or 1} if given.message == _STATE else {}
        payload["evse"] = {"id": evse, **connector} if evse else None
    else:
        payload["connectorId"] = evse or None
        if given.message in {"LogStatusNotification", "SignChargePointCertificate"}:
            action = "ExtendedTriggerMessage"
    await asked.accepted(action, payload)
    return {"status": "Accepted"}


def _known(output: Payload) -> Payload:
    return {key: value for key, value in output.items() if value != ""}


ACTIONS: dict[str, Action] = {
    "remoteStart": remote_start,
    "remoteStop": remote_stop,
    "unlock": unlock,
    "reserve": reserve,
    "cancelReservation": cancel_reservation,
    "changeAvailability": change_availability,
    "clearCache": clear_cache,
    "trigger": trigger,
}
