"""Backup of a node under load, restored elsewhere: the same totals, the same keys, and no number used twice."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import httpx
import pytest
import zstandard
from running_node import BEGIN_S, METER, SENML, Child, running, settings_for

from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.cli.signing import SigningAuth
from gridspine.apps.node import backup as module
from gridspine.apps.node.backup import restore_backup, write_backup
from gridspine.apps.node.paths import Paths
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.errors import GridspineError

PARTS = [one for one in vars(Paths) if isinstance(vars(Paths)[one], property)]
NAMES = {path.name for one in PARTS if isinstance(path := getattr(Paths(Path("data")), one), Path)}
"""What a node may have in its data directory."""


def cli(*words, data=None):
    environment = os.environ | ({"GRIDSPINE_DATA": str(data)} if data else {})
    return subprocess.run(
        [sys.executable, "-m", "gridspine.apps.cli", *map(str, words)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


async def load(world, stop, acknowledged):
    """Register Things and send readings of them until ``stop``."""
    at = 0
    while not stop.is_set():
        thing = await world.thing(f"urn:example:t{at}")
        await world.send(f"{thing}/activeEnergyImport", range(20))
        acknowledged.append(at)
        at += 1


async def test_a_backup_under_load_restores_to_a_whole(tmp_path):
    """Things come and report all the while. What was there when it began is in it; it starts, and nothing dangles."""
    data, target, other = tmp_path / "data", tmp_path / "b.tar.zst", tmp_path / "other"
    async with running(data, settings_for(archive=True)) as world:
        stop, acknowledged = asyncio.Event(), []
        loading = asyncio.ensure_future(load(world, stop, acknowledged))
        while len(acknowledged) < 20:
            await asyncio.sleep(0.01)
        before = len(acknowledged)
        size = await asyncio.to_thread(write_backup, data, target)
        stop.set()
        await loading
        assert size == target.stat().st_size
        assert target.stat().st_mode & 0o077 == 0
        highest = max(thing.first for thing in world.node.things.list())
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in data.iterdir()} <= NAMES
    await asyncio.to_thread(restore_backup, target, other)
    async with running(other, settings_for(archive=True)) as world:
        things = {thing.id for thing in world.node.things.list()}
        assert things >= {f"urn:example:t{at}" for at in range(before)}
        count = world.node.points.count
        sums = {}
        first, following = world.node.log.bounds("readings")[0]
        for record in world.node.log.read("readings", 0, first, max_records=100_000, max_bytes=1 << 30):
            batch = decode_batch(record.body)
            assert batch.point.max() < count  # every number is bound
            name = world.node.points.point_id(int(batch.point[0]))
            sums[name] = sums.get(name, 0) + len(batch)
        assert following - first >= before
        for at in range(before):
            assert sums[f"urn:example:t{at}/activeEnergyImport"] == 20
        answer = await world.op.post(
            "/query", json={"sql": "select thing, sum(value) as s, count(*) as n from readings group by thing"}
        )
        assert answer.status_code == 200, answer.text
        rows = {row[0]: row[1:] for row in answer.json()["rows"]}
        for at in range(before):
            assert rows[f"urn:example:t{at}"] == [190.0, 20]
        assert set(rows) <= things
        await world.thing("urn:example:new")
        assert world.node.things.get("urn:example:new").first <= highest + 10


@pytest.mark.slow
async def test_the_same_answers_and_keys_elsewhere(tmp_path):
    """By the command line alone: up, backup while it runs, restore, query; the old client file opens the new node."""
    data, target, other = tmp_path / "data", tmp_path / "b.tar.zst", tmp_path / "other"
    child = Child(data)
    try:
        http = await child.ready()
        await http.post("/things", json={"id": "urn:example:m1", "title": "M", "model": METER})
        body = [{"n": "urn:example:m1/activeEnergyImport", "v": at, "t": BEGIN_S + at} for at in range(500)]
        assert (await http.post("/readings", json=body, headers=SENML)).json()["accepted"] == 500
        key = (await http.get("/ledger/key")).text
        made = await asyncio.to_thread(cli, "backup", target, data=data)
        assert made.returncode == 0, made.stderr
        again = await asyncio.to_thread(cli, "backup", target, data=data)
        assert (again.returncode, again.stderr.count("\n")) == (1, 1)
        await http.aclose()
    finally:
        child.stop()
    restored = await asyncio.to_thread(cli, "restore", target, "--data", other)
    assert restored.returncode == 0, restored.stderr
    sql = "select count(*), sum(value), max(value) from readings"
    answers = [await asyncio.to_thread(cli, "query", "--json", sql, data=folder) for folder in (data, other)]
    assert [answer.returncode for answer in answers] == [0, 0], answers[1].stderr
    assert json.loads(answers[0].stdout)["rows"] == json.loads(answers[1].stdout)["rows"] == [[500, 124750.0, 499.0]]
    async with running(other) as world:
        file = read_client_file(data / "clients" / "operator.json")  # the old one, kept by its owner
        async with httpx.AsyncClient(base_url=world.url, auth=SigningAuth(file, node=world.url)) as http:
            assert (await http.get("/things")).status_code == 200
            assert (await http.get("/ledger/key")).text == key
            device = await http.get("/principals")
            assert device.status_code == 200


async def test_a_registry_behind_the_log_never_gives_a_number_twice(tmp_path):
    """The registry of yesterday with today's log: new Things get numbers beyond all that the log has bound."""
    data, old = tmp_path / "data", tmp_path / "old.db"
    async with running(data) as world:
        await world.thing("urn:example:a")
    (data / "registry.db").rename(old)
    old.with_name("copy.db").write_bytes(old.read_bytes())
    old.rename(data / "registry.db")
    async with running(data) as world:
        await world.thing("urn:example:b")
        await world.send("urn:example:b/activeEnergyImport", [77])
        taken = world.node.things.get("urn:example:b").first
    (data / "registry.db").write_bytes((tmp_path / "copy.db").read_bytes())
    for suffix in ("-wal", "-shm"):
        (data / f"registry.db{suffix}").unlink(missing_ok=True)
    async with running(data) as world:
        assert [thing.id for thing in world.node.things.list()] == ["urn:example:a"]
        await world.thing("urn:example:c")
        first = world.node.things.get("urn:example:c").first
        assert first >= taken + 5
        shown = (await world.op.get("/things/urn:example:c/properties")).json()
        assert [one["value"] for one in shown] == [None] * len(shown)  # nothing of b's
        product = await world.product("urn:example:c/activeEnergyImport")
        await world.grant(product)
        assert await world.pull_all(product) == ([], "0:1")


