"""Finding SunSpec in a device: the marker, then the chain of models up to its end.

Source: SunSpec Device Information Model Specification (the marker ``SunS`` and the places it may be; the clause
numbers were not checked).

::

    base   'Su' 'nS' │ id  L  … L registers … │ id  L  … │ 0xFFFF
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gridspine.adapters.modbus.layout import HEADER_REGISTERS
from gridspine.adapters.modbus.session import Refused
from gridspine.kernel.errors import Invalid

BASES = (40000, 0, 50000)
"""Where the marker may be, in the order it is looked for."""
MARKER = (0x5375, 0x6E53)
END_MODEL = 0xFFFF
MAX_MODELS = 256
_LAST_ADDRESS = 0xFFFF

Read = Callable[[int, int], Awaitable[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Instance:
    """A model as it is in a device: its id, the address of its ``ID`` register, its length ``L`` [registers]."""

    id: int
    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Chain:
    """All models of a device in their order; ``base`` is the address of the marker."""

    base: int
    models: tuple[Instance, ...]

    def find(self, model_id: int) -> Instance | None:
        """Return the first instance of a model, or None."""
        return next((instance for instance in self.models if instance.id == model_id), None)


async def discover(read: Read, bases: Sequence[int] = BASES) -> Chain:
    """Return the device's chain of models. ``read(address, count)`` reads holding registers.

    Raises `Invalid` when there is no marker or the chain has no end, and what ``read`` raises when the device is
    unreachable or silent. A chain that stops at an illegal address after its last model is taken as ended.
    """
    for base in bases:
        try:
            marker = tuple(await read(base, len(MARKER)))
        except Refused:
            continue
        if marker == MARKER:
            return Chain(base, await _walk(read, base + len(MARKER)))
    raise Invalid(f"no SunSpec marker at {', '.join(map(str, bases))}: not a SunSpec device, or another unit id")


async def _walk(read: Read, address: int) -> tuple[Instance, ...]:
    models: list[Instance] = []
    while len(models) < MAX_MODELS and address < _LAST_ADDRESS:
        try:
            model_id, length = await read(address, HEADER_REGISTERS)
        except Refused:
            if models:
                return tuple(models)
            raise
        if model_id == END_MODEL:
            return tuple(models)
        models.append(Instance(model_id, address, length))
        address += HEADER_REGISTERS + length
    raise Invalid(f"the chain of SunSpec models has no end after {len(models)} models")
