"""What all kinds share: arrays of a fleet, and the two energy registers that go with a power."""

from dataclasses import dataclass

import numpy as np

from gridspine.kernel.readings import Float64Array

Outputs = dict[str, Float64Array]
"""What devices report: point name of the Thing Model → values (n,)."""
S_PER_H = 3600.0


@dataclass(frozen=True, slots=True)
class Registers:
    """Two cumulative registers a device: ``import_wh`` and ``export_wh``, float64 (n,) [Wh], never falling."""

    import_wh: Float64Array
    export_wh: Float64Array

    @classmethod
    def zero(cls, count: int) -> "Registers":
        """Return the registers of ``count`` new devices."""
        return cls(np.zeros(count), np.zeros(count))

    def add(self, power_w: Float64Array, step_s: float) -> "Registers":
        """Return the registers after ``power_w`` (n,) [W, import positive] for ``step_s`` [s]."""
        energy_wh = power_w * (step_s / S_PER_H)
        return Registers(self.import_wh + np.maximum(energy_wh, 0.0), self.export_wh - np.minimum(energy_wh, 0.0))


def ordered(wanted: Float64Array | None, fallback: Float64Array | float) -> Float64Array:
    """Return what was ordered where there is an order (not NaN), else ``fallback``, float64 (n,)."""
    if wanted is None:
        return np.asarray(fallback, np.float64)
    return np.where(np.isnan(wanted), fallback, wanted)
