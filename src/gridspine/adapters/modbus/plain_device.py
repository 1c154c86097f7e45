"""A device of no standard at one unit of a connection: read and written by the registers its description names.

::

    wanted     holding 0 1 2 3 · · 10 11     coil 5
    requests          [0 ─── 3]   [10─11]         [5]      neighbours only: what lies between may not be there
    refused           [0 1][2 3]                           at once, and from then on, each value alone
"""

import logging

from gridspine.adapters.modbus.address import Address
from gridspine.adapters.modbus.plan import Span, plan_reads
from gridspine.adapters.modbus.register import Entity, Register, Served, decode, encode, quality_of
from gridspine.adapters.modbus.session import Refused, Session
from gridspine.adapters.modbus.wire import Words
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import point_id
from gridspine.kernel.readings import NamedReadings, named_readings
from gridspine.things.adapter import Binding

_LOG = logging.getLogger(__name__)


class PlainDevice:
    """A Thing's device. ``epoch`` rises each time it was away: what it holds must be looked at again."""

    def __init__(self, binding: Binding, address: Address, session: Session, clock: Clock) -> None:
        self.binding = binding
        self.address = address
        self.epoch = 1
        served = binding.points
        self._served = {name: one for name, one in address.registers.items() if not served or name in served}
        self._session = session
        self._clock = clock
        self._alone: set[tuple[Entity, Span]] = set()
        self._problem = ""

    def forget(self) -> None:
        """Take note that the device was away."""
        self.epoch += 1
        self._alone.clear()

    def served(self, name: str) -> Served | None:
        """Return where a point is, None when the description does not say."""
        return self._served.get(name)

    async def poll(self) -> NamedReadings:
        """Read every point and return its readings; a register that the device refuses is left out, and logged once.

        Raises `Refused` when it refuses them all, and what the session raises when it is away.
        """
        words: dict[tuple[Entity, int], int] = {}
        refused: Refused | None = None
        observed_us = 0
        wanted = self._blocks()
        while wanted:
            entity, block = wanted.pop(0)
            try:
                came = await self._session.read(self.address.unit, block.start, block.end - block.start, entity)
            except Refused as refusal:
                refused = refusal
                parts = self._parts(entity, block)
                if parts != [block]:
                    self._alone.add((entity, block))
                    wanted += [(entity, part) for part in parts]
                continue
            observed_us = observed_us or self._clock.now_us()
            words.update(((entity, at), word) for at, word in zip(range(block.start, block.end), came, strict=True))
        rows, problem = self._rows(words, observed_us)
        if refused is not None and not words:
            raise refused
        self._say(problem)
        return named_readings(rows)

    async def holds(self, register: Register) -> float | None:
        """Return what a register holds; None where it cannot be read, or holds no number."""
        try:
            words = await self._session.read(self.address.unit, register.address, register.count, register.entity)
        except Refused:
            return None
        return decode(register, words)

    async def write(self, register: Register, value: float) -> None:
        """Write a register. Raises `Invalid` when it cannot hold the value or the device refuses it."""
        words: Words = encode(register, value)
        try:
            await self._session.write(
                self.address.unit, register.address, words, register.entity, single=register.single
            )
        except Refused as refusal:
            raise Invalid(f"refused when writing {register.entity} {register.address}: {refusal.detail}") from refusal

    def _blocks(self) -> list[tuple[Entity, Span]]:
        by_entity: dict[Entity, list[Span]] = {}
        for one in self._served.values():
            by_entity.setdefault(one.read.entity, []).append(_span(one.read))
        found: list[tuple[Entity, Span]] = []
        for entity, spans in by_entity.items():
            for block in plan_reads(spans, max_gap=0):
                parts = self._parts(entity, block) if (entity, block) in self._alone else [block]
                found += [(entity, part) for part in parts]
        return found

    def _parts(self, entity: Entity, block: Span) -> list[Span]:
        """Return the values in a block, each as its own."""
        spans = {_span(one.read) for one in self._served.values() if one.read.entity == entity}
        return sorted(span for span in spans if block.start <= span.start and span.end <= block.end)

    def _rows(
        self, words: dict[tuple[Entity, int], int], observed_us: int
    ) -> tuple[list[tuple[str, str, int, float, int]], str]:
        rows: list[tuple[str, str, int, float, int]] = []
        problem = ""
        for name, one in self._served.items():
            places = [(one.read.entity, at) for at in range(one.read.address, one.read.address + one.read.count)]
            if any(place not in words for place in places):
                problem = problem or f"{name}: refused at {one.read.entity} {one.read.address}"
                continue
            value = decode(one.read, [words[place] for place in places])
            if value is None:
                problem = problem or f"{name}: {one.read.entity} {one.read.address} holds no number"
                continue
            quality = int(quality_of(one.read, value))
            rows.append((point_id(self.binding.thing, name), one.unit, observed_us, value, quality))
        return rows, problem

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.warning("%s: %s", self.binding.thing, problem or "all its registers can be read again")
        self._problem = problem


def _span(register: Register) -> Span:
    return Span(register.address, register.address + register.count)
