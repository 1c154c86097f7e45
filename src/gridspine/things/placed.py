"""`PlacedModels`: the Thing Models of a point table, their words as columns and their rules in rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from gridspine.kernel.errors import Conflict, Overloaded
from gridspine.kernel.names import PackedNames
from gridspine.kernel.readings import Int32Array
from gridspine.things.model import ThingModel
from gridspine.things.name_index import NOBODY, KeyedHash, NameIndex
from gridspine.things.rule import Rules

_NONE = -1
MAX_CELLS = 1 << 24
"""Models times different names of points that a table has room for."""


@dataclass(slots=True)
class PlacedModel:
    """A Thing Model with the row of its first rule and the offsets of its points.

    ``former_rule`` is the first rule of points that are its Things' no more: they are never too silent. -1: none yet.
    """

    model: ThingModel
    row: int
    first_rule: int
    offset: dict[str, int] = field(default_factory=dict)
    former_rule: int = _NONE

    @property
    def size(self) -> int:
        """How many numbers a Thing of it takes: one at least, so that no two Things begin at the same."""
        return max(1, len(self.model.points))


class PlacedModels:
    """Models by id and by row. Grown under its owner's lock; read without one."""

    def __init__(self, hash_: KeyedHash) -> None:
        self.rows: list[PlacedModel] = []
        self.rules = Rules()
        self.words = NameIndex(hash_)
        self.offset: Int32Array = np.full((0, 0), _NONE, np.int32)
        """For each model and word: which of the model's points it names."""
        self._by_id: dict[str, PlacedModel] = {}

    def add(self, model: ThingModel) -> None:
        """Make a model known; the same id again must be the same model."""
        known = self._by_id.get(model.id)
        if known is not None:
            if known.model.points != model.points:
                raise Conflict(f"there is another model {model.id} already: give a new one a new id")
            return
        new = [point.name for point in model.points if self.words.get(point.name) == NOBODY]
        if (len(self.rows) + 1) * (len(self.words) + len(new)) > MAX_CELLS:
            raise Overloaded("the node knows as many models as it can hold: use one of them", retry_after_s=86_400)
        placed = PlacedModel(model, len(self.rows), len(self.rules.points))
        for at, point in enumerate(model.points):
            self.rules.add(point)
            placed.offset[point.name] = at
        self._name_words(placed, new)
        self._by_id[model.id] = placed
        self.rows.append(placed)

    def get(self, id: str) -> PlacedModel | None:
        """Return the model called ``id``, or None."""
        return self._by_id.get(id)

    def former_rule(self, placed: PlacedModel) -> int:
        """Return the first rule for points that are nobody's any more."""
        if placed.former_rule == _NONE:
            first = len(self.rules.points)
            for point in placed.model.points:
                quiet = msgspec.structs.replace(point.screen, max_silence_s=0.0)
                self.rules.add(msgspec.structs.replace(point, screen=quiet))
            placed.former_rule = first
        return placed.former_rule

    def of(self, ids: Sequence[str]) -> Int32Array:
        """Return the rows of models; raise `Conflict` for one that is not known."""
        unknown = [id_ for id_ in ids if id_ not in self._by_id]
        if unknown:
            raise Conflict(f"model {unknown[0]} is not known")
        return np.array([self._by_id[id_].row for id_ in ids], np.int32)

    def _name_words(self, placed: PlacedModel, new: Sequence[str]) -> None:
        self.words.add_all(PackedNames.of(new))
        wider = np.full((placed.row + 1, len(self.words)), _NONE, np.int32)
        wider[: placed.row, : self.offset.shape[1]] = self.offset
        for name, at in placed.offset.items():
            wider[placed.row, self.words.get(name)] = at
        self.offset = wider
