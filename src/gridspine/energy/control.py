"""Controls: what a connection point, or a Thing, is told to do for a time; limits, and a target.

::

    export limit  ◄───────── 0 ─────────►  import limit          at the connection point
    generation limit: what all behind it generate                load limit: what all behind it take

Limits intersect, mode by mode: the tightest holds. A target is an order and does not.
Source: the modes of CSIP-AUS (opModImpLimW, opModExpLimW, opModGenLimW, opModLoadLimW) and opModTargetW of IEEE
2030.5-2018 by name; their clauses were not read. Limits are magnitudes, a target is import positive.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from gridspine.kernel.errors import Invalid

Mode = Literal["import_limit_w", "export_limit_w", "generation_limit_w", "load_limit_w", "target_w"]
LIMITS: tuple[Mode, ...] = ("import_limit_w", "export_limit_w", "generation_limit_w", "load_limit_w")
MODES: tuple[Mode, ...] = (*LIMITS, "target_w")
WIRE_NAMES: dict[Mode, str] = {
    "import_limit_w": "importLimitW", "export_limit_w": "exportLimitW", "generation_limit_w": "generationLimitW",
    "load_limit_w": "loadLimitW", "target_w": "targetW",
}  # fmt: skip
MODE_OF: dict[str, Mode] = {name: mode for mode, name in WIRE_NAMES.items()}
"""Modes by the names they have in documents."""
MAX_W = 1e12


class Control(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """What is asked for [W], None where nothing is: limits are magnitudes, 0 or more; ``target_w`` import positive."""

    import_limit_w: float | None = None
    export_limit_w: float | None = None
    generation_limit_w: float | None = None
    load_limit_w: float | None = None
    target_w: float | None = None

    def check(self, where: str, *, limits_only: bool = False) -> None:
        """Raise `Invalid`, naming the field below ``where``, for what is no power, or a limit below 0."""
        for mode, value in self.asked():
            name = f"{where}.{WIRE_NAMES[mode]}"
            if not (math.isfinite(value) and abs(value) <= MAX_W):
                raise Invalid(f"{name}: a power in W is needed")
            if mode in LIMITS and value < 0:
                raise Invalid(f"{name}: a limit is a magnitude, 0 or more")
        if limits_only and self.target_w is not None:
            raise Invalid(f"{where}.targetW: an envelope limits, it asks for nothing")

    def asked(self) -> Iterator[tuple[Mode, float]]:
        """Yield the modes it has, each with its value [W]."""
        for mode in MODES:
            value: float | None = getattr(self, mode)
            if value is not None:
                yield mode, value

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes it has."""
        return tuple([mode for mode in MODES if getattr(self, mode) is not None])

    def over(self, other: "Control") -> "Control":
        """Return it with what it leaves out taken from ``other``."""
        return Control(**{mode: value for one in (other, self) for mode, value in one.asked()})

    def only(self, modes: Iterable[str]) -> "Control":
        """Return what of it is in ``modes``."""
        kept = frozenset(modes)
        own = self.modes
        if kept.issuperset(own):
            return self
        return Control(**{mode: getattr(self, mode) for mode in own if mode in kept})


NOTHING = Control()


def tightest(controls: Iterable[Control]) -> Control:
    """Return the limits that hold when all of ``controls`` do; their targets are left out."""
    found: dict[Mode, float] = {}
    for control in controls:
        for mode, value in control.asked():
            if mode in LIMITS:
                found[mode] = min(value, found.get(mode, math.inf))
    return Control(**found)
