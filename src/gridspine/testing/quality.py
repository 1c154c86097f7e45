"""What an adapter says of itself, in its ``quality.toml``.

::

    protocol = "Modbus TCP"            which it speaks, and
    versions = ["V1.1b3"]              in which versions
    level = "silver"                   what it claims to be

    [permissions]                      what it asks of the node
    listen = ["mqtt"]                  listeners by name
    connect = "the addresses of its Things"
    secrets = ["password"]             names; "*": such as the settings name
    store = true                       keeps something over a restart

    [bounds]
    recovery_s = 60                    how long after a break a device is heard again [s]
    readings_waiting = 1000            how many readings wait while the log takes none

    [signs]                            of every power, by its point
    activePower = "import positive, as the device sends it"

    [rules.reconnect]                  each rule of `gridspine.testing.rules`: done (seen by the check of its name, or
    status = "done"                    with `test` = "file.py::name" or `document` = "README.md#heading"),
    [rules.fuzzed]                     todo or exempt, with the reason
    status = "todo"
    reason = "…"

    [own.no-redirects]                 rules of its own, in the same form

    [order."OCPP 1.6"]                 of one that commands, for each language: what becomes of each facet of an order,
    end = ["part", "whole seconds"]    see `gridspine.testing.facets`
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.testing.facets import Language, order_complaints
from gridspine.testing.rules import rules

FILE = "quality.toml"


class Permissions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an adapter asks of the node; ``connect`` in words, "" for nothing."""

    listen: tuple[str, ...] = ()
    connect: str = ""
    secrets: tuple[str, ...] = ()
    store: bool = False


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an adapter says of its bounds: seconds until a device is heard again, readings that wait."""

    recovery_s: float = 120.0
    readings_waiting: int = 1_000


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said of one rule."""

    status: Literal["done", "todo", "exempt"]
    reason: str = ""
    test: str = ""
    document: str = ""


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ``quality.toml``."""

    protocol: str
    versions: tuple[str, ...]
    level: Literal["none", "bronze", "silver", "gold"] = "none"
    permissions: Permissions = Permissions()
    bounds: Bounds = Bounds()
    signs: dict[str, str] = {}
    rules: dict[str, Claim] = {}
    own: dict[str, Claim] = {}
    order: dict[str, Language] = {}


def read_quality(text: str) -> Quality:
    """Return what a ``quality.toml`` says; raise `Invalid` naming what is wrong."""
    try:
        return msgspec.convert(tomllib.loads(text), Quality)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{FILE}: {error}") from error


def complaints(quality: Quality, folder: Path, tests: Path | None, *, commands: bool = False) -> Iterator[str]:
    """Yield what does not stand of a quality.toml in ``folder``; tests are looked up where ``tests`` is given.

    One that ``commands`` devices must say what becomes of an order.
    """
    known = rules()
    for name in quality.rules.keys() - known.keys():
        yield f"{name}: no such rule; rules of the adapter's own stand under [own]"
    if quality.level != "none":
        for name in known.keys() - quality.rules.keys():
            yield f"{name}: nothing is said of this rule"
    for name, claim in (quality.rules | quality.own).items():
        checked = name in known and known[name].check
        for words in _gaps(claim, folder, tests, checked=checked):
            yield f"{name}: {words}"
    if commands and not quality.order:
        yield "its devices take orders, and no [order.LANGUAGE] says what becomes of one on the way"
    yield from order_complaints(quality.order)
    if not (folder / "README.md").is_file():
        yield "there is no README.md"


def _gaps(claim: Claim, folder: Path, tests: Path | None, *, checked: bool) -> Iterator[str]:
    if claim.status != "done":
        if not claim.reason:
            yield f"{claim.status}, and no reason"
    elif not (checked or claim.test or claim.document):
        yield "done, and no test or document that shows it"
    if claim.test and tests is not None and not _test_exists(tests, claim.test):
        yield f"names {claim.test}, which is not there"
    if claim.document and not _document_exists(folder, claim.document):
        yield f"names {claim.document}, which is not there"


def _test_exists(tests: Path, named: str) -> bool:
    file, _, test = named.partition("::")
    path = tests / file
    return path.is_file() and re.search(rf"def {re.escape(test)}\(", path.read_text()) is not None


def _document_exists(folder: Path, named: str) -> bool:
    file, _, anchor = named.partition("#")
    path = folder / file
    if not path.is_file():
        return False
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return not anchor or anchor in {re.sub(r"[^\w -]", "", one.lower()).strip().replace(" ", "-") for one in headings}
