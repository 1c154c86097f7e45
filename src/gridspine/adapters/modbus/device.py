"""One Thing at one unit of a connection: what it is, its points, its registers."""

import dataclasses
from collections.abc import Iterable, Mapping

from gridspine.adapters.modbus.address import Address
from gridspine.adapters.modbus.control import in_force, local_hands
from gridspine.adapters.modbus.heartbeat import CONTROLLER_HEARTBEAT, HEARTBEAT, HEARTBEAT_MODEL, Heartbeat
from gridspine.adapters.modbus.layout import HEADER_REGISTERS
from gridspine.adapters.modbus.mapping import Mapping as ThingMapping
from gridspine.adapters.modbus.mapping import PointRef, Property, Source, sign_factor
from gridspine.adapters.modbus.plan import MAX_WRITTEN, Span, plan_reads
from gridspine.adapters.modbus.session import Refused, Session
from gridspine.adapters.modbus.sunspec import BASES, Chain, discover
from gridspine.adapters.modbus.view import Decoded, View, locate
from gridspine.adapters.modbus.wire import Words, encode_number
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid, Unavailable
from gridspine.kernel.ids import point_id
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import ItemProblem, NamedReadings, named_readings
from gridspine.things.adapter import Binding

_COMMON = 1


class UnknownCode(Exception):
    """The device reports a code that the mapping does not name."""


class Unidentified(Unavailable):
    """What answers is no SunSpec device, or not the one expected: it is neither read nor commanded."""


