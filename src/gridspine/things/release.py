"""Releasing what was held: a job like that of the intake, on the node's own behalf."""

from collections.abc import Sequence

from gridspine.infra.log.port import Position, Record
from gridspine.infra.log.writer import Priority
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.things.adapter import Source
from gridspine.things.held import Due
from gridspine.things.intake import READINGS, Committed, Intake
from gridspine.things.screen import Screened


class ReleaseJob:
    """Held readings that are due, on their way through the writer: to the log, the twins and the listeners.

    Submit one now and then, when ``intake.held.next_due_us`` has passed. Nobody waits for it: what could not be
    kept is still held, and is due again.
    """

    def __init__(self, intake: Intake) -> None:
        self.priority, self.weight, self.source = Priority.LIVE, 1, "release"
        self._intake = intake
        self._released: list[tuple[Due, Screened]] = []
        self._positions: Sequence[Position] = ()

    def prepare(self) -> Sequence[Record]:
        """Take what is due; it becomes the screen's reference."""
        now_us = self._intake.clock.now_us()
        screen = self._intake.screen
        for due in self._intake.held.due(now_us, screen.memory):
            self._released.append((due, screen.release(due[1])))
        return [
            Record(READINGS, organisation.encode(), encode_batch(readings), now_us)
            for (organisation, readings), _ in self._released
        ]

    def committed(self, positions: Sequence[Position]) -> None:
        """The twins move; what was suppressed is now accepted."""
        intake = self._intake
        self._positions = positions
        for (_, readings), _ in self._released:
            intake.screen.settle()
            intake.twins.apply(readings)
            carried = intake.held.carried(readings)
            intake.held.drop(readings)
            intake.totals.received += carried  # these totals have not seen them yet
            intake.totals.suppressed -= len(readings) - carried
            intake.totals.accepted += len(readings)
        intake.applied.update({position.partition: position.offset + 1 for position in positions})

    def undone(self) -> None:
        """It is held still."""
        for _, screened in reversed(self._released):
            self._intake.screen.undo(screened)

    def finished(self, error: BaseException | None) -> None:
        """Tell the listeners."""
        if error is None:
            for ((organisation, readings), screened), position in zip(self._released, self._positions, strict=True):
                self._intake.tell(Committed(Source(readings.source, organisation, ""), position, screened))
