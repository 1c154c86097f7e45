"""The point table: every point a number, every attribute a numpy column.

Names are indexed by Thing, not by point: a Thing's points are numbered from its base in the order of its model. There
is no Python object a Thing. Rules are kept once a model and point; the table holds their row number.

::

    urn:x:meter/activePower ──► index["urn:x:meter"] = 7 ──► base[7] + offset[model 2, "activePower"] ──► point 42
                                                                        rule[42] ──► possible_min[3], deadband[3], …
"""

import threading
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.errors import Conflict
from gridspine.kernel.ids import split_point_id
from gridspine.kernel.names import PackedNames
from gridspine.kernel.readings import Int32Array, Int64Array
from gridspine.things.bases import Bases
from gridspine.things.block import Block
from gridspine.things.column import Column
from gridspine.things.model import PointModel, ThingModel
from gridspine.things.name_index import NOBODY, KeyedHash, NameIndex
from gridspine.things.placed import PlacedModel, PlacedModels
from gridspine.things.resolve import NOT_YOURS, UNKNOWN, WRONG_UNIT, Recent, Resolved, converted, split
from gridspine.things.thing import Former

__all__ = ["NOT_YOURS", "UNKNOWN", "WRONG_UNIT", "Block", "Column", "PlacedModel", "PointTable", "Resolved"]

_FEW = 16
"""Fewer names than this are looked up before it is known whether they came lately."""
_MANY = 256
"""From so many names on they are looked up all at once; fewer are quicker one by one."""
_KNOWN = 131_072
"""Things whose numbers are kept in a dictionary as well, for those who ask one by one."""
_AT_ONCE = 65_536
_NOBODY = int(np.iinfo(np.int32).min)
"""The number of an organisation without Things: none has it, retired or not."""


