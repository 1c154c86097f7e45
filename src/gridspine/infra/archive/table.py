"""The Delta table of readings: append with offsets, replace files, make durable, recover. Child processes only.

Data files are forced to disk before the commit that names them, the commit before it is published; at a start, what
lies above the published version is checked, and dropped from the first damaged commit on: the log still has it.
"""

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gridspine.infra.archive import delta, upkeep
from gridspine.infra.archive.manifest import (
    DAILY_FOLDER,
    TABLE_FOLDER,
    DataFile,
    Manifest,
    Retired,
    read_manifest,
    write_manifest,
)
from gridspine.infra.archive.parquet import free_memory, write_fresh
from gridspine.infra.archive.published import Published, read_published, write_published
from gridspine.infra.runtime.durable import sync
from gridspine.kernel.errors import Conflict, Corrupt


class ReadingsTable:
    """The one writer of the table in folder ``archive``; raises `Conflict` while another has it.

    ``now_us`` gives the time [µs since 1970] that is published with each commit.
    """

    def __init__(self, archive: Path, now_us: Callable[[], int]) -> None:
        archive.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.archive = archive
        self._now_us = now_us
        self._lock = os.open(archive / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise Conflict(f"another process writes to the archive in {archive}") from error
        self._published = read_published(archive)
        self._folder = archive / TABLE_FOLDER
        self._log_folder = self._folder / delta.LOG_FOLDER
        self._drop_damaged()
        self._manifest = self._open()
        if self.version < self._published.version:
            self._published = Published()  # the table was deleted: it is built again
        self._publish()

    @property
    def version(self) -> int:
        """The table's version."""
        return self._manifest.version

    def offset(self, partition: int) -> int:
        """Return the next offset of ``partition`` that the table does not have yet."""
        return self._manifest.offsets.get(partition, 0)

    def append(self, rows: Any, offsets: dict[int, int]) -> None:
        """Commit ``rows`` (`rows.build`) together with the next offsets; durable and published on return."""
        files = write_fresh(self.archive, rows, self.now_ms())
        actions = [*delta.additions(files, data_change=True), *delta.transactions(offsets, self.now_ms())]
        self._commit("WRITE", actions, added=files, offsets=offsets)
        free_memory()

    def replace(self, old: Sequence[DataFile], new: Sequence[DataFile]) -> None:
        """Put the files ``new`` (durable already, the same readings) in place of ``old``, in one step."""
        actions = [*delta.removals(old, self.now_ms()), *delta.additions(new, data_change=False)]
        self._commit("OPTIMIZE", actions, added=new, removed=old)

    def drop_days(self, before: int) -> int:
        """Let go of all readings of days before ``before`` [days since 1970]; return how many they were."""
        old = [file for file in self._manifest.files if file.day < before]
        if old:
            self._commit("DELETE", delta.removals(old, self.now_ms(), data_change=True), removed=old)
        return sum(file.rows for file in old)

    def files(self) -> list[DataFile]:
        """Return the data files of the newest version."""
        return list(self._manifest.files)

    def floors(self) -> dict[int, int]:
        """Return the latest observed time [µs] of each day [days since 1970] in the table."""
        floors: dict[int, int] = {}
        for file in self._manifest.files:
            floors[file.day] = max(floors.get(file.day, -1), file.latest_us)
        return floors

    def now_ms(self) -> int:
        """Return the time [ms since 1970]."""
        return self._now_us() // 1000

    def checkpoint(self, every: int = 1) -> None:
        """Write a checkpoint when ``every`` versions came since the last, and forget log entries no longer needed."""
        if self.version - self._published.checkpoint < every:
            return
        upkeep.checkpoint(self.archive)
        for path in self._log_folder.glob("*.parquet"):
            sync(path)
        sync(self._log_folder / "_last_checkpoint")
        sync(self._log_folder)
        self._published = msgspec.structs.replace(self._published, checkpoint=self.version)
        self._publish()

    def vacuum(self, retention_s: float) -> None:
        """Delete files that have not been used for ``retention_s`` [s]; longer than any query or compaction takes."""
        edge_ms = self.now_ms() - round(retention_s * 1000)
        used = {file.path for file in self._manifest.files}
        kept = [one for one in self._manifest.retired if one.time_ms > edge_ms]
        known = used | {one.path for one in kept}
        names = {path.rpartition("/")[2] for path in known}
        waiting = {one.path for one in self._manifest.retired}
        for path in self._folder.glob("day=*/*.parquet"):
            name = str(path.relative_to(self._folder))
            if name not in known and (name in waiting or _age_s(path) >= retention_s):
                path.unlink()
        for path in (self.archive / DAILY_FOLDER).glob("*.parquet"):
            if path.name not in names and _age_s(path) >= retention_s:
                path.unlink()
        for folder in self._folder.glob("day=*"):
            if not any(folder.iterdir()):
                folder.rmdir()
        self._manifest = msgspec.structs.replace(self._manifest, retired=kept)
        self._publish()

    def close(self) -> None:
        """Let another process write."""
        os.close(self._lock)

    def _commit(
        self,
        operation: str,
        actions: list[delta.Action],
        *,
        added: Sequence[DataFile] = (),
        removed: Sequence[DataFile] = (),
        offsets: dict[int, int] | None = None,
    ) -> None:
        version = self.version + 1
        delta.commit(self._log_folder, version, operation, actions, self.now_ms())
        gone = {file.path for file in removed}
        self._manifest = Manifest(
            version,
            {**self._manifest.offsets, **(offsets or {})},
            [file for file in self._manifest.files if file.path not in gone]
            + [msgspec.structs.replace(file, version=version) for file in added],
            [*self._manifest.retired, *(Retired(file.path, self.now_ms()) for file in removed)],
        )
        self._publish()

    def _publish(self) -> None:
        """Publish version and offsets: first for queries, then for the trimming of the log behind them."""
        write_manifest(self.archive, self._manifest)
        self._published = Published(
            dict(self._manifest.offsets), self.version, self._published.checkpoint, self._now_us()
        )
        write_published(self.archive, self._published)

    def _open(self) -> Manifest:
        """Return the table's newest version: the manifest, with what was committed after it."""
        newest = delta.newest(self._log_folder)
        if newest < 0:
            self._log_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            delta.commit(self._log_folder, 0, "CREATE TABLE", delta.creation(self.now_ms()), self.now_ms())
            return Manifest(0)
        try:
            known = read_manifest(self.archive)
        except Corrupt:
            known = None
        if known is None or not self._follows(known, newest):
            known = upkeep.manifest(self.archive)
        for version in range(known.version + 1, newest + 1):
            known = _followed(known, delta.actions(self._log_folder / f"{version:020}.json"), version)
        return known

    def _follows(self, known: Manifest, newest: int) -> bool:
        versions = range(known.version + 1, newest + 1)
        there = known.version <= newest and all((self._log_folder / f"{v:020}.json").exists() for v in versions)
        return there and all((self._folder / file.path).exists() for file in known.files)

    def _drop_damaged(self) -> None:
        """Undo what a power failure left half-written above the published version."""
        if not self._log_folder.is_dir():
            return
        self._drop_unpublished_checkpoint()
        damaged = False
        for path in sorted(self._log_folder.glob("*.json")):
            if not path.stem.isdigit() or int(path.stem) <= self._published.version:
                continue
            damaged = damaged or not self._sound(path)
            if damaged:
                path.unlink()
        for path in self._log_folder.glob(".*.json.new"):
            path.unlink()
        sync(self._log_folder)

    def _drop_unpublished_checkpoint(self) -> None:
        known = self._published.checkpoint
        if self._published.version < 0:
            return  # nothing was ever published here, or the file was deleted: there is no better knowledge
        for path in self._log_folder.glob("*.checkpoint*.parquet"):
            if int(path.name[:20]) > known:
                path.unlink()
                (self._log_folder / "_last_checkpoint").unlink(missing_ok=True)

    def _sound(self, path: Path) -> bool:
        try:
            added = [delta.data_file(action["add"], 0) for action in delta.actions(path) if "add" in action]
            sizes = [(self._folder / file.path).stat().st_size for file in added]
        except (OSError, ValueError, KeyError, msgspec.MsgspecError):
            return False
        return all(size == file.size_bytes for size, file in zip(sizes, added, strict=True)) and path.stat().st_size > 0


def _followed(known: Manifest, actions: list[delta.Action], version: int) -> Manifest:
    """Return the manifest after one more commit."""
    added = [delta.data_file(action["add"], version) for action in actions if "add" in action]
    removed = {action["remove"]["path"]: action["remove"] for action in actions if "remove" in action}
    offsets = dict(known.offsets)
    for action in actions:
        prefix, _, partition = action.get("txn", {}).get("appId", "").rpartition("/")
        if prefix == delta.APP:
            offsets[int(partition)] = action["txn"]["version"]
    return Manifest(
        version,
        offsets,
        [file for file in known.files if file.path not in removed] + added,
        [*known.retired, *(Retired(path, one.get("deletionTimestamp", 0)) for path, one in removed.items())],
    )


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime
