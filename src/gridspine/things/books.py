"""The books of the intake: everything that a batch moves on its way in, and who is told of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from gridspine.infra.log.port import Position
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.trace import NO_TRACE, Trace
from gridspine.things.adapter import Outcome
from gridspine.things.held import Held
from gridspine.things.offence import Offences
from gridspine.things.point import PointTable
from gridspine.things.quarantine import Quota
from gridspine.things.screen import Screen, Screened
from gridspine.things.twin import TwinState

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Totals:
    """What became of all readings since the start."""

    received: int = 0
    accepted: int = 0
    suppressed: int = 0
    duplicate: int = 0
    refused: int = 0

    def add(self, outcome: Outcome) -> None:
        """Add what became of one posting."""
        self.received += outcome.received
        self.accepted += outcome.accepted
        self.suppressed += outcome.suppressed
        self.duplicate += outcome.duplicate
        self.refused += outcome.refused


@dataclass(frozen=True, slots=True, eq=False)
class Committed:
    """A batch that the log has: its place (None where nothing was accepted), and the screen's findings."""

    position: Position | None
    screened: Screened


Listener = Callable[[Committed], None]


@dataclass(slots=True, eq=False)
class Books:
    """Moved by the writer's thread only, but for ``listeners``, who are told on the event loop.

    ``applied`` is the next offset of each partition of topic ``readings`` that the twins do not have yet; ``behind``
    says that a batch became durable and the twins may lack it: nothing after it counts as applied until they have it.
    """

    points: PointTable
    screen: Screen
    twins: TwinState
    offences: Offences
    clock: Clock
    held: Held
    quota: Quota = field(default_factory=Quota)
    totals: Totals = field(default_factory=Totals)
    applied: dict[int, int] = field(default_factory=dict)
    behind: bool = False
    listeners: list[Listener] = field(default_factory=list)
    trace: Trace = NO_TRACE

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Around what a durable batch moves: should it fail, the log has what the twins lack."""
        try:
            yield
        except BaseException:
            self.behind = True
            raise

    def passed(self, position: Position) -> None:
        """Note that the twins have the batch at ``position``."""
        if self.applied.get(position.partition, position.offset) == position.offset:
            self.applied[position.partition] = position.offset + 1

    def tell(self, committed: Committed) -> None:
        """Tell the listeners; one that fails is logged and stops nobody."""
        for listener in self.listeners:
            try:
                listener(committed)
            except Exception:
                log.exception("intake: a listener failed", listener=getattr(listener, "__qualname__", str(listener)))