class Device:
    """A Thing's device. ``epoch`` rises each time it is identified anew: it may have been off in between."""

    def __init__(
        self, binding: Binding, address: Address, mapping: ThingMapping, session: Session, clock: Clock
    ) -> None:
        self.binding = binding
        self.address = address
        self.mapping = mapping
        self.epoch = 0
        self._session = session
        self._clock = clock
        self._chain: Chain | None = None
        self._generation = 0
        self._heartbeat = Heartbeat(clock)

    def forget(self) -> None:
        """Identify the device again before the next read: it was away, or answered as another one would."""
        self._chain = None

    async def chain(self) -> Chain:
        """Return the device's models, looking for them once a connection.

        Raises `Unidentified` when it speaks no SunSpec, or is not the device with the expected serial number; and
        what the session raises.
        """
        if self._chain is not None and self._generation == self._session.generation:
            return self._chain
        bases = BASES if self.address.base is None else (self.address.base,)
        try:
            chain = await discover(lambda at, count: self._session.read(self.address.unit, at, count), bases)
        except Invalid as error:
            raise Unidentified(error.detail) from error
        if self.address.serial_number:
            await self._check_serial_number(chain)
        self._chain = chain
        self._generation = self._session.generation
        self.epoch += 1
        return chain

    async def read(self, refs: Iterable[PointRef]) -> View:
        """Read points, each in one request with its scale factor, and return what came; absent ones are left out."""
        chain = await self.chain()
        return await self._read(chain, refs)

    async def poll(self) -> NamedReadings:
        """Read every property the Thing has, and return its readings in our units and sign."""
        view = await self.read(self._wanted())
        stands = self._heartbeat.stands(view.raw(HEARTBEAT_MODEL, HEARTBEAT))
        await self._beat(view)
        rows: list[tuple[str, str, int, float, int]] = []
        problems: list[ItemProblem] = []
        for name, wanted in self._properties():
            point = point_id(self.binding.thing, name)
            try:
                found = self._value(wanted, view)
            except UnknownCode as error:
                problems.append(ItemProblem(len(problems), "unknown-code", str(error), point))
                continue
            if found is not None:
                rows.append((point, wanted.unit, view.observed_us, found.value, int(found.quality | stands)))
        return dataclasses.replace(named_readings(rows), problems=problems)

    async def _beat(self, view: View) -> None:
        """Show the device that its controller is there, where its connection asks for it."""
        found = view.locate(HEARTBEAT_MODEL, CONTROLLER_HEARTBEAT)
        if self.address.heartbeat and found is not None:
            words = encode_number(found[1].type, self._heartbeat.beat())
            try:
                await self.write(HEARTBEAT_MODEL, {CONTROLLER_HEARTBEAT: words})
            except Invalid as refusal:
                self._heartbeat.refused(self.binding.thing, refusal.detail)

    async def write(self, model: int, words: Mapping[str, Words]) -> None:
        """Write points of one model: each stretch of neighbouring registers in one request, in order of address.

        Raises `Invalid` when the device refuses, `Unreachable` or `Silent` when it is away.
        """
        chain = await self.chain()
        places = []
        for name, value in words.items():
            found = locate(chain, model, name)
            if found is None:
                raise Invalid(f"the device has no SunSpec {model} {name}")
            places.append((found[0], value))
        await self._write(model, places)

    async def write_offsets(self, model: int, words: Mapping[int, Words]) -> None:
        """Write registers of a model by their offsets from its start; raises as `write` does."""
        start = await self._start(model, max(offset + len(value) for offset, value in words.items()))
        await self._write(model, [(start + offset, value) for offset, value in words.items()])

    async def read_offsets(self, model: int, blocks: Iterable[Span]) -> dict[int, int]:
        """Return registers of a model by their offsets from its start; raises what the session raises."""
        blocks = list(blocks)
        start = await self._start(model, max(block.end for block in blocks))
        words: dict[int, int] = {}
        for block in blocks:
            came = await self._session.read(self.address.unit, start + block.start, block.end - block.start)
            words.update(zip(range(block.start, block.end), came, strict=True))
        return words

    async def _start(self, model: int, end: int) -> int:
        """Return where a model starts that has registers up to the offset ``end``."""
        instance = (await self.chain()).find(model)
        if instance is None or end > HEADER_REGISTERS + instance.length:
            raise Invalid(f"the device has no SunSpec {model}, or a shorter one")
        return instance.address

    def check_remote(self, view: View) -> None:
        """Raise `Invalid` while somebody beside the device has it in his hands."""
        if local_hands(self.mapping.local, view):
            raise Invalid("the device is in local control: somebody beside it must give it back first")

    async def _write(self, model: int, places: Iterable[tuple[int, Words]]) -> None:
        runs: list[tuple[int, list[int]]] = []
        for address, value in sorted(places):
            last = runs[-1] if runs else None
            if last and last[0] + len(last[1]) == address and len(last[1]) + len(value) <= MAX_WRITTEN:
                runs[-1][1].extend(value)
            else:
                runs.append((address, list(value)))
        for address, run in runs:
            try:
                await self._session.write(self.address.unit, address, run)
            except Refused as refusal:
                raise Invalid(f"refused when writing SunSpec {model}: {refusal.detail}") from refusal

    async def _check_serial_number(self, chain: Chain) -> None:
        view = await self._read(chain, [PointRef(_COMMON, "SN")])
        found = view.text(_COMMON, "SN")
        if found != self.address.serial_number:
            raise Unidentified(f"the device there has serial number {found!r}, not {self.address.serial_number!r}")

    async def _read(self, chain: Chain, refs: Iterable[PointRef]) -> View:
        by_model: dict[int, list[Span]] = {}
        for ref in refs:
            span = _span(chain, ref)
            if span:
                by_model.setdefault(ref.model, []).append(span)
        words: dict[int, int] = {}
        observed_us = 0
        for spans in by_model.values():
            for block in plan_reads(spans):
                came = await self._session.read(self.address.unit, block.start, block.end - block.start)
                observed_us = observed_us or self._clock.now_us()
                words.update(zip(range(block.start, block.end), came, strict=True))
        return View(chain, words, observed_us)

    def _properties(self) -> Iterable[tuple[str, Property]]:
        served = self.binding.points
        return [(name, wanted) for name, wanted in self.mapping.properties.items() if not served or name in served]

    def _wanted(self) -> list[PointRef]:
        refs: list[PointRef] = []
        for _, wanted in self._properties():
            refs += [PointRef(source.model, point) for source in wanted.sources for point in source.points]
            refs += [ref for control in wanted.controls for ref in control.points()]
        return [*refs, PointRef(HEARTBEAT_MODEL, HEARTBEAT)]

    def _value(self, wanted: Property, view: View) -> Decoded | None:
        for source in wanted.sources:
            found = self._from_source(source, view)
            if found is not None:
                return found
        for control in wanted.controls:
            found = in_force(control, view, self.mapping.device_class)
            if found is not None:
                return found
        return None

    def _from_source(self, source: Source, view: View) -> Decoded | None:
        parts = [(name, view.value(source.model, name)) for name in source.points]
        there = [(name, part) for name, part in parts if part is not None]
        if not there:
            return None
        if source.codes is not None:
            code = str(int(there[0][1].value))
            if code not in source.codes:
                raise UnknownCode(f"SunSpec {source.model} {there[0][0]} is {code}, which has no meaning here")
            return Decoded(float(source.codes[code]))
        signed = [part.value * sign_factor(source.model, name, self.mapping.device_class) for name, part in there]
        quality = Quality.GOOD
        for _, part in there:
            quality |= part.quality
        mean = sum(signed) / len(signed) * source.factor
        return Decoded(mean + 0.0, quality)


def _span(chain: Chain, ref: PointRef) -> Span | None:
    found = locate(chain, ref.model, ref.point)
    if found is None:
        return None
    address, layout = found
    start, end = address, address + layout.size
    if isinstance(layout.scale, str):
        factor = locate(chain, ref.model, layout.scale)
        if factor is None:
            return None
        start, end = min(start, factor[0]), max(end, factor[0] + factor[1].size)
    try:
        return Span(start, end)
    except ValueError as error:
        raise Invalid(f"SunSpec {ref.model} {ref.point} lies too far from its scale factor: {error}") from error
