"""How the demonstration's smart inverter adopts a stored curve, and goes back to another when its timer has run out.

It shares no code with the node. Set 1 is what is in force and is never written; a set that is asked for is copied there
at the next tick, unless its points do not ascend.
"""

from itertools import pairwise

from gridspine.apps.demo.sunspec_device import Function, Timer
from gridspine.apps.demo.sunspec_registers import Registers
from gridspine.apps.demo.sunspec_tables import CURVES, POINTS

_IN_PROGRESS, _COMPLETED, _FAILED = 0, 1, 2
_DROOP = 711


class Adoption(Timer):
    """The adoption and the reversion timer of one function, by its ``model``."""

    def __init__(self, registers: Registers, model: int) -> None:
        word = "Ctl" if model == _DROOP else "Crv"
        super().__init__(registers, Function(model, "Ena", "RvrtTms", (), "RvrtRem"))
        self._model, self._set = model, word
        self._request, self._result, self._reversion = f"Adpt{word}Req", f"Adpt{word}Rslt", f"Rvrt{word}"
        self._wanted = 0

    def written(self, touched: set[tuple[int, str]], now_s: float) -> None:
        """Take note of a curve that is asked for, and start the timer when the function is enabled."""
        if (self._model, self._request) in touched:
            self._wanted = self._registers.get(self._model, self._request)
            self._registers.set(self._model, self._result, _IN_PROGRESS)
        super().written(touched, now_s)

    def tick(self, now_s: float) -> None:
        """Adopt what was asked for; at the timer's end, adopt what is fallen back to. The function stays enabled."""
        if self._wanted:
            self._adopt(self._wanted)
            self._wanted = 0
        if not self._registers.has(self._model, "RvrtRem"):
            return
        over = self._ends_s is not None and now_s >= self._ends_s
        enabled = self._registers.get(self._model, "Ena")
        super().tick(now_s)
        if over:
            self._registers.set(self._model, "Ena", enabled)
            self._adopt(self._registers.get(self._model, self._reversion))

    def _adopt(self, number: int) -> None:
        good = 2 <= number <= CURVES and self._ascends(number)
        if good:
            for name in self._names(number):
                _, _, rest = name.split(".", 2)
                if rest != "ReadOnly":
                    self._registers.set(self._model, f"{self._set}.1.{rest}", self._registers.get(self._model, name))
        self._registers.set(self._model, self._result, _COMPLETED if good else _FAILED)

    def _names(self, number: int) -> list[str]:
        return self._registers.names(self._model, f"{self._set}.{number}.")

    def _ascends(self, number: int) -> bool:
        """Whether the first numbers of a curve's points ascend, as far as there are points."""
        names = self._names(number)
        zones = {name.partition("Pt.")[0] for name in names if "Pt." in name}
        for zone in zones:
            count = self._registers.get(self._model, f"{zone}ActPt")
            first = [name for name in names if name.startswith(f"{zone}Pt.")]
            every = len(first) // POINTS
            xs = [self._registers.get(self._model, name) for name in first[::every]][:count]
            if count > POINTS or any(low > high for low, high in pairwise(xs)):
                return False
        return True
