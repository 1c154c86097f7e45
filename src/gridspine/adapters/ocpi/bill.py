"""What we tell of sessions, records and tariffs of ours, as each version writes it.

A session is billed by its tariff as that was when it began. Source: OCPI 2.2.1-d2 and 2.3.0, chapters "Sessions
module", "CDRs module" and "Tariffs module".
"""

from typing import Any

import msgspec

from gridspine.adapters.ocpi.charging import Cdr, CdrDimension, ChargingPeriod, OldPrice, Price, Session
from gridspine.adapters.ocpi.cost import Amount, costs, total
from gridspine.adapters.ocpi.cpo_locations import CONNECTOR
from gridspine.adapters.ocpi.own import Own
from gridspine.adapters.ocpi.settings import OwnTariff, Settings
from gridspine.adapters.ocpi.tariff import Dimension, OldTariff, Tariff
from gridspine.adapters.ocpi.wire import Version, write_time


class Bill:
    """Writes them. ``since_us`` is since when the tariffs are as the settings have them [µs since 1970]."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._us = settings, settings.party
        self.tariffs = {one.id: one for one in settings.tariffs}
        self.since_us = 0

    def tariff_of(self, ids: tuple[str, ...]) -> OwnTariff | None:
        """Return the tariff that a session begins by, where a charging point has these."""
        return next((self.tariffs[one] for one in ids if one in self.tariffs), None)

    def session(self, own: Own, version: Version) -> Session[Price | OldPrice]:
        """Return a session as a version has it."""
        us = self._us
        return Session(
            us.country_code, us.party_id, own.id, write_time(own.started_us), own.energy_wh / 1000, own.token,
            own.method, own.location.id, own.location.evse_uid, CONNECTOR, own.currency, own.status,
            write_time(own.updated_us), end_date_time=write_time(own.ended_us) if own.ended_us else None,
            authorization_reference=own.reference, charging_periods=_periods(own),
            total_cost=total(self._costs(own).values()).price(version),
        )  # fmt: skip

    def cdr(self, own: Own, version: Version) -> Cdr[Price | OldPrice]:
        """Return a record as a version has it: the same whenever it is told."""
        us, parts = self._us, self._costs(own)
        shown: dict[Dimension, Any] = {name: amount.price(version) for name, amount in parts.items()}
        by, since_us = self._priced(own)
        tariff = None if by is None else self.tariff(by, version, since_us)
        return Cdr(
            us.country_code, us.party_id, own.id, write_time(own.started_us), write_time(own.ended_us), own.token,
            own.method, own.location, own.currency, _periods(own), total(parts.values()).price(version),
            own.energy_wh / 1000, round(own.time_s / 3600, 4), write_time(own.updated_us), session_id=own.id,
            authorization_reference=own.reference,
            tariffs=() if tariff is None else (msgspec.to_builtins(tariff),), total_fixed_cost=shown.get("FLAT"),
            total_energy_cost=shown.get("ENERGY"), total_time_cost=shown.get("TIME"),
        )  # fmt: skip

    def tariff(self, one: OwnTariff, version: Version, since_us: int) -> Tariff | OldTariff:
        """Return a tariff of ours as a version has it, as it was since then."""
        us, at = self._us, write_time(since_us)
        if version == "2.2.1":
            return OldTariff(us.country_code, us.party_id, one.id, one.currency, one.elements, at)
        return Tariff(us.country_code, us.party_id, one.id, one.currency, one.elements, at, "NO")

    def _priced(self, own: Own) -> tuple[OwnTariff | None, int]:
        """Return by which tariff a session is billed; of one that was kept without it, by what the settings have."""
        return (self.tariffs.get(own.tariff), self.since_us) if own.priced is None else (own.priced, own.priced_us)

    def _costs(self, own: Own) -> dict[Dimension, Amount]:
        tariff, _ = self._priced(own)
        return {} if tariff is None else costs(tariff.elements, own.energy_wh, own.time_s)


def _periods(own: Own) -> tuple[ChargingPeriod, ...]:
    energy = CdrDimension("ENERGY", own.energy_wh / 1000)
    dimensions = (energy, CdrDimension("TIME", round(own.time_s / 3600, 4)))
    return (ChargingPeriod(write_time(own.started_us), dimensions, own.tariff or None),)
