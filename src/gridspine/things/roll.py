"""`Roll`: all Things of the node in packed form; a `Thing` is made when somebody asks for it.

What numbers and models say of a Thing is in the point table; the rest of it is one small JSON array::

    number ─┬─ point table: id, organisation, model, first point
            └─ body[start[n]:start[n + 1]] = [title, connection, devices] · adapter[n] · created_us[n]
"""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.names import PackedNames
from gridspine.kernel.readings import Int32Array, Int64Array
from gridspine.things.column import Column
from gridspine.things.name_index import NOBODY
from gridspine.things.point import Block, PointTable
from gridspine.things.thing import Thing

_RECENT = 4_096
"""Things kept as they were made for the last who asked."""
_FEW = 256
_NOBODY = ord("[")
_Body = tuple[str, dict[str, Any], tuple[str, ...]]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Body).decode


class Roll:
    """Things by their numbers (0, 1, … as they came), ids, devices and adapters; bound in ``points``.

    Changed on one thread at a time.
    """

    def __init__(self, points: PointTable) -> None:
        self.points = points
        self.body = Column(np.uint8)
        self.start = Column(np.int64)
        self.start.grow(1)
        self.adapter = Column(np.int32)
        self.created_us = Column(np.int64)
        self.adapters: list[str] = []
        self._by_device: dict[str, list[int]] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._order: Int64Array = np.zeros(0, np.int64)
        self._recent: dict[str, Thing] = {}

    def __len__(self) -> int:
        return len(self.created_us.array)

    def add(self, things: Sequence[Thing]) -> None:
        """Take up Things and bind their points; those that are there already are passed over.

        Raises `Invalid` for an unknown model, and `Conflict` for one that has changed since.
        """
        new = {thing.id: thing for thing in things if self.points.thing_number(thing.id) == NOBODY}
        things = list(new.values())
        for thing in things:
            self._check_model(thing)
        organisations = list(dict.fromkeys(thing.organisation for thing in things))
        models = list(dict.fromkeys(thing.model for thing in things))
        place = {name: at for at, name in enumerate(organisations)}, {name: at for at, name in enumerate(models)}
        self._pack(things)
        self.points.bind_all(
            Block(
                PackedNames.of(new),
                np.array([thing.first for thing in things], np.int32),
                models,
                np.array([place[1][thing.model] for thing in things], np.int32),
                organisations,
                np.array([place[0][thing.organisation] for thing in things], np.int32),
            )
        )

    def restore(self, body: Column, start: Column, adapter: Column, created_us: Column, adapters: list[str]) -> None:
        """Take over what was packed of the Things that ``points`` has; it has no others."""
        self.body, self.start, self.adapter, self.created_us, self.adapters = body, start, adapter, created_us, adapters
        # ["…",{},[]]: most Things have no devices, and those need not be read.
        for number in np.flatnonzero(body.array[start.array[1:] - 3] != _NOBODY).tolist():
            self._note_devices(number, _decode(self._bytes(number))[2])

    def get(self, id: str) -> Thing | None:
        """Return a Thing, or None."""
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
        first, model = self.points.points_of(number)
        title, connection, devices = _decode(self._bytes(number))
        return Thing(
            self.points.things()[number],
            self.points.owner_of(number),
            title,
            model.id,
            first=first,
            adapter=self.adapters[self.adapter.array.item(number)],
            connection=connection,
            devices=devices,
            points=self._names_of(model.id),
            created_us=self.created_us.array.item(number),
        )

    def of_device(self, principal: str) -> list[Thing]:
        """Return the Things that a device speaks for."""
        return [self.at(number) for number in self._by_device.get(principal, ())]

    def of_adapter(self, adapter: str) -> list[Thing]:
        """Return the Things that an adapter serves, in the order they came."""
        if adapter not in self.adapters:
            return []
        return [self.at(int(number)) for number in np.flatnonzero(self.adapter.array == self.adapters.index(adapter))]

    def ordered(self, organisation: str | None = None) -> "Ordered":
        """Return all Things (of one organisation) in the order of their ids."""
        order = self._ordered()
        if organisation is not None:
            own = np.zeros(len(order), np.bool_)
            own[self.points.owned(organisation)] = True
            order = order[own[order]]
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

    def _pack(self, things: Sequence[Thing]) -> None:
        bodies = [_encode((thing.title, thing.connection, thing.devices)) for thing in things]
        for thing in things:
            if thing.adapter not in self.adapters:
                self.adapters.append(thing.adapter)
        for number, thing in enumerate(things, len(self)):
            self._note_devices(number, thing.devices)
        ends = self.start.array[-1] + np.cumsum([len(body) for body in bodies], dtype=np.int64)
        self.body.extend(np.frombuffer(b"".join(bodies), np.uint8))
        self.start.extend(ends)
        self.adapter.extend(np.array([self.adapters.index(thing.adapter) for thing in things], np.int32))
        self.created_us.extend(np.array([thing.created_us for thing in things], np.int64))

    def _note_devices(self, number: int, devices: Sequence[str]) -> None:
        for device in devices:
            self._by_device.setdefault(device, []).append(number)

    def _bytes(self, number: int) -> bytes:
        return self.body.array[self.start.array.item(number) : self.start.array.item(number + 1)].tobytes()

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
