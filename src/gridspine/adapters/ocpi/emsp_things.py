"""EVSEs of partners as Things: announced until a person takes them in, then read from what their operator tells.

::

    location ─► each EVSE: a Thing? ─► no: announced, once │ yes: its status is a reading
    session  ─► its EVSE's Thing    ─► its energy is a reading
"""

import asyncio
import logging
from typing import Any

import msgspec

from gridspine.adapters.ocpi.book import Partner
from gridspine.adapters.ocpi.charging import Session
from gridspine.adapters.ocpi.location import Evse, Location, Status
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.things import EVSE_MODEL
from gridspine.adapters.ocpi.wire import read_time
from gridspine.kernel.errors import GridspineError, Invalid, Overloaded
from gridspine.things.adapter import Introduced

STATE: dict[Status, int] = {
    "AVAILABLE": 1, "CHARGING": 3, "RESERVED": 7, "BLOCKED": 8, "INOPERATIVE": 8, "PLANNED": 8, "REMOVED": 8,
    "OUTOFORDER": 9,
}  # fmt: skip
"""Codes of *connectorState*; of UNKNOWN nothing is read."""
MAX_ANNOUNCED = 10_000
log = logging.getLogger(__name__)


class EmspThings:
    """Announces EVSEs, and reads them."""

    def __init__(self, roaming: Roaming) -> None:
        self._roaming = roaming
        self._announced: set[tuple[str, str, str]] = set()

    async def on_location(self, partner: Partner, location: Location, only: str | None = None) -> None:
        """Announce the EVSEs of a location that are no Things, and take in the status of those that are; durable."""
        for evse in location.evses:
            if only is None or evse.uid.casefold() == only.casefold():
                await self._on_evse(partner, location, evse)

    async def on_session(self, partner: Partner, session: Session[Any]) -> None:
        """Take in what a session took so far; durable."""
        thing = self.thing(partner.thing, session.location_id, session.evse_uid)
        if thing:
            await self._roaming.readings(
                thing, [("sessionEnergy", "Wh", session.kwh * 1000)], self._when(session.last_updated)
            )

    def thing(self, partner: str, location: str, evse: str) -> str:
        """Return the Thing of an EVSE, "" for none."""
        found = self._roaming.things.by_evse.get((partner, location.casefold(), evse.casefold()))
        return "" if found is None else found.thing

    async def on_things(self) -> None:
        """Take in what is kept of EVSEs that have just become Things."""
        for partner in self._roaming.partners("CPO"):
            for _, kept in self._roaming.book.objects(partner.thing, "locations"):
                try:
                    await self.on_location(partner, msgspec.convert(kept.body, Location))
                except (GridspineError, msgspec.ValidationError) as error:  # one location never ends all roaming
                    log.warning("location %s of %s is not read: %s", kept.id, partner.thing, error)
                await asyncio.sleep(0)  # there may be thousands of which nothing is told

    async def _on_evse(self, partner: Partner, location: Location, evse: Evse) -> None:
        thing = self.thing(partner.thing, location.id, evse.uid)
        if thing:
            state = STATE.get(evse.status)
            if state is not None:
                await self._roaming.readings(thing, [("connectorState", "", state)], self._when(evse.last_updated))
            return
        key = partner.thing, location.id.casefold(), evse.uid.casefold()
        if key in self._announced or evse.status == "REMOVED" or len(self._announced) >= MAX_ANNOUNCED:
            return
        operator = location.operator.name if location.operator is not None else partner.roles[0].business_details.name
        said = Introduced(
            operator[:200] or "-", evse.connectors[0].standard, f"{location.id}/{evse.evse_id or evse.uid}"[:200],
            thing_model=EVSE_MODEL, connection={"of": partner.thing, "location": location.id, "evse": evse.uid},
        )  # fmt: skip
        try:
            await self._roaming.context.announce(self._roaming.context.source_of(partner.thing), said)
        except (Invalid, Overloaded) as error:
            log.warning("an EVSE of %s is not announced: %s", partner.thing, error.detail)
            return
        self._announced.add(key)

    def _when(self, text: str) -> int:
        return min(read_time(text), self._roaming.now_us)
