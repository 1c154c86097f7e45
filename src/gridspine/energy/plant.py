"""An ensemble as one plant: what is read of it, and which words of its members' models move their power.

::

    members ─► sums ─► readings: what is known is good · a part of it questionable, inaccurate · nothing of it invalid

The Thing Model is ``ensemble.tm.json``. A sum over members is no register: who joins would add a past that was never
taken, so there are none of energy.
"""

from typing import NamedTuple

import numpy as np

from gridspine.energy.ensemble import Gathered
from gridspine.kernel.quality import Quality
from gridspine.kernel.readings import BoolArray, Int64Array

MODEL = "https://gridspine.org/models/ensemble"
ADAPTER = "ensemble"
"""Who serves the Things of this model: the node itself, under the name of an adapter."""
SETPOINT = "activePowerSetpoint"
_PARTLY = int(Quality.QUESTIONABLE | Quality.INACCURATE)
_BLIND = int(Quality.INVALID)
_DEADBAND = {"memberCount": 0.0, "unknownCount": 0.0}


class Measured(NamedTuple):
    """What is read of an ensemble: values by point [the point's unit], and their qualities (15 bits)."""

    values: dict[str, float]
    quality: dict[str, int]

    def differs(self, before: "Measured | None") -> list[str]:
        """Return the points that are to be reported again after ``before``: by exception, at 1 W or 1 Wh."""
        if before is None:
            return list(self.values)
        return [
            name for name, value in self.values.items()
            if abs(value - before.values[name]) > _DEADBAND.get(name, 1.0) or self.quality[name] != before.quality[name]
        ]  # fmt: skip


def measured(found: Gathered, setpoint_w: float) -> Measured:
    """Return the readings of an ensemble; ``setpoint_w`` [W, import positive] is what it is told to hold, 0 for none.

    The qualities of sums follow the coverage: that of the weakest member is never hidden, for members whose values are
    not good and recent are in no sum, and make it questionable.
    """
    sums = found.sums()
    unknown, count = int(sums["power_unknown"]), len(found.members)
    covered = 0 if not unknown else _BLIND if unknown == count else _PARTLY
    values = {
        "activePower": sums["power_w"], "availablePowerUp": sums["shed_w"], "availablePowerDown": sums["raise_w"],
        "storedEnergy": sums["energy_wh"], "memberCount": float(count), "unknownCount": float(unknown),
        SETPOINT: setpoint_w,
    }  # fmt: skip
    quality = dict.fromkeys(values, covered) | dict.fromkeys(("memberCount", "unknownCount", SETPOINT), 0)
    if count and np.isnan(found.energy_wh).all():  # no store, or none whose size and state of charge are known
        quality["storedEnergy"] = _BLIND
    return Measured(values, quality)


def places(numbers: Int64Array, some: Int64Array) -> Int64Array:
    """Return where those of ``some`` (m,) that are there stand in ``numbers`` (k,); both ascend."""
    at = np.searchsorted(numbers, some)
    at, some = at[at < len(numbers)], some[at < len(numbers)]
    found: Int64Array = at[numbers[at] == some]
    return found


def only(found: Gathered, wanted: BoolArray) -> Gathered:
    """Return the members that are ``wanted`` (k,)."""
    return Gathered(
        found.members[wanted], found.power_w[wanted], found.shed_w[wanted], found.raise_w[wanted],
        found.energy_wh[wanted], found.considered, found.left_out,
    )  # fmt: skip
