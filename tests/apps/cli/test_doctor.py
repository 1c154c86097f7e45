"""`gridspine doctor` on a node that runs, stopped or was killed; each planted fault is found; nothing changes."""

import hashlib
import json
import os
import shutil
import socket
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gridspine.apps.cli.main import app
from gridspine.apps.doctor import directory, machine, reach, storage
from gridspine.apps.doctor.report import Patient
from gridspine.infra.runtime.settings import Adapters, Settings, load_settings

running = sys.modules["running_node"].running
settings_for = sys.modules["running_node"].settings_for
Child = sys.modules["running_node"].Child
METER = sys.modules["running_node"].METER


def doctor(data, *words):
    """Return the lines by what was looked at, and the exit code."""
    ended = CliRunner().invoke(app, ["doctor", "--data", str(data), "--json", *words])
    return {line["what"]: line for line in json.loads(ended.stdout)}, ended.exit_code


def failing(lines):
    return sorted(what for what, line in lines.items() if line["state"] == "fail")


def content(data):
    return {
        path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
async def data(tmp_path):
    """A stopped node's data, with some readings and a ledger."""
    folder = tmp_path / "data"
    async with running(folder) as world:
        point, *_ = await world.shared()
        await world.send(point, [1, 2, 3])
        world.node.ledger.catch_up()
        world.node.ledger.checkpoint()
    (folder / "settings.toml").write_text('organisation = "Northside Networks"\n[http]\nport = 0\n')
    return folder


def test_a_stopped_node_that_is_well_and_nothing_is_changed(data):
    before = content(data)
    for words in ((), ("--full",)):
        lines, code = doctor(data, *words)
        assert failing(lines) == [], lines
        assert code == 0
    assert content(data) == before
    assert {"settings", "data directory", "format", "node", "disk", "secrets", "log readings", "registry", "ledger",
            "twins", "archive", "clock", "python", "libraries", "port of HTTP", "adapters"} <= set(lines)  # fmt: skip
    assert "make the root that was signed" in lines["ledger"]["says"]


async def test_a_running_node_and_one_that_was_killed(tmp_path):
    folder = tmp_path / "data"
    child = Child(folder)
    try:
        http = await child.ready()
        async with http:
            thing = {"id": "urn:example:m1", "title": "m", "model": METER}
            assert (await http.post("/things", json=thing)).status_code == 201
        lines, code = doctor(folder)
        assert (failing(lines), code) == ([], 0), lines
        assert lines["node"]["says"].startswith("runs, at http://")
        child.kill()
    finally:
        child.stop()
    assert any(path.stat().st_size for path in folder.rglob("*-wal"))
    before = content(folder)
    lines, code = doctor(folder, "--full")
    assert (failing(lines), code) == ([], 0), lines
    assert lines["node"]["state"] == "warn"
    assert content(folder) == before


def spoil(path):
    """Overwrite a page in the middle of a file."""
    body = bytearray(path.read_bytes())
    for at in range(4096, len(body), 4096):
        body[at : at + 200] = b"\xa5" * 200
    path.write_bytes(body)


def forge(path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE node SET hash = zeroblob(32) WHERE level = 0 AND number = 0")
    connection.close()


FAULTS = {
    "data directory": lambda data: data.chmod(0o755),
    "format": lambda data: (data / "format").write_text("99\n"),
    "settings": lambda data: (data / "settings.toml").write_text("[http]\nhots = 1\n"),
    "secrets": lambda data: next((data / "keys").glob("*.pem")).chmod(0o644),
    "log readings": lambda data: spoil(next((data / "log" / "readings").glob("*.db"))),
    "registry": lambda data: spoil(data / "registry.db"),
    "ledger": lambda data: forge(data / "ledger.db"),
    "adapters": lambda data: (data / "settings.toml").write_text('[http]\nport = 0\n[adapters]\nallow = ["nosuch"]\n'),
}


@pytest.mark.parametrize("what", FAULTS)
def test_each_fault_is_found_and_says_what_to_do(data, what):
    FAULTS[what](data)
    lines, code = doctor(data, "--full")
    assert what in failing(lines), lines
    assert lines[what]["toDo"]
    assert code == 1


def test_a_directory_that_is_none(tmp_path):
    lines, code = doctor(tmp_path / "nothing")
    assert (failing(lines), code) == (["data directory"], 1)
    (tmp_path / "empty").mkdir(mode=0o700)
    lines, code = doctor(tmp_path / "empty")
    assert {"format", "registry"} <= set(failing(lines))


def test_people_read_lines(data):
    (data / "format").write_text("99\n")
    ended = CliRunner().invoke(app, ["doctor", "--data", str(data)])
    assert "FAIL  format: the data has format 99" in ended.stdout
    assert "-> upgrade gridspine" in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith("fail")


def patient(data, **settings):
    return Patient(data, Settings(**settings), running=False)


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"[http]\nport = {port}\n"
        (tmp_path / "s.toml").write_text(text)
        settings = load_settings(tmp_path / "s.toml", {})
        lines = {line.what: line for line in reach.look(Patient(tmp_path, settings, running=False))}
    assert lines["port of HTTP"].state == "fail"


def test_the_clock():
    now = time.time()
    assert machine.clock(now, now - 5).state == "ok"
    assert machine.clock(now, now + 3600).state == "fail"
    assert machine.clock(1e9, 0).state == "fail"


def test_pythons():
    assert [machine.python(found).state for found in ((3, 10, 1), (3, 11, 0), (3, 13, 9), (3, 14, 0))] == [
        "fail", "ok", "ok", "warn",
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "state"), [("ext4", "ok"), ("nfs4", "fail"), ("tmpfs", "fail")])
def test_file_systems(tmp_path, kind, state):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / btrfs rw 0 0\nx {tmp_path.resolve()} {kind} rw 0 0\ny /proc proc rw 0 0\n")
    assert directory.file_system(tmp_path, mounts) == kind
    original = directory.file_system
    directory.file_system = lambda path, _: original(path, mounts)
    try:
        lines = {line.what: line for line in directory.look(patient(tmp_path))}
    finally:
        directory.file_system = original
    assert lines["file system"].state == state


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("", 2),  # Mosquitto's own defaults
        ("persistence true\nautosave_interval 10\nmax_queued_messages 1000000\n", 0),
        ("persistence true\nautosave_interval 10\nmax_queued_messages 0\n", 0),
        ("persistence true\nmax_queued_messages 1000000\n", 1),
        ("persistence true\nautosave_interval 10\nmax_queued_messages 1000000\nallow_anonymous true\n", 1),
    ],
)
def test_what_a_broker_loses(tmp_path, text, warnings):
    path = tmp_path / "mosquitto.conf"
    path.write_text(f"# comment\n{text}")
    assert sum(line.state == "warn" for line in reach.dangers(path)) == warnings


