"""The point table: every point a number, every attribute a numpy column.

Names are indexed by Thing (a dictionary entry a Thing, not a point): a Thing's points are numbered from its base in
the order of its model. Rules are kept once a model and point; the table holds their row number.

::

    urn:x:meter/activePower ──► things["urn:x:meter"] = 7 ──► base[7] + model.offset["activePower"] ──► point 42
                                                                       rule[42] ──► possible_min[3], deadband[3], …
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.ids import split_point_id
from gridspine.kernel.readings import Int32Array, Int64Array
from gridspine.kernel.time import US
from gridspine.kernel.units import conversion, unit
from gridspine.things.model import PointModel, ThingModel

UNKNOWN = -1
NOT_YOURS = -2
WRONG_UNIT = -3


class Column:
    """A numpy array that grows by half when it must; ``array`` is always at least ``size`` long."""

    def __init__(self, dtype: npt.DTypeLike, fill: float = 0) -> None:
        self._fill = fill
        self.array: npt.NDArray[Any] = np.full(0, fill, dtype)

    def grow(self, size: int) -> None:
        """Make room for ``size`` rows; new ones hold the fill value."""
        if size > len(self.array):
            grown = np.full(max(size, len(self.array) * 3 // 2, 64), self._fill, self.array.dtype)
            grown[: len(self.array)] = self.array
            self.array = grown


class Rules:
    """Screening rules as columns, one row per model and point; NaN is *no such limit*."""

    _FLOATS = ("possible_min", "possible_max", "limit_min", "limit_max", "max_rate_per_s")

    def __init__(self) -> None:
        self.points: list[PointModel] = []
        self.possible_min = Column(np.float64, np.nan)
        self.possible_max = Column(np.float64, np.nan)
        self.limit_min = Column(np.float64, np.nan)
        self.limit_max = Column(np.float64, np.nan)
        self.max_rate_per_s = Column(np.float64, np.nan)
        self.deadband = Column(np.float64)
        self.min_interval_us = Column(np.int64)
        self.max_silence_us = Column(np.int64)
        self.max_future_us = Column(np.int64)
        self.flap_changes = Column(np.int32)
        self.flap_window_us = Column(np.int64)
        self.register = Column(np.bool_)
        self.state = Column(np.bool_)

    def add(self, point: PointModel) -> int:
        """Add the rule of a model's point and return its row."""
        row = len(self.points)
        self.points.append(point)
        screen = point.screen
        for name in self._FLOATS:
            value = getattr(screen, name)
            self._set(getattr(self, name), row, np.nan if value is None else value)
        self._set(self.deadband, row, screen.effective_deadband)
        self._set(self.min_interval_us, row, round(screen.min_interval_s * US))
        self._set(self.max_silence_us, row, round(screen.max_silence_s * US))
        self._set(self.max_future_us, row, round(screen.max_future_s * US))
        self._set(self.flap_changes, row, screen.flap_changes)
        self._set(self.flap_window_us, row, round(screen.flap_window_s * US))
        kind = point.reading_type.kind
        self._set(self.register, row, kind == "register")
        self._set(self.state, row, kind == "state")
        if kind in {"register", "interval"} and screen.possible_min is None:
            self.possible_min.array[row] = 0.0  # energy is two non-negative registers
        return row

    @staticmethod
    def _set(column: Column, row: int, value: float) -> None:
        column.grow(row + 1)
        column.array[row] = value


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A Thing Model with the row of its first rule and the offsets of its points."""

    model: ThingModel
    first_rule: int
    offset: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """Names as numbers: ``point`` int32 (k,), negative where refused; ``scale`` and ``shift`` float64 (k,)."""

    point: Int32Array
    scale: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]


class PointTable:
    """Numbers, names and rules of all points. Grown under a lock; read without one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, PlacedModel] = {}
        self._model_list: list[PlacedModel] = []
        self._thing: dict[str, int] = {}
        self._organisation_number: dict[str, int] = {}
        self._base = Column(np.int32)
        self._by_number = (Column(np.int32), Column(np.int32))
        """Bases in ascending order, and the Thing of each: Things need not come in the order of their numbers."""
        self._model_of = Column(np.int32)
        self._organisation_of = Column(np.int32)
        self._urns: list[str] = []
        self._organisations: list[str] = []
        self.rules = Rules()
        self.rule = Column(np.int32, -1)
        self.count = 0

    def __len__(self) -> int:
        return self.count

    @property
    def thing_count(self) -> int:
        """How many Things are bound."""
        return len(self._urns)

    def add_model(self, model: ThingModel) -> None:
        """Make a model known; the same id again must be the same model."""
        with self._lock:
            known = self._models.get(model.id)
            if known is not None:
                if known.model.points != model.points:
                    raise Conflict(f"there is another model {model.id} already: give a new one a new id")
                return
            first = len(self.rules.points)
            for point in model.points:
                self.rules.add(point)
            placed = PlacedModel(model, first, {point.name: at for at, point in enumerate(model.points)})
            self._models[model.id] = placed
            self._model_list.append(placed)

    def model(self, id: str) -> ThingModel | None:
        """Return the model called ``id``, or None."""
        placed = self._models.get(id)
        return None if placed is None else placed.model

    def models(self) -> Sequence[ThingModel]:
        """Return all models known."""
        return [placed.model for placed in self._model_list]

    def bind(self, binding: PointBinding) -> None:
        """Give a Thing's points their numbers; the same binding again changes nothing."""
        with self._lock:
            if binding.thing in self._thing:
                if self._base.array[self._thing[binding.thing]] != binding.first:
                    raise Conflict(f"{binding.thing} is bound already")
                return
            placed = self._models.get(binding.model)
            if placed is None:
                raise Conflict(f"model {binding.model} is not known")
            number = len(self._urns)
            for column, value in (
                (self._base, binding.first),
                (self._model_of, self._model_list.index(placed)),
                (self._organisation_of, self._organisation(binding.organisation)),
            ):
                column.grow(number + 1)
                column.array[number] = value
            size = binding.first + len(binding.names)
            self.rule.grow(size)
            self.rule.array[binding.first : size] = np.arange(placed.first_rule, placed.first_rule + len(binding.names))
            self.count = max(self.count, size)
            self._order(number, binding.first)
            self._urns.append(binding.thing)
            self._thing[binding.thing] = number  # last: a reader sees a Thing only when it is whole

    def resolve(
        self, names: Sequence[str], units: Sequence[str], organisation: str, only: Collection[str] | None = None
    ) -> Resolved:
        """Return the numbers of point ids, and how their units become the points' own.

        A point of another organisation (or of a Thing not in ``only``, when that is given) is `NOT_YOURS`; the
        caller answers it as unknown, so that nobody learns what exists.
        """
        point = np.full(len(names), UNKNOWN, np.int32)
        scale, shift = np.ones(len(names)), np.zeros(len(names))
        owner = self._organisation_number.get(organisation, -1)
        things, base, model_of = self._thing, self._base.array, self._model_of.array
        for at, name in enumerate(names):
            urn, property_name = split_point_id(name)
            thing = things.get(urn)
            if thing is None:
                continue
            placed = self._model_list[model_of[thing]]
            offset = placed.offset.get(property_name)
            if offset is None:
                continue
            if self._organisation_of.array[thing] != owner or (only is not None and urn not in only):
                point[at] = NOT_YOURS
                continue
            point[at] = base[thing] + offset
            if units[at]:
                try:
                    target = unit(placed.model.points[offset].reading_type.unit)
                    scale[at], shift[at] = conversion(unit(units[at]), target)
                except Invalid:
                    point[at] = WRONG_UNIT
        return Resolved(point, scale, shift)

    def number(self, point_id: str) -> int:
        """Return a point's number, `UNKNOWN` when there is none."""
        urn, name = split_point_id(point_id)
        thing = self._thing.get(urn)
        if thing is None:
            return UNKNOWN
        offset = self._model_list[self._model_of.array[thing]].offset.get(name)
        return UNKNOWN if offset is None else int(self._base.array[thing]) + offset

    def thing_points(self, urn: str) -> tuple[int, ThingModel] | None:
        """Return a Thing's first point number and its model, or None."""
        thing = self._thing.get(urn)
        if thing is None:
            return None
        return int(self._base.array[thing]), self._model_list[self._model_of.array[thing]].model

    def organisation_of(self, urn: str) -> str | None:
        """Return the organisation a Thing belongs to, or None when it is not known."""
        thing = self._thing.get(urn)
        return None if thing is None else self._organisations[self._organisation_of.array[thing]]

    def things(self) -> Sequence[str]:
        """Return the URNs of all Things, oldest first."""
        return self._urns

    def place(self, point: int) -> tuple[str, PointModel]:
        """Return the Thing's URN and the point's model for a number."""
        thing = int(self.things_of(np.array([point]))[0])
        return self._urns[thing], self.rules.points[self.rule.array[point]]

    def things_of(self, point: Int32Array | Int64Array) -> Int64Array:
        """Return, for points (k,), the place of each one's Thing in `things`."""
        bases, things = self._by_number
        # Of the bases' own type: numpy would copy all of them to compare with another.
        point = point.astype(np.int32, copy=False)
        found = np.searchsorted(bases.array[: len(self._urns)], point, side="right") - 1
        return things.array[found].astype(np.int64)

    def point_id(self, point: int) -> str:
        """Return the id of a point number."""
        urn, model = self.place(point)
        return f"{urn}/{model.name}"

    def _order(self, number: int, base: int) -> None:
        """Note a Thing's place in the order of numbers; where it is not the last, readers get new columns at once."""
        bases, things = self._by_number
        at = int(np.searchsorted(bases.array[:number], np.int32(base)))
        if at < number:
            bases, things = _copy(bases), _copy(things)
        for column, value in ((bases, base), (things, number)):
            column.grow(number + 1)
            column.array[at + 1 : number + 1] = column.array[at:number]
            column.array[at] = value
        self._by_number = bases, things

    def _organisation(self, organisation: str) -> int:
        number = self._organisation_number.get(organisation)
        if number is None:
            number = len(self._organisations)
            self._organisations.append(organisation)
            self._organisation_number[organisation] = number
        return number


def _copy(column: Column) -> Column:
    copied = Column(column.array.dtype)
    copied.array = column.array.copy()
    return copied
