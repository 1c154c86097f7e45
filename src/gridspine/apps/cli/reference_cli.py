"""The reference page of the command line, written from the commands themselves."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main

from gridspine.apps.cli.main import app


def cli_page(note: str) -> str:
    """Return the page of all commands; ``note`` says how it came to be."""
    lines = ["# Command line\n", note]
    lines.append(
        "Every command says this about itself with `--help`. An operating error is one line and exit code 1.\n"
    )
    for name, command in sorted(_commands(typer.main.get_command(app), "gridspine")):
        lines += _command(name, command)
    return "\n".join(lines).rstrip() + "\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for below, one in command.commands.items():
        yield from _commands(one, f"{name} {below}")


def _command(name: str, command: Any) -> Iterator[str]:
    own = [one for one in command.params if one.name != "help"]
    words = [_argument(one) for one in own if one.param_type_name == "argument"]
    options = [one for one in own if one.param_type_name == "option"]
    yield f"## {name}\n"
    yield f"`{' '.join([name, *(['[OPTIONS]'] if options else []), *words])}`\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    if own:
        yield "| | default | meaning |"
        yield "|---|---|---|"
        yield from (_row(one) for one in own)
        yield ""


def _argument(param: Any) -> str:
    word = (param.metavar or param.name or "").upper().strip(".")
    word += "..." if param.nargs == -1 else ""
    return word if param.required else f"[{word}]"


def _row(param: Any) -> str:
    name = _argument(param) if param.param_type_name == "argument" else ", ".join(param.opts)
    default = "needed" if param.required else _default(param.default)
    words = (param.help or "").replace("|", "\\|")
    return f"| `{name}` | {default} | {words} |"


def _default(value: Any) -> str:
    return "" if value in (None, "", [], ()) or value is False else f"`{value}`"
