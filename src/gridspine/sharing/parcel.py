"""A parcel: the readings of one batch that belong to one product, encoded at most once a format."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gridspine.infra.log.port import Position
from gridspine.kernel.codecs.arrow import encode_arrow
from gridspine.kernel.codecs.senml import encode_senml
from gridspine.kernel.readings import Channel, Int32Array, Readings

Format = Literal["json", "cbor", "arrow"]
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/senml+json",
    "cbor": "application/senml+cbor",
    "arrow": "application/vnd.apache.arrow.stream",
}

_COLUMNS = (("point", np.int32), ("observed_us", np.int64), ("value", np.float64), ("quality", np.uint16))


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One product version's points as a lookup: ``local`` int32 (points,) is a point's place in ``names``, or -1.

    Readings on another channel than ``channel`` are none of its own.
    """

    product: str
    version: int
    names: list[str]
    units: list[str]
    local: Int32Array
    channel: Channel = Channel.REPORTED

    def pick(self, readings: Readings) -> Readings:
        """Return the readings of this product, on its channel only, their points as places in ``names``."""
        if readings.channel != self.channel:
            return readings.take(slice(0, 0))
        point = readings.point
        inside = point < len(self.local)
        local = np.where(inside, self.local[np.where(inside, point, 0)], -1) if not inside.all() else self.local[point]
        mine = local >= 0
        if not mine.any():
            return readings.take(slice(0, 0))
        picked = readings.take(mine)
        return dataclasses.replace(picked, point=local[mine])


def make_mask(
    product: str,
    version: int,
    names: Sequence[str],
    units: Sequence[str],
    number: Callable[[str], int],
    channel: Channel = Channel.REPORTED,
    former: Callable[[str], Sequence[int]] = lambda _: (),
) -> Mask:
    """Compile a product's points to a mask; names that have no number (yet) are left out.

    ``former`` are the numbers that a name had before: what was read then is in older records of the log.
    """
    numbers = [(place, at) for place, name in enumerate(names) for at in (*former(name), number(name))]
    local = np.full(max([0, *(at for _, at in numbers)]) + 1, -1, np.int32)  # never empty: there is a place to look at
    for place, at in numbers:
        if at >= 0:
            local[at] = place
    return Mask(product, version, list(names), list(units), local, channel)


@dataclass(slots=True, eq=False)
class Parcel:
    """Readings (points are places in ``mask.names``) at a place in the log."""

    mask: Mask
    position: Position
    readings: Readings
    _encoded: dict[Format, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.readings)

    def encoded(self, format: Format) -> bytes:
        """Return the readings in ``format``; the same bytes for every subscriber."""
        body = self._encoded.get(format)
        if body is None:
            body = self._encoded[format] = encode_readings(self.mask, self.readings, format)
        return body


def encode_readings(mask: Mask, readings: Readings, format: Format) -> bytes:
    """Encode readings whose points are places in ``mask.names``."""
    return _encode(mask, (readings.point, readings.observed_us, readings.value, readings.quality), format)


def encode_parcels(mask: Mask, parcels: Sequence[Parcel], format: Format) -> bytes:
    """Return the readings of several parcels as one body."""
    if len(parcels) == 1:
        return parcels[0].encoded(format)
    columns = [
        np.concatenate([np.zeros(0, kind), *(getattr(parcel.readings, name) for parcel in parcels)])
        for name, kind in _COLUMNS
    ]
    return _encode(mask, columns, format)


def _encode(mask: Mask, columns: Sequence[Any], format: Format) -> bytes:
    if format == "arrow":
        return encode_arrow(mask.names, *columns)
    return encode_senml(mask.names, mask.units, *columns, cbor=format == "cbor")
