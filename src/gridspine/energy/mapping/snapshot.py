"""What a Thing's points say at a moment, and what becomes of it in another language: documents, and what was lost."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gridspine.things.model import PointModel, ThingModel


class Reported(msgspec.Struct, frozen=True):
    """The last reading of a point: ``value`` [the point's unit], ``quality`` bits, ``observed_us`` [µs since 1970]."""

    value: float
    quality: int
    observed_us: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A Thing (its URN and title), its model, and the last readings of those of its points that have one, by name."""

    thing: str
    title: str
    model: ThingModel
    values: Mapping[str, Reported]

    def points(self) -> list[tuple[PointModel, Reported]]:
        """Return the points with a reading, in the model's order."""
        return [(point, self.values[point.name]) for point in self.model.points if point.name in self.values]


class Document(msgspec.Struct, frozen=True):
    """One document of another language: what it is there, its media type, its bytes."""

    name: str
    media_type: str
    body: bytes


class Loss(msgspec.Struct, frozen=True):
    """What another language has no room for: the point, and what of it does not arrive, with the reason."""

    point: str
    what: str


class Emission(msgspec.Struct, frozen=True):
    """All documents of a snapshot in one language, and what is in none of them."""

    documents: tuple[Document, ...]
    lost: tuple[Loss, ...]
