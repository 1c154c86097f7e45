"""``gridspine template``: listed, shown, checked, and its schema, without a node."""

import json
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from gridspine.apps.cli.main import app
from gridspine.energy import templates
from gridspine.energy.templates import load_templates
from gridspine.kernel.errors import Invalid, NotFound

FILES = sorted(Path(templates.__file__).parent.glob("*.toml"))
run = CliRunner().invoke


def test_templates_are_listed_with_the_operators_own_and_what_is_wrong_with_others(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "mine.toml").write_bytes(FILES[0].read_bytes())
    (folder / "broken.toml").write_text("[")
    said = run(app, ["template", "list", "--data", str(tmp_path)])
    assert said.exit_code == 0
    assert all(name in said.output for name in [*load_templates(), "mine"])
    assert "broken: this is not TOML" in said.output


@pytest.mark.parametrize("name", sorted(load_templates()))
def test_each_template_is_shown_with_its_source_and_every_point(name, tmp_path) -> None:
    said = run(app, ["template", "show", name, "--data", str(tmp_path)])
    assert said.exit_code == 0, said.output
    one = load_templates()[name]
    assert one.source.url in said.output
    assert all(f"  {point} " in said.output for point in one.points)


def test_one_that_is_not_there_is_said(tmp_path) -> None:
    assert isinstance(run(app, ["template", "show", "no-such", "--data", str(tmp_path)]).exception, NotFound)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_good_and_as_the_schema_says(file) -> None:
    assert run(app, ["template", "check", str(file)]).output == f"{file.stem} is good\n"
    schema = json.loads(run(app, ["template", "schema"]).output)
    jsonschema_rs.validator_for(schema).validate(tomllib.loads(file.read_text()))


def test_what_is_wrong_with_a_file_is_said_and_the_command_fails(tmp_path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(FILES[0].read_text().replace('unit = "V"', 'unit = "furlong"', 1))
    said = run(app, ["template", "check", str(file)])
    assert said.exit_code == 1
    assert "points.voltageA.unit" in said.output


def test_a_device_that_speaks_by_itself_is_not_played(tmp_path) -> None:
    said = run(app, ["template", "play", "tasmota-plug", "--data", str(tmp_path)])
    assert isinstance(said.exception, Invalid)


@pytest.mark.parametrize(
    "arguments",
    [["thing.json", "--template", "x"], [], ["--at", "tcp://h/1"], ["--template", "x", "--set", "topic"]],
)
def test_what_does_not_go_together_is_refused(arguments, tmp_path) -> None:
    said = run(app, ["thing", "add", *arguments, "--data", str(tmp_path)])
    assert isinstance(said.exception, Invalid)
