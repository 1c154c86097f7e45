"""Violations to plant: each makes the node break a promise, and a simulation that does not say so proves nothing."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np
from sqlalchemy import event

from gridspine.infra.log.segment import Row, Segment
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry import sql
from gridspine.sharing.gate import Gate
from gridspine.things import lease, ordering
from gridspine.things.approval import Approvals
from gridspine.things.form import Forms
from gridspine.things.horizon import Horizon
from gridspine.things.lease import Effective
from gridspine.things.point import PointTable
from gridspine.things.twin import TwinState


@contextlib.contextmanager
def _log_not_synced() -> Iterator[None]:
    """The log's segments are written with ``PRAGMA synchronous=OFF``."""
    begin = Segment.__init__

    def unsafe(self: Segment, path: Path, *, writable: bool) -> None:
        begin(self, path, writable=writable)
        self._db.execute("PRAGMA synchronous=OFF")

    with mock.patch.object(Segment, "__init__", unsafe):
        yield


@contextlib.contextmanager
def _registry_not_synced() -> Iterator[None]:
    """Standing data is written with ``PRAGMA synchronous=OFF``."""
    make = sql._engine

    def unsafe(url: str) -> Any:
        engine = make(url)

        def prepare(connection: sqlite3.Connection, _: Any) -> None:
            connection.execute("PRAGMA synchronous=OFF")

        event.listen(engine, "connect", prepare)
        return engine

    with mock.patch.object(sql, "_engine", unsafe):
        yield


@contextlib.contextmanager
def _acknowledged_before_appended() -> Iterator[None]:
    """Each write to the log waits for the next one; it is answered before."""
    write, waiting = Segment.write, dict[int, list[Row]]()

    def late(self: Segment, rows: Sequence[Row]) -> None:
        before, waiting[id(self)] = waiting.get(id(self), []), list(rows)
        if before:
            write(self, before)

    with mock.patch.object(Segment, "write", late):
        yield


@contextlib.contextmanager
def _gate_stays_open() -> Iterator[None]:
    """Streams are not cut, and nobody asks before a delivery."""
    with mock.patch.object(Gate, "end_streams", lambda *_: None), mock.patch.object(Gate, "why_shut", lambda *_: ""):
        yield


@contextlib.contextmanager
def _duplicates_pass() -> Iterator[None]:
    """No reading is recognised as one that was there before."""
    ask = Horizon.seen

    def never(self: Horizon, *args: Any) -> Any:
        return np.zeros_like(ask(self, *args))

    with mock.patch.object(Horizon, "seen", never):
        yield


@contextlib.contextmanager
def _offsets_repeat() -> Iterator[None]:
    """Now and then two appends are given the same offset."""
    append, count = SqliteEventLog.append, [0]

    def repeating(self: SqliteEventLog, records: Any) -> Any:
        positions, count[0] = append(self, records), count[0] + 1
        if count[0] % 9 or not positions[0].offset:
            return positions
        first = positions[0]
        return [type(first)(first.topic, first.partition, first.offset - 1), *positions[1:]]

    with mock.patch.object(SqliteEventLog, "append", repeating):
        yield


@contextlib.contextmanager
def _leases_outlast() -> Iterator[None]:
    """Orders tell a device to hold for an hour longer than was asked."""

    def longer(*args: Any) -> Effective:
        found = lease.resolve(*args)
        return msgspec.structs.replace(found, until_us=found.until_us + 3_600_000_000)

    with mock.patch.object(ordering, "resolve", longer):
        yield


@contextlib.contextmanager
def _backfill_moves_twins() -> Iterator[None]:
    """Twins take what is from long ago for news."""
    move = TwinState._move

    def back(self: TwinState, readings: Any) -> None:
        self.observed_us.array[readings.point] = 0
        move(self, readings)

    with mock.patch.object(TwinState, "_move", back):
        yield


@contextlib.contextmanager
def _emulated_on_a_wire() -> Iterator[None]:
    """Orders for emulated twins go to their devices."""
    with mock.patch.object(Forms, "taker", lambda _, order, adapter: adapter):
        yield


@contextlib.contextmanager
def _one_is_enough() -> Iterator[None]:
    """Nothing is too large for one person."""
    with mock.patch.object(Approvals, "needed", lambda *_: ""):
        yield


@contextlib.contextmanager
def _the_retired_are_heard() -> Iterator[None]:
    """Points of Things that are retired keep their numbers."""
    with mock.patch.object(PointTable, "retire", lambda *_: None):
        yield


PLANTS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "log-not-synced": _log_not_synced,
    "registry-not-synced": _registry_not_synced,
    "acknowledged-before-appended": _acknowledged_before_appended,
    "gate-stays-open": _gate_stays_open,
    "duplicates-pass": _duplicates_pass,
    "offsets-repeat": _offsets_repeat,
    "leases-outlast": _leases_outlast,
    "late-readings-move-twins": _backfill_moves_twins,
    "emulated-on-a-wire": _emulated_on_a_wire,
    "one-is-enough": _one_is_enough,
    "the-retired-are-heard": _the_retired_are_heard,
}
"""By name."""
