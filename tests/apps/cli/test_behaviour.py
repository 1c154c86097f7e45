"""``gridspine behaviour``: what is wrong with a package is said before anything is signed or sent."""

import json

import pytest
from typer.testing import CliRunner

from gridspine.apps.cli.behaviour import app
from gridspine.kernel.errors import GridspineError

GOOD = {"name": "low", "version": "1.0.0", "model": "urn:x:m", "listens": ["a"]}


def publish(folder, package, *more):
    (folder / "package.json").write_text(package)
    words = ["publish", str(folder / "package.json"), "--data", str(folder), *map(str, more)]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 1
    assert isinstance(found.exception, GridspineError), found.output
    return found.exception.detail


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("{", "package.json is not JSON: Expecting property name enclosed in double quotes, line 1, column 2"),
        ("[]", "is no JSON object"),
        (json.dumps(GOOD), "text"),
        (json.dumps(GOOD | {"text": "", "version": "1"}), "version: three numbers"),
        (json.dumps(GOOD | {"text": "", "surprise": 1}), "surprise"),
    ],
)
def test_a_package_that_is_none_is_not_signed(tmp_path, package, said):
    assert said in publish(tmp_path, package)


def test_a_program_that_cannot_be_read_is_named(tmp_path):
    assert "nothing.star cannot be read" in publish(tmp_path, json.dumps(GOOD), "--text", tmp_path / "nothing.star")
    (tmp_path / "bad.star").write_bytes(b"\xff\xfe")
    assert "bad.star is not UTF-8" in publish(tmp_path, json.dumps(GOOD), "--text", tmp_path / "bad.star")
