"""What is stored: the log's segments, the registry, the ledger, the twins' snapshot, the archive's mark."""

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gridspine.apps.doctor.report import Line, Patient, database, fail, ok, warn
from gridspine.apps.node.paths import Paths
from gridspine.infra.archive.published import read_published
from gridspine.infra.ledger import merkle
from gridspine.infra.ledger.note import parse_checkpoint
from gridspine.infra.log.topics import READINGS
from gridspine.infra.registry.schema import HEAD
from gridspine.kernel.errors import GridspineError
from gridspine.things.twin import TwinState

_RESTORE = "stop the node, keep a copy of the directory, restore a backup"


def look(patient: Patient) -> Iterator[Line]:
    """Yield what there is to say of what is stored."""
    for topic in sorted(path for path in Paths(patient.data).log.glob("*") if path.is_dir()):
        yield _topic(patient, topic)
    yield _registry(patient)
    yield _ledger(patient)
    yield _twins(patient)
    yield _archive(patient)


def damage(patient: Patient, path: Path) -> str:
    """Return what SQLite says is wrong with a file, "" when it is whole."""
    check = "integrity_check" if patient.full else "quick_check"
    try:
        with database(patient, path) as connection:
            found = [str(row[0]) for row in connection.execute(f"PRAGMA {check}(3)")]
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == ["ok"] else "; ".join(found)


def _topic(patient: Patient, folder: Path) -> Line:
    what, segments = f"log {folder.name}", sorted(folder.glob("*.db"))
    looked_at = segments if patient.full else segments[-1:]
    for path in looked_at:
        if path.exists() and (wrong := damage(patient, path)):  # a running node may trim it meanwhile
            return fail(what, f"{path.name}: {wrong}", _RESTORE)
    return ok(what, f"{len(looked_at)} of {len(segments)} segments looked at, whole")


def _registry(patient: Patient) -> Line:
    path = Paths(patient.data).registry
    if not path.exists():
        return fail("registry", "there is no registry.db", _RESTORE)
    if wrong := damage(patient, path):
        return fail("registry", wrong, _RESTORE)
    with database(patient, path) as connection:
        (form,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
        (documents,) = connection.execute("SELECT count(*) FROM document").fetchone()
        (waiting,) = connection.execute("SELECT count(*) FROM outbox").fetchone()
    if form > HEAD:
        return fail("registry", f"its form is {form}, this release knows {HEAD}", "upgrade gridspine")
    return ok("registry", f"{documents} documents, {waiting} events on their way to the log")


def _ledger(patient: Patient) -> Line:
    path = Paths(patient.data).ledger
    if not path.exists():
        return warn("ledger", "there is no ledger.db", "start the node: it is built again from the log")
    rebuild = "stop the node and delete ledger.db: it is built again from the log, and must come to the same root"
    if wrong := damage(patient, path):
        return fail("ledger", wrong, rebuild)
    with database(patient, path) as connection:
        connection.execute("BEGIN")  # one state, whatever a running node writes meanwhile
        size, note = connection.execute("SELECT size, note FROM state").fetchone()
        if not note:
            return ok("ledger", f"{size} leaves, no checkpoint signed yet")
        try:
            head = parse_checkpoint(note.partition("\n\n")[0] + "\n")
            signed = head.root == merkle.root(lambda level, number: _node(connection, level, number), 0, head.size)
        except (GridspineError, LookupError, ValueError) as error:
            return fail("ledger", f"the last checkpoint cannot be checked: {error}", rebuild)
        holes = _holes(connection, size) if patient.full else 0
    if not signed or holes:
        return fail("ledger", "its leaves do not make the root that was signed", rebuild)
    return ok("ledger", f"{size} leaves make the root that was signed for {head.size}")


def _node(connection: sqlite3.Connection, level: int, number: int) -> bytes:
    row = connection.execute("SELECT hash FROM node WHERE level = ? AND number = ?", (level, number)).fetchone()
    if row is None:
        raise LookupError(f"node {number} of level {level} is missing")
    return bytes(row[0])


def _holes(connection: sqlite3.Connection, size: int) -> int:
    """Count the nodes of whole subtrees that are not the hash of the two below them."""
    found = connection.execute("SELECT count(*) FROM node WHERE level = 0").fetchone()[0] != size
    wrong = int(found)
    for level in itertools.takewhile(lambda level: size >> level, itertools.count(1)):
        for number in range(size >> level):
            pair = (_node(connection, level - 1, 2 * number), _node(connection, level - 1, 2 * number + 1))
            wrong += merkle.node_hash(*pair) != _node(connection, level, number)
    return wrong


def _twins(patient: Patient) -> Line:
    path = Paths(patient.data).twins
    if not path.exists():
        return ok("twins", "no snapshot yet: they come from the log")
    twins = TwinState()
    if not twins.load(path) and not _is_empty(patient):
        return warn("twins", "the snapshot cannot be read", "nothing to do: the next start reads the whole log instead")
    return ok("twins", "the snapshot can be read")


def _is_empty(patient: Patient) -> bool:
    return not any((Paths(patient.data).log / READINGS).glob("*.db"))


def _archive(patient: Patient) -> Line:
    if not patient.settings.archive.enabled:
        return ok("archive", "switched off in the settings")
    try:
        published = read_published(Paths(patient.data).archive)
    except GridspineError as error:
        return fail("archive", error.detail, _RESTORE)
    table = Paths(patient.data).archive / "readings" / "_delta_log"
    if published.version >= 0 and not table.is_dir():
        return fail("archive", f"its table is missing, and {published.version + 1} versions were written", _RESTORE)
    return ok("archive", f"version {published.version}" if published.version >= 0 else "nothing written yet")
