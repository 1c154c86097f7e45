"""A device of no standard at one unit of a connection: read and written by the registers its description names.

::

    wanted     holding 0 1 2 3 · · 10 11     coil 5
    requests          [0 ─── 3]   [10─11]         [5]      neighbours only: what lies between may not be there
    refused           [0 1][2 3]                           at once, and from then on, each value alone
"""

import logging

import numpy as np

from gridspine.adapters.modbus.address import Address
from gridspine.adapters.modbus.plan import Span, plan_reads
from gridspine.adapters.modbus.readout import Place, Readout
from gridspine.adapters.modbus.register import Entity, Register, Served, decode, encode
from gridspine.adapters.modbus.session import Refused, Session
from gridspine.adapters.modbus.wire import Words
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid
from gridspine.kernel.readings import NamedReadings
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
        self._alone: set[Place] = set()
        self._planned: Readout | None = None
        self._problem = ""

    def forget(self) -> None:
        """Take note that the device was away."""
        self.epoch += 1
        if self._alone:
            self._alone.clear()
            self._planned = None

    def served(self, name: str) -> Served | None:
        """Return where a point is, None when the description does not say."""
        return self._served.get(name)

    async def poll(self) -> NamedReadings:
        """Read every point and return its readings; a register that the device refuses is left out, and logged once.

        Raises `Refused` when it refuses them all, and what the session raises when it is away.
        """
        readout = self._readout()
        words, came = np.zeros(readout.length, np.uint16), np.zeros(readout.length, np.bool_)
        observed_us, at, refused = 0, 0, None
        for entity, block in readout.blocks:
            count = block.end - block.start
            try:
                words[at : at + count] = await self._session.read(self.address.unit, block.start, count, entity)
                came[at : at + count] = True
                observed_us = observed_us or self._clock.now_us()
            except Refused as refusal:
                refused = refusal
                if (entity, block) not in self._alone and self._parts(entity, block) != [block]:
                    self._alone.add((entity, block))
                    self._planned = None
            at += count
        if self._planned is None:  # at once, each value alone
            return await self.poll()
        if refused is not None and not observed_us:
            raise refused
        readings, problems = readout.read(words, came, observed_us)
        self._say(problems[0] if problems else "")
        return readings

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

    def _readout(self) -> Readout:
        if self._planned is None:
            self._planned = Readout(self.binding.thing, self._served, self._blocks())
        return self._planned

    def _blocks(self) -> list[Place]:
        by_entity: dict[Entity, list[Span]] = {}
        for one in self._served.values():
            by_entity.setdefault(one.read.entity, []).append(_span(one.read))
        found: list[Place] = []
        for entity, spans in by_entity.items():
            for block in plan_reads(spans, max_gap=0):
                parts = self._parts(entity, block) if (entity, block) in self._alone else [block]
                found += [(entity, part) for part in parts]
        return found

    def _parts(self, entity: Entity, block: Span) -> list[Span]:
        """Return the values in a block, each as its own."""
        spans = {_span(one.read) for one in self._served.values() if one.read.entity == entity}
        return sorted(span for span in spans if block.start <= span.start and span.end <= block.end)

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.warning("%s: %s", self.binding.thing, problem or "all its registers can be read again")
        self._problem = problem


def _span(register: Register) -> Span:
    return Span(register.address, register.address + register.count)
