"""What the doctor found, line by line, and the patient: a data directory that is only read."""

import fcntl
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from gridspine.apps.node.paths import Paths
from gridspine.infra.runtime.settings import Settings

State = Literal["ok", "warn", "fail"]


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """One finding: what was looked at, how it does, in words, and what to do."""

    what: str
    state: State
    says: str
    to_do: str = ""


def ok(what: str, says: str) -> Line:
    """Return a line for what is well."""
    return Line(what, "ok", says)


def warn(what: str, says: str, to_do: str) -> Line:
    """Return a line for what will become trouble."""
    return Line(what, "warn", says, to_do)


def fail(what: str, says: str, to_do: str) -> Line:
    """Return a line for what is broken."""
    return Line(what, "fail", says, to_do)


@dataclass(frozen=True, slots=True)
class Patient:
    """The data directory looked at, its settings, and whether a node runs on it."""

    data: Path
    settings: Settings
    running: bool
    full: bool = False
    """Whether every byte is to be looked at; else the newest of each kind."""
    mosquitto: tuple[Path, ...] = field(default=(Path("/etc/mosquitto/mosquitto.conf"),))


def is_locked(data: Path) -> bool:
    """Whether a node holds the lock of ``data``."""
    try:
        with Paths(data).lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def database(patient: Patient, path: Path) -> Iterator[sqlite3.Connection]:
    """Yield an SQLite file opened so that nothing is written beside it, not even by its recovery.

    A stopped node's file with a journal that was not taken over yet is looked at in a copy.
    """
    journal = path.with_name(path.name + "-wal")
    with tempfile.TemporaryDirectory(prefix="gridspine-doctor-") as folder:
        mode = "mode=ro"
        if not patient.running and journal.exists() and journal.stat().st_size:
            for one in (path, journal):
                shutil.copy(one, folder)
            path = Path(folder) / path.name
        elif not patient.running:
            mode = "immutable=1"
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=5.0)
        try:
            yield connection
        finally:
            connection.close()
