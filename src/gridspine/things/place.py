"""`Place`: a part of the earth's surface, and which of many positions lie in it. Pure; arrays in, arrays out.

Positions are latitude and longitude [degrees, WGS 84]. GeoJSON writes longitude first.

Sources: RFC 7946 (GeoJSON) §3.1 geometries, §3.1.9 what crosses the antimeridian is cut there, §5.2 boxes across it.
The radius of the earth is the mean one of IUGG; distances are great-circle distances on a sphere (within 0.6 %).
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
import numpy as np

from gridspine.kernel.errors import Invalid
from gridspine.kernel.readings import BoolArray, Float64Array

EARTH_M = 6_371_008.8
"""Mean radius of the earth [m]."""
MAX_VERTICES = 1_000
"""Vertices all rings of a geometry may have together."""
_AT_ONCE = 65_536
Ring = list[list[float]]


class Circle(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """All within ``radius_m`` [m] of a position [degrees]."""

    latitude: float
    longitude: float
    radius_m: float

    def check(self) -> None:
        """Raise `Invalid` when it is no circle on earth."""
        if not (abs(self.latitude) <= 90 and abs(self.longitude) <= 180 and 0 < self.radius_m <= 21e6):
            raise Invalid("circle: latitude -90 to 90, longitude -180 to 180, radiusM above 0 and at most 21,000,000")

    def covers(self, latitude: Float64Array, longitude: Float64Array) -> BoolArray:
        """Return which positions (k,) lie in it."""
        lat, lon = np.radians(latitude), np.radians(longitude)
        lat0, lon0 = np.radians(self.latitude), np.radians(self.longitude)
        haversine = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
        inside: BoolArray = 2 * EARTH_M * np.arcsin(np.sqrt(np.minimum(haversine, 1.0))) <= self.radius_m
        return inside


class Place(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A place: in the box, and in the circle, and in the geometry, as far as each is given.

    ``bbox``: west, south, east, north [degrees]; west is more than east where it crosses the antimeridian.
    ``geometry``: a GeoJSON Polygon or MultiPolygon, holes heeded; or a Feature of one.
    """

    bbox: tuple[float, float, float, float] | None = None
    circle: Circle | None = None
    geometry: dict[str, Any] | None = None

    def check(self) -> None:
        """Raise `Invalid` naming what is wrong."""
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (abs(west) <= 180 and abs(east) <= 180 and -90 <= south <= north <= 90):
                raise Invalid("bbox: west, south, east, north in degrees, south at most north")
        if self.circle is not None:
            self.circle.check()
        if self.geometry is not None:
            polygons(self.geometry)

    def covers(self, latitude: Float64Array, longitude: Float64Array) -> BoolArray:
        """Return which positions (k,) lie in it; NaN lies nowhere."""
        inside: BoolArray = ~np.isnan(latitude)
        if self.bbox is not None:
            west, south, east, north = self.bbox
            inside &= (latitude >= south) & (latitude <= north)
            if west <= east:
                inside &= (longitude >= west) & (longitude <= east)
            else:
                inside &= (longitude >= west) | (longitude <= east)
        if self.circle is not None:
            rest = np.flatnonzero(inside)
            inside[rest] = self.circle.covers(latitude[rest], longitude[rest])
        if self.geometry is not None:
            rest = np.flatnonzero(inside)
            inside[rest] = _in_polygons(polygons(self.geometry), latitude[rest], longitude[rest])
        return inside


def polygons(geometry: Mapping[str, Any]) -> list[list[Float64Array]]:
    """Return the rings, float64 (v, 2) of longitude and latitude, of each polygon; raise `Invalid`."""
    kind = geometry.get("type")
    if kind == "Feature" and isinstance(geometry.get("geometry"), Mapping):
        return polygons(geometry["geometry"])
    if kind not in {"Polygon", "MultiPolygon"}:
        raise Invalid("geometry: a GeoJSON Polygon or MultiPolygon is needed")
    coordinates = geometry.get("coordinates")
    try:
        several = msgspec.convert([coordinates] if kind == "Polygon" else coordinates, list[list[Ring]])
    except msgspec.ValidationError as error:
        raise Invalid(f"geometry: coordinates: {error}") from error
    if sum(len(ring) for rings in several for ring in rings) > MAX_VERTICES:
        raise Invalid(f"geometry: at most {MAX_VERTICES} vertices")
    return [[_ring(ring) for ring in rings] for rings in several]


def _ring(ring: Ring) -> Float64Array:
    if len(ring) < 4 or ring[0] != ring[-1]:
        raise Invalid("geometry: a ring has four positions at least, the last the same as the first")
    for position in ring:
        if len(position) < 2 or not (abs(position[0]) <= 180 and abs(position[1]) <= 90 and isfinite(sum(position))):
            raise Invalid("geometry: a position is longitude (-180 to 180) and latitude (-90 to 90)")
    return np.array([position[:2] for position in ring], np.float64)


def _in_polygons(
    several: Sequence[Sequence[Float64Array]], latitude: Float64Array, longitude: Float64Array
) -> BoolArray:
    inside: BoolArray = np.zeros(len(latitude), np.bool_)
    for start in range(0, len(latitude), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        for rings in several:
            inside[part] |= _in_polygon(rings, latitude[part], longitude[part])
    return inside


def _in_polygon(rings: Sequence[Float64Array], latitude: Float64Array, longitude: Float64Array) -> BoolArray:
    """Return which positions lie in the first ring and in none of the others, by the even-odd rule."""
    found: BoolArray = np.zeros(len(latitude), np.bool_)
    if not rings:
        return found
    (west, south), (east, north) = rings[0].min(axis=0), rings[0].max(axis=0)
    near = np.flatnonzero((latitude >= south) & (latitude <= north) & (longitude >= west) & (longitude <= east))
    y, x = latitude[near], longitude[near]
    odd = np.zeros(len(near), np.bool_)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring[:-1].tolist(), ring[1:].tolist(), strict=True):
            if y1 != y2:
                odd ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    found[near] = odd
    return found
