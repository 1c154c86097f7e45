"""Releasing what was held: a job like that of the intake, on the node's own behalf."""

from collections.abc import Sequence

from gridspine.infra.log.port import Position, Record
from gridspine.infra.log.topics import READINGS
from gridspine.infra.log.writer import Priority
from gridspine.kernel.codecs.batch import encode_batch
from gridspine.kernel.readings import Readings
from gridspine.things.books import Books, Committed
from gridspine.things.held import Due
from gridspine.things.screen import Screened


class ReleaseJob:
    """Held readings that are due, on their way through the writer: to the log, the twins and the listeners.

    Submit one now and then, when ``books.held.next_due_us`` has passed. Nobody waits for it: what could not be
    kept is still held, and is due again.
    """

    def __init__(self, books: Books) -> None:
        self.priority, self.weight, self.source = Priority.LIVE, 1, "release"
        self._books = books
        self._released: list[tuple[Due, Screened]] = []
        self._positions: Sequence[Position] = ()

    def prepare(self) -> Sequence[Record]:
        """Take what is due; it becomes the screen's reference."""
        now_us = self._books.clock.now_us()
        screen = self._books.screen
        for due in self._books.held.due(now_us, screen.memory):
            self._released.append((due, screen.release(due[1])))
        return [
            Record(READINGS, organisation.encode(), encode_batch(readings), now_us)
            for (organisation, readings), _ in self._released
        ]

    def committed(self, positions: Sequence[Position]) -> None:
        """The twins move; what was suppressed is now accepted."""
        self._positions = positions
        with self._books.moving():
            for (_, readings), _ in self._released:
                self._move(readings)
            for position in positions:
                self._books.passed(position)

    def undone(self) -> None:
        """It is held still."""
        for _, screened in reversed(self._released):
            self._books.screen.undo(screened)

    def finished(self, error: BaseException | None) -> None:
        """Tell the listeners."""
        if error is None:
            for (_, screened), position in zip(self._released, self._positions, strict=True):
                self._books.tell(Committed(position, screened))

    def _move(self, readings: Readings) -> None:
        books = self._books
        books.screen.settle()
        books.twins.apply(readings)
        carried = books.held.carried(readings)
        books.held.drop(readings)
        books.totals.received += carried  # these totals have not seen them yet
        books.totals.suppressed -= len(readings) - carried
        books.totals.accepted += len(readings)
