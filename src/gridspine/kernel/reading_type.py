"""What a point's numbers mean. A number without its reading type is noise.

Source: IEC 61968-9 (Meter reading and control), class ReadingType, in spirit: the attributes that decide how a
number may be added, compared and converted. The clause numbers were not checked.
"""

from typing import Literal

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.units import unit

Kind = Literal["instantaneous", "register", "interval", "state", "setting"]
Flow = Literal["none", "import", "export", "net", "total"]
Phase = Literal["all", "a", "b", "c", "n", "ab", "bc", "ca"]
Commodity = Literal["electricity", "gas", "water", "heat", "cooling", "none"]


class ReadingType(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Meaning of the numbers of one point.

    ``kind``: *instantaneous* (a sample), *register* (cumulative, never falls but for roll-over or meter exchange),
    *interval* (energy of one interval), *state* (a code), *setting* (what was set).
    ``interval_s`` [s] and ``stamp`` say, for *interval*, how long it is and which end its time stamp names.
    ``rollover`` [in ``unit``] is the value at which a register starts again from 0, if known.
    ``codes`` names the values of a *state*, or of a *setting* of unit ``code``; codes are exact integers.
    ``commodity`` is what flows (*none* for weather and the like); for *heat* import is heat taken by the customer.
    ``flow`` of *net* is import positive; of *import* and *export* a magnitude one way; *total* has no direction.
    """

    unit: str
    kind: Kind = "instantaneous"
    flow: Flow = "none"
    phase: Phase = "all"
    commodity: Commodity = "electricity"
    interval_s: int = 0
    stamp: Literal["start", "end"] = "end"
    rollover: float | None = None
    codes: dict[str, str] = {}

    def check(self) -> None:
        """Raise `Invalid` when the attributes contradict each other."""
        unit(self.unit)
        if (self.kind == "interval") != (self.interval_s > 0):
            raise Invalid("intervalS must be given, and positive, exactly when kind is interval")
        if self.kind == "state" and self.unit != "code":
            raise Invalid("a state's unit is 'code'")
        if self.kind in {"register", "interval"} and self.flow == "net":
            raise Invalid("energy is kept as import and export, never as one signed net register")

    @property
    def deadband_allowed(self) -> bool:
        """Whether report by exception may suppress: instantaneous quantities only."""
        return self.kind == "instantaneous"
