"""A queue that is fair to its sources: what one of them floods it with does not stand before what the others bring.

::

    flood  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇ ─┐ a quantum
    a      ▂ ────────────────┼──────────► group
    b      ▂ ────────────────┘ all they have

What a source brings keeps its order; among sources there is none. A source that is alone gets whole groups.
"""

from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

QUANTUM = 20_000
"""Weight of one source in a group, as long as others are there or were lately."""
_LATELY = 16
"""Groups that are looked back on: who waits for answers is not in the queue all the time."""


class Weighed(Protocol):
    """What waits: its weight, and its source."""

    weight: int
    source: str


W = TypeVar("W", bound=Weighed)


class FairQueue(Generic[W]):
    """What waits, by source; in one line where it is not ``fair``. Not thread-safe: the writer holds the lock."""

    def __init__(self, *, fair: bool = True) -> None:
        self._fair = fair
        self._lines: dict[str, deque[W]] = {}
        self._lately: deque[frozenset[str]] = deque(maxlen=_LATELY)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def extend(self, jobs: Sequence[W]) -> None:
        """Add jobs of one source."""
        name = jobs[0].source if self._fair else ""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = deque()
        line.extend(jobs)

    def take(self, most: int) -> list[W]:
        """Take the next group, of weight ``most`` or a single job: each source in its turn."""
        group: list[W] = []
        taken: list[str] = []
        room, quantum = most, QUANTUM if self._shared() else most
        for name in list(self._lines):
            if group and self._lines[name][0].weight > room:
                break  # it comes first the next time
            line, given = self._lines.pop(name), 0
            while line and (not group or line[0].weight <= room):
                if given and given + line[0].weight > quantum:
                    break
                group.append(line.popleft())
                given += group[-1].weight
                room -= group[-1].weight
            if line:
                self._lines[name] = line  # behind the others
            taken.append(name)
            if room <= 0:
                break
        self._lately.append(frozenset([taken[0], taken[-1]]))  # two say as much as all: there are others
        return group

    def _shared(self) -> bool:
        return len(self._lines) > 1 or len(frozenset(self._lines).union(*self._lately)) > 1
