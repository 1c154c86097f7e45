"""`Roll`: all Things of the node in packed form; a `Thing` is made when somebody asks for it.

What numbers and models say of a Thing is in the point table; the rest of it is one small JSON array::

    number ─┬─ point table: id, organisation, model, first point
            ├─ columns: adapter · created_us · version · latitude · longitude · retired
            └─ span[n] ─► body[start:start + length] = [title, connection, modified, retired, described, …]

A Thing that changes gets another body at the end; when most of the bodies are of the past, they are packed anew.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.names import PackedNames
from gridspine.kernel.readings import Float64Array, Int32Array, Int64Array
from gridspine.things.name_index import NOBODY
from gridspine.things.point import Block, PointTable
from gridspine.things.roll_columns import RollColumns
from gridspine.things.thing import Former, Thing

_RECENT = 4_096
"""Things kept as they were made for the last who asked."""
_FEW = 256


class Roll:
    """Things by their numbers (0, 1, … as they came), ids, devices and adapters; bound in ``points``.

    Changed on one thread at a time; `copy` may be called on any.
    """

    def __init__(self, points: PointTable) -> None:
        self.points = points
        self.moves: Counter[str] = Counter()
        """For each organisation, how often a Thing came into its list, or left it."""
        self._lock = threading.Lock()
        self._columns = RollColumns()
        self._retired = False
        self._by_device: dict[str, list[int]] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._order: Int64Array = np.zeros(0, np.int64)
        self._recent: dict[str, Thing] = {}

    def __len__(self) -> int:
        return len(self._columns)

    def add(self, things: Sequence[Thing]) -> None:
        """Take up Things and bind their points, or what changed of them; a version known already is passed over.

        Raises `Invalid` for an unknown model, and `Conflict` for one whose points have changed.
        """
        new: dict[str, Thing] = {}
        for thing in things:
            number = self.points.thing_number(thing.id)
            if number != NOBODY:
                self._change(number, thing)
            elif thing.id not in new or new[thing.id].version < thing.version:
                new[thing.id] = thing
        if new:
            self._add_new(list(new.values()))

    def copy(self) -> tuple[RollColumns, Block]:
        """Return all that is known of the Things as one moment has it."""
        with self._lock:
            return self._columns.copy(), self.points.block()

    def restore(self, columns: RollColumns) -> None:
        """Take over what was packed of the Things that ``points`` has; it has no others."""
        self._columns = columns
        former: list[tuple[int, tuple[Former, ...]]] = []
        for number in columns.with_more():
            *_, devices, blocks = columns.body(number)
            former += [(number, blocks)] if blocks else []
            self._note_devices(number, devices if not columns["retired"][number] else ())
        self.points.add_former(former)
        self._retire(np.flatnonzero(columns["retired"]).tolist())

    def get(self, id: str) -> Thing | None:
        """Return a Thing, retired ones too, or None."""
        thing = self._recent.get(id)
        if thing is None:
            number = self.points.thing_number(id)
            if number == NOBODY:
                return None
            thing = self.at(number)
            if len(self._recent) >= _RECENT:
                self._recent.clear()
            self._recent[id] = thing
        return thing

    def at(self, number: int) -> Thing:
        """Return the Thing of a number."""
        columns, (first, model) = self._columns, self.points.points_of(number)
        title, connection, modified_us, retired_us, described, devices, former = columns.body(number)
        latitude, longitude = columns["latitude"].item(number), columns["longitude"].item(number)
        return Thing(
            self.points.things()[number],
            self.points.owner_of(number),
            title,
            model.id,
            first=first,
            adapter=columns.adapters[columns["adapter"].item(number)],
            connection=connection,
            devices=devices,
            points=self._names_of(model.id),
            created_us=columns["created_us"].item(number),
            version=columns["version"].item(number),
            modified_us=modified_us,
            location=None if latitude != latitude else (latitude, longitude),
            retired_us=retired_us,
            former=former,
            described=described,
        )

    def version(self, id: str) -> int:
        """Return a Thing's version, 0 when it is not known."""
        number = self.points.thing_number(id)
        return 0 if number == NOBODY else int(self._columns["version"].item(number))

    def versions(self) -> Int32Array:
        """Return the versions of all Things, retired ones too, int32 (n,); not to be changed."""
        found: Int32Array = self._columns["version"]
        return found

    def titles(self, numbers: Sequence[int]) -> list[tuple[str, bool]]:
        """Return the titles of Things by number, and whether each has a description of its own."""
        bodies = map(self._columns.body, numbers)
        return [(body[0], body[4]) for body in bodies]

    def of_device(self, principal: str) -> list[Thing]:
        """Return the Things that a device speaks for."""
        return [self.at(number) for number in self._by_device.get(principal, ())]

    def of_adapter(self, adapter: str) -> list[Thing]:
        """Return the Things that an adapter serves, in the order they came."""
        columns = self._columns
        if adapter not in columns.adapters:
            return []
        served = (columns["adapter"] == columns.adapters.index(adapter)) & ~columns["retired"]
        return [self.at(number) for number in np.flatnonzero(served).tolist()]

    def served(self, organisation: str, most: int) -> dict[str, tuple[int, list[Thing]]]:
        """Return how many Things of an organisation each adapter serves, and the ``most`` newest of them."""
        columns = self._columns
        own = np.zeros(len(self), np.bool_)
        own[self.points.owned(organisation)] = True
        found: dict[str, tuple[int, list[Thing]]] = {}
        for at, name in enumerate(columns.adapters):
            numbers = np.flatnonzero(own & (columns["adapter"] == at) & ~columns["retired"]) if name else own[:0]
            if len(numbers):
                found[name] = len(numbers), [self.at(number) for number in numbers[: -most - 1 : -1].tolist()]
        return found

    def located(self) -> tuple[Int64Array, Float64Array, Float64Array]:
        """Return the numbers of the Things that have a place, and their latitudes and longitudes [degrees]; (k,)."""
        columns = self._columns
        numbers = np.flatnonzero(~np.isnan(columns["latitude"]) & ~columns["retired"])
        return numbers, columns["latitude"][numbers], columns["longitude"][numbers]

    def ordered(self, organisation: str | None = None) -> "Ordered":
        """Return all Things (of one organisation) in the order of their ids, without those that are retired."""
        order = self._ordered()
        if organisation is not None:
            own = np.zeros(len(order), np.bool_)
            own[self.points.owned(organisation)] = True
            order = order[own[order]]
        elif self._retired:
            order = order[~self._columns["retired"][order]]
        return Ordered(self, order)

    def _ordered(self) -> Int64Array:
        count, known = len(self), len(self._order)
        if count - known > _FEW:
            names = self.points.things()
            texts = pa.LargeStringArray.from_buffers(count, pa.py_buffer(names.offsets), pa.py_buffer(names.data))
            self._order = pc.sort_indices(texts).to_numpy().astype(np.int64)
        for number in range(len(self._order), count):
            at = Ordered(self, self._order).after(self.points.things()[number])
            self._order = np.insert(self._order, at, number)
        return self._order

    def _add_new(self, things: Sequence[Thing]) -> None:
        for thing in things:
            self._check_model(thing)
        organisations = list(dict.fromkeys(thing.organisation for thing in things))
        models = list(dict.fromkeys(thing.model for thing in things))
        place = {name: at for at, name in enumerate(organisations)}, {name: at for at, name in enumerate(models)}
        known = len(self)
        block = Block(
            PackedNames.of(thing.id for thing in things),
            np.array([thing.first for thing in things], np.int32),
            models,
            np.array([place[1][thing.model] for thing in things], np.int32),
            organisations,
            np.array([place[0][thing.organisation] for thing in things], np.int32),
        )
        with self._lock:
            self._columns.extend(things)
            self.points.bind_all(block)
        self.points.add_former([(at, thing.former) for at, thing in enumerate(things, known) if thing.former])
        self._retire([at for at, thing in enumerate(things, known) if thing.retired])
        for number, thing in enumerate(things, known):
            self.moves[thing.organisation] += 1
            self._note_devices(number, () if thing.retired else thing.devices)

    def _change(self, number: int, thing: Thing) -> None:
        """Take up a later version of the Thing of a number."""
        before = self.at(number)
        if thing.version <= before.version:
            return
        self._check_model(thing)
        for device in () if before.retired else before.devices:
            self._by_device[device].remove(number)
        with self._lock:
            self.points.move(number, thing.first, thing.model, thing.organisation, thing.former)
            self._columns.put(number, thing)
        if (before.organisation, before.retired) != (thing.organisation, thing.retired):
            self.moves.update((before.organisation, thing.organisation))
        self._retire([number] if thing.retired else [])
        self._note_devices(number, () if thing.retired else thing.devices)
        self._recent.pop(thing.id, None)

    def _retire(self, numbers: Sequence[int]) -> None:
        if numbers:
            self._retired = True
            self.points.retire(numbers)

    def _note_devices(self, number: int, devices: Sequence[str]) -> None:
        for device in devices:
            self._by_device.setdefault(device, []).append(number)

    def _check_model(self, thing: Thing) -> None:
        if self.points.model(thing.model) is None:
            raise Invalid(f"{thing.id} has model {thing.model}, which this release does not know")
        if thing.points != self._names_of(thing.model):
            # Numbers follow the order of names: another order would give old readings new meanings.
            raise Conflict(
                f"model {thing.model} has changed since {thing.id} was registered: give a new model a new id"
            )

    def _names_of(self, model: str) -> tuple[str, ...]:
        names = self._names.get(model)
        if names is None:
            found = self.points.model(model)
            assert found is not None
            names = self._names[model] = tuple(point.name for point in found.points)
        return names


