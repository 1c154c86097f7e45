"""The steps of a lot through the writer, for the traces of the postings in it; nothing at all where none is traced."""

from collections.abc import Sequence
from itertools import pairwise
from time import time_ns

from gridspine.infra.runtime.trace import Context, Trace


class Steps:
    """When each step began: each lasts until the next."""

    __slots__ = ("_marks", "_parents", "_trace")

    def __init__(self, trace: Trace, parents: Sequence[Context]) -> None:
        self._trace, self._parents = trace, parents
        self._marks: list[tuple[str, int]] = []

    def mark(self, name: str) -> None:
        """Note that step ``name`` begins now; any thread."""
        self._marks.append((name, time_ns()))

    def tell(self, readings: int) -> None:
        """Record the steps as spans of every posting that is traced; ``readings`` is how many the lot had."""
        ends = [*self._marks, ("", time_ns())]
        for parent in self._parents:
            for (name, begin_ns), (_, end_ns) in pairwise(ends):
                self._trace.record(name, parent, begin_ns, end_ns, **{"gridspine.readings": readings})


def steps_of(trace: Trace, parents: Sequence[Context]) -> Steps | None:
    """Return the steps to note for postings under ``parents``; None when nobody wants to know."""
    if not trace.on:
        return None
    wanted = [parent for parent in parents if parent is not None]
    return Steps(trace, wanted) if wanted else None
