"""Which session is the latest at each charging point: one before it runs no more, though nobody told that it ended.

::

    first told of ─► began after the latest? ─► it is the latest
    the latest ended ─► told of after it, and runs? ─► that is the latest: the charge point's clock was set back
"""

from dataclasses import dataclass, field

MAX_TOLD = 50
"""How many sessions of a charging point are remembered."""


@dataclass(slots=True)
class _At:
    """A charging point: its latest session, and whether each runs, in the order in which they were told of."""

    latest: str = ""
    began_us: int = 0
    runs: dict[str, bool] = field(default_factory=dict)


class LatestSessions:
    """The latest sessions, in memory."""

    def __init__(self) -> None:
        self._at: dict[str, _At] = {}

    def at(self, thing: str) -> str:
        """Return the id of the latest session at a charging point, "" where none was told of."""
        known = self._at.get(thing)
        return "" if known is None else known.latest

    def runs(self, thing: str) -> bool:
        """Whether the latest session at a charging point runs, anybody's, as far as was told."""
        known = self._at.get(thing)
        return known is not None and known.runs[known.latest]

    def tell(self, thing: str, id: str, began_us: int, *, runs: bool, again: bool = False) -> None:
        """Note a session, anybody's, that began then [µs since 1970], and whether it runs.

        ``again``: all that its charge point knows of is told of once more, in order.
        """
        at = self._at.setdefault(thing, _At())
        new, runs = id not in at.runs, runs and at.runs.get(id, True)
        if again:
            at.runs.pop(id, None)
        at.runs[id] = runs
        if not at.latest or (new and (began_us, id) > (at.began_us, at.latest)):
            at.began_us, at.latest = began_us, id
        if not at.runs[at.latest]:
            told = list(at.runs)
            after = told[told.index(at.latest) + 1 :]
            at.latest = next((one for one in reversed(after) if at.runs[one]), at.latest)
        if len(at.runs) > MAX_TOLD:
            del at.runs[next(one for one in at.runs if one != at.latest)]