class Ordered(Sequence[Thing]):
    """Things in the order of their ids, each made when it is asked for."""

    def __init__(self, roll: Roll, numbers: Int64Array | Int32Array) -> None:
        self._roll = roll
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Thing: ...

    @overload
    def __getitem__(self, at: slice) -> list[Thing]: ...

    def __getitem__(self, at: int | slice) -> Thing | list[Thing]:
        if isinstance(at, slice):
            return [self._roll.at(number) for number in self._numbers[at].tolist()]
        return self._roll.at(int(self._numbers[at]))

    def __iter__(self) -> Iterator[Thing]:
        return (self._roll.at(int(number)) for number in self._numbers)

    def among(self, numbers: Int64Array) -> "Ordered":
        """Return those whose numbers are among ``numbers``, in the same order."""
        wanted = np.zeros(len(self._roll), np.bool_)
        wanted[numbers] = True
        return Ordered(self._roll, self._numbers[wanted[self._numbers]])

    def after(self, id: str) -> int:
        """Return the place of the first Thing whose id comes after ``id``."""
        names, low, high = self._roll.points.things(), 0, len(self._numbers)
        while low < high:
            middle = (low + high) // 2
            if names[int(self._numbers[middle])] <= id:
                low = middle + 1
            else:
                high = middle
        return low
