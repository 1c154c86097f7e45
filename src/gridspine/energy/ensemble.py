"""Ensembles: Things gathered by what they are, how they are, where they are and what they can do; and their sums.

::

    own Things ─► model ─► place ─► in service ─► state of twins ─► power and energy ─► members, sums
                    └────────┴───────────┴──────────────┴──────────────────┴─► left out, counted by reason

Arrays from end to end: one number a Thing, no object. Only reported values count, good ones, no older than asked for.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from gridspine.energy.criteria import Capability, Condition, Criteria
from gridspine.energy.flexibility import Flexibility, flexibility
from gridspine.kernel.quality import VALIDITY_MASK
from gridspine.kernel.readings import BoolArray, Float64Array, Int32Array, Int64Array
from gridspine.kernel.time import US
from gridspine.kernel.units import conversion, unit
from gridspine.things.column import Column
from gridspine.things.model import ThingModel
from gridspine.things.place import Place
from gridspine.things.point import PointTable
from gridspine.things.roll import Roll
from gridspine.things.standing import Standings
from gridspine.things.twin import NEVER_US, TwinState

_NONE = -1


class Ensemble(msgspec.Struct, frozen=True, rename="camel"):
    """A saved ensemble of an organisation. Who comes or goes does so once it held for ``hold_s`` [s].

    It is described as a Thing under the same ``id``: `gridspine.energy.plant`.
    """

    id: str
    organisation: str
    title: str
    criteria: Criteria
    hold_s: float
    created_us: int
    by: str


class Gathered(NamedTuple):
    """Members (k,) by number in ascending order, with what each has and can; NaN where that is not known.

    ``power_w`` [W, import positive] now; ``shed_w`` and ``raise_w`` [W] for as long as was asked; ``energy_wh`` [Wh]
    that can be had of stores. ``left_out`` counts by reason those of ``considered`` that are no members.
    """

    members: Int64Array
    power_w: Float64Array
    shed_w: Float64Array
    raise_w: Float64Array
    energy_wh: Float64Array
    considered: int
    left_out: dict[str, int]

    def rows(self, part: slice) -> Iterator[tuple[int, float, float, float, float]]:
        """Yield some members: Thing number, power, what it can shed and raise [W], energy [Wh]; NaN: not known."""
        columns = (self.members, self.power_w, self.shed_w, self.raise_w, self.energy_wh)
        return zip(*(column[part].tolist() for column in columns), strict=True)

    def sums(self) -> dict[str, float]:
        """Return count and sums; what is not known is not in them, and counted."""
        found: dict[str, float] = {"count": len(self.members)}
        for name in ("power_w", "shed_w", "raise_w", "energy_wh"):
            column: Float64Array = getattr(self, name)
            found[name] = float(np.nansum(column)) + 0.0
        found["power_unknown"] = int(np.isnan(self.power_w).sum())
        return found


class _Models(NamedTuple):
    """One row a model, in the order of the point table."""

    models: list[ThingModel]
    flexible: list[Flexibility]
    columns: dict[str, Float64Array]

    def of(self, name: str, rows: Int32Array) -> Float64Array:
        return self.columns[name][rows]


class _Sieve:
    """Things that are left, each with its row among the models and its first point; and why the others went."""

    def __init__(self, numbers: Int64Array, row: Int32Array, first: Int32Array) -> None:
        self.numbers, self.row, self.first = numbers, row, first
        self.left_out: dict[str, int] = {}

    def keep(self, wanted: BoolArray, why: str) -> BoolArray:
        """Leave out those that are not ``wanted``; return ``wanted``, to sift other columns by."""
        gone = len(wanted) - int(np.count_nonzero(wanted))
        if gone:
            self.left_out[why] = self.left_out.get(why, 0) + gone
            self.numbers, self.row, self.first = self.numbers[wanted], self.row[wanted], self.first[wanted]
        return wanted


class Gatherer:
    """Gathers ensembles; every call sees the Things and twins as they are. May be called on any thread."""

    def __init__(
        self, points: PointTable, roll: Roll, twins: TwinState, standings: Standings, seen_us: Column | None = None
    ) -> None:
        """``seen_us``: the time of the newest reading of each point [µs since 1970], also of those not kept."""
        self._points, self._roll, self._twins, self._standings = points, roll, twins, standings
        self._seen_us = seen_us
        self._generation = -1
        self._row: Int32Array = np.zeros(0, np.int32)
        self._first: Int32Array = np.zeros(0, np.int32)
        self._models = _Models([], [], {})

    def gather(
        self, criteria: Criteria, numbers: Int64Array, now_us: int, *, relaxed: BoolArray | None = None,
        committed: Int64Array | None = None, emulated: Int64Array | None = None,
    ) -> Gathered:  # fmt: skip
        """Return which of the Things ``numbers`` (k,), ascending and not retired, belong to the ensemble.

        Those that are ``relaxed`` (k,) may stay within the margins: they are members already. ``committed`` (m,) are
        those that are commanded while they would be needed, ``emulated`` (l,) those whose commands reach no device.
        """
        row, first, models = self._census()
        sieve = _Sieve(numbers, row[numbers], first[numbers])
        easy = np.zeros(len(row), np.bool_)
        if relaxed is not None:
            easy[numbers[relaxed]] = True
        self._by_model(criteria, sieve, models)
        if criteria.place is not None:
            self._by_place(criteria.place, sieve)
        if criteria.can is not None:
            self._by_service(criteria.can, sieve, models, committed, emulated)
        for condition in criteria.state:
            self._by_state(condition, criteria.max_age_s, sieve, models, now_us, easy)
        return self._by_power(criteria, sieve, models, now_us, easy, len(numbers))

    def _census(self) -> tuple[Int32Array, Int32Array, _Models]:
        if self._generation != self._points.generation:
            generation, block = self._points.generation, self._points.block()
            if len(block.models) != len(self._models.models):
                self._models = _table([model for id_ in block.models if (model := self._points.model(id_))])
            self._row, self._first, self._generation = block.model, block.first, generation
        return self._row, self._first, self._models

    def _by_model(self, criteria: Criteria, sieve: _Sieve, models: _Models) -> None:
        if criteria.models:
            fits = np.array([model.id in criteria.models for model in models.models], np.bool_)
            sieve.keep(fits[sieve.row], "another model")
        if criteria.points or criteria.quantities:
            points, quantities = set(criteria.points), set(criteria.quantities)
            fits = np.array([points <= _names(one) and quantities <= _measures(one) for one in models.models], np.bool_)
            sieve.keep(fits[sieve.row], "it has no such point")

    def _by_place(self, place: Place, sieve: _Sieve) -> None:
        number, latitude, longitude = self._roll.located()
        at = np.searchsorted(number, sieve.numbers)
        known = at < len(number)
        known[known] = number[at[known]] == sieve.numbers[known]
        at = at[sieve.keep(known, "its place is not known")]
        sieve.keep(place.covers(latitude[at], longitude[at]), "another place")

    def _by_service(
        self, can: Capability, sieve: _Sieve, models: _Models, committed: Int64Array | None,
        emulated: Int64Array | None,
    ) -> None:  # fmt: skip
        """Leave out who cannot be commanded in this direction, whatever it does now."""
        shed = can.direction == "shed"
        bound = models.columns["low_w" if shed else "high_w"]
        sieve.keep(np.isfinite(bound)[sieve.row], "it cannot be commanded to do so")
        longest = models.columns["longest_low_s" if shed else "longest_high_s"]
        sieve.keep((longest >= can.for_s)[sieve.row], "no lease holds so long")
        sieve.keep(self._standings.controllable(sieve.numbers), "out of automatic control")
        if emulated is not None and len(emulated):
            sieve.keep(~np.isin(sieve.numbers, emulated), "emulated")
        if committed is not None and len(committed) and not can.committed:
            sieve.keep(~np.isin(sieve.numbers, committed), "commanded already")

    def _by_state(
        self, condition: Condition, max_age_s: float, sieve: _Sieve, models: _Models, now_us: int, easy: BoolArray
    ) -> None:
        offset, scale, shift = _placed(condition, models.models)
        sieve.keep((offset >= 0)[sieve.row], f"no point {condition.point[:64]}")
        value, good = self._values(sieve.first + offset[sieve.row], max_age_s, now_us)
        value = value[sieve.keep(good == _GOOD, f"{condition.point[:64]}: no value that is good and recent")]
        value = value * scale[sieve.row] + shift[sieve.row]
        sieve.keep(_holds(condition, value, easy[sieve.numbers]), f"{condition.point[:64]}: another value")

    def _values(self, point: Int64Array | Int32Array, max_age_s: float, now_us: int) -> "tuple[Float64Array, _Codes]":
        rows = self._twins.take(point.astype(np.int64))
        code = np.full(len(point), _GOOD, np.int8)
        recent_us = rows.observed_us
        if self._seen_us is not None:  # what does not change is not kept again, and is no older for it
            seen_us = self._seen_us.array
            known = np.flatnonzero(point < len(seen_us))
            recent_us = recent_us.copy()
            recent_us[known] = np.maximum(recent_us[known], seen_us[point[known]])
        code[rows.silent | (now_us - recent_us > round(max_age_s * US))] = _OLD
        code[rows.quality & VALIDITY_MASK != 0] = _BAD
        code[(rows.observed_us == NEVER_US) | np.isnan(rows.value)] = _BAD
        return rows.value, code

    def _by_power(
        self, criteria: Criteria, sieve: _Sieve, models: _Models, now_us: int, easy: BoolArray, considered: int
    ) -> Gathered:
        """Find out what the rest can do, leave out who can do too little, and sum up."""
        power = self._reading("power", criteria, sieve, models, now_us) * models.of("power_w", sieve.row)
        can = criteria.can
        if can is not None:
            power = power[sieve.keep(~np.isnan(power), "its power is not known")]
        low, high = models.of("low_w", sieve.row), models.of("high_w", sieve.row)
        store = models.of("soc", sieve.row) >= 0
        energy = np.full(len(power), np.nan)
        if store.any():
            held, room = self._energy(criteria, sieve, models, now_us)
            energy = np.where(store, held, np.nan)
            if can is not None and can.for_s > 0:
                hours = can.for_s / 3600
                known = ~store | ~np.isnan(held)
                low = np.where(store, np.maximum(low, -held / hours), low)
                high = np.where(store, np.minimum(high, room / hours), high)
                keep = sieve.keep(known, "what its store holds is not known")
                power, low, high, energy = power[keep], low[keep], high[keep], energy[keep]
        shed = np.where(np.isfinite(low), np.maximum(power - low, 0.0), 0.0)
        more = np.where(np.isfinite(high), np.maximum(high - power, 0.0), 0.0)
        if can is not None:
            least = can.at_least_w - can.margin_w * easy[sieve.numbers]
            enough = (shed if can.direction == "shed" else more) >= np.maximum(least, 1e-9)
            keep = sieve.keep(enough, "too little power")
            power, shed, more, energy = power[keep], shed[keep], more[keep], energy[keep]
        return Gathered(sieve.numbers, power, shed, more, energy, considered, sieve.left_out)

    def _reading(self, name: str, criteria: Criteria, sieve: _Sieve, models: _Models, now_us: int) -> Float64Array:
        """Return the values of the point whose offset is in column ``name``; NaN where there is none to count on."""
        offset = models.of(name, sieve.row).astype(np.int64)
        found = np.full(len(offset), np.nan)
        has = np.flatnonzero(offset >= 0)
        value, code = self._values(sieve.first[has] + offset[has], criteria.max_age_s, now_us)
        found[has] = np.where(code == _GOOD, value, np.nan)
        return found

    def _energy(
        self, criteria: Criteria, sieve: _Sieve, models: _Models, now_us: int
    ) -> tuple[Float64Array, Float64Array]:
        """Return the energy [Wh] that stores can give, and that they have room for."""
        soc = self._reading("soc", criteria, sieve, models, now_us) * models.of("soc_percent", sieve.row)
        rated = models.of("rated_wh", sieve.row)
        own = self._reading("rated", criteria, sieve, models, now_us) * models.of("rated_factor_wh", sieve.row)
        rated = np.where(np.isnan(own), rated, own)
        asked = criteria.can.rated_energy_wh if criteria.can is not None else 0.0
        rated = np.where(rated > 0, rated, asked if asked > 0 else np.nan)
        held = np.maximum(soc - models.of("soc_low", sieve.row), 0.0) / 100.0 * rated
        room = np.maximum(models.of("soc_high", sieve.row) - soc, 0.0) / 100.0 * rated
        return held, room


_GOOD, _OLD, _BAD = 0, 1, 2
_Codes = np.ndarray[tuple[int], np.dtype[np.int8]]


def _table(models: list[ThingModel]) -> _Models:
    flexible = [flexibility(model) for model in models]
    columns = {name: np.array([getattr(one, name) for one in flexible], np.float64) for name in Flexibility._fields}
    return _Models(models, flexible, columns)


def _placed(condition: Condition, models: list[ThingModel]) -> tuple[Int64Array, Float64Array, Float64Array]:
    """Return, for each model, where the point is (-1: nowhere) and how its values become the condition's unit."""
    offset = np.full(len(models), _NONE, np.int64)
    scale, shift = np.ones(len(models)), np.zeros(len(models))
    wanted = unit(condition.unit) if condition.unit else None
    for row, model in enumerate(models):
        for at, point in enumerate(model.points):
            own = unit(point.reading_type.unit)
            if point.name == condition.point and (wanted is None or wanted.quantity == own.quantity):
                offset[row] = at
                scale[row], shift[row] = conversion(own, wanted) if wanted is not None else (1.0, 0.0)
    return offset, scale, shift


def _holds(condition: Condition, value: Float64Array, easy: BoolArray) -> BoolArray:
    margin = condition.margin * easy
    above: Mapping[str, Callable[[], BoolArray]] = {
        ">": lambda: value > condition.value - margin,
        ">=": lambda: value >= condition.value - margin,
        "<": lambda: value < condition.value + margin,
        "<=": lambda: value <= condition.value + margin,
        "==": lambda: np.abs(value - condition.value) <= margin,
        "!=": lambda: value != condition.value,
    }
    return above[condition.op]()


def _names(model: ThingModel) -> set[str]:
    return {point.name for point in model.points}


def _measures(model: ThingModel) -> set[str]:
    return {unit(point.reading_type.unit).quantity for point in model.points}
