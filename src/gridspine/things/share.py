"""Shares of a room that all organisations have together, so that none of them fills it before the others come.

Each may hold `TIMES` times what is left: alone four fifths of the room; and whoever comes later still finds a place
(the dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998; known from summaries).
"""

from collections.abc import Callable

from gridspine.kernel.errors import Overloaded

TIMES = 4


class Shares:
    """What is held, by the id of what holds it; ``organisation_of(thing)`` is "" where it is not known."""

    def __init__(self, room: int, organisation_of: Callable[[str], str]) -> None:
        self._room, self._organisation_of = room, organisation_of
        self._of: dict[str, str] = {}
        self._held: dict[str, int] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._of)

    def enter(self, id: str, thing: str) -> None:
        """Count ``id``, which concerns ``thing``, unless it counts already."""
        if id not in self._of:
            self._of[id] = organisation = self._organisation_of(thing)
            self._held[organisation] = self._held.get(organisation, 0) + 1

    def place(self, thing: str) -> str:
        """Count one more of ``thing`` that has no id of its own; return the one by which it will `leave`."""
        self._number += 1
        self.enter(f"#{self._number}", thing)
        return f"#{self._number}"

    def leave(self, id: str) -> None:
        """Count ``id`` no more."""
        organisation = self._of.pop(id, None)
        if organisation is None:
            return
        self._held[organisation] -= 1
        if not self._held[organisation]:
            del self._held[organisation]

    def check(self, thing: str, what: str, *, more: int = 0, freed: int = 0) -> None:
        """Raise `Overloaded` when one more of ``thing`` is too many; ``more`` are on their way in, ``freed`` out."""
        held = len(self._of) + more - freed
        if held >= self._room:
            raise Overloaded(f"{self._room} {what}: wait for some to end")
        organisation = self._organisation_of(thing)
        if organisation and self._held.get(organisation, 0) + more - freed >= TIMES * (self._room - held):
            raise Overloaded(f"your organisation has its share of the {self._room} {what}: wait for some to end")
