"""The archive's process: ``python -m gridspine.infra.archive.worker --archive DIR --log DIR``.

It follows topics ``readings`` and ``points`` read-only from the log's folder and appends to the Delta table in few
big commits, each with the offsets it reaches; killed at any moment it neither doubles nor loses a reading.

The contract with whoever supervises it:

* it prints one line, ``ready``, on standard output once it follows; complaints go to standard error, a line each;
* it ends on SIGTERM or SIGINT, and when its parent dies (what is not committed stays in the log);
* exit code 0: asked to end, or the parent is gone; 1: it cannot go on (standard error says why; start it again
  later, with back-off); 2: wrong arguments; 3: another process writes to this archive;
* `gridspine.infra.archive.published.read_published` tells how far the log may be trimmed. Topic ``points`` must not
  be trimmed: point numbers are bound for good.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from gridspine.infra.archive.due import ChildCompactor, Compactor, due_day, inputs
from gridspine.infra.archive.manifest import DataFile
from gridspine.infra.archive.rows import Batch, Bindings, Marks, build
from gridspine.infra.archive.schema import DAY_US
from gridspine.infra.archive.table import ReadingsTable
from gridspine.infra.log.port import EventLog, Stored, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.topics import POINTS, READINGS
from gridspine.infra.runtime.clock import Clock, SystemClock
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.codecs.binding import decode_binding
from gridspine.kernel.errors import Conflict, Corrupt, GridspineError, Unavailable
from gridspine.kernel.time import US

EXIT_FAILED, EXIT_LOCKED = 1, 3
READ_BYTES = 8 << 20
LOOK_US = 30 * US
CHECKPOINT_EVERY = 100
MAX_ROWS = 500_000
"""Readings in a commit at most, about: they are in memory while it is made, some 250 bytes each."""
COMPACTION_BYTES = 256 << 20
_RETRY_US = 600 * US


class Archiver:
    """Takes records from the log into the table; `step` does what there is to do now and never waits.

    A commit is made when ``max_rows`` readings wait or the oldest has waited ``max_age_s`` [s].
    """

    def __init__(
        self,
        table: ReadingsTable,
        log: EventLog,
        clock: Clock,
        *,
        compactor: Compactor,
        max_rows: int = MAX_ROWS,
        max_age_s: float = 60.0,
        vacuum_s: float = 3600.0,
        keep_days: int = 0,
    ) -> None:
        self._table, self._log, self._clock = table, log, clock
        self._compactor = compactor
        self._compacting: list[DataFile] = []
        self._failed_us = -_RETRY_US
        self._keep_days = keep_days
        self._max_rows, self._max_age_us, self._vacuum_us = max_rows, round(max_age_s * US), round(vacuum_s * US)
        self._bindings, self._bound = Bindings(), log.bounds(POINTS)[0][0]
        self._marks = Marks(table.floors())
        self._next = {p: self._start(p, bounds) for p, bounds in enumerate(log.bounds(READINGS))}
        self._waiting: list[Batch] = []
        self._rows = 0
        self._since_us = self._vacuumed_us = self._looked_us = clock.monotonic_us()
        self._looked_at = -1

    def step(self) -> bool:
        """Read, commit or compact, whichever is due; return whether there was anything to do."""
        read = self._read()
        if self._rows >= self._max_rows or (self._moved and self._age_us() >= self._max_age_us):
            self.commit()
            return True
        return self._tidy() or read

    def commit(self) -> None:
        """Commit what waits; durable and published on return."""
        self._follow_points()
        self._table.append(build(self._waiting, self._bindings, self._marks), dict(self._next))
        self._waiting, self._rows = [], 0

    @property
    def _moved(self) -> bool:
        return any(self._table.offset(partition) != offset for partition, offset in self._next.items())

    def _age_us(self) -> int:
        return self._clock.monotonic_us() - self._since_us

    def _start(self, partition: int, bounds: tuple[int, int]) -> int:
        offset = self._table.offset(partition)
        first, following = bounds
        if offset > following:
            raise Corrupt(f"the archive has {READINGS} {partition} up to {offset}, the log only to {following}")
        if offset < first:
            _complain(f"records {offset} to {first} of {READINGS} {partition} were trimmed before they came here")
        return max(offset, first)

    def _read(self) -> bool:
        """Take what the log has, up to a commit's worth; return whether there was anything."""
        found = False
        for partition, offset in self._next.items():
            if self._rows >= self._max_rows:
                break
            records = self._log.read(READINGS, partition, offset, max_bytes=READ_BYTES)
            if records and not self._moved:
                self._since_us = self._clock.monotonic_us()
            found = found or bool(records)
            for record in records:
                self._take(record)
                if self._rows >= self._max_rows:
                    break
        return found

    def _take(self, record: Stored) -> None:
        place = record.position
        try:
            readings = decode_batch(record.body)
        except Corrupt as error:
            self._set_aside(record, error)
        else:
            self._waiting.append(Batch(place.partition, place.offset, readings))
            self._rows += len(readings)
        self._next[place.partition] = place.offset + 1

    def _set_aside(self, record: Stored, error: Corrupt) -> None:
        """Keep a record that cannot be read where a person finds it: one bad record does not stop the archive."""
        folder = self._table.archive / "damaged"
        folder.mkdir(exist_ok=True)
        path = folder / f"{record.position.topic}-{record.position.partition}-{record.position.offset}.bin"
        path.write_bytes(record.body)
        _complain(f"{error.detail}; the record is kept in {path}")

    def _follow_points(self) -> None:
        """Learn bindings up to the log's end: those of readings already read are among them."""
        while records := self._log.read(POINTS, 0, self._bound, max_records=5000):
            for record in records:
                try:
                    self._bindings.add(decode_binding(record.body))
                except Corrupt as error:
                    self._set_aside(record, error)
            self._bound = records[-1].position.offset + 1

    def close(self) -> None:
        """Give up a compaction that is under way; its day is found due again."""
        self._compactor.close()
        self._compacting = []

    def _tidy(self) -> bool:
        """Go on with a compaction, begin one, or clean up; look for work after a commit and every `LOOK_US`."""
        if self._compacting:
            return self._replace()
        now_us = self._clock.monotonic_us()
        if self._looked_at == self._table.version and now_us - self._looked_us < LOOK_US:
            return False
        self._looked_at, self._looked_us = self._table.version, now_us
        if self._forget():
            return True
        files = self._table.files()
        day = due_day(files, self._table.now_ms()) if now_us - self._failed_us >= _RETRY_US else None
        if day is not None:
            self._compacting = inputs(files, day)
            self._compactor.start(day, self._compacting)
            return self._replace()
        if now_us - self._vacuumed_us >= self._vacuum_us:
            self._vacuumed_us = now_us
            self._table.vacuum(retention_s=3600.0)
        self._table.checkpoint(every=CHECKPOINT_EVERY)
        return False

    def _replace(self) -> bool:
        """Commit what a compaction wrote, once it has; what was archived meanwhile stays beside it."""
        try:
            made = self._compactor.done()
        except Unavailable as error:
            _complain(f"{error.detail}; it is tried again in {_RETRY_US // US} s")
            self._compacting, self._failed_us = [], self._clock.monotonic_us()
            return True
        if made is None:
            return False
        self._table.replace(self._compacting, made)
        self._compacting, self._looked_at = [], -1
        return True

    def _forget(self) -> bool:
        """Let go of days that are older than what is to be kept."""
        if not self._keep_days:
            return False
        return self._table.drop_days(self._clock.now_us() // DAY_US - self._keep_days) > 0


def worker_command(archive: Path, log: Path, *, partitions: int = 1) -> list[str]:
    """Return the command line that starts the worker, for a supervisor; see ``--help`` for what may be added."""
    module = "gridspine.infra.archive.worker"
    return [
        sys.executable, "-m", module, "--archive", str(archive), "--log", str(log), "--partitions", str(partitions)
    ]  # fmt: skip


def _complain(text: str) -> None:
    sys.stderr.write(f"archive: {text}\n")
    sys.stderr.flush()


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gridspine.infra.archive.worker", description=__doc__)
    parser.add_argument("--archive", type=Path, required=True, help="folder of the archive")
    parser.add_argument("--log", type=Path, required=True, help="folder of the event log")
    parser.add_argument("--partitions", type=int, default=1, help="partitions of topic readings")
    parser.add_argument("--max-rows", type=int, default=MAX_ROWS, help="readings in a commit at most, about")
    parser.add_argument("--max-age-s", type=float, default=60.0, help="a reading waits so long for a commit")
    parser.add_argument("--poll-s", type=float, default=0.5, help="how often to look for new records")
    parser.add_argument("--compaction-bytes", type=int, default=COMPACTION_BYTES, help="memory of a compaction")
    parser.add_argument("--keep-days", type=int, default=0, help="days of readings to keep; 0 keeps them all")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run until asked to end; return the exit code."""
    parent = os.getppid()
    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    options = _arguments(argv)
    try:
        table = ReadingsTable(options.archive, SystemClock().now_us)
    except Conflict as error:
        _complain(error.detail)
        return EXIT_LOCKED
    try:
        topics = [Topic(READINGS, options.partitions), Topic(POINTS)]
        log = SqliteEventLog(options.log, topics, read_only=True)
        archiver = Archiver(
            table, log, SystemClock(), max_rows=options.max_rows, max_age_s=options.max_age_s,
            compactor=ChildCompactor(options.archive, memory_bytes=options.compaction_bytes),
            keep_days=options.keep_days,
        )  # fmt: skip
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not stopping and os.getppid() == parent:
            if not archiver.step():
                time.sleep(options.poll_s)
        archiver.close()
    except GridspineError as error:
        _complain(error.detail)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
