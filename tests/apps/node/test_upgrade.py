"""A data directory written by a release before opens and knows everything; one of a newer release is refused."""

import asyncio
import base64
import json
import sqlite3
from pathlib import Path

import pytest
from running_node import BEGIN_S, METER, SENML, World, running, settings_for, until

from gridspine.apps.node.backup import restore_backup
from gridspine.infra.ledger.note import parse_key
from gridspine.infra.ledger.receipt import decode_proof, verify, verify_growth
from gridspine.infra.runtime.datadir import FORMAT
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.kernel.errors import Conflict, Corrupt

RELEASES = sorted((Path(__file__).parents[2] / "data").glob("data-*.tar.zst"))


@pytest.fixture(params=RELEASES, ids=lambda path: path.name.removesuffix(".tar.zst"))
def old(request, tmp_path):
    """A data directory of a release, and what it must show."""
    data = tmp_path / "data"
    restore_backup(request.param, data)
    return data, json.loads((data / "expected.json").read_text())


def test_there_is_a_release_to_open():
    assert RELEASES


async def sign_in(world, expected):
    """The clients of then, not the world's own."""
    for http, principal in ((world.op, expected["operator"]), (world.co, expected["consumer"])):
        http.headers["authorization"] = f"Bearer {world.node.identity.demo.issue(principal)}"


async def shows(world: World, expected):
    """Twins, history, grants, commands, receipts: as they were left."""
    for name, value in expected["newest"].items():
        shown = (await world.op.get(f"/things/urn:example:m1/properties/{name}")).json()
        assert shown["value"] == value
    records, _ = await world.pull_all(expected["product"])  # under the grant of then
    assert len(records) == 221
    assert records[200]["v"] == expected["first"]
    assert (await world.op.get(f"/grants/{expected['grant']}")).json()["state"] == "active"
    assert (await world.op.get(f"/commands/{expected['command']}")).json()["state"] == "cancelled"
    assert world.node.commands.commander.stopped
    assert [alarm["kind"] for alarm in (await world.op.get("/alarms")).json()] == ["high"]
    assert len((await world.op.get("/quarantine")).json()) == 1
    key = parse_key(expected["ledger_key"].strip())
    receipt = await world.op.get(f"/receipts/{json.loads(_leaf(expected['receipt']))['id']}")
    assert verify(decode_proof(receipt.content), key).size >= expected["receipt"]["treeSize"]
    verify_growth(world.node.ledger.growth(expected["checkpoint"]), key)


def _leaf(receipt):
    return base64.b64decode(receipt["leaf"])


async def test_a_directory_of_a_release_before_opens(old):
    data, expected = old
    for _ in range(2):
        async with running(data, settings_for(archive=True)) as world:
            await sign_in(world, expected)
            await shows(world, expected)
            sql = "select count(*), count(distinct value) from readings where property = 'activeEnergyImport'"
            await until(lambda: (data / "archive" / "published.json").exists(), 60)
            answer = await world.op.post("/query", json={"sql": sql})
            for _ in range(300):  # the worker may still take the archive over
                if answer.status_code != 503:
                    break
                await asyncio.sleep(0.2)
                answer = await world.op.post("/query", json={"sql": sql})
            assert answer.status_code == 200, answer.text
            assert answer.json()["rows"] == [[220, 220]]
            revisions = await world.op.post("/query", json={"sql": "select count(*) from revisions"})
            assert revisions.json()["rows"] == [[expected["readings"]]]
        assert (data / "format").read_text().strip() == str(FORMAT)


async def test_what_comes_after_joins_what_was_before(old):
    """Numbers go on, duplicates of then are known, the archive takes over at the old offset, receipts continue."""
    data, expected = old
    async with running(data, settings_for(archive=True)) as world:
        await sign_in(world, expected)
        again = [{"n": expected["energy"], "v": 21900.0, "t": BEGIN_S + 219}]
        assert (await world.op.post("/readings", json=again, headers=SENML)).json()["duplicate"] == 1
        more = [{"n": expected["energy"], "v": 22000.0 + at, "t": BEGIN_S + 300 + at} for at in range(10)]
        assert (await world.op.post("/readings", json=more, headers=SENML)).json()["accepted"] == 10
        await world.op.post("/things", json={"id": "urn:example:new", "title": "N", "model": METER})
        assert world.node.things.get("urn:example:new").first == expected["bound"]
        bounds = world.node.log.bounds("readings")
        await until(lambda: world.node.archive and _archived(data) == bounds[0][1], 60)
        answer = await world.op.post("/query", json={"sql": "select count(*) from revisions"})
        assert answer.json()["rows"] == [[expected["readings"] + 10]]


def _archived(data):
    path = data / "archive" / "published.json"
    return json.loads(path.read_text())["offsets"]["0"]


async def test_projections_of_then_may_be_missing(old):
    data, expected = old
    (data / "twins.npz").unlink()
    for path in data.glob("ledger.db*"):
        path.unlink()
    async with running(data) as world:
        await sign_in(world, expected)
        await shows(world, expected)


async def test_a_newer_directory_is_refused_with_what_to_do_and_left_as_it_is(old):
    data, _ = old
    (data / "format").write_text(f"{FORMAT + 1}\n")
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    with pytest.raises(Conflict, match="upgrade gridspine"):
        async with running(data):
            pass
    after = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    assert {path: at for path, at in after.items() if path.name != "lock"} == before


async def test_a_newer_registry_is_refused(old):
    data, _ = old
    registry = sqlite3.connect(data / "registry.db")
    registry.execute("UPDATE alembic_version SET version_num = '9999'")
    registry.commit()
    registry.close()
    with pytest.raises(Conflict, match="newer than this release knows"):
        async with running(data):
            pass


def test_a_newer_batch_is_refused():
    with pytest.raises(Corrupt, match="not known to this release"):
        decode_batch(b"\xff" + b"\x00" * 40)
