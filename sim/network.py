"""The network between clients and the node: late, lossy, doubling, by the seed."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request: how late it is on its way there and back [s], and what else."""

    there_s: float
    back_s: float
    lost: bool = False
    answer_lost: bool = False
    doubled_after_s: float = -1.0
    """It arrives a second time, so much later [s]; negative: it does not."""


class Network:
    """Decides on each message. ``bad`` while it has its troubles."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.bad = False

    def fate(self) -> Fate:
        """Return what becomes of a request."""
        dice = self._dice
        if not self.bad:
            return Fate(dice.uniform(0.0001, 0.002), dice.uniform(0.0001, 0.002))
        late = dice.choice((0.01, 0.1, 1.0))
        return Fate(
            dice.uniform(0.0001, late),
            dice.uniform(0.0001, late),
            lost=dice.random() < 0.1,
            answer_lost=dice.random() < 0.1,
            doubled_after_s=dice.uniform(0.0, 3.0) if dice.random() < 0.15 else -1.0,
        )

    def pass_s(self) -> float:
        """Return how late one message is [s]; negative: it is lost."""
        if not self.bad:
            return self._dice.uniform(0.0001, 0.002)
        return -1.0 if self._dice.random() < 0.2 else self._dice.uniform(0.0001, self._dice.choice((0.01, 0.2, 2.0)))