def test_a_broker_is_looked_at_where_the_node_is_its_client(tmp_path):
    section = {"mode": "external", "host": "broker.invalid", "port": 1}
    given = patient(tmp_path, adapters=Adapters(allow=["mqtt"], settings={"mqtt": section}))
    lines = [line for line in reach.look(given) if line.what.startswith("broker")]
    assert [line.state for line in lines[:2]] == ["fail", "fail"]
    assert "in the clear" in lines[1].says


def test_a_device_that_is_not_reached(data):
    (data / "settings.toml").write_text('[http]\nport = 0\n[adapters]\nallow = ["modbus"]\n')
    with sqlite3.connect(data / "registry.db") as connection:
        (body,) = connection.execute("SELECT body FROM document WHERE kind = 'Thing'").fetchone()
        thing = json.loads(body) | {"adapter": "modbus", "connection": {"host": "127.0.0.1", "port": 1}}
        connection.execute("UPDATE document SET body = ? WHERE kind = 'Thing'", (json.dumps(thing).encode(),))
    connection.close()
    lines, code = doctor(data)
    assert (lines["device"]["state"], code) == ("warn", 0)
    assert "127.0.0.1:1" in lines["device"]["says"]


def test_a_damaged_snapshot_is_no_disaster(data):
    (data / "twins.npz").write_bytes(b"x")
    lines, code = doctor(data)
    assert (lines["twins"]["state"], code) == ("warn", 0)


def test_a_copy_is_looked_at_where_a_journal_waits(data, tmp_path):
    copy = tmp_path / "killed"
    connection = sqlite3.connect(data / "registry.db")
    connection.execute("UPDATE document SET version = version + 1")
    connection.commit()
    shutil.copytree(data, copy)  # as a kill would leave it: the journal not taken over
    connection.close()
    assert (copy / "registry.db-wal").stat().st_size
    before = content(copy)
    assert [line.state for line in storage.look(patient(copy)) if line.what == "registry"] == ["ok"]
    assert content(copy) == before
    assert os.access(copy, os.W_OK)
    assert Path(copy).is_dir()
