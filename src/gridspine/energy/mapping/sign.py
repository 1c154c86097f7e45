"""Signs and quadrants: what each standard calls positive, by class of device and quantity, as data.

Ours is the load convention: power is import positive, active and reactive. Seen from the load, quadrants are

::

             reactive +
        Q2       │       Q1      Q1  imports active and reactive power (an inductive load)
    ─────────────┼─────────────  Q2  exports active, imports reactive
        Q3       │       Q4      Q3  exports both
                                 Q4  imports active, exports reactive (a capacitive load)

A standard that looks from the generator turns the picture by half a circle: its quadrants 1, 2, 3, 4 are 3, 4, 1, 2.
The table (``tables/signs.json``) says what each row rests on; a row without a factor is one that the documents read
leave open.
"""

from functools import cache
from typing import Literal

import msgspec

from gridspine.energy.mapping.table import MODELS, table_file
from gridspine.kernel.errors import Invalid

DeviceClass = Literal["meter", "generator", "storage", "load", "network"]
Direction = Literal["import", "export", "both"]


class Sign(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One row: ``factor`` turns what ``standard`` holds into import positive, None where it leaves the sign open.

    ``quantities`` are those it is about; ``sense`` says what is positive there, ``basis`` where that was read.
    ``written`` is the factor our own documents use where the standard leaves it open.
    ``turns_quadrants`` says whether its quadrants are those of a generator.
    """

    standard: str
    device_classes: list[DeviceClass]
    quantities: list[str]
    factor: Literal[1, -1] | None
    sense: str
    basis: str
    written: Literal[1, -1] = 1
    turns_quadrants: bool = False


class ModelClass(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a Thing Model is: its class, and which way its active power can only flow (a reversed CT shows there)."""

    device_class: DeviceClass
    direction: Direction
    basis: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signs: list[Sign]
    classes: dict[str, ModelClass]


@cache
def _file() -> _File:
    return msgspec.convert(table_file("signs"), _File)


def sign_table() -> tuple[Sign, ...]:
    """Return all rows."""
    return tuple(_file().signs)


def sign_row(standard: str, device_class: DeviceClass, quantity: str) -> Sign:
    """Return the row for a quantity (``activePower``, ``reactivePower`` …); raise `Invalid` when there is none."""
    for row in _file().signs:
        if row.standard == standard and device_class in row.device_classes and quantity in row.quantities:
            return row
    raise Invalid(f"no row says what {standard} calls positive for {quantity} of a {device_class}")


def sign_factor(standard: str, device_class: DeviceClass, quantity: str) -> int:
    """Return what a value of ``standard`` is multiplied by to be import positive.

    Raises `Invalid` when the table has no row, or says that the standard leaves the sign open.
    """
    row = sign_row(standard, device_class, quantity)
    if row.factor is None:
        raise Invalid(f"the sign of {quantity} in {standard} is not defined: {row.basis}")
    return row.factor


def model_class(model: str) -> ModelClass | None:
    """Return what the model with the short name or id ``model`` is; None for one we do not know."""
    return _file().classes.get(model.removeprefix(MODELS))


def reversed_direction(model: str, active_power_w: float) -> bool:
    """Say whether ``active_power_w`` [W, import positive] flows the way a Thing of this model cannot: a reversed CT?

    False for models that may flow both ways, and for ones we do not know. The caller decides how much is noise.
    """
    known = model_class(model)
    if known is None or known.direction == "both":
        return False
    return active_power_w < 0 if known.direction == "import" else active_power_w > 0


def quadrant(active_power_w: float, reactive_power_var: float) -> int:
    """Return the quadrant 1 … 4, seen from the load, of import positive powers; zero counts as import."""
    if active_power_w >= 0:
        return 1 if reactive_power_var >= 0 else 4
    return 2 if reactive_power_var >= 0 else 3


def turned_quadrant(number: int) -> int:
    """Return the quadrant as it is numbered from the other end: 1, 2, 3, 4 are 3, 4, 1, 2."""
    if number not in {1, 2, 3, 4}:
        raise Invalid(f"{number} is not a quadrant")
    return (number + 1) % 4 + 1
