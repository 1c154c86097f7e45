"""The command line as a stranger uses it: real processes, exact numbers, and errors of one line."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from running_node import METER, Child

from gridspine.apps.cli import main

HOMES = Path(__file__).parents[4] / "shared" / "data" / "homes"
NO_HOMES = f"the homes' data is not at {HOMES}"


def cli(*words, data=None, stdin="", **environment):
    variables = {key: value for key, value in os.environ.items() if not key.startswith("GRIDSPINE_")}
    variables |= {"COLUMNS": "200", **environment} | ({"GRIDSPINE_DATA": str(data)} if data else {})
    return subprocess.run(
        [sys.executable, "-m", "gridspine.apps.cli", *map(str, words)],
        env=variables, capture_output=True, text=True, timeout=180, input=stdin,
    )  # fmt: skip


@pytest.fixture
def inside(monkeypatch, capsys):
    """The same in this process: for many words that lead nowhere."""

    def call(*words, data=None):
        monkeypatch.setattr(sys, "argv", ["gridspine", *map(str, words)])
        monkeypatch.setenv("GRIDSPINE_DATA", str(data))
        code = 0
        try:
            main.run()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, said.out, said.err)

    return call


def refused(ended, *words):
    """One line, exit code 1, no trace, and it says what is wrong."""
    assert ended.returncode == 1, (ended.stdout, ended.stderr)
    assert "Traceback" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("gridspine: ")]
    assert len(lines) == 1, ended.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.slow
@pytest.mark.skipif(not HOMES.exists(), reason=NO_HOMES)
def test_a_year_replayed_twice_gives_the_same_sums(tmp_path):
    data = tmp_path / "data"
    words = ("replay", HOMES / "Building_1.csv", "--pv-kw", "4", "--start", "2016-07-31T23:00-08:00")
    sql = "select property, round(sum(value), 3), count(*) from readings group by property order by property"
    for time in range(2):
        ended = cli(*words, data=data)
        assert ended.returncode == 0, ended.stderr
        kept, again = (0, 17520) if time else (17520, 0)
        assert f"accepted {kept}, duplicate {again}, refused 0" in ended.stdout
        answer = cli("query", "--json", sql, data=data)
        assert answer.returncode == 0, answer.stderr
        rows = json.loads(answer.stdout)["rows"]
        assert [(row[0], row[1]) for row in rows] == [("consumedEnergy", 10583.353), ("producedEnergy", 7212.497)]
        assert len({row[2] for row in rows}) == 1


@pytest.fixture
async def child(tmp_path):
    made = Child(tmp_path / "data")
    try:
        await (await made.ready()).aclose()
        yield made
    finally:
        made.stop()


async def run(*words, **more):
    return await asyncio.to_thread(cli, *words, **more)


@pytest.mark.slow
async def test_curl_speaks_to_the_running_node(child, tmp_path):
    data = child.folder
    thing = {"id": "urn:example:m1", "title": "M", "model": METER}
    made = await run("curl", "/things", "-d", json.dumps(thing), data=data)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["id"] == "urn:example:m1"
    body = tmp_path / "body.json"
    body.write_text('[{"n":"urn:example:m1/voltage","v":230}]')
    for words, stdin in ((("-d", f"@{body}"), ""), (("-d", "-"), body.read_text().replace("230", "235"))):
        senml = ("-H", "Content-Type: application/senml+json")
        sent = await run("curl", *senml, "/readings", *words, data=data, stdin=stdin)
        assert json.loads(sent.stdout)["accepted"] == 1, sent.stderr
    missing = await run("curl", "/things/urn:example:none", data=data)
    assert missing.returncode == 1
    assert json.loads(missing.stdout)["status"] in {403, 404}
    assert "Traceback" not in missing.stderr
    refused(await run("curl", "things", data=data), "slash")
    refused(await run("curl", "--as", "nobody", "/things", data=data), "nobody.json")
    refused(await run("curl", "-d", "@/no/such/file", "/things", data=data), "/no/such/file")
    refused(await run("backup", "/no/such/folder/x", data=data), "/no/such/folder/x")
    refused(await run("up", data=data), "in use")
    added = await run("client", "meter-reader", "--role", "consumer", data=data)
    assert added.returncode == 0, added.stderr
    file = data / "clients" / "meter-reader.json"
    assert file.stat().st_mode & 0o077 == 0
    assert (await run("curl", "--as", "meter-reader", "/products", data=data)).returncode == 0
    refused(await run("client", "meter-reader", "--role", "consumer", data=data), "exists")
    refused(await run("client", "../evil", "--role", "consumer", data=data), "name")
    refused(await run("client", "other", "--role", "emperor", data=data), "emperor")
    assert not (data / "clients" / "other.json").exists()
    refused(await run("keys", "rotate", "session", "--as", "meter-reader", data=data), "403")
    for key in ("token", "ledger", "authority", "session", "device"):
        replaced = await run("keys", "rotate", key, data=data)
        assert (replaced.returncode, replaced.stdout.partition(":")[0]) == (0, key), replaced.stderr
    assert "every access token ended" in (await run("keys", "rotate", "token", "--at-once", data=data)).stdout
    refused(await run("keys", "rotate", "ledger", "--at-once", data=data), "at_once")
    assert len(json.loads((await run("curl", "/ledger/handovers", data=data)).stdout)) == 1
    file.chmod(0o644)
    refused(await run("curl", "--as", "meter-reader", "/products", data=data))


@pytest.mark.slow
async def test_query_says_what_is_wrong_in_one_line(child):
    data = child.folder
    for sql, word in (
        ("selec 1", ""),
        ("select * from nothing", "nothing"),
        ("drop table readings", ""),
        ("select 1; select 2", ""),
        ("copy (select 1) to '/tmp/gridspine-evil'", ""),
        ("select * from read_csv('/etc/passwd')", ""),
        ("", ""),
        ("x" * 20_001, "20000"),
    ):
        refused(await run("query", sql, data=data), word)
    refused(await run("query", "select 1", "--as-of", "yesterday", data=data))
    table = await run("query", "select 1 as one, null as two", data=data)
    assert table.returncode == 0
    assert "one" in table.stdout


def test_what_cannot_be_done_is_said_in_one_line(tmp_path, inside):
    empty = tmp_path / "none"
    refused(inside("curl", "/things", data=empty), "no node runs")
    refused(inside("query", "select 1", data=empty), "not a data directory")
    refused(inside("keys", "rotate", "token", data=empty), "not a data directory")
    assert not empty.exists()  # a mistyped name makes nothing
    refused(inside("backup", tmp_path / "x", data=empty), "not a data directory")
    refused(inside("restore", tmp_path / "x", data=empty), "x")
    csv = tmp_path / "home.csv"
    for content, words in (
        ("a,b\n1,2\n", ("column",)),
        ("non_shiftable_load,solar_generation\n", ("no rows",)),
        ("non_shiftable_load,solar_generation\n1,x\n", ("x",)),
        ("non_shiftable_load,solar_generation\n1\n", ()),
    ):
        csv.write_text(content)
        refused(inside("replay", csv, "--start", "2016-07-31T23:00-08:00", data=empty), *words)
    csv.write_text("non_shiftable_load,solar_generation\n1,2\n")
    refused(inside("replay", csv, "--start", "last year", data=empty), "last year")
    refused(inside("replay", csv, "--start", "2016-07-31T23:00", data=empty), "offset")
    refused(inside("replay", tmp_path / "no.csv", "--start", "2016-07-31T23:00Z", data=empty), "no.csv")
    csv.write_bytes(b"\xff\xfe\x00")
    refused(inside("replay", csv, "--start", "2016-07-31T23:00Z", data=empty), "home.csv")
    assert not empty.exists()


@pytest.mark.slow
def test_settings_that_cannot_be(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    settings = data / "settings.toml"
    for text, word in (
        ("[http]\nprot = 1\n", "prot"),
        ("[http\n", "TOML"),
        ("[http]\nhost = '0.0.0.0'\n", "loopback"),
        ("[adapters]\nallow = ['telepathy']\n", "telepathy"),
    ):
        settings.write_text(text)
        refused(cli("up", data=data, GRIDSPINE_HTTP__PORT="0"), word)
    settings.write_text("")
    refused(cli("up", data=data, GRIDSPINE_HTTP__PORT="many"), "port")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(cli("up", data=data, GRIDSPINE_HTTP__PORT=str(port)), str(port))
    blocked = tmp_path / "file"
    blocked.write_text("x")
    refused(cli("up", data=blocked / "data"), "file")


def test_bad_arguments_are_told_by_the_parser(tmp_path, inside):
    wrong = ("nonsense", "replay", "query", "replay x", "demo --seconds many", "up --no")
    for words in (line.split() for line in wrong):
        ended = inside(*words, data=tmp_path / "d")
        assert ended.returncode == 2, words
        assert "Traceback" not in ended.stderr
    assert cli("version").stdout.strip()
    assert inside("--help").returncode == 0


def test_init_makes_a_directory_once_and_a_code(tmp_path):
    data = tmp_path / "data"
    refused(cli("init", "--organisation", "two\nlines", "--data", data), "name")
    made = cli("init", "--organisation", "Nor\"th's [side] = é", "--data", data)  # and it can be tried again
    assert made.returncode == 0, made.stderr
    assert "code" in made.stdout
    assert (data.stat().st_mode & 0o777) == 0o700
    refused(cli("init", "--organisation", "Other", "--data", data), "belongs to somebody")
