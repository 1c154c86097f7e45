"""`Thing`: a device, plant or site."""

from math import isfinite
from typing import Any

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_urn

_MAX_TITLE = 200
_MAX_CONNECTION_BYTES = 16_384
_MAX_DEVICES = 100
MAX_FORMER = 64
"""Blocks of point numbers a Thing may have had: numbers are never reused, and are not to run out."""

Location = tuple[float, float]
"""Latitude and longitude [degrees, WGS 84]: north and east are positive."""


class Former(msgspec.Struct, frozen=True, rename="camel"):
    """A block of point numbers a Thing had until ``until_us``: from ``first`` on, those of ``model``."""

    first: int
    model: str
    organisation: str
    until_us: int


class Thing(msgspec.Struct, frozen=True, rename="camel"):
    """A device, plant or site: what it is (``model``), whose it is, how it is reached.

    ``adapter`` and ``connection`` say which adapter serves it and where; a Thing without an adapter is reached by
    the API only. ``devices`` are the principals that speak for it. ``first`` is the number of its first point,
    ``points`` are the names of all, in the order of their numbers. No secret is ever in
    ``connection``.

    ``version`` rises by one with every change, the last of which was at ``modified_us`` (0: there was none). With
    another model or organisation it gets other numbers; the ``former`` ones stay what they were. ``retired_us`` is
    when it left the directory, 0 while it is in it; a retired Thing stays known, for its history. A ``described`` one
    has a Thing Description of its own (`gridspine.things.description`).
    """

    id: str
    organisation: str
    title: str
    model: str
    first: int = -1
    adapter: str = ""
    connection: dict[str, Any] = {}
    devices: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    created_us: int = 0
    version: int = 1
    modified_us: int = 0
    location: Location | None = None
    retired_us: int = 0
    former: tuple[Former, ...] = ()
    described: bool = False

    @property
    def retired(self) -> bool:
        """Whether it has left the directory."""
        return self.retired_us != 0

    @property
    def owned_since_us(self) -> int:
        """Since when it is its organisation's [µs since 1970], 0 from the beginning: what was before is not its."""
        return max((one.until_us for one in self.former if one.organisation != self.organisation), default=0)

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        if not 0 < len(self.title.strip()) <= _MAX_TITLE:
            raise Invalid(f"title: 1 to {_MAX_TITLE} characters are needed")
        if len(msgspec.json.encode(self.connection)) > _MAX_CONNECTION_BYTES:
            raise Invalid("connection: too large")
        if len(self.devices) > _MAX_DEVICES or len(self.adapter) > _MAX_TITLE:
            raise Invalid(f"devices: at most {_MAX_DEVICES}; adapter: at most {_MAX_TITLE} characters")
        for device in self.devices:
            check_urn(device)
        if self.location is not None:
            check_location(self.location)
        if self.id:
            check_urn(self.id)


def check_location(location: Location) -> None:
    """Raise `Invalid` when ``location`` is no place on earth."""
    latitude, longitude = location
    if not (isfinite(latitude) and isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180):
        raise Invalid("location: latitude is -90 to 90 and longitude -180 to 180 degrees (WGS 84)")
