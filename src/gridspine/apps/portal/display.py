"""How values, qualities, names and times are written for people."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import NotFound
from gridspine.kernel.time import to_datetime
from gridspine.things.model import PointModel
from gridspine.things.twin import NEVER_US, TwinValue

Level = Literal["good", "questionable", "invalid", "old", "never"]
"""The one thing a quality comes to: its icon, colour and first word."""

_WORDS: Mapping[Level, str] = {
    "good": "good",
    "questionable": "questionable",
    "invalid": "invalid",
    "old": "old data",
    "never": "never reported",
}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_SCALED = {"W", "Wh", "var", "VA", "varh", "VAh"}
_UNWRITTEN = {"code", "1"}


def level_of(words: Sequence[str]) -> Level:
    """Return what the words of a quality (`gridspine.kernel.quality.describe`) come to, the worst first."""
    if words[0] == "never reported":
        return "never"
    if words[0] == "invalid":
        return "invalid"
    if "old-data" in words:
        return "old"
    return "good" if words[0] == "good" else "questionable"


def words_of(words: Sequence[str]) -> str:
    """Return a quality in words: ``questionable, out of range``."""
    level = level_of(words)
    rest = [word.replace("-", " ") for word in words[1:] if word != "old-data"]
    if level == "old" and words[0] != "good":
        rest.insert(0, words[0])
    return ", ".join([_WORDS[level], *rest])


def value_text(value: float | None, unit: str, codes: Mapping[str, str] | None = None) -> str:
    """Return a value with its unit: four digits, powers and energies with the prefix that suits them."""
    if value is None or not math.isfinite(value):
        return "–"
    if codes:
        whole = f"{value:.0f}"
        return codes.get(whole, f"code {whole}")
    scale, prefix = 1.0, ""
    if unit in _SCALED:
        scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s), (1.0, ""))
    written = "" if unit in _UNWRITTEN else f"\N{NO-BREAK SPACE}{prefix}{unit_text(unit)}"
    return number_text(value / scale) + written


def unit_text(unit: str) -> str:
    """Return a unit as people write it: ``°C``, ``W/m²``."""
    return unit.replace("deg", "°").replace("m2", "m²").replace("m3", "m³")


def number_text(value: float) -> str:
    """Return a number in four digits (more where it has them before the point), with a true minus sign."""
    decimals = 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 9)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")


def point_text(point: PointModel, value: float | None) -> str:
    """Return a value of ``point`` as it is written."""
    return value_text(value, point.reading_type.unit, point.reading_type.codes)


def twin_text(point: PointModel, twin: TwinValue) -> str:
    """Return the last value of ``point`` as it is written; a dash when there is none."""
    return point_text(point, None if twin.observed_us == NEVER_US else twin.value)


def time_text(time_us: int) -> str:
    """Return a time as it stands in a page before the browser puts it into its own time zone."""
    return to_datetime(time_us).strftime("%Y-%m-%d %H:%M:%S UTC")


def slug(text: str) -> str:
    """Return ``text`` as part of an element's id."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def organisation_name(node: Node, id: str) -> str:
    """Return an organisation's name; its id where there is no more to say."""
    try:
        return node.identity.directory.organisation(id).name
    except NotFound:
        return id


def person_name(node: Node, principal: str) -> str:
    """Return a principal's name, and the title of a site or programme that asks for commands; else the id."""
    kind, _, id_ = principal.partition(":")
    try:
        if kind == "site":
            return f"the site {node.controls.sites.get(id_).title}"
        if kind == "programme":
            return f"the programme {node.controls.programmes.get(id_).title}"
        return node.identity.directory.principal(principal).name
    except NotFound:
        return principal


def known_name(node: Node, caller: Caller, principal: str) -> str:
    """Return the name of a principal of the caller's own organisation; of others, and of what is none, the id."""
    try:
        known = node.identity.directory.principal(principal)
    except NotFound:
        return principal
    return known.name if known.organisation == caller.organisation else principal


def safe_path(text: str) -> str:
    """Return ``text`` when it is a path of this very host to go to after signing in; else ``/``."""
    plain = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and len(text) <= 2000
    return text if plain and "\\" not in text else "/"
