"""Controls: what a connection point, or a Thing, is told to do for a time; limits, and a target.

::

    export limit  ◄───────── 0 ─────────►  import limit          at the connection point
    generation limit: what all behind it generate                load limit: what all behind it take

Limits intersect, mode by mode: the tightest holds. A target is an order and does not. The other modes are for devices
whose protocol has words for them: whether to be connected or energised, and how fast to get where they are told. The
node hands them on and divides none of them.
Source: the modes of CSIP-AUS (opModImpLimW, opModExpLimW, opModGenLimW, opModLoadLimW) and opModTargetW, opModConnect,
opModEnergize, rampTms, setGradW of IEEE 2030.5-2018 by name; their clauses were not read. Limits are magnitudes, a
target is import positive.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from gridspine.kernel.errors import Invalid

Mode = Literal[
    "import_limit_w", "export_limit_w", "generation_limit_w", "load_limit_w", "target_w", "connect", "energise",
    "ramp_s", "gradient_percent_per_s",
]  # fmt: skip
LIMITS: tuple[Mode, ...] = ("import_limit_w", "export_limit_w", "generation_limit_w", "load_limit_w")
HANDED_ON: tuple[Mode, ...] = ("connect", "energise", "ramp_s", "gradient_percent_per_s")
MODES: tuple[Mode, ...] = (*LIMITS, "target_w", *HANDED_ON)
WIRE_NAMES: dict[Mode, str] = {
    "import_limit_w": "importLimitW", "export_limit_w": "exportLimitW", "generation_limit_w": "generationLimitW",
    "load_limit_w": "loadLimitW", "target_w": "targetW",
    "connect": "connect", "energise": "energise", "ramp_s": "rampS",
    "gradient_percent_per_s": "gradientPercentPerS",
}  # fmt: skip
MODE_OF: dict[str, Mode] = {name: mode for mode, name in WIRE_NAMES.items()}
"""Modes by the names they have in documents."""
MAX_W, MAX_RATE = 1e12, 655.35
"""The largest power [W]; the longest ramp [s] and steepest gradient [% of the rating, a second]."""


class Control(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """What is asked for [W], None where nothing is: limits are magnitudes, 0 or more; ``target_w`` import positive.

    ``connect``, ``energise``: whether a device is to be. ``ramp_s`` [s]: in what time to get to what is asked for;
    ``gradient_percent_per_s``: how fast it may change by itself [% of its rating, a second].
    """

    import_limit_w: float | None = None
    export_limit_w: float | None = None
    generation_limit_w: float | None = None
    load_limit_w: float | None = None
    target_w: float | None = None
    connect: bool | None = None
    energise: bool | None = None
    ramp_s: float | None = None
    gradient_percent_per_s: float | None = None

    def check(self, where: str, *, limits_only: bool = False) -> None:
        """Raise `Invalid`, naming the field below ``where``, for what is no power, or a limit below 0."""
        for mode, value in self.asked():
            name = f"{where}.{WIRE_NAMES[mode]}"
            if mode in HANDED_ON:
                if not 0 <= value <= MAX_RATE:
                    raise Invalid(f"{name}: 0 to {MAX_RATE} is needed")
                continue
            if not (math.isfinite(value) and abs(value) <= MAX_W):
                raise Invalid(f"{name}: a power in W is needed")
            if mode in LIMITS and value < 0:
                raise Invalid(f"{name}: a limit is a magnitude, 0 or more")
        if limits_only and (other := set(self.modes) - set(LIMITS)):
            raise Invalid(f"{where}.{WIRE_NAMES[min(other)]}: an envelope limits, it asks for nothing")

    def asked(self) -> Iterator[tuple[Mode, float]]:
        """Yield the modes it has, each with its value [W; true and false where it is one of those]."""
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
        return made_of({mode: value for one in (other, self) for mode, value in one.asked()})

    def only(self, modes: Iterable[str]) -> "Control":
        """Return what of it is in ``modes``."""
        kept = frozenset(modes)
        own = self.modes
        if kept.issuperset(own):
            return self
        return made_of({mode: getattr(self, mode) for mode in own if mode in kept})


NOTHING = Control()


def made_of(values: Mapping[Mode, Any]) -> Control:
    """Return the control with these values, by their modes."""
    named: dict[str, Any] = {str(mode): value for mode, value in values.items()}
    return Control(**named)


def tightest(controls: Iterable[Control]) -> Control:
    """Return the limits that hold when all of ``controls`` do; their targets are left out."""
    found: dict[Mode, float] = {}
    for control in controls:
        for mode, value in control.asked():
            if mode in LIMITS:
                found[mode] = min(value, found.get(mode, math.inf))
    return made_of(found)
