"""The rules for adapters: what is asked, at which level, and whether a machine can see it. They are data."""

import tomllib
from functools import cache
from importlib import resources
from typing import Final

import msgspec

LEVELS: Final = ("bronze", "silver", "gold")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: its ``level``, what it ``means``, and whether there is a ``check``."""

    level: str
    means: str
    check: bool = False


@cache
def rules() -> dict[str, Rule]:
    """Return the rules by name, in the order of their levels."""
    text = (resources.files("gridspine.testing") / "rules.toml").read_text()
    found = msgspec.convert(tomllib.loads(text), dict[str, Rule])
    return dict(sorted(found.items(), key=lambda one: LEVELS.index(one[1].level)))
