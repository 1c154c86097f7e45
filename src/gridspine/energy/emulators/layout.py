"""Which place in a fleet's arrays is which point of which device.

Points lie device by device, kind after kind: the points of device d of a block with k points begin at
``first + d · k``. Places become point numbers of a node, or names of points, in one look-up each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from gridspine.energy.emulators.column import Outputs
from gridspine.kernel.errors import Invalid
from gridspine.kernel.readings import BoolArray, Float64Array, Int32Array, Int64Array


@dataclass(frozen=True, slots=True)
class Block:
    """The devices of one kind: ``count`` devices of ``model`` with ``points`` each, from place ``first`` on."""

    kind: str
    model: str
    count: int
    points: tuple[str, ...]
    settings: tuple[str, ...]
    first: int

    @property
    def size(self) -> int:
        """How many places the block takes."""
        return self.count * len(self.points)

    def put(self, into: Float64Array, outputs: Outputs) -> None:
        """Write what the devices report into their places of ``into``."""
        table = into[self.first : self.first + self.size].reshape(self.count, len(self.points))
        for column, name in enumerate(self.points):
            table[:, column] = outputs[name]


@dataclass(frozen=True, slots=True)
class Layout:
    """All blocks of a fleet."""

    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, kinds: Mapping[str, tuple[int, str, tuple[str, ...], tuple[str, ...]]]) -> "Layout":
        """Return the layout of ``kind → (count, model, points, settings)``; kinds without devices take no block."""
        blocks, first = [], 0
        for kind, (count, model, points, settings) in kinds.items():
            if count:
                blocks.append(Block(kind, model, count, points, settings, first))
                first += count * len(points)
        return cls(tuple(blocks))

    @property
    def size(self) -> int:
        """How many points the fleet has."""
        return sum(block.size for block in self.blocks)

    @property
    def devices(self) -> int:
        """How many devices the fleet has."""
        return sum(block.count for block in self.blocks)

    def things(self, prefix: str) -> Iterator[tuple[str, Block]]:
        """Yield the id of each device as a Thing, and its block, in order."""
        for block in self.blocks:
            for number in range(block.count):
                yield f"{prefix}{block.kind.replace('_', '-')}-{number:06}", block

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the id of each point, in order of places."""
        for thing, block in self.things(prefix):
            for name in block.points:
                yield f"{thing}/{name}"

    def place(self, prefix: str, thing: str, point: str) -> int | None:
        """Return the place of a point of a Thing as `things` names it, None when it is not the fleet's."""
        if not thing.startswith(prefix):
            return None
        kind, _, number = thing.removeprefix(prefix).rpartition("-")
        for block in self.blocks:
            named = block.kind.replace("_", "-") == kind and number.isdecimal() and len(number) < 12
            if named and int(number) < block.count and point in block.points:
                return block.first + int(number) * len(block.points) + block.points.index(point)
        return None

    def block(self, kind: str) -> Block:
        """Return the block of ``kind``; raise `Invalid` when the fleet has none."""
        for block in self.blocks:
            if block.kind == kind:
                return block
        raise Invalid(f"the fleet has no {kind}; it has: {', '.join(block.kind for block in self.blocks)}")


@dataclass(slots=True)
class Orders:
    """What is ordered from the devices of one block: for each setting a value (NaN: nothing) and until when.

    An order ends by itself at its time: the device goes back to its own rule, as a lease that lives in it does.
    """

    block: Block
    value: dict[str, Float64Array] = field(default_factory=dict)
    until_us: dict[str, Int64Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.block.settings:
            self.value[name] = np.full(self.block.count, np.nan)
            self.until_us[name] = np.zeros(self.block.count, np.int64)

    def take(self, place: Int32Array, value: Float64Array, until_us: Int64Array) -> BoolArray:
        """Take the orders whose ``place`` is a setting of this block; return which of them were taken, bool (n,).

        A NaN ends an order. Of several for one place the last holds.
        """
        taken = np.zeros(len(place), np.bool_)
        offset = place - self.block.first
        device, column = np.divmod(offset, len(self.block.points))
        inside = (offset >= 0) & (offset < self.block.size)
        for name in self.block.settings:
            mine = inside & (column == self.block.points.index(name))
            self.value[name][device[mine]] = value[mine]
            self.until_us[name][device[mine]] = until_us[mine]
            taken |= mine
        return taken

    def now(self, name: str, now_us: int) -> Float64Array:
        """Return what is ordered at ``now_us``, NaN where nothing is; orders that are over are forgotten."""
        over = self.until_us[name] <= now_us
        self.value[name][over] = np.nan
        return self.value[name]
