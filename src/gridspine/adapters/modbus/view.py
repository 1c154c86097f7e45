"""What was read of a device's models at one time, by model and point."""

from collections.abc import Mapping
from dataclasses import dataclass

from gridspine.adapters.modbus.layout import HEADER_REGISTERS, ModelLayout, PointLayout, load_layout
from gridspine.adapters.modbus.sunspec import Chain
from gridspine.adapters.modbus.wire import (
    FLOAT_TYPES,
    NUMBER_TYPES,
    decode_number,
    decode_scale,
    decode_text,
    quality_of,
    scaled,
)
from gridspine.kernel.quality import Quality


@dataclass(frozen=True, slots=True)
class Decoded:
    """A value in the point's own unit and sign, with what its registers say of its quality."""

    value: float
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True)
class View:
    """Registers by address, the chain they belong to, and when [µs since 1970, the node's clock] they came."""

    chain: Chain
    words: Mapping[int, int]
    observed_us: int

    def locate(self, model: int, point: str) -> tuple[int, PointLayout] | None:
        """Return the address of a point and its layout, or None when the device does not have it."""
        return locate(self.chain, model, point)

    def raw(self, model: int, point: str) -> int | float | None:
        """Return the raw number of a point; None when it is absent, not implemented, not read, or no number."""
        found = self.locate(model, point)
        if found is None or found[1].type not in NUMBER_TYPES.keys() | FLOAT_TYPES.keys():
            return None
        words = self._words(*found)
        return None if words is None else decode_number(found[1].type, words)

    def text(self, model: int, point: str) -> str | None:
        """Return a string point, or None as for `raw`."""
        found = self.locate(model, point)
        if found is None or found[1].type != "string":
            return None
        words = self._words(*found)
        return None if words is None else decode_text(words)

    def scale(self, model: int, point: str) -> int | None:
        """Return a point's power of ten, 0 where it has none; None when its scale factor is not implemented."""
        found = self.locate(model, point)
        if found is None:
            return None
        if found[1].scale is None:
            return 0
        if isinstance(found[1].scale, int):
            return found[1].scale
        factor = self.locate(model, found[1].scale)
        words = self._words(*factor) if factor else None
        return None if words is None else decode_scale(words)

    def value(self, model: int, point: str) -> Decoded | None:
        """Return a point with its scale factor applied; None as for `raw`, or when its scale factor is."""
        raw, scale, found = self.raw(model, point), self.scale(model, point), self.locate(model, point)
        if raw is None or scale is None or found is None:
            return None
        return Decoded(scaled(raw, scale), quality_of(found[1].type, raw))

    def _words(self, address: int, layout: PointLayout) -> list[int] | None:
        wanted = range(address, address + layout.size)
        return [self.words[at] for at in wanted] if all(at in self.words for at in wanted) else None


def locate(chain: Chain, model: int, point: str) -> tuple[int, PointLayout] | None:
    """Return address and layout of a point in a device's chain, or None when the device does not have it.

    An older device's model may be shorter than its definition: points beyond its length are not there.
    """
    instance = chain.find(model)
    layout: ModelLayout | None = load_layout(model)
    found = layout.points.get(point) if layout else None
    if instance is None or found is None or found.offset + found.size > HEADER_REGISTERS + instance.length:
        return None
    return instance.address + found.offset, found
