"""Utilities' servers that announce themselves: which are believed, and how one is named in the settings."""

import tomllib

import pytest
from typer.testing import CliRunner

from gridspine.apps.cli import csip, csip_discovery
from gridspine.apps.cli.csip_discovery import Server, add_utility, chosen, read
from gridspine.infra.runtime.settings import load_settings
from gridspine.kernel.errors import Conflict, Invalid, NotFound

TXT = {"txtvers": "1", "dcap": "/dcap", "https": "8443", "level": "+S1"}


def found(host="north.local", addresses=("192.0.2.7",), **text):
    return [("North", host, addresses, {key: value for key, value in (TXT | text).items() if value != "-"})]


@pytest.mark.parametrize(
    ("said", "url"),
    [
        (found(), "https://192.0.2.7:8443/dcap"), (found(https=None), "https://192.0.2.7:443/dcap"),
        (found(https=""), "https://192.0.2.7:443/dcap"), (found("known.local"), "https://known.local:8443/dcap"),
        (found(addresses=["2001:db8::1"]), "https://[2001:db8::1]:8443/dcap"),
        (found(addresses=["2001:db8::1", "192.0.2.7"]), "https://192.0.2.7:8443/dcap"),
        (found("a@b/c", ["192.0.2.7"]), "https://192.0.2.7:8443/dcap"),
    ],
)  # fmt: skip
def test_a_server_is_where_its_text_says(said, url) -> None:
    assert read(said, lambda name: name == "known.local" or "@" in name) == [Server("North", url)]


@pytest.mark.parametrize(
    "said",
    [
        found(txtvers="2"), found(txtvers="-"), found(level="-"), found(dcap="-"), found(dcap="//evil.example/dcap"),
        found(dcap="http://evil.example/"), found(dcap="/d\nurl"), found(https="-"), found(https="0"),
        found(https="70000"), found(https="8443a"), found(https="9" * 5_000), found(https="000443999"),
        found(addresses=["169.254.1.1"]),
        found(addresses=[]),
    ],
)  # fmt: skip
def test_what_says_too_little_is_no_server(said) -> None:
    assert read(said, lambda _name: False) == []


def test_a_name_that_would_write_over_the_terminal_is_shown_without_that() -> None:
    ((_, host, addresses, text),) = found()
    assert [one.name for one in read([("No\x1b[2Jrth\n", host, addresses, text)], lambda _name: False)] == [
        "No\N{REPLACEMENT CHARACTER}[2Jrth\N{REPLACEMENT CHARACTER}"
    ]


def test_one_is_chosen_and_several_are_asked_about() -> None:
    one, other = Server("A", "https://a:1/"), Server("B", "https://b:1/")
    assert chosen([one]) == one
    assert chosen([one, other], "B") == other
    with pytest.raises(NotFound):
        chosen([])
    with pytest.raises(Conflict, match="https://b:1/"):
        chosen([one, other])
    with pytest.raises(NotFound, match="https://a:1/"):
        chosen([one], "C")


@pytest.fixture
def files(tmp_path):
    made = [tmp_path / name for name in ("own.crt", "own.key", "ca.pem")]
    for one in made:
        one.write_text("-")
    return made


def test_a_server_is_named_in_the_settings_once(tmp_path, files) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('organisation = "Hillside"\n[adapters]\nallow = ["ieee2030_5"]\n')
    path.chmod(0o640)
    assert add_utility(tmp_path, 'north "side"', "https://a:1/dcap", *files) == path
    known = load_settings(path).adapters.settings["ieee2030_5"]["utilities"]
    crt, key, ca = map(str, files)
    assert known == {'north "side"': {"url": "https://a:1/dcap", "certificate": crt, "key": key, "ca": ca}}
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(Conflict):
        add_utility(tmp_path, 'north "side"', "https://b:1/dcap", *files)
    with pytest.raises(Invalid, match="no such file"):
        add_utility(tmp_path, "other", "https://b:1/dcap", files[0], tmp_path / "none", files[2])


def test_settings_are_nobody_elses_while_they_are_written_and_lead_nowhere(tmp_path, files, monkeypatch) -> None:
    other, seen = tmp_path / "other", []
    other.write_text("of somebody")
    (tmp_path / "settings.toml.new").symlink_to(other)
    monkeypatch.setattr(csip_discovery, "load_settings", lambda made: seen.append(made.stat().st_mode & 0o777))
    add_utility(tmp_path, "north", "https://a:1/dcap", *files)
    assert other.read_text() == "of somebody"
    assert not (tmp_path / "settings.toml").is_symlink()
    assert seen == [0o600]


def test_settings_that_cannot_be_added_to_stay_as_they_are(tmp_path, files) -> None:
    path = tmp_path / "settings.toml"
    before = 'organisation = "Hillside"\nadapters = {allow = ["ieee2030_5"]}\n'
    path.write_text(before)
    with pytest.raises(Invalid, match="by hand"):
        add_utility(tmp_path, "north", "https://a:1/dcap", *files)
    assert path.read_text() == before
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".new"] == []


def test_the_command_finds_names_and_joins(tmp_path, files, monkeypatch) -> None:
    asked = {}

    async def servers(*_given):
        return [Server("North", "https://a:1/dcap")]

    async def join(_data, _client, _pem, _title, connection):
        asked.update(connection)
        return {"principal": "urn:p", "thing": "urn:t"}

    monkeypatch.setattr(csip, "servers", servers)
    monkeypatch.setattr(csip, "_join", join)
    crt, key, ca = map(str, files)
    given = ["join", "north", crt, "--thing", "urn:example:t", "--data", str(tmp_path), "--discover"]
    assert CliRunner().invoke(csip.app, given).exit_code != 0, "it needs key and authority"
    done = CliRunner().invoke(csip.app, [*given, "--key", key, "--ca", ca])
    assert done.exit_code == 0, done.output
    assert "https://a:1/dcap" in done.output
    assert asked["utility"] == "north"
    section = tomllib.loads((tmp_path / "settings.toml").read_text())["adapters"]["settings"]["ieee2030_5"]
    assert section["utilities"]["north"]["url"] == "https://a:1/dcap"
    assert "https://a:1/dcap  North" in CliRunner().invoke(csip.app, ["discover"]).output
