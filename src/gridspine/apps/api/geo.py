"""Where Things are: the directory's list narrowed to a place, and as GeoJSON.

``bbox=west,south,east,north`` and ``within=latitude,longitude,radiusM``, in degrees (WGS 84) and metres. Sources: RFC
7946 (GeoJSON), §5 for boxes; ``application/geo+json`` is its §12.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridspine.apps.node.node import Node
from gridspine.kernel.errors import Invalid
from gridspine.things.directory import Thing
from gridspine.things.place import Circle, Place
from gridspine.things.roll import Ordered

GEO_JSON = "application/geo+json"


def place_of(bbox: str, within: str) -> Place | None:
    """Return the place that is asked for, None for anywhere; raise `Invalid`."""
    if not bbox and not within:
        return None
    west, south, east, north = _numbers("bbox", bbox, 4) if bbox else (-180.0, -90.0, 180.0, 90.0)
    circle = Circle(*_numbers("within", within, 3)) if within else None
    place = Place((west, south, east, north), circle)
    place.check()
    return place


def those_in(node: Node, things: Sequence[Thing], place: Place) -> Sequence[Thing]:
    """Return those of ``things`` that lie in a place, in their order."""
    if isinstance(things, Ordered):
        numbers, latitude, longitude = node.things.roll.located()
        return things.among(numbers[place.covers(latitude, longitude)])
    placed = [thing for thing in things if thing.location is not None]
    latitude, longitude = np.array([thing.location for thing in placed], np.float64).reshape(-1, 2).T
    inside = place.covers(latitude, longitude).tolist()
    return [thing for thing, is_in in zip(placed, inside, strict=True) if is_in]


def features(things: Sequence[Thing]) -> dict[str, Any]:
    """Return Things as a FeatureCollection; whose place is not known has no geometry (RFC 7946 §3.2)."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature", "id": thing.id,
                "geometry": thing.location and {"type": "Point", "coordinates": [thing.location[1], thing.location[0]]},
                "properties": {"title": thing.title, "model": thing.model},
            }
            for thing in things
        ],
    }  # fmt: skip


def _numbers(name: str, text: str, count: int) -> list[float]:
    try:
        found = [float(one) for one in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise Invalid(f"{name}: {count} numbers are needed, commas between")
    return found
