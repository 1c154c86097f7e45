"""A form as data: its fields are drawn by one template, read and checked here, and what is wrong is said at each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gridspine.kernel.errors import GridspineError, Invalid

Input = Literal["text", "url", "number", "select", "textarea", "checkbox", "choices", "password"]
ON = "yes"
_HUGE = 1e9
"""A bound that nobody comes near is not spoken of."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field: ``options`` are (value, words) of a *select* and of *choices* (several may be ticked).

    ``most`` are characters; ``low`` and ``high`` bound a number. ``more``: it stands among what is seldom needed.
    ``file``: a file may be chosen whose text goes into it. A *password* is never shown again. ``ticked`` are those of
    *choices* that are chosen already; ``or_none``: a number that is left empty is None, not 0.
    """

    name: str
    label: str
    kind: Input = "text"
    hint: str = ""
    options: Sequence[tuple[str, str]] = ()
    value: str = ""
    needed: bool = True
    most: int = 200
    low: float = -math.inf
    high: float = math.inf
    whole: bool = True
    more: bool = False
    file: str = ""
    placeholder: str = ""
    ticked: Sequence[str] = ()
    or_none: bool = False


class WrongFields(Invalid):
    """What is wrong, by the name of the field."""

    def __init__(self, wrong: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {words}" for name, words in wrong.items()))
        self.wrong = wrong


def read_fields(fields: Sequence[Field], given: Mapping[str, str]) -> dict[str, Any]:
    """Return what was filled in: texts, numbers, booleans, and tuples of choices; raise `WrongFields`."""
    found: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in fields:
        try:
            found[field.name] = _read(field, given)
        except Invalid as error:
            wrong[field.name] = error.detail
    if wrong:
        raise WrongFields(wrong)
    return found


def at_field(error: GridspineError, fields: Sequence[Field]) -> Mapping[str, str]:
    """Return what an error says by the field that it begins with, nothing where it names none of ``fields``."""
    if isinstance(error, WrongFields):
        return error.wrong
    name, parted, words = error.detail.partition(": ")
    known = {field.name for field in fields}
    return {name: words} if parted and name in known else {}


def _read(field: Field, given: Mapping[str, str]) -> Any:
    if field.kind == "checkbox":
        return given.get(field.name) == ON
    if field.kind == "choices":
        return _ticked(field, given)
    text = given.get(field.name, "").strip()
    if not text:
        if field.needed:
            raise Invalid("choose one" if field.kind == "select" else "this is needed")
        if field.or_none:
            return None
        return 0.0 if field.kind == "number" and not field.whole else 0 if field.kind == "number" else ""
    if len(text) > field.most:
        raise Invalid(f"at most {field.most} characters")
    if field.kind == "select":
        return _chosen(field, text)
    if field.kind == "number":
        return _number(field, text)
    if field.kind != "textarea" and not text.isprintable():
        raise Invalid("only characters that can be printed")
    return text


def _ticked(field: Field, given: Mapping[str, str]) -> tuple[str, ...]:
    offered, start = [value for value, _ in field.options], f"{field.name}."
    for name, value in given.items():
        if name.startswith(start) and value == ON and name.removeprefix(start) not in offered:
            raise Invalid(f"{name.removeprefix(start)[:200]} is not offered any more: open this page again")
    return tuple(value for value in offered if given.get(f"{field.name}.{value}") == ON)


def _chosen(field: Field, text: str) -> str:
    if text not in {value for value, _ in field.options}:
        raise Invalid("choose one of those that are offered")
    return text


def _number(field: Field, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Invalid("a number is needed")
    if not field.low <= value <= field.high or (field.whole and value != int(value)):
        kind = "a whole number" if field.whole else "a number"
        most = f" to {field.high:g}" if field.high < _HUGE or value > field.high else " or more"
        raise Invalid(f"{kind}, {field.low:g}{most}")
    return int(value) if field.whole else value
