"""The roll at a start: from its snapshot and the tail of topic ``points``, or from the registry, document by document.

::

    snapshot ─ offset ─────────────► end of "points"
               bindings: version higher than in the snapshot? ─► the document, from the registry
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from gridspine.infra.log.port import EventLog
from gridspine.infra.log.scan import scan
from gridspine.infra.log.topics import POINTS
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.codecs.binding import decode_binding
from gridspine.things.roll import Roll
from gridspine.things.roll_file import Snapshot, read_roll, save_roll, take_up
from gridspine.things.thing import Thing

IN_FLIGHT = 20_000
"""Bindings before a snapshot that are looked at again: their Things may have been on their way into it."""
_AT_ONCE = 10_000
_MARK = "things"


class RollMark(msgspec.Struct, frozen=True):
    """What a registry knows of the snapshots taken of it: the stamps of the last two."""

    stamps: tuple[str, ...]


class Loaded(NamedTuple):
    """One above the highest number the log bound; whether the snapshot on disk is all there is to know."""

    bound: int
    fresh: bool


def save_snapshot(registry: Registry, roll: Roll, log: EventLog, path: Path, clock: Clock, bound: int) -> None:
    """Write a snapshot of ``roll``, which ``registry`` knows from then on. Blocks."""
    first, following = log.bounds(POINTS)[0]
    offset, stamp = max(first, following - IN_FLIGHT), new_id(clock)

    def mark(tx: Transaction) -> None:
        known = tx.get(RollMark, _MARK)
        before = () if known is None else known.stamps[:1]
        tx.put(RollMark((stamp, *before)), id=_MARK)

    registry.transact(mark)
    save_roll(path, roll, stamp, offset, max(bound, roll.points.count))


def load_roll(registry: Registry, roll: Roll, log: EventLog, path: Path | None) -> Loaded:
    """Fill ``roll``, from the snapshot at ``path`` if it is one of this registry and log. Blocks."""
    first, following = log.bounds(POINTS)[0]
    snapshot = None if path is None else _believed(registry, path, first, following)
    known = snapshot is not None and take_up(snapshot, roll)
    start, bound = first, 0
    if known and snapshot is not None:
        start, bound = snapshot.head.offset, snapshot.head.bound
    changed: dict[str, None] = {}
    for record in scan(log, POINTS, 0, start, following, max_records=5_000):
        binding = decode_binding(record.body)
        bound = max(bound, binding.first + max(1, len(binding.names)))
        if known and roll.version(binding.thing) < binding.version:
            changed[binding.thing] = None
    registry.transact(lambda tx: _skip(tx, bound))
    for id_ in changed:
        thing = registry.read(lambda tx, id_=id_: tx.get(Thing, id_))  # type: ignore[misc]
        roll.add([] if thing is None else [thing])
    fresh = known and not changed
    if not known or registry.read(lambda tx: tx.count(Thing)) != len(roll):
        fresh = False
        _read_all(registry, roll)
    return Loaded(bound, fresh)


def _believed(registry: Registry, path: Path, first: int, following: int) -> Snapshot | None:
    snapshot, mark = read_roll(path), registry.read(lambda tx: tx.get(RollMark, _MARK))
    if snapshot is None or mark is None or snapshot.head.stamp not in mark.stamps:
        return None
    return snapshot if first <= snapshot.head.offset <= following else None


def _read_all(registry: Registry, roll: Roll) -> None:
    after = ""
    while things := registry.read(lambda tx, at=after: tx.list(Thing, after=at, limit=_AT_ONCE)):  # type: ignore[misc]
        roll.add(things)
        after = things[-1].id


def _skip(tx: Transaction, bound: int) -> None:
    """Give no number below ``bound``."""
    following = tx.next_number("points", 0)
    if following < bound:
        tx.next_number("points", bound - following)
