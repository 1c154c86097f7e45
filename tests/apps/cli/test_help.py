"""What `--help` prints is what was written."""

import re

import typer
from typer.testing import CliRunner

from gridspine.apps.cli.main import app


def leaves(command, path=()):
    """Yield every command with the words that lead to it."""
    for name, one in getattr(command, "commands", {}).items():
        yield from leaves(one, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


def test_words_in_brackets_are_printed() -> None:
    runner, seen = CliRunner(), 0
    for path, command in leaves(typer.main.get_command(app)):
        texts = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
        units = re.findall(r"\[\w+\]|<\w+>|{\w+}", " ".join(texts))
        if units:
            printed = runner.invoke(app, [*path, "--help"], env={"COLUMNS": "200"}).output
            assert [unit for unit in units if unit not in printed] == [], path
            seen += len(units)
    assert seen > 5
