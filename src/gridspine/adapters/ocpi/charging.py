"""Sessions and charge detail records, generic in their price: it is written in two ways by the two versions.

Sources: OCPI 2.2.1-d2 and 2.3.0, chapters "Sessions module", "CDRs module" and "Types" (Price, TaxAmount).
"""

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta

from gridspine.adapters.ocpi.location import Format, PowerType
from gridspine.adapters.ocpi.words import (
    CiString2,
    CiString3,
    CiString36,
    CiString39,
    CiString48,
    Country,
    Currency,
    DateTime,
    GeoLocation,
    Long,
    Object,
    Text,
    Word,
)

AuthMethod = Literal["AUTH_REQUEST", "COMMAND", "WHITELIST"]
SessionStatus = Literal["ACTIVE", "COMPLETED", "INVALID", "PENDING", "RESERVATION"]
P = TypeVar("P")


class OldPrice(Object, frozen=True):
    """A price of 2.2.1."""

    excl_vat: float
    incl_vat: float | None = None


class TaxAmount(Object, frozen=True):
    """A tax of a price, its amount in the price's currency."""

    name: Text
    amount: float
    account_number: Text | None = None
    percentage: float | None = None


class Price(Object, frozen=True):
    """A price of 2.3.0."""

    before_taxes: float
    taxes: tuple[TaxAmount, ...] = ()


class CdrToken(Object, frozen=True):
    """By which token a session was charged."""

    country_code: CiString2
    party_id: CiString3
    uid: CiString36
    type: Word
    contract_id: CiString36


class CdrDimension(Object, frozen=True):
    """A quantity of a period: energy in kWh, time in hours, current in A, power in kW."""

    type: Word
    volume: float


class ChargingPeriod(Object, frozen=True):
    """A part of a session, until the next."""

    start_date_time: DateTime
    dimensions: Annotated[tuple[CdrDimension, ...], Meta(min_length=1)]
    tariff_id: CiString36 | None = None


class Session(Object, Generic[P], frozen=True):
    """A session; ``kwh`` is what it took so far [kWh]."""

    country_code: CiString2
    party_id: CiString3
    id: CiString36
    start_date_time: DateTime
    kwh: float
    cdr_token: CdrToken
    auth_method: AuthMethod
    location_id: CiString36
    evse_uid: CiString36
    connector_id: CiString36
    currency: Currency
    status: SessionStatus
    last_updated: DateTime
    end_date_time: DateTime | None = None
    authorization_reference: CiString36 | None = None
    meter_id: Text | None = None
    charging_periods: tuple[ChargingPeriod, ...] = ()
    total_cost: P | None = None


class CdrLocation(Object, frozen=True):
    """Where a session was, as it was then."""

    id: CiString36
    address: Text
    city: Text
    country: Country
    coordinates: GeoLocation
    evse_uid: CiString36
    evse_id: CiString48
    connector_id: CiString36
    connector_standard: Word
    connector_format: Format
    connector_power_type: PowerType
    name: Text | None = None
    postal_code: Text | None = None
    state: Text | None = None


class SignedValue(Object, frozen=True):
    """A signed meter value."""

    nature: CiString36
    plain_data: Long
    signed_data: Long


class SignedData(Object, frozen=True):
    """Signed meter values, and how."""

    encoding_method: CiString36
    signed_values: Annotated[tuple[SignedValue, ...], Meta(min_length=1)]
    encoding_method_version: int | None = None
    public_key: Text | None = None
    url: Text | None = None


class Cdr(Object, Generic[P], frozen=True):
    """A charge detail record: ``total_energy`` [kWh], ``total_time`` and ``total_parking_time`` [h].

    ``tariffs`` are as they were then, and kept as they came.
    """

    country_code: CiString2
    party_id: CiString3
    id: CiString39
    start_date_time: DateTime
    end_date_time: DateTime
    cdr_token: CdrToken
    auth_method: AuthMethod
    cdr_location: CdrLocation
    currency: Currency
    charging_periods: Annotated[tuple[ChargingPeriod, ...], Meta(min_length=1)]
    total_cost: P
    total_energy: float
    total_time: float
    last_updated: DateTime
    session_id: CiString36 | None = None
    authorization_reference: CiString36 | None = None
    meter_id: Text | None = None
    tariffs: tuple[dict[str, Any], ...] = ()
    signed_data: SignedData | None = None
    total_fixed_cost: P | None = None
    total_energy_cost: P | None = None
    total_time_cost: P | None = None
    total_parking_time: float | None = None
    total_parking_cost: P | None = None
    total_reservation_cost: P | None = None
    remark: Text | None = None
    invoice_reference_id: CiString39 | None = None
    credit: bool | None = None
    credit_reference_id: CiString39 | None = None
    home_charging_compensation: bool | None = None
