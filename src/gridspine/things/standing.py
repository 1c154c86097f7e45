"""What each Thing may in the state of its life, as one byte a Thing: asked for every posting and command.

::

    state          readings           automatic control   commands
    announced      refused            no                  none: there is no Thing yet
    described      kept               no                  safety, and a test with consent
    provisioned    kept               no                  safety, and a test with consent
    commissioned   kept               yes                 all
    suspended      kept               no                  safety
    quarantined    kept               no                  safety
    retired        refused            no                  none
"""

import threading
from collections.abc import Sequence

import msgspec
import numpy as np

from gridspine.kernel.readings import BoolArray, Int32Array, Int64Array
from gridspine.things.column import Column
from gridspine.things.lifecycle import STATES, State
from gridspine.things.point import PointTable
from gridspine.things.resolve import OUT_OF_SERVICE, Resolved

# A Thing nobody says anything of is commissioned: its byte is 0, and takes no memory.
_CODES: tuple[State, ...] = ("commissioned", *(state for state in STATES if state != "commissioned"))
_CODE = {state: code for code, state in enumerate(_CODES)}
_SHUT = np.array([state in {"announced", "retired"} for state in _CODES])
_TOLD = 1_000
_TESTED = frozenset({"described", "provisioned"})


class Standing(msgspec.Struct, frozen=True):
    """The state of a Thing that is not plainly commissioned; kept beside its whole life, so that a start is quick."""

    thing: str
    state: State


class Standings:
    """The states of all Things, by their numbers in ``points``. Read by any thread, written by one at a time."""

    def __init__(self, points: PointTable) -> None:
        self._points = points
        self._lock = threading.Lock()
        self._code = Column(np.uint8)
        self.shut = 0
        """Things whose readings are refused: while there is none, nobody is told why."""
        self.paused = 0
        """Things that are out of automatic control, the shut ones among them."""

    def set(self, thing: str, state: State) -> None:
        """Note the state of a Thing; one that is not bound to points stands nowhere."""
        number = self._points.thing_number(thing)
        if number < 0:
            return
        with self._lock:
            self._code.grow(number + 1)
            before, after = int(self._code.array[number]), _CODE[state]
            self._code.array[number] = after
            self.shut += int(_SHUT[after]) - int(_SHUT[before])
            self.paused += int(after != 0) - int(before != 0)

    def state(self, thing: str) -> State:
        """Return the state of a Thing."""
        number = self._points.thing_number(thing)
        codes = self._code.array
        return _CODES[int(codes[number])] if 0 <= number < len(codes) else "commissioned"

    def counts(self) -> dict[State, int]:
        """Return how many Things are in each state but *commissioned*."""
        found = np.bincount(self._code.array, minlength=len(_CODES))
        return {state: int(found[code]) for code, state in enumerate(_CODES) if code and found[code]}

    def admit(self, resolved: Resolved, names: Sequence[str], organisation: str) -> Resolved:
        """Return names as numbers, with `OUT_OF_SERVICE` for points of the organisation's own retired Things.

        The points of what is retired have no numbers any more; this says why (of the first few in a posting).
        """
        if not self.shut or resolved.point.min(initial=0) >= 0:
            return resolved
        refused = np.flatnonzero(resolved.point < 0)[:_TOLD].tolist()
        gone = [at for at in refused if self._points.retired(names[at].partition("/")[0], organisation)]
        if not gone:
            return resolved
        point: Int32Array = resolved.point.copy()  # it may be kept for whoever comes with the same names
        point[gone] = OUT_OF_SERVICE
        return Resolved(point, resolved.scale, resolved.shift)

    def controllable(self, things: Int64Array) -> BoolArray:
        """Return, for Things by number (k,), whether automatic control may count on each."""
        if not self.paused:
            return np.ones(len(things), np.bool_)
        free: BoolArray = self._codes(things) == 0
        return free

    def refuses(self, thing: str, *, safety: bool = False, test: bool = False) -> str:
        """Return why a command to a Thing is refused in the state of its life, "" where it is not.

        ``safety``: asked for with the authority of safety. ``test``: at commissioning, with consent.
        """
        state = self.state(thing)
        if state == "commissioned":
            return ""
        if state in {"retired", "announced"}:
            return f"the Thing is {state}: it takes no commands"
        if safety or (test and state in _TESTED):
            return ""
        if state in _TESTED:
            return f"the Thing is {state}: it takes commands once it is commissioned"
        return f"the Thing is {state}: it takes none but safety's commands until it is resumed"

    def _codes(self, things: Int64Array) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
        codes = self._code.array
        if not len(codes):
            return np.zeros(len(things), np.uint8)
        return np.where(things < len(codes), codes[np.minimum(things, len(codes) - 1)], np.uint8(0))
