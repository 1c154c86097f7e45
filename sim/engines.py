"""The node's engines in a simulation: the real ones, working on the loop instead of on threads."""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gridspine.apps.node.engines import Engines
from gridspine.infra.log.port import EventLog, Follower, Position, Record, Stored
from gridspine.infra.log.room import Room
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.writer import Job, LogWriter, Part, Priority, Work
from gridspine.infra.runtime.settings import Settings
from gridspine.things.adapter import Adapter
from sim.disk import shim
from sim.loop import SimLoop

Appended = Callable[[Sequence[Record], Sequence[Position]], None]
_POLL_S = 0.2
_PLENTY = 1 << 40


class LoopWriter(LogWriter):
    """The log's writer without a thread: a group is worked on after a pause, and told after another."""

    def __init__(self, log: EventLog, loop: SimLoop) -> None:
        self._sim = loop
        self._planned = False
        self._ended: deque[list[tuple[Work, BaseException | None]]] = deque()
        super().__init__(log, loop)

    def submit(self, *jobs: Job | Part) -> None:
        """Queue jobs, and see to it that they are worked on."""
        super().submit(*jobs)
        self._plan()

    def is_alive(self) -> bool:
        """Whether it works: as long as the loop does."""
        return True

    def _start(self) -> None:
        """There is no thread."""

    def _drain(self) -> None:
        self._run()

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._sim.call_later(self._sim.pause(), self._turn)

    def _turn(self) -> None:
        self._planned = False
        if any(self.waiting(priority) for priority in Priority):
            self._tell(self._work(self._next_group()))
            self._plan()

    def _tell(self, ended: list[tuple[Work, BaseException | None]]) -> None:
        self._ended.append(ended)
        self._sim.call_later(self._sim.pause(), self._tell_next)

    def _tell_next(self) -> None:
        super()._tell(self._ended.popleft())  # in order, as a thread would


class SimLog(SqliteEventLog):
    """The log as it is; ``appended`` hears of what it promised to keep."""

    def __init__(self, *args: Any, loop: SimLoop, appended: Appended, **more: Any) -> None:
        super().__init__(*args, **more)
        self._sim = loop
        self._appended = appended

    def append(self, records: Sequence[Record]) -> list[Position]:
        """Keep ``records``; once this returns they are promised."""
        positions = super().append(records)
        self._appended(records, positions)
        return positions

    def follow(self, group: str, topics: Sequence[str]) -> Follower:
        """Join ``group`` as one that does not wait in earnest."""
        return _Patient(super().follow(group, topics), self._sim)

    def wait(self, timeout_s: float, _: int) -> None:
        """Wait on virtual time."""
        self._sim.blocked_s += timeout_s


class _Patient:
    """A follower whose waiting is told to the loop."""

    def __init__(self, follower: Follower, loop: SimLoop) -> None:
        self._follower = follower
        self._sim = loop
        self.commit = follower.commit
        self.close = follower.close

    def poll(self, *, max_records: int = 500, timeout_s: float = 0.0) -> list[Stored]:
        """Return the next records; where there are none, as late as if it had waited for them."""
        found = self._follower.poll(max_records=max_records)
        if not found:
            self._sim.blocked_s += min(timeout_s, _POLL_S)
        return found


def _room(data: Path, settings: Settings) -> Room:
    def free() -> int:
        left = shim.room_left()
        return _PLENTY if left < 0 else left

    return Room(data, reserve_bytes=settings.log.reserve_bytes, free_bytes=free)


def engines(loop: SimLoop, appended: Appended, adapters: Mapping[str, Callable[[], Adapter]]) -> Engines:
    """Return the engines of one start of a node."""
    log = functools.partial(SimLog, loop=loop, appended=appended)
    return Engines(room=_room, log=log, writer=_writer, adapters=adapters)


def _writer(log: EventLog, loop: asyncio.AbstractEventLoop) -> LogWriter:
    assert isinstance(loop, SimLoop)
    return LoopWriter(log, loop)