class PointTable:
    """Numbers, names and rules of all points. Grown under a lock; read without one.

    ``key`` is random: nobody can then make names that are slow to look up.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._lock = threading.Lock()
        hash_ = KeyedHash(key)
        self._index = NameIndex(hash_)
        self._placed = PlacedModels(hash_)
        self._known: dict[str, int] = {}
        self._recent = Recent()
        self._only: dict[Collection[str], tuple[int, Int32Array]] = {}
        self._base = Column(np.int32)
        self._bases = Bases()
        self._model_of = Column(np.int32)
        self._organisation_of = Column(np.int32)
        self._organisations: list[str] = []
        self._organisation_number: dict[str, int] = {}
        self._held: Counter[int] = Counter()
        self._former: dict[int, tuple[Former, ...]] = {}
        self.rules = self._placed.rules
        self.rule = Column(np.int32, -1)
        self.count = 0
        self.generation = 0
        """Rises with every change: what was found out about names before is out of date."""
        self.departures = 0
        """Rises whenever numbers are nobody's any more."""

    def __len__(self) -> int:
        return self.count

    @property
    def thing_count(self) -> int:
        """How many Things are bound."""
        return len(self._index)

    def add_model(self, model: ThingModel) -> None:
        """Make a model known; the same id again must be the same model."""
        with self._lock:
            self._placed.add(model)

    def model(self, id: str) -> ThingModel | None:
        """Return the model called ``id``, or None."""
        placed = self._placed.get(id)
        return None if placed is None else placed.model

    def models(self) -> Sequence[ThingModel]:
        """Return all models known."""
        return [placed.model for placed in self._placed.rows]

    def bind(self, binding: PointBinding) -> None:
        """Give a Thing's points their numbers; the same binding again changes nothing."""
        at = self._index.get(binding.thing)
        if at != NOBODY:
            if self._base.array[at] != binding.first:
                raise Conflict(f"{binding.thing} is bound already")
            return
        first, zero = np.array([binding.first], np.int32), np.zeros(1, np.int32)
        ids = PackedNames.of([binding.thing])
        self.bind_all(Block(ids, first, [binding.model], zero, [binding.organisation], zero))

    def bind_all(self, block: Block) -> None:
        """Give the points of many Things their numbers; none of the Things is bound yet."""
        rows = self._placed.of(block.models)
        if not len(block.first):
            return
        with self._lock:
            models = rows[block.model]
            owners = np.array([self._organisation(name) for name in block.organisations], np.int32)
            known = len(self._base.array)
            self._base.extend(block.first)
            self._model_of.extend(models)
            self._organisation_of.extend(owners[block.organisation])
            self._held.update(owners[block.organisation].tolist())
            self._number_points(block.first, models)
            self._bases.add(block.first, np.arange(known, known + len(block.first), dtype=np.int32))
            self.generation += 1
            self._index.add_all(block.ids)  # last: a reader sees a Thing only when it is whole

    def move(self, thing: int, first: int, model: str, organisation: str, former: Sequence[Former] = ()) -> None:
        """Give the Thing at a place in `things` other numbers, another model or organisation; it is not retired.

        ``former`` are all blocks of numbers it had before.
        """
        blocks = [(one.first, one.model) for one in former] + [(first, model)]
        rows = self._placed.of([name for _, name in blocks]).tolist()
        with self._lock:
            known = {one.first for one in self._former.get(thing, ())} | {self._base.array.item(thing)}
            for (start, _), row in zip(blocks, rows, strict=True):
                self._number_points(np.array([start], np.int32), np.array([row], np.int32))
                if start not in known:
                    self._bases.add(np.array([start], np.int32), np.array([thing], np.int32))
            for (start, _), row in zip(blocks[:-1], rows, strict=False):
                self._make_former(start, self._placed.rows[row])
            self.departures += first != self._base.array.item(thing)
            if former:
                self._former[thing] = tuple(former)
            self._model_of.array[thing] = rows[-1]
            self._base.array[thing] = first
            self._held[self._organisation_of.array.item(thing)] -= 1
            self._organisation_of.array[thing] = owner = self._organisation(organisation)
            self._held[owner] += 1
            self.generation += 1

    def retire(self, things: Sequence[int]) -> None:
        """Let nobody send readings of Things any more; what they were stays known."""
        with self._lock:
            for thing in things:
                owner = self._organisation_of.array.item(thing)
                if owner >= 0:
                    self._held[owner] -= 1
                    self._organisation_of.array[thing] = ~owner
                placed = self._placed.rows[self._model_of.array.item(thing)]
                self._make_former(self._base.array.item(thing), placed)
            self.generation += 1
            self.departures += 1

    def add_former(self, blocks: Sequence[tuple[int, Sequence[Former]]]) -> None:
        """Learn all blocks of numbers that Things, each at its place in `things`, had before: none is known yet."""
        every = [(thing, former) for thing, several in blocks for former in several]
        if not every:
            return
        rows = self._placed.of([former.model for _, former in every])
        first = np.array([former.first for _, former in every], np.int32)
        with self._lock:
            self._former |= {thing: tuple(several) for thing, several in blocks}
            self._number_points(first, rows)
            self._bases.add(first, np.array([thing for thing, _ in every], np.int32))
            for (_, former), row in zip(every, rows.tolist(), strict=True):
                self._make_former(former.first, self._placed.rows[row])
            self.generation += 1

    def resolve(
        self, names: Sequence[str], units: Sequence[str], organisation: str, only: Collection[str] | None = None
    ) -> Resolved:
        """Return the numbers of point ids, and how their units become the points' own.

        A point of another organisation (or of a Thing not in ``only``, when that is given) is `NOT_YOURS`; the
        caller answers it as unknown, so that nobody learns what exists. The numbers are not to be changed.
        """
        owner = self._organisation_number.get(organisation, _NOBODY)
        point = self._numbered(names, owner, only)
        if not any(units):
            return Resolved(point)
        models, rule = self.rules.points, self.rule.array.item
        own = [models[rule(at)].reading_type.unit if at >= 0 else "" for at in point.tolist()]
        return converted(point, units, own)

    def number(self, point_id: str) -> int:
        """Return a point's number, `UNKNOWN` when there is none."""
        urn, name = split_point_id(point_id)
        thing = self.thing_number(urn)
        if thing == NOBODY:
            return UNKNOWN
        offset = self._placed.rows[self._model_of.array.item(thing)].offset.get(name)
        return UNKNOWN if offset is None else int(self._base.array.item(thing)) + offset

    def former_numbers(self, point_id: str, organisation: str) -> list[tuple[int, str]]:
        """Return the numbers a point had before while its Thing was ``organisation``'s, each with its unit."""
        urn, name = split_point_id(point_id)
        found = []
        for former in self._former.get(self.thing_number(urn), ()) if self._former else ():
            placed = self._placed.get(former.model)
            if placed is not None and former.organisation == organisation and name in placed.offset:
                at = placed.offset[name]
                found.append((former.first + at, placed.model.points[at].reading_type.unit))
        return found

    def thing_number(self, urn: str) -> int:
        """Return a Thing's place in `things`, -1 when it is not bound."""
        number = self._known.get(urn)
        if number is None:
            number = self._index.get(urn)
            if number != NOBODY:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[urn] = number
        return number

    def thing_points(self, urn: str) -> tuple[int, ThingModel] | None:
        """Return a Thing's first point number and its model; None for one that is retired, or not known."""
        thing = self.thing_number(urn)
        gone = thing == NOBODY or self._organisation_of.array.item(thing) < 0
        return None if gone else self.points_of(thing)

    def points_of(self, thing: int) -> tuple[int, ThingModel]:
        """Return the first point number and the model of the Thing at a place in `things`."""
        return int(self._base.array.item(thing)), self._placed.rows[self._model_of.array.item(thing)].model

    def organisation_of(self, urn: str) -> str | None:
        """Return the organisation a Thing belongs to, or None when it is not known."""
        thing = self.thing_number(urn)
        return None if thing == NOBODY else self.owner_of(thing)

    def owner_of(self, thing: int) -> str:
        """Return the organisation of the Thing at a place in `things`."""
        number: int = self._organisation_of.array.item(thing)
        return self._organisations[number if number >= 0 else ~number]

    def foreign(self, urn: str, organisation: str) -> bool:
        """Whether a Thing is, or once was, another organisation's."""
        thing = self.thing_number(urn)
        former = self._former.get(thing, ()) if self._former else ()
        return thing != NOBODY and {organisation} != {self.owner_of(thing), *(one.organisation for one in former)}

    def retired(self, urn: str, organisation: str) -> bool:
        """Whether a Thing was an organisation's when it was retired."""
        thing = self.thing_number(urn)
        return thing != NOBODY and self._organisation_of.array.item(thing) < 0 and self.owner_of(thing) == organisation

    def held(self, organisation: str) -> int:
        """Return how many Things an organisation has that are not retired."""
        return self._held[self._organisation_number.get(organisation, _NOBODY)]

    def owned(self, organisation: str) -> Int64Array:
        """Return the places in `things` of an organisation's Things that are not retired, int64 (k,)."""
        owner = self._organisation_number.get(organisation, _NOBODY)
        return np.flatnonzero(self._organisation_of.array[: len(self._index)] == owner)

    def things(self) -> PackedNames:
        """Return the URNs of all Things, oldest first."""
        return self._index.names()

    def block(self) -> Block:
        """Return all that is bound, as it can be bound again."""
        with self._lock:
            count = len(self._index)
            return Block(
                self._index.names(),
                self._base.array[:count].copy(),
                [placed.model.id for placed in self._placed.rows],
                self._model_of.array[:count].copy(),
                list(self._organisations),
                _whose(self._organisation_of.array[:count]),
            )

    def place(self, point: int) -> tuple[str, PointModel]:
        """Return the Thing's URN and the point's model for a number."""
        thing = int(self.things_of(np.array([point]))[0])
        return self._index[thing], self.rules.points[self.rule.array[point]]

    def in_use(self, point: int) -> bool:
        """Whether a number is one that its Thing has now, and the Thing is not retired."""
        thing = int(self.things_of(np.array([point]))[0])
        first, placed = self._base.array.item(thing), self._placed.rows[self._model_of.array.item(thing)]
        return bool(first <= point < first + placed.size and self._organisation_of.array.item(thing) >= 0)

    def things_of(self, point: Int32Array | Int64Array) -> Int64Array:
        """Return, for points (k,), the place of each one's Thing in `things`."""
        return self._bases.things_of(point)

    def point_id(self, point: int) -> str:
        """Return the id of a point number."""
        urn, model = self.place(point)
        return f"{urn}/{model.name}"

    def _numbered(self, names: Sequence[str], owner: int, only: Collection[str] | None) -> Int32Array:
        if len(names) < _FEW:
            return self._one_by_one(names, owner, only)
        packed = names if isinstance(names, PackedNames) else None
        if packed is None:
            if len(names) < _MANY:
                return self._one_by_one(names, owner, only)
            packed = PackedNames.of(names)
        keeps = only is None or isinstance(only, frozenset)
        asked = (owner, only if keeps else None, self.generation)
        point = self._recent.get(packed, asked) if keeps else None
        if point is None:
            look_up = self._one_by_one if len(packed) < _MANY else self._all_at_once
            point = look_up(packed, owner, only)
            if keeps:
                self._recent.keep(packed, asked, point)
        return point

    def _one_by_one(self, names: Sequence[str], owner: int, only: Collection[str] | None) -> Int32Array:
        point = np.full(len(names), UNKNOWN, np.int32)
        known, models = self._known, self._placed.rows
        model_of, owner_of, base = (c.array.item for c in (self._model_of, self._organisation_of, self._base))
        for at, name in enumerate(names):
            urn, _, word = name.partition("/")
            thing = known.get(urn)
            if thing is None:
                thing = self.thing_number(urn)
                if thing == NOBODY:
                    continue
            offset = models[model_of(thing)].offset.get(word)
            if offset is None:
                continue
            yours = owner_of(thing) == owner and (only is None or urn in only)
            point[at] = base(thing) + offset if yours else NOT_YOURS
        return point

    def _all_at_once(self, packed: PackedNames, owner: int, only: Collection[str] | None) -> Int32Array:
        urns, words = split(packed)
        thing, word = self._index.find(urns), self._placed.words.find(words)
        row = self._model_of.array[thing] if len(self._index) else np.zeros(len(thing), np.int32)
        offsets = self._placed.offset
        offset = offsets[row, word] if offsets.size else np.full(len(thing), UNKNOWN, np.int32)
        known = (thing >= 0) & (word >= 0) & (offset >= 0)
        point = np.full(len(thing), UNKNOWN, np.int32)
        thing = thing[known]
        yours = self._organisation_of.array[thing] == owner
        if only is not None:
            yours &= np.isin(thing, self._numbers(only))
        point[known] = np.where(yours, self._base.array[thing] + offset[known], NOT_YOURS)
        return point

    def _numbers(self, only: Collection[str]) -> Int32Array:
        """Return the places of the Things ``only``; those of large sets are remembered."""
        kept = self._only.get(only) if isinstance(only, frozenset) else None
        if kept is not None and kept[0] == len(self._index):
            return kept[1]
        numbers = np.array([self.thing_number(urn) for urn in only], np.int32)
        if isinstance(only, frozenset):
            if len(self._only) >= 64:
                self._only.clear()
            self._only[only] = (len(self._index), numbers)
        return numbers

    def _number_points(self, first: Int32Array, models: Int32Array) -> None:
        """Give the points of Things their rules."""
        for row in np.unique(models).tolist():
            placed = self._placed.rows[row]
            size = len(placed.model.points)
            bases = first[models == row].astype(np.int64)
            count = int(bases.max()) + placed.size
            self.rule.grow(count)
            for start in range(0, len(bases), _AT_ONCE):
                point = bases[start : start + _AT_ONCE, None] + np.arange(size)
                self.rule.array[point] = placed.first_rule + np.arange(size)
            self.count = max(self.count, count)

    def _make_former(self, first: int, placed: PlacedModel) -> None:
        rule, size = self._placed.former_rule(placed), len(placed.model.points)
        self.rule.array[first : first + size] = np.arange(rule, rule + size)

    def _organisation(self, organisation: str) -> int:
        number = self._organisation_number.get(organisation)
        if number is None:
            number = len(self._organisations)
            self._organisations.append(organisation)
            self._organisation_number[organisation] = number
        return number


def _whose(organisation: Int32Array) -> Int32Array:
    """Return places of organisations; those of retired Things are kept as their complement."""
    return np.where(organisation >= 0, organisation, ~organisation)
