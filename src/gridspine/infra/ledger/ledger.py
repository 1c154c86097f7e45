"""The ledger: a projection of the log's topic ``ledger`` onto a Merkle tree, kept in one SQLite file.

The file holds hashes, where each event id was first seen, and the next offset to consume, all committed together.
Delete it, and it is built again from the log, leaf for leaf.

::

    node (level, number, hash)      every whole subtree: 2 rows a leaf
    event (id, leaf, offset)        an event's first leaf and its place in the log
    state (consumed, size, note)    next offset, leaves, and the last checkpoint signed
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gridspine.infra.ledger import merkle
from gridspine.infra.ledger.handover import make_handover
from gridspine.infra.ledger.note import (
    Checkpoint,
    VerifierKey,
    check_name,
    note_text,
    open_note,
    parse_checkpoint,
    sign_note,
)
from gridspine.infra.ledger.receipt import Growth, Receipt
from gridspine.infra.log.port import EventLog, Stored
from gridspine.infra.log.sqlite import no_room
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event
from gridspine.kernel.errors import Corrupt, DiskFull, Gone, Invalid, NotFound

_SCHEMA = """
CREATE TABLE IF NOT EXISTS node (level INTEGER, number INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, number))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (id TEXT PRIMARY KEY, leaf INTEGER NOT NULL, "offset" INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), consumed INTEGER NOT NULL,
    size INTEGER NOT NULL, note TEXT NOT NULL);
INSERT OR IGNORE INTO state VALUES (1, 0, 0, '');
"""


class _Id(msgspec.Struct):
    id: str


_event_id = msgspec.json.Decoder(_Id)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event was first recorded: leaf index, offset in the log, leaf hash."""

    leaf: int
    offset: int
    leaf_hash: bytes


