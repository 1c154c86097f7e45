"""Locations, their EVSEs and connectors: objects of both versions; what is of 2.3.0 alone says so.

Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Locations module", object description and data types.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta

from gridspine.adapters.ocpi.words import (
    BusinessDetails,
    CiString2,
    CiString3,
    CiString36,
    CiString48,
    Country,
    DateTime,
    DisplayText,
    EnergyMix,
    GeoLocation,
    Image,
    Latitude,
    Longitude,
    Natural,
    Object,
    Text,
    Url,
    Word,
)

Status = Literal[
    "AVAILABLE", "BLOCKED", "CHARGING", "INOPERATIVE", "OUTOFORDER", "PLANNED", "REMOVED", "RESERVED", "UNKNOWN"
]  # fmt: skip
PowerType = Literal["AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"]
Format = Literal["SOCKET", "CABLE"]
HourMinute = Annotated[str, Meta(pattern=r"^([01]\d|2[0-4]):[0-5]\d$")]


class Connector(Object, frozen=True):
    """A socket or cable: voltage [V], current [A] and power [W] at most. ``capabilities`` is of 2.3.0."""

    id: CiString36
    standard: Word
    format: Format
    power_type: PowerType
    max_voltage: Natural
    max_amperage: Natural
    last_updated: DateTime
    max_electric_power: Natural | None = None
    tariff_ids: tuple[CiString36, ...] = ()
    terms_and_conditions: Url | None = None
    capabilities: tuple[Word, ...] = ()


class StatusSchedule(Object, frozen=True):
    """A status that is planned."""

    period_begin: DateTime
    status: Status
    period_end: DateTime | None = None


class EvseParking(Object, frozen=True):
    """Which parking place an EVSE is at (2.3.0)."""

    parking_id: CiString36
    evse_position: Word | None = None


class Evse(Object, frozen=True):
    """What serves one vehicle at a time. ``parking`` and ``accepted_service_providers`` are of 2.3.0."""

    uid: CiString36
    status: Status
    connectors: Annotated[tuple[Connector, ...], Meta(min_length=1, max_length=100)]
    last_updated: DateTime
    evse_id: CiString48 | None = None
    status_schedule: tuple[StatusSchedule, ...] = ()
    capabilities: tuple[Word, ...] = ()
    floor_level: Text | None = None
    coordinates: GeoLocation | None = None
    physical_reference: Text | None = None
    directions: tuple[DisplayText, ...] = ()
    parking_restrictions: tuple[Word, ...] = ()
    parking: tuple[EvseParking, ...] = ()
    images: tuple[Image, ...] = ()
    accepted_service_providers: tuple[Text, ...] = ()


class AdditionalGeoLocation(Object, frozen=True):
    """A place that belongs to a location, such as its entrance."""

    latitude: Latitude
    longitude: Longitude
    name: DisplayText | None = None


class RegularHours(Object, frozen=True):
    """Open each week on a day, 1 is Monday, in local time."""

    weekday: Annotated[int, Meta(ge=1, le=7)]
    period_begin: HourMinute
    period_end: HourMinute


class ExceptionalPeriod(Object, frozen=True):
    """Open, or closed, out of turn."""

    period_begin: DateTime
    period_end: DateTime


class Hours(Object, frozen=True):
    """When a location is open."""

    twentyfourseven: bool
    regular_hours: tuple[RegularHours, ...] = ()
    exceptional_openings: tuple[ExceptionalPeriod, ...] = ()
    exceptional_closings: tuple[ExceptionalPeriod, ...] = ()


class PublishTokenType(Object, frozen=True):
    """To whom a location is shown that is not published."""

    uid: CiString36 | None = None
    type: Word | None = None
    visual_number: Text | None = None
    issuer: Text | None = None
    group_id: CiString36 | None = None


class Location(Object, frozen=True):
    """A place with EVSEs. ``parking_places`` (kept as they came) and ``help_phone`` are of 2.3.0."""

    country_code: CiString2
    party_id: CiString3
    id: CiString36
    publish: bool
    address: Text
    city: Text
    country: Country
    coordinates: GeoLocation
    time_zone: Text
    last_updated: DateTime
    publish_allowed_to: tuple[PublishTokenType, ...] = ()
    name: Text | None = None
    postal_code: Text | None = None
    state: Text | None = None
    related_locations: tuple[AdditionalGeoLocation, ...] = ()
    parking_type: Word | None = None
    evses: Annotated[tuple[Evse, ...], Meta(max_length=2000)] = ()
    parking_places: tuple[dict[str, Any], ...] = ()
    directions: tuple[DisplayText, ...] = ()
    operator: BusinessDetails | None = None
    suboperator: BusinessDetails | None = None
    owner: BusinessDetails | None = None
    facilities: tuple[Word, ...] = ()
    opening_times: Hours | None = None
    charging_when_closed: bool | None = None
    images: tuple[Image, ...] = ()
    energy_mix: EnergyMix | None = None
    help_phone: Text | None = None
