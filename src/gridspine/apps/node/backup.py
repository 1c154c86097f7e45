"""Backup and restore: one file, taken while the node runs.

Projections are copied before what they are projected from, so that on restore nothing is ahead of the log:

::

    twins · ledger hashes · archive ─► log: readings ─► registry ─► log: all else ─► keys, settings
    · checkpoints                      (each names points bound        (its outbox may repeat events:
    (behind the log: they catch up)     before it: those come later)    consumers know them by id)

SQLite files are copied by SQLite's own online backup, each a consistent whole.
"""

import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import zstandard

from gridspine.apps.node.paths import Paths
from gridspine.infra.log.topics import READINGS
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Unavailable
from gridspine.things.alarm import ALARMS
from gridspine.things.held import HELD_TOPIC
from gridspine.things.quarantine import QUARANTINE

_NAMING_POINTS = (READINGS, HELD_TOPIC, QUARANTINE, ALARMS)
"""Topics whose records hold point numbers: copied before the topic that binds those."""
_LEVEL = 3


def write_backup(data: Path, target: Path) -> int:
    """Write a backup of data directory ``data`` to ``target`` (owner-only); return its size in bytes."""
    if not Paths(data).format.exists():
        raise NotFound(f"{data} is not a data directory of gridspine")
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Conflict(f"{target} exists already: choose another name") from error
    try:
        with (
            os.fdopen(handle, "wb") as file,
            zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file) as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            reached = []
            for path in _in_order(data):
                _add(archive, path, path.relative_to(data))
                reached += [path] if path.suffix == ".checkpoint" else []
            _check_reach(data, reached)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target.stat().st_size


def restore_backup(source: Path, data: Path) -> None:
    """Unpack a backup into ``data``, which must not exist or be empty; on an error nothing is left there."""
    if data.exists() and any(data.iterdir()):
        raise Conflict(f"{data} is not empty: restore into a new directory")
    data.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.parent, prefix=".restore-") as folder:
        unpacked = Path(folder) / "data"
        unpacked.mkdir(mode=0o700)
        try:
            with (
                source.open("rb") as file,
                zstandard.ZstdDecompressor().stream_reader(file) as plain,
                tarfile.open(fileobj=plain, mode="r|") as archive,
            ):
                _unpack(archive, unpacked)
        except (OSError, ValueError, OverflowError, tarfile.TarError, zstandard.ZstdError) as error:
            raise Invalid(f"{source} is not a backup, or is damaged: {error}") from error
        if not Paths(unpacked).format.exists():
            raise Invalid(f"{source} is not a backup of gridspine")
        if data.exists():
            data.rmdir()
        unpacked.rename(data)


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Write what is in ``archive``. A backup holds files only, so all else is refused; folders are for their owner.

    Not by `TarFile.extractall`: its ``filter`` came with Python 3.11.4 only.
    """
    for member in archive:
        name = PurePosixPath(member.name)
        if not member.isreg() or name.is_absolute() or ".." in name.parts:
            raise tarfile.TarError(f"{member.name!r} is no file within it")
        path = folder / name
        for parent in reversed(path.relative_to(folder).parents[:-1]):
            (folder / parent).mkdir(mode=0o700, exist_ok=True)
        content = archive.extractfile(member)
        assert content is not None  # of a regular file there always is one
        with content, path.open("xb") as file:
            shutil.copyfileobj(content, file)
        path.chmod(member.mode & 0o755 | 0o600)
        os.utime(path, (member.mtime, member.mtime))


def _in_order(data: Path) -> Iterator[Path]:
    """Yield the files to keep: projections, registry, log, then all else."""
    # What is trimmed while the archive is copied may be in neither: then these are missed below, and it is said.
    paths = Paths(data)
    before = set(_segments(data, READINGS))
    yield from _existing(paths.twins, paths.ledger, paths.histories)
    # The table's own log first: the files it names are not deleted for a while, those it does not name do no harm.
    yield from _files(paths.archive, lambda path: "_delta_log" in path.parts)
    yield from _files(paths.archive, lambda path: "_delta_log" not in path.parts)
    yield from sorted(before | set(_segments(data, READINGS)))
    yield from _files(paths.checkpoints, lambda path: path.suffix == ".checkpoint")
    for topic in _NAMING_POINTS[1:]:
        yield from _segments(data, topic)
    yield from _existing(paths.registry)
    yield from _files(paths.log, lambda path: path.suffix == ".db" and path.parent.name not in _NAMING_POINTS)
    done = {paths.archive, paths.checkpoints, paths.log, paths.twins, paths.ledger, paths.histories, paths.registry}
    left_out = {paths.lock, paths.ballast, paths.address, paths.things}
    for path in sorted(data.iterdir()):
        if path in done | left_out or path.name.endswith(("-wal", "-shm", ".tmp")):
            continue
        yield from _files(path, lambda _: True) if path.is_dir() else [path]


def _check_reach(data: Path, checkpoints: list[Path]) -> None:
    """Raise `Unavailable` when a topic was trimmed beyond its checkpoints of when the backup began."""
    reach: dict[str, int] = {}
    for path in checkpoints:
        topic, _, following = path.stem.rpartition("-")
        reach[topic] = max(int(following), reach.get(topic, 0))
    if not reach:
        return
    marks = sqlite3.connect(f"file:{Paths(data).log / 'offsets.db'}?mode=ro", uri=True, timeout=30.0)
    try:
        trimmed = dict(marks.execute("SELECT topic, max(before) FROM trimmed GROUP BY topic").fetchall())
    finally:
        marks.close()
    for topic, offset in reach.items():
        if trimmed.get(topic, 0) > offset:
            raise Unavailable(f"topic {topic} was trimmed while it was copied: make the backup again")


def _segments(data: Path, topic: str) -> Iterator[Path]:
    return _files(Paths(data).log / topic, lambda path: path.suffix == ".db")


def _existing(*paths: Path) -> Iterator[Path]:
    yield from (path for path in paths if path.exists())


def _files(folder: Path, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and wanted(path))


def _add(archive: tarfile.TarFile, path: Path, name: Path) -> None:
    if path.suffix == ".db":
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            try:
                _copy_database(path, copy)
            except sqlite3.OperationalError as error:
                why = str(error) if path.exists() else "it was trimmed meanwhile"
                raise Unavailable(f"{name} could not be copied: {why}; make the backup again") from error
            archive.add(copy, str(name))
        return
    try:
        archive.add(path, str(name), recursive=False)
    except FileNotFoundError:
        return  # compacted away meanwhile: the table's log that was copied does not need it or names its successor


def _copy_database(source: Path, target: Path) -> None:
    original = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30.0)
    copy = sqlite3.connect(target)
    try:
        original.backup(copy)
    finally:
        copy.close()
        original.close()
