"""Tariffs, and what a session costs by one.

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Tariffs module".
"""

from typing import Annotated, Literal

from msgspec import Meta

from gridspine.adapters.ocpi.charging import OldPrice
from gridspine.adapters.ocpi.location import HourMinute
from gridspine.adapters.ocpi.words import (
    CiString2,
    CiString3,
    CiString36,
    Currency,
    DateTime,
    DisplayText,
    EnergyMix,
    Natural,
    Object,
    Url,
    Word,
)

Dimension = Literal["ENERGY", "FLAT", "PARKING_TIME", "TIME"]


class PriceComponent(Object, frozen=True):
    """A price per kWh, per hour or once, before taxes; billed in steps of ``step_size`` [Wh, s]; ``vat`` [%]."""

    type: Dimension
    price: float
    step_size: Natural
    vat: float | None = None


class TariffRestrictions(Object, frozen=True):
    """When an element holds: local times and dates, energy [kWh], current [A], power [kW], duration [s]."""

    start_time: HourMinute | None = None
    end_time: HourMinute | None = None
    start_date: str | None = None
    end_date: str | None = None
    min_kwh: float | None = None
    max_kwh: float | None = None
    min_current: float | None = None
    max_current: float | None = None
    min_power: float | None = None
    max_power: float | None = None
    min_duration: Natural | None = None
    max_duration: Natural | None = None
    day_of_week: tuple[Word, ...] = ()
    reservation: Word | None = None


class TariffElement(Object, frozen=True):
    """Prices that hold together."""

    price_components: Annotated[tuple[PriceComponent, ...], Meta(min_length=1)]
    restrictions: TariffRestrictions | None = None


class PriceLimit(Object, frozen=True):
    """The least or the most a session costs (2.3.0)."""

    before_taxes: float
    after_taxes: float | None = None


class _Tariff(Object, frozen=True):
    country_code: CiString2
    party_id: CiString3
    id: CiString36
    currency: Currency
    elements: Annotated[tuple[TariffElement, ...], Meta(min_length=1)]
    last_updated: DateTime


class OldTariff(_Tariff, frozen=True):
    """A tariff of 2.2.1."""

    type: Word | None = None
    tariff_alt_text: tuple[DisplayText, ...] = ()
    tariff_alt_url: Url | None = None
    min_price: OldPrice | None = None
    max_price: OldPrice | None = None
    start_date_time: DateTime | None = None
    end_date_time: DateTime | None = None
    energy_mix: EnergyMix | None = None


class Tariff(_Tariff, frozen=True):
    """A tariff of 2.3.0."""

    tax_included: Literal["YES", "NO", "N/A"]
    type: Word | None = None
    tariff_alt_text: tuple[DisplayText, ...] = ()
    tariff_alt_url: Url | None = None
    min_price: PriceLimit | None = None
    max_price: PriceLimit | None = None
    start_date_time: DateTime | None = None
    end_date_time: DateTime | None = None
    energy_mix: EnergyMix | None = None