class Ledger:
    """The tree over partition 0 of ``log``'s topic `LEDGER`. Calls block; any thread may make them.

    ``origin`` names the ledger and its key, such as ``example.org/ledger``; a new ``signer`` signs the head anew.
    Receipts carry the event itself where ``log`` is given and still holds it.
    """

    def __init__(self, path: Path, signer: Ed25519PrivateKey, origin: str, *, log: EventLog | None = None) -> None:
        self.origin = check_name(origin)
        self.key = VerifierKey(origin, signer.public_key().public_bytes_raw())
        self._signer = signer
        self._log = log
        self._lock = RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
        self._consumed = -1  # not looked yet

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        with self._lock:
            return int(self._state()[1])

    @property
    def consumed(self) -> int:
        """The next offset of the log to consume: trimming the topic must not pass it."""
        with self._lock:
            return int(self._state()[0])

    def consume(self, records: Iterable[Stored]) -> int:
        """Append the bodies of ``records`` (partition 0 of the topic, in order) as leaves; return how many were new.

        Records below `consumed` are passed over, so that a batch may be given twice. All are kept, or none. Raises
        `DiskFull`.
        """
        with self._lock, _room_for():
            consumed, size, _ = self._state()
            before = size
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for record in records:
                    if record.position.offset < consumed:
                        continue
                    self._append(size, record)
                    consumed, size = record.position.offset + 1, size + 1
                self._db.execute("UPDATE state SET consumed = ?, size = ?", (consumed, size))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it
                    self._db.execute("ROLLBACK")
                raise
            return int(size - before)

    @property
    def behind(self) -> bool:
        """Whether the log may hold more than was consumed; asks no disk and waits for nobody who writes."""
        assert self._log is not None, "only a ledger with a log can be behind it"
        return self._log.bounds(LEDGER)[0][1] > self._consumed

    def catch_up(self, *, max_records: int = 1000) -> int:
        """Consume all that ``log`` holds now; return how many leaves were new."""
        assert self._log is not None, "catch_up needs the log"
        total = 0
        while batch := self._log.read(LEDGER, 0, self.consumed, max_records=max_records):
            total += self.consume(batch)
        self._consumed = self.consumed
        return total

    def hand_over(self, signer: Ed25519PrivateKey, keep: Callable[[str], None]) -> None:
        """Sign with ``signer`` from now on; ``keep`` is given the note that vouches for it, before it is used."""
        with self._lock:
            head = parse_checkpoint(note_text(self._checkpoint()))
            keep(make_handover(head, self._signer, signer))
            self._signer = signer
            self.key = VerifierKey(self.origin, signer.public_key().public_bytes_raw())

    def place(self, event_id: str) -> Place:
        """Return where event ``event_id`` was first recorded; raise `NotFound` when it was not."""
        with self._lock:
            row = self._db.execute('SELECT leaf, "offset" FROM event WHERE id = ?', (event_id,)).fetchone()
            if row is None:
                raise NotFound(f"the ledger holds no event {event_id[:80]!r}")
            return Place(row[0], row[1], self._node(0, row[0]))

    def checkpoint(self) -> str:
        """Return the signed checkpoint of the tree as it stands; raise `DiskFull` when a new one cannot be kept."""
        with self._lock:
            return self._checkpoint()

    def receipt(self, event_id: str) -> Receipt:
        """Return a receipt for event ``event_id``, for its first leaf if it was recorded more than once.

        Raises `NotFound` for an event that was not recorded, or not consumed yet.
        """
        with self._lock:
            place = self.place(event_id)
            size = self.size
            path = merkle.inclusion_path(self._node, place.leaf, size)
            return Receipt(place.leaf, size, place.leaf_hash, tuple(path), self._checkpoint(), self._leaf(place))

    def growth(self, old_checkpoint: str) -> Growth:
        """Return the proof that the ledger continues ``old_checkpoint``; raise `Invalid` when that is not its own."""
        with self._lock:
            old = parse_checkpoint(open_note(old_checkpoint, self.key))
            if not 0 < old.size <= self.size:
                raise Invalid(f"there is no proof from size {old.size} to size {self.size}")
            path = merkle.consistency_path(self._node, old.size, self.size)
            return Growth(old_checkpoint, self._checkpoint(), tuple(path))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _append(self, index: int, record: Stored) -> None:
        for level, number, digest in merkle.appended(self._node, index, merkle.leaf_hash(record.body)):
            self._db.execute("INSERT INTO node VALUES (?, ?, ?)", (level, number, digest))
        try:
            event_id = _event_id.decode(record.body).id
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # a leaf all the same: the tree is over what was recorded, not over what we understand
        self._db.execute("INSERT OR IGNORE INTO event VALUES (?, ?, ?)", (event_id, index, record.position.offset))

    def _checkpoint(self) -> str:
        """Sign the tree's head, unless it is the last one signed; refuse when it contradicts that one.

        What could not be kept is not handed out: a later head would not be held against it.
        """
        _, size, note = self._state()
        digest = merkle.root(self._node, 0, size)
        if note:
            last = parse_checkpoint(note_text(note))
            if last.size > size or merkle.root(self._node, 0, last.size) != last.root:
                raise Corrupt("the ledger's file does not continue the checkpoint it signed last")
        signed = sign_note(Checkpoint(self.origin, size, digest).text(), self.origin, self._signer)
        if signed != note:
            with _room_for():
                self._db.execute("UPDATE state SET note = ?", (signed,))
        return signed

    def _leaf(self, place: Place) -> bytes | None:
        if self._log is None:
            return None
        try:
            found = self._log.read(LEDGER, 0, place.offset, max_records=1)
        except Gone:
            return None
        if not found or merkle.leaf_hash(found[0].body) != place.leaf_hash:
            raise Corrupt(f"the log's record {place.offset} is not the one the ledger recorded")
        return found[0].body

    def _node(self, level: int, number: int) -> bytes:
        row = self._db.execute("SELECT hash FROM node WHERE level = ? AND number = ?", (level, number)).fetchone()
        if row is None:
            raise Corrupt(f"the ledger's file lacks hash {level}/{number}: delete it, and it is built again")
        return bytes(row[0])

    def _state(self) -> tuple[int, int, str]:
        row: tuple[int, int, str] = self._db.execute("SELECT consumed, size, note FROM state").fetchone()
        return row


@contextlib.contextmanager
def _room_for() -> Iterator[None]:
    """Say of a full disk that it is one."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not no_room(error):
            raise
        raise DiskFull("the disk is full, even for the ledger: free some room") from error


@dataclass(frozen=True, slots=True)
class Summary:
    """What a ledger's file says of itself: ``size`` [leaves], next log offset, last checkpoint signed ("" if none).

    ``latest`` lists (leaf index, event id) of the last events, newest first.
    """

    size: int
    consumed: int
    note: str
    latest: list[tuple[int, str]]


def summary(path: Path, *, latest: int = 10) -> Summary:
    """Read a ledger's file without changing it; another process may have it open. Raises `NotFound`, `Corrupt`."""
    if not path.is_file():
        raise NotFound(f"there is no ledger at {path}")
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        consumed, size, note = db.execute("SELECT consumed, size, note FROM state").fetchone()
        rows = db.execute("SELECT leaf, id FROM event ORDER BY leaf DESC LIMIT ?", (latest,)).fetchall()
    except sqlite3.DatabaseError as error:
        raise Corrupt(f"{path} is not a ledger: {error}") from error
    finally:
        db.close()
    return Summary(size, consumed, note, rows)


def event_of(leaf: bytes) -> Event | None:
    """Return the event in a leaf, or None when the leaf is something else."""
    try:
        return msgspec.json.decode(leaf, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
