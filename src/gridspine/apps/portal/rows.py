"""A point as a row of a page, and as what a live page is told when it changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gridspine.apps.api.thing import PointView
from gridspine.apps.node.node import Node
from gridspine.apps.portal.display import Level, level_of, point_text, words_of
from gridspine.kernel.ids import point_id
from gridspine.kernel.quality import describe
from gridspine.kernel.time import parse_rfc3339
from gridspine.things.directory import Thing
from gridspine.things.model import LeaseRule, PointModel
from gridspine.things.twin import NEVER_US, TwinValue

EMULATED = "#emulated"
"""What the id of a point ends with on a live page where its emulated value is meant."""

_WORST: tuple[Level, ...] = ("invalid", "questionable", "old", "never", "good")


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point as it is shown; ``observed_us`` [µs since 1970] is None when nothing was reported."""

    id: str
    name: str
    title: str
    description: str
    kind: str
    unit: str
    text: str
    observed_us: int | None
    level: Level
    words: str
    lease: LeaseRule | None


def point_rows(node: Node, thing: Thing, views: Sequence[PointView]) -> list[PointRow]:
    """Return the points of a Thing as rows, in the order of their names."""
    model = node.things.model(thing)
    documented = model.document.get("properties", {})
    return [
        _row(thing, point, view, str(documented.get(point.name, {}).get("description", "")))
        for point, view in zip(model.points, views, strict=True)
    ]


def _row(thing: Thing, point: PointModel, view: PointView, description: str) -> PointRow:
    return PointRow(
        id=point_id(thing.id, point.name),
        name=point.name,
        title=point.title,
        description=description,
        kind=point.reading_type.kind,
        unit=point.reading_type.unit,
        text=point_text(point, view.value),
        observed_us=None if view.observed is None else parse_rfc3339(view.observed),
        level=level_of(view.quality),
        words=words_of(view.quality),
        lease=point.lease,
    )


def emulated_rows(node: Node, thing: Thing) -> list[PointRow]:
    """Return the points of a Thing as they are emulated, under ids that end in ``#emulated``."""
    model = node.things.model(thing)
    return [_emulated(node, thing, point, thing.first + offset) for offset, point in enumerate(model.points)]


def _emulated(node: Node, thing: Thing, point: PointModel, number: int) -> PointRow:
    known = node.twins.channels.emulated(number)
    words = ["never reported"] if known is None else describe(known.quality)
    return PointRow(
        point_id(thing.id, point.name) + EMULATED, point.name, point.title, "", point.reading_type.kind,
        point.reading_type.unit, point_text(point, None if known is None else known.value),
        None if known is None else known.observed_us, level_of(words), words_of(words), point.lease,
    )  # fmt: skip


def worst(rows: Sequence[PointRow]) -> Level:
    """Return the level that a Thing as a whole is shown with: ``never`` only when nothing ever reported."""
    levels = {row.level for row in rows}
    if levels == {"never"}:
        return "never"
    return next((level for level in _WORST if level in levels - {"never"}), "never")


def live_value(id: str, point: PointModel, twin: TwinValue) -> dict[str, Any]:
    """Return the last value of a point as a live page is told it; ``at`` in seconds since 1970."""
    words = describe(twin.quality)
    return {
        "id": id,
        "text": point_text(point, twin.value),
        "at": None if twin.observed_us == NEVER_US else twin.observed_us / 1e6,
        "level": level_of(words),
        "words": words_of(words),
    }
