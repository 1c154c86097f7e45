"""What a command says to who made a mistake: what is wrong, where, and what to do."""

import socket

import pytest
from typer.testing import CliRunner

from gridspine.apps.cli.keys import read_client_file
from gridspine.apps.cli.main import app
from gridspine.apps.node.serve import bind
from gridspine.infra.runtime.settings import load_settings
from gridspine.kernel.errors import GridspineError, Invalid, Unavailable


def said(folder, *words):
    """Return what a command that fails says, run on the data directory ``folder``."""
    found = CliRunner().invoke(app, [*map(str, words), "--data", str(folder)])
    assert found.exit_code == 1
    assert isinstance(found.exception, GridspineError), found.output
    return found.exception.detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"title": "x",\n "modes": [,]}', "line 2, column 12"),
        (b"", "line 1, column 1"),
        (b"[1, 2]", "is no JSON object"),
        (b'{"primacy": NaN}', "NaN is not JSON"),
        (b"\xff{}", "is not UTF-8: byte 0"),
        (b"[" * 100_000, "is nested too deep"),
    ],
)
@pytest.mark.parametrize("command", [("site", "envelope", "urn:x:s"), ("programme", "create"), ("bid", "offer")])
def test_a_file_with_a_typo_is_named_with_the_place(tmp_path, command, content, words):
    file = tmp_path / "it.json"
    file.write_bytes(content)
    assert words in said(tmp_path, *command, file)
    assert "cannot be read: No such file" in said(tmp_path, *command, tmp_path / "none.json")


def test_a_client_that_is_none_is_told_how_to_be_made_and_who_there_is(tmp_path):
    with pytest.raises(GridspineError) as told:
        read_client_file(tmp_path / "clients" / "nobody.json")
    assert told.value.detail.endswith("'gridspine client NAME' makes one")
    (tmp_path / "clients").mkdir()
    for name in ("operator", "owner"):
        (tmp_path / "clients" / f"{name}.json").write_text("{}")
    with pytest.raises(GridspineError) as told:
        read_client_file(tmp_path / "clients" / "nobody.json")
    assert told.value.detail.endswith("there are: operator, owner")


def test_a_file_is_no_data_directory(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    assert "a.json is a file: a data directory is needed" in said(tmp_path / "a.json", "site", "list")


def test_settings_that_are_wrong_are_named_with_their_file(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('organisation = "X"\nprt = 3\n')
    with pytest.raises(Invalid) as told:
        load_settings(path, {})
    assert str(path) in told.value.detail
    assert "prt" in told.value.detail


def test_a_port_that_is_taken_is_named_with_what_to_do():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(Unavailable) as told:
            bind("127.0.0.1", other.getsockname()[1])
    assert "end what holds it, or choose another port" in told.value.detail
