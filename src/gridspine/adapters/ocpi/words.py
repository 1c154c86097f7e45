"""The simple types of OCPI, as they are checked where a message is read.

An *OpenEnum* of 2.3.0 may have values of the field's own; they are taken in both versions, as what is not known is
kept and not refused. Sources: OCPI 2.2.1-d2 and 2.3.0, chapter "Types"; lengths stand at each object's property.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

_PRINTABLE = r"^[\x20-\x7e]+$"
CiString3 = Annotated[str, Meta(min_length=1, max_length=3, pattern=r"^[A-Za-z0-9]+$")]
CiString2 = Annotated[str, Meta(min_length=2, max_length=2, pattern=r"^[A-Za-z]+$")]
CiString36 = Annotated[str, Meta(min_length=1, max_length=36, pattern=_PRINTABLE)]
CiString39 = Annotated[str, Meta(min_length=1, max_length=39, pattern=_PRINTABLE)]
CiString48 = Annotated[str, Meta(min_length=1, max_length=48, pattern=_PRINTABLE)]
Text = Annotated[str, Meta(max_length=512)]
"""A string(255), string(512) or shorter: what is longer than its own bound but within this is taken."""
Long = Annotated[str, Meta(max_length=5000)]
Url = Annotated[str, Meta(min_length=1, max_length=2000, pattern=_PRINTABLE)]
"""string(255) by the specification; addresses of clouds are longer."""
DateTime = Annotated[str, Meta(max_length=32, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?$")]
Country = Annotated[str, Meta(min_length=2, max_length=3, pattern=r"^[A-Za-z]+$")]
Currency = Annotated[str, Meta(min_length=3, max_length=3, pattern=r"^[A-Za-z]+$")]
Latitude = Annotated[str, Meta(max_length=11, pattern=r"^-?\d{1,2}(\.\d{1,8})?$")]
Longitude = Annotated[str, Meta(max_length=12, pattern=r"^-?\d{1,3}(\.\d{1,8})?$")]
Word = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-/]+$")]
"""A value of an enum that may grow."""
Natural = Annotated[int, Meta(ge=0, le=1 << 53)]


class Object(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object of OCPI; members that are not known are left out."""


class DisplayText(Object, frozen=True):
    """A text in one language."""

    language: str
    text: Text


class Image(Object, frozen=True):
    """Where an image is."""

    url: Url
    category: Word
    type: str
    thumbnail: Url | None = None
    width: Natural | None = None
    height: Natural | None = None


class BusinessDetails(Object, frozen=True):
    """Who a party is."""

    name: Text
    website: Url | None = None
    logo: Image | None = None


class GeoLocation(Object, frozen=True):
    """Where something is, WGS 84, in decimal degrees."""

    latitude: Latitude
    longitude: Longitude


def place_of(latitude: str, longitude: str) -> GeoLocation:
    """Return a place as it is written: five to seven decimals, whatever a person wrote."""
    return GeoLocation(_decimals(latitude), _decimals(longitude))


def _decimals(text: str) -> str:
    whole, _, part = text.partition(".")
    return f"{whole}.{part[:7].ljust(5, '0')}"


class EnergySource(Object, frozen=True):
    """A part of an energy mix [%]."""

    source: Word
    percentage: float


class EnvironmentalImpact(Object, frozen=True):
    """What a kWh costs the environment [g/kWh]."""

    category: Word
    amount: float


class EnergyMix(Object, frozen=True):
    """Where the energy comes from."""

    is_green_energy: bool
    energy_sources: tuple[EnergySource, ...] = ()
    environ_impact: tuple[EnvironmentalImpact, ...] = ()
    supplier_name: Text | None = None
    energy_product_name: Text | None = None
