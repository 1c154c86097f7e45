"""What still needs a Delta engine, in a child process that ends at once: ``python -m gridspine.infra.archive.upkeep``.

``manifest``: the table's newest version as a manifest, on standard output, for an archive that has none or an old one
whose log cannot be followed any more. ``checkpoint``: write one, and forget log entries that it makes needless.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from gridspine.infra.archive.delta import app_id, day_number, wide_file
from gridspine.infra.archive.manifest import DAILY_FOLDER, TABLE_FOLDER, Manifest
from gridspine.kernel.errors import Unavailable

MAX_PARTITIONS = 1024


def manifest(archive: Path) -> Manifest:
    """Return the manifest of the table in folder ``archive``, by a child process."""
    return msgspec.json.decode(_run("manifest", archive), type=Manifest)


def checkpoint(archive: Path) -> None:
    """Write a checkpoint of the table's newest version, by a child process."""
    _run("checkpoint", archive)


def _run(task: str, archive: Path) -> bytes:
    words = [sys.executable, "-m", "gridspine.infra.archive.upkeep", task, str(archive)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own module
    if done.returncode != 0:
        raise Unavailable(f"the archive's table in {archive} could not be read ({task}, code {done.returncode})")
    return done.stdout


def _read(archive: Path) -> Manifest:
    import pyarrow as pa  # here, in the child: the worker that asks must not load an engine
    from deltalake import DeltaTable

    table = DeltaTable(archive / TABLE_FOLDER)
    rows = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    files = [_file(row) for row in rows]
    found = {p: table.transaction_version(app_id(p)) for p in range(MAX_PARTITIONS)}
    offsets = {partition: offset for partition, offset in found.items() if offset is not None}
    daily = {path.name for path in (archive / DAILY_FOLDER).glob("*.parquet")}
    files = [msgspec.structs.replace(file, daily=file.name in daily) for file in files]
    return Manifest(int(table.version()), offsets, files)


def _file(row: dict[str, Any]) -> Any:
    bounds = [row.get(f"{side}.observed") for side in ("min", "max")]
    first, latest = (None if moment is None else round(moment.timestamp() * 1000) * 1000 for moment in bounds)
    return wide_file(
        row["path"], day_number(row["partition.day"]), row["num_records"], row["size_bytes"], row["modification_time"],
        (first, latest), row.get("max.pending"), 0,
    )  # fmt: skip


def _checkpoint(archive: Path) -> None:
    from deltalake import DeltaTable  # as above

    table = DeltaTable(archive / TABLE_FOLDER)
    table.create_checkpoint()
    table.cleanup_metadata()


def main() -> int:
    """Do one task."""
    task, archive = sys.argv[1], Path(sys.argv[2])
    if task == "checkpoint":
        _checkpoint(archive)
    else:
        sys.stdout.buffer.write(msgspec.json.encode(_read(archive)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
