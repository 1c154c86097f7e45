"""What inverters do for the voltage: the volt-var and volt-watt curves of IEEE 1547-2018.

::

    var  +q ──╲                              W  100 % ────╲
           0   ╲────╲                                      ╲
          -q         ╲──                       20 %         ╲──
             V1 V2  V3 V4                             V1   V2

Both are straight lines between corners, V as a share of the nominal voltage. Volt-var here: positive is what the
inverter *injects* (overexcited, raises the voltage). Where both do not fit into the rating, reactive power goes first.
The open loop response times (5 s and 10 s by default) are shorter than the steps of
a fleet and are taken as over; fleets meet the voltage of the step before, and half-way, so that a curve and a weak
network do not swing.

Source: IEEE 1547-2018, §5.3.3 and Table 8 (volt-var, category B defaults), §5.4.2 and Table 10 (volt-watt); the
defaults as public documents of EPRI and NREL repeat them, the standard's own text was not read.
"""

from dataclasses import dataclass

import numpy as np

from gridspine.kernel.readings import Float64Array


@dataclass(frozen=True, slots=True)
class Curve:
    """Corners of a curve: ``voltage`` (k,) [share of nominal, rising] and ``share`` (k,) [of a rating]."""

    voltage: tuple[float, ...]
    share: tuple[float, ...]

    def at(self, voltage: Float64Array) -> Float64Array:
        """Return the share at ``voltage`` (n,) [share of nominal]; flat beyond the corners."""
        found: Float64Array = np.interp(voltage, self.voltage, self.share)
        return found


VOLT_VAR = Curve((0.92, 0.98, 1.02, 1.08), (0.44, 0.0, 0.0, -0.44))
"""Category B default: reactive power injected, share of the rated apparent power."""
VOLT_WATT = Curve((1.06, 1.10), (1.0, 0.2))
"""Default: most active power generated, share of the rated active power."""


def respond(
    available_w: Float64Array,
    rated_va: Float64Array,
    voltage: Float64Array,
    volt_var: Curve | None = VOLT_VAR,
    volt_watt: Curve | None = VOLT_WATT,
) -> tuple[Float64Array, Float64Array]:
    """Return active power generated [W] and reactive power injected [var], each (n,), within the rating.

    ``available_w`` is what could be generated, ``rated_va`` the rated apparent (and active) power [VA], ``voltage``
    a share of nominal; None switches a curve off.
    """
    most_w = rated_va if volt_watt is None else rated_va * volt_watt.at(voltage)
    if volt_var is None:
        return np.minimum(available_w, most_w), np.zeros_like(available_w)
    reactive_var = volt_var.at(voltage) * rated_va
    room_w = np.sqrt(np.maximum(rated_va**2 - reactive_var**2, 0.0))
    return np.minimum(available_w, np.minimum(most_w, room_w)), reactive_var
