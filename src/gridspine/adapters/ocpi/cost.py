"""What a session costs by a tariff of ours: once, by energy and by time, each in whole steps.

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Tariffs module", PriceComponent (step_size), and "Types" (Price). Parking time
is none: a charging point that waits for its vehicle to leave is not told apart from one that charges.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from gridspine.adapters.ocpi.charging import OldPrice, Price, TaxAmount
from gridspine.adapters.ocpi.tariff import Dimension, TariffElement
from gridspine.adapters.ocpi.wire import Version

_VAT = "VAT"


class Amount(NamedTuple):
    """An amount before tax, and what tax of which rate [%] adds; no rate where a tariff says nothing of tax."""

    before: float = 0.0
    taxes: tuple[tuple[float, float], ...] | None = ()

    def plus(self, other: "Amount") -> "Amount":
        """Return both together."""
        if self.taxes is None or other.taxes is None:
            return Amount(self.before + other.before, None)
        rates = dict(self.taxes)
        for rate, amount in other.taxes:
            rates[rate] = rates.get(rate, 0.0) + amount
        return Amount(self.before + other.before, tuple(sorted(rates.items())))

    def price(self, version: Version) -> Price | OldPrice:
        """Return the amount as a version writes it."""
        if version == "2.2.1":
            incl = None if self.taxes is None else _money(self.before + sum(amount for _, amount in self.taxes))
            return OldPrice(_money(self.before), incl)
        taxes = tuple(TaxAmount(_VAT, _money(amount), percentage=rate) for rate, amount in self.taxes or ())
        return Price(_money(self.before), taxes)


def costs(elements: Iterable[TariffElement], energy_wh: float, time_s: float) -> dict[Dimension, Amount]:
    """Return what ``energy_wh`` [Wh] in ``time_s`` [s] cost, by dimension: the first element with one counts."""
    found: dict[Dimension, Amount] = {}
    for element in elements:
        for part in element.price_components:
            if part.type in found or part.type == "PARKING_TIME":
                continue
            steps = max(1, part.step_size)
            if part.type == "ENERGY":
                quantity = _stepped(energy_wh, steps) / 1000
            elif part.type == "TIME":
                quantity = _stepped(time_s, steps) / 3600
            else:
                quantity = 1.0
            before = part.price * quantity
            taxes = None if part.vat is None else ((part.vat, before * part.vat / 100),)
            found[part.type] = Amount(before, taxes)
    return found


def total(parts: Iterable[Amount]) -> Amount:
    """Return amounts together."""
    made = Amount()
    for one in parts:
        made = made.plus(one)
    return made


def _stepped(quantity: float, step: int) -> float:
    return math.ceil(round(quantity / step, 9)) * step


def _money(amount: float) -> float:
    return round(amount, 4)
