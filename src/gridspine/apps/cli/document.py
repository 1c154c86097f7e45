"""Files that a command reads: JSON and text, with what is wrong with them said by file and line."""

import json
from pathlib import Path
from typing import Any

from gridspine.kernel.errors import Invalid


def read_json(file: Path) -> Any:
    """Return what is in a JSON file; raise `Invalid` saying why it cannot be read, and where it goes wrong."""
    text = read_text(file)
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise Invalid(f"{file} is not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise Invalid(f"{file} is nested too deep") from error


def _refuse(name: str) -> None:
    raise Invalid(f"{name} is not JSON: a number is needed")


def read_object(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise `Invalid` for what else it holds."""
    found = read_json(file)
    if not isinstance(found, dict):
        raise Invalid(f"{file} is no JSON object: one in braces is needed")
    return found


def read_text(file: Path) -> str:
    """Return the text of a file; raise `Invalid` saying why it cannot be read."""
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file} is not UTF-8: byte {error.start}") from error
