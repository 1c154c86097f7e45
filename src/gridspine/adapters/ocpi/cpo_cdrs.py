"""Records by which partners' drivers are billed: each told until it was taken, pushed or fetched; always the same.

::

    a session ended ─► kept ─► POST cdr ─► taken │ not: again every `AGAIN_S`, at a start, and when it is fetched

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "CDRs module", sender interface.
"""

from typing import Any

import msgspec

from gridspine.adapters.ocpi.bill import Bill
from gridspine.adapters.ocpi.book import Kept, Partner
from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.own import CDRS, Own, OwnPlace
from gridspine.adapters.ocpi.push import Push, Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.wire import Version, nothing_here

AGAIN_S = 600.0
"""How often a record that was not taken is pushed anew [s]."""


class CpoCdrs:
    """Our records."""

    def __init__(self, roaming: Roaming, pushes: Pushes, bill: Bill) -> None:
        self._roaming, self._pushes, self._bill = roaming, pushes, bill
        self._kept = OwnPlace(roaming.book, roaming.settings.party, CDRS)
        self.handlers = {"GET": self._get}

    def find(self, partner: str, id_: str) -> Own | None:
        """Return the record of a session."""
        return self._kept.find(partner, id_)

    async def keep(self, partner: str, own: Own) -> None:
        """Keep the record of a session that ended; the first that was kept stands."""
        if self.find(partner, own.id) is None:
            await self._kept.keep_new(partner, own)

    def untold(self, partner: str) -> list[Own]:
        """Return the records that a partner has not taken."""
        return [msgspec.convert(one.body, Own) for _, one in self._kept.all(partner) if not one.body.get("told")]

    def push(self, partner: Partner, own: Own) -> None:
        """Push a record."""
        version: Version = "2.2.1" if partner.version == "2.2.1" else "2.3.0"

        async def taken() -> None:
            await self._taken(partner.thing, own)

        push = Push("POST", "cdrs", "RECEIVER", "", self._bill.cdr(own, version), taken, own.provider)
        self._pushes.offer(partner, f"cdr/{own.id}", push)

    async def run(self) -> None:
        """Push anew what was not taken, until cancelled."""
        while True:
            await self._roaming.clock.sleep(AGAIN_S)
            for partner in list(self._roaming.partners("EMSP")):
                for own in self.untold(partner.thing):
                    self.push(partner, own)

    async def _taken(self, partner: str, own: Own) -> None:
        """Keep that a record was taken: pushed, or fetched."""
        if not own.told and self.find(partner, own.id) is not None:
            await self._kept.keep(partner, msgspec.structs.replace(own, told=True))

    async def _get(self, call: Call) -> Reply:
        if call.rest:
            raise nothing_here()
        shown: list[Own] = []

        def show(one: Kept) -> Any:
            shown.append(msgspec.convert(one.body, Own))
            return self._bill.cdr(shown[-1], call.version)

        reply = call.listed(self._kept.all(call.partner.thing, call.theirs()), show)
        for own in shown:
            await self._taken(call.partner.thing, own)
        return reply
