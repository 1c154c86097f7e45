"""Charge points of an unknown name: they wait, *Pending*, until a person takes them in, and are announced meanwhile.

They prove themselves by the password of the device that the settings name for ``newcomers``; until they are Things
nothing else of them is heard. Taken in, they connect anew, and are charge points like any other.

Source: OCPP 1.6 §4.2 and OCPP 2.0.1 Part 2, use case B02 (RegistrationStatus *Pending*).
"""

from typing import Any

from gridspine.adapters.ocpp.chargepoint import ChargePoint
from gridspine.adapters.ocpp.wire import Call, Code, Malformed
from gridspine.things.adapter import Introduced

MODEL = "https://gridspine.org/models/ev_charger"
MAX_NEWCOMERS = 100
"""How many may wait connected."""


async def answer_newcomer(point: ChargePoint, call: Call) -> dict[str, Any]:
    """Announce who boots, and have it wait; raise `Malformed` for all else, `Invalid`, `Overloaded`."""
    if call.action != "BootNotification":
        raise Malformed(Code.SECURITY, "nothing but BootNotification is heard before it is taken in")
    said = call.payload
    if point.version == "1.6":
        make, model = said["chargePointVendor"], said["chargePointModel"]
        serial = said.get("chargePointSerialNumber") or said.get("chargeBoxSerialNumber")
    else:
        said = said["chargingStation"]
        make, model, serial = said["vendorName"], said["model"], said.get("serialNumber")
    connection = {"station": point.identity, "device": point.source.principal}
    introduced = Introduced(
        make.strip(), model.strip(), (serial or point.identity).strip(), said.get("firmwareVersion", ""), MODEL,
        connection,
    )  # fmt: skip
    await point.common.context.announce(point.source, introduced)
    point.common.counters.add("announced")
    return {"currentTime": point.now(), "interval": point.common.settings.heartbeat_s, "status": "Pending"}
