"""The action that says which ways of transferring energy a vehicle may use (OCPP 2.1, V2X).

::

    vehicle plugs in ─► NotifyEVChargingNeeds: what it can ─► kept (action `station`)
                        a person, a program ─► allowEnergyTransfer ─► NotifyAllowedEnergyTransfer, for the transaction
                                               a lease of power ─► its set-point, see `setpoint`

Nothing is allowed by itself: what a charge point does before it is told is its own affair.

Source: NotifyAllowedEnergyTransfer as the JSON schemas of OCPP 2.1 describe it (use case Q, whose text was not at
hand).
"""

from typing import Annotated, Any, Literal

import msgspec

from gridspine.adapters.ocpp.actions_charging import ActionInput
from gridspine.adapters.ocpp.asked import Action, Asked, Refused

Mode = Literal[
    "AC_single_phase", "AC_two_phase", "AC_three_phase", "AC_BPT", "AC_BPT_DER", "AC_DER", "DC", "DC_BPT", "DC_ACDP",
    "DC_ACDP_BPT", "WPT",
]  # fmt: skip
"""EnergyTransferModeEnumType; BPT is either way."""


class Transfer(ActionInput, frozen=True):
    """Which ``modes``, in which ``transaction``; "": the one that runs on this EVSE."""

    modes: Annotated[tuple[Mode, ...], msgspec.Meta(min_length=1, max_length=11)]
    transaction: str = ""


async def allow(asked: Asked) -> Any:
    """Tell the charge point which ways of transferring energy are allowed in a transaction."""
    if asked.version != "2.1":
        raise asked.lacks("ways of transferring energy to allow")
    given, record = asked.input(Transfer), asked.point.record
    found = record.find(given.transaction) if given.transaction else record.on(asked.evse)
    if found is None or not asked.point.here(found, asked.place):
        raise Refused("transaction: none that the node knows of this charge point, or none runs here")
    payload = {"transactionId": found.id, "allowedEnergyTransfer": list(dict.fromkeys(given.modes))}
    await asked.accepted("NotifyAllowedEnergyTransfer", payload)
    return {"transaction": found.id}


ACTIONS: dict[str, Action] = {"allowEnergyTransfer": allow}