async def test_a_log_trimmed_meanwhile_is_said_and_not_half_backed_up(tmp_path, monkeypatch):
    data, target = tmp_path / "data", tmp_path / "b"
    settings = settings_for()
    async with running(data, settings) as world:
        point, _, _ = await world.shared()
        await world.send(point, range(10))
        original = module._copy_database

        def vanishing(source, copy):
            if source.parent.name == "readings":
                source.rename(source.with_suffix(".away"))
                try:
                    original(source, copy)
                finally:
                    source.with_suffix(".away").rename(source)
            else:
                original(source, copy)

        monkeypatch.setattr(module, "_copy_database", vanishing)
        with pytest.raises(GridspineError) as refused:
            await asyncio.to_thread(write_backup, data, target)
        assert "again" in refused.value.detail
        assert not target.exists()


@pytest.mark.parametrize("fault", ["none", "text", "cut", "another tar", "full", "folder"])
def test_restoring_what_is_no_backup(tmp_path, fault):
    source, data = tmp_path / "source", tmp_path / "data"
    (tmp_path / "was").mkdir()
    if fault == "text":
        source.write_text("hello")
    elif fault == "folder":
        source.mkdir()
    elif fault != "none":
        was = tmp_path / "was"
        (was / "other").write_text("x" * 5000)
        if fault != "another tar":
            (was / "format").write_text("1")
            write_backup(was, source)
        else:
            (was / "format").write_text("1")
            write_backup(was, tmp_path / "whole")
            repack_without_format(tmp_path / "whole", source)
        if fault == "cut":
            source.write_bytes(source.read_bytes()[:-20])
        if fault == "full":
            data.mkdir()
            (data / "mine").write_text("x")
    with pytest.raises(GridspineError) as refused:
        restore_backup(source, data)
    assert refused.value.detail
    assert not data.exists() or [path.name for path in data.iterdir()] == (["mine"] if fault == "full" else [])
    assert not list(tmp_path.glob(".restore-*"))


def repack_without_format(source, target):
    with source.open("rb") as file:
        plain = zstandard.ZstdDecompressor().stream_reader(file).read()
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(plain)) as read, tarfile.open(fileobj=out, mode="w") as write:
        for member in read:
            if member.name != "format":
                write.addfile(member, read.extractfile(member))
    target.write_bytes(zstandard.compress(out.getvalue()))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/ROOT/evil"])
def test_a_backup_cannot_write_outside_the_new_directory(tmp_path, name):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as write:
        for at in ("format", name.replace("/ROOT", str(tmp_path))):
            member = tarfile.TarInfo(at)
            member.size = 1
            write.addfile(member, io.BytesIO(b"1"))
    source = tmp_path / "source"
    source.write_bytes(zstandard.compress(out.getvalue()))
    with contextlib.suppress(GridspineError):
        restore_backup(source, tmp_path / "data")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_a_backup_holds_files_only(tmp_path, kind):
    """What is read by a link, or written through one, would be elsewhere."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as write:
        whole = tarfile.TarInfo("format")
        whole.size = 1
        write.addfile(whole, io.BytesIO(b"1"))
        other = tarfile.TarInfo("other")
        other.type, other.linkname = kind, str(tmp_path / "secret")
        write.addfile(other)
    (tmp_path / "secret").write_text("mine")
    source = tmp_path / "source"
    source.write_bytes(zstandard.compress(out.getvalue()))
    with pytest.raises(GridspineError, match="'other' is no file"):
        restore_backup(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()
