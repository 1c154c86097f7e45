"""Tariffs of ours, as the settings have them. Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Tariffs module"."""

from gridspine.adapters.ocpi.bill import Bill
from gridspine.adapters.ocpi.call import Call, Reply
from gridspine.adapters.ocpi.push import Push, Pushes
from gridspine.adapters.ocpi.roaming import Roaming
from gridspine.adapters.ocpi.wire import Version, nothing_here, path_of


class CpoTariffs:
    """Our tariffs."""

    def __init__(self, roaming: Roaming, bill: Bill) -> None:
        self._roaming, self._bill = roaming, bill
        self._told: dict[str, int] = {}
        self.handlers = {"GET": self._get}

    def tell(self, pushes: Pushes) -> None:
        """Push all to partners that have just registered."""
        us = self._roaming.settings.party
        for partner in self._roaming.partners("EMSP"):
            if self._told.get(partner.thing) == partner.since_us:
                continue
            self._told[partner.thing] = partner.since_us
            version: Version = "2.2.1" if partner.version == "2.2.1" else "2.3.0"
            for one in self._roaming.settings.tariffs:
                path = path_of(us.country_code, us.party_id, one.id)
                push = Push("PUT", "tariffs", "RECEIVER", path, self._bill.tariff(one, version, self._bill.since_us))
                pushes.offer(partner, f"tariff/{one.id}", push)

    async def _get(self, call: Call) -> Reply:
        if call.rest:
            raise nothing_here()
        since_us = self._bill.since_us
        shown = [self._bill.tariff(one, call.version, since_us) for one in self._roaming.settings.tariffs]
        return call.listed([(since_us, one) for one in shown])
