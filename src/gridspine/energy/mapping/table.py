"""The tables: what each property of each Thing Model is called in another language, or why it has no name there.

::

    tables/<language>.json
      common   property → word                 what a name means wherever it occurs
      models   model → property → word         where it means something else; "*" is every property not named
      units    our unit → the language's       left out: the language has no such unit

A word without a name has ``none``: the reason. Nothing of such a property is in a document of that language.
"""

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from gridspine.energy.mapping.snapshot import Snapshot
from gridspine.energy.models import load_models
from gridspine.kernel.errors import Invalid
from gridspine.things.model import PointModel, ThingModel

LANGUAGES = ("cim", "iec61850", "ieee2030_5", "sunspec", "openfmb", "saref")
MODELS = "https://gridspine.org/models/"


class Word(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The name of a property in a language; ``detail`` is what the language's emitter needs besides.

    ``none`` is the reason why there is no name; ``lost`` says what the name leaves out.
    """

    name: str = ""
    none: str = ""
    lost: str = ""
    detail: dict[str, Any] = {}


class Table(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A language: its title, the documents that were read, its words, units and whatever its emitter needs besides."""

    title: str
    basis: str
    common: dict[str, Word]
    models: dict[str, dict[str, Word]]
    units: dict[str, list[Any]] = {}
    extra: dict[str, Any] = {}

    def word(self, model: str, name: str) -> Word:
        """Return the word for property ``name`` of the model with the short name or id ``model``."""
        short = model.removeprefix(MODELS)
        if short not in load_models():
            return Word(none="the model is not one that comes with the node: nobody has said what its names mean")
        own = self.models.get(short, {})
        return own.get(name) or own.get("*") or self.common.get(name) or Word(none="nobody has mapped this property")

    def unit_of(self, symbol: str) -> list[Any] | None:
        """Return the language's unit for ours called ``symbol``; None where it has none."""
        return self.units.get(symbol)


@cache
def load_table(language: str) -> Table:
    """Return the table of ``language``, one of `LANGUAGES`; raises `Invalid` for another."""
    if language not in LANGUAGES:
        raise Invalid(f"{language[:32]!r} is not a language that is mapped; there are {', '.join(LANGUAGES)}")
    return msgspec.json.decode(_read(language), type=Table)


def table_file(name: str) -> Any:
    """Return the data of ``tables/<name>.json``."""
    return msgspec.json.decode(_read(name))


def _read(name: str) -> bytes:
    return (resources.files(__name__.rpartition(".")[0]) / "tables" / f"{name}.json").read_bytes()


def words(language: str) -> Iterator[tuple[str, ThingModel, PointModel, Word]]:
    """Yield short name, model, point and word of every property of the models that come with the node."""
    table = load_table(language)
    for short, model in load_models().items():
        for point in model.points:
            yield short, model, point, table.word(short, point.name)


def said(language: str, snapshot: Snapshot) -> tuple[list[tuple[PointModel, Word]], list[PointModel]]:
    """Return the points of ``snapshot`` that have a word in ``language``, and those that have none."""
    table = load_table(language)
    pairs = [(point, table.word(snapshot.model.id, point.name)) for point, _ in snapshot.points()]
    return [(p, w) for p, w in pairs if not w.none], [p for p, w in pairs if w.none]
