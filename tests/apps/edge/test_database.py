"""The edge's SQLite file: written together, each for itself when one fails, and on a disk that is truly full."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess

import pytest

from gridspine.apps.edge.ballast import Ballast
from gridspine.apps.edge.buffer import Buffer, Record
from gridspine.apps.edge.database import Database
from gridspine.apps.edge.documents import AdapterStore, Documents
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import DiskFull, Unavailable

SCHEMA = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY);"


async def test_one_that_fails_spoils_no_other(tmp_path):
    database = Database(tmp_path / "x.db", SCHEMA, Ballast(tmp_path, 0))

    def insert(n):
        return lambda db: db.execute("INSERT INTO t VALUES (?)", (n,)).lastrowid

    results = await asyncio.gather(
        *(database.run(insert(n)) for n in (1, 2, 2, 3)), database.run(_fails), return_exceptions=True
    )
    assert results[:2] == [1, 2] and results[3] == 3
    assert isinstance(results[2], Unavailable)
    assert isinstance(results[4], ZeroDivisionError)
    assert await database.run(lambda db: db.execute("SELECT count(*) FROM t").fetchone()) == (3,)
    await asyncio.to_thread(database.close)


def _fails(_: sqlite3.Connection) -> None:
    raise ZeroDivisionError


async def test_documents_are_kept_all_or_none_and_an_adapter_has_its_own(tmp_path):
    documents = Documents(tmp_path, Ballast(tmp_path, 0))
    await documents.put(("a", "1", b"x"), ("a", "2", b"y"), ("b", "1", b"z"))
    await documents.put(("a", "1", None))
    store, other = AdapterStore(documents, "modbus"), AdapterStore(documents, "mqtt")
    await store.put("k", b"mine")
    await asyncio.to_thread(documents.close)
    documents = Documents(tmp_path, Ballast(tmp_path, 0))
    assert await documents.all("a") == {"2": b"y"}
    assert await documents.get("b", "1") == b"z"
    assert await AdapterStore(documents, "modbus").get("k") == b"mine"
    assert await AdapterStore(documents, "mqtt").get("k") is None
    await AdapterStore(documents, "modbus").put("k", None)
    assert await AdapterStore(documents, "modbus").get("k") is None
    await asyncio.to_thread(documents.close)
    assert other is not store


def _mounted(folder) -> bool:
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    return done.returncode == 0


async def test_a_truly_full_disk_refuses_and_keeps_what_was_acknowledged(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if not _mounted(folder):
        pytest.skip("mounting a small file system needs root and leave to mount")
    try:
        ballast = Ballast(folder, 200_000)
        documents = Documents(folder, ballast)
        buffer = Buffer(folder, VirtualClock(), ballast, reserve_bytes=800_000)
        await buffer.load()
        kept = 0
        with pytest.raises(DiskFull, match="for orders"):
            while True:
                await buffer.keep([Record("urn:example:m/p", "W", kept + at, 1.0, 0) for at in range(100)])
                kept += 100
        _fill(folder)  # as another program could: to the last block
        with pytest.raises(DiskFull):
            await buffer.keep([Record("urn:example:m/p", "W", 1, 1.0, 0)])
        await documents.put(("a", "1", b"an order" * 1000))
        assert not ballast.held, "it was given back"
        await buffer.done((await buffer.oldest(1 << 30))[:5])
        await asyncio.to_thread(buffer.close)
        (folder / "filler").unlink()
        buffer = Buffer(folder, VirtualClock(), ballast, reserve_bytes=0)
        await buffer.load()
        assert 0 < buffer.waiting == kept - 500
        await buffer.sweep()
        assert ballast.held
        assert await documents.get("a", "1") == b"an order" * 1000
        await asyncio.to_thread(buffer.close)
        await asyncio.to_thread(documents.close)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(folder) -> None:
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
