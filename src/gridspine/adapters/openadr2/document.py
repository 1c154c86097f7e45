"""Documents of OpenADR 2.0b in XML: bytes ↔ nodes, and the fields that codecs are made of. Pure; no I/O.

::

    bytes ─ expat: no DTD, no entities, bounded ─► Node ─┐
                                                         ├ one table of fields a type ─► struct
    bytes ◄──────────────────────── text ◄───────────────┘

Names have the prefixes of the table below, whichever were on the wire. What no field asks for is left out.

Source: the schema ``oadr_20b.xsd`` of OpenADR 2.0b and what it imports, as the PyPI package openleadr 0.5.36 has them.
The specification's text was not read.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from gridspine.energy.mapping.xml import element
from gridspine.infra.runtime.bounded_xml import read_xml
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import MAX_US, US, format_rfc3339, parse_rfc3339

NAMESPACES = {
    "oadr": "http://openadr.org/oadr-2.0b/2012/07",
    "ei": "http://docs.oasis-open.org/ns/energyinterop/201110",
    "pyld": "http://docs.oasis-open.org/ns/energyinterop/201110/payloads",
    "emix": "http://docs.oasis-open.org/ns/emix/2011/06",
    "power": "http://docs.oasis-open.org/ns/emix/2011/06/power",
    "scale": "http://docs.oasis-open.org/ns/emix/2011/06/siscale",
    "strm": "urn:ietf:params:xml:ns:icalendar-2.0:stream",
    "xcal": "urn:ietf:params:xml:ns:icalendar-2.0",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "dsp": "http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties",
}
_PREFIXES = {namespace: prefix for prefix, namespace in NAMESPACES.items()}
MAX_BYTES, MAX_ELEMENTS, MAX_DEPTH = 1 << 20, 50_000, 24
"""Bytes of one document, its elements, and how deep they may lie."""
MAX_WORD = 1_000
NEEDED: Any = object()
"""In place of a default: the element must be there."""
_WHOLE = re.compile(r"\+?[0-9]{1,10}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_DURATION = re.compile(
    r"\+?P(?:(\d{1,6})W|(?:0+Y)?(?:0+M)?(?:(\d{1,7})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,10})(?:\.\d+)?S)?)?)",
    re.ASCII,
)
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class Node:
    """An element: its ``name``, what it says by itself (``text``), its ``children``."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name, self.text = name, ""
        self.children: list[Node] = []

    def find(self, path: str) -> "Node | None":
        """Return the first element at ``path``, names with slashes between."""
        found: Node | None = self
        for name in path.split("/"):
            found = next((one for one in found.children if one.name == name), None) if found is not None else None
        return found


class Field(NamedTuple):
    """One attribute of a struct: how it is read from its parent's node, and written. Raises `Invalid`."""

    name: str
    read: Callable[[Node], Any]
    write: Callable[[Any], str]


class Shape(NamedTuple):
    """A struct's type and its fields, in the order of the schema; all are in ``inner``, ``after`` follows that."""

    type: Any
    fields: tuple[Field, ...]
    inner: str = ""
    after: str = ""

    def read(self, node: Node) -> Any:
        """Return the struct that ``node`` holds; raise `Invalid`."""
        within = node.find(self.inner) if self.inner else node
        if within is None:
            raise Invalid(f"{node.name}: {self.inner} is needed")
        return self.type(**{one.name: one.read(within) for one in self.fields})

    def write(self, value: Any) -> list[str]:
        """Return what stands in the element of a struct."""
        said = [text for one in self.fields if (text := one.write(getattr(value, one.name)))]
        return [element(self.inner, said), self.after] if self.inner else said


def decode(body: bytes) -> Node:
    """Return the document in ``body``; raise `Invalid` for what is none, has a DTD, or is too large."""
    if len(body) > MAX_BYTES:
        raise Invalid(f"a document has at most {MAX_BYTES} bytes")
    builder = _Builder()
    read_xml(body, builder, max_elements=MAX_ELEMENTS, max_depth=MAX_DEPTH)
    return builder.open[0].children[0]


class _Builder:
    """What expat tells, as nodes; ``open`` begins with one above the document."""

    def __init__(self) -> None:
        self.open = [Node("")]
        self._said: list[list[str]] = [[]]
        """What each open element said so far, in the parts that came."""

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        made = Node(f"{_PREFIXES.get(namespace, '?')}:{local}")
        self.open[-1].children.append(made)
        self.open.append(made)
        self._said.append([])

    def end(self, _name: str) -> None:
        self.open.pop().text = "".join(self._said.pop())

    def characters(self, text: str) -> None:
        self._said[-1].append(text)


def _single(name: str, path: str, default: Any, read: Callable[[str, str], Any], write: Callable[[Any], str]) -> Field:
    """Return the field of an element that holds one value."""

    def reading(node: Node) -> Any:
        found = node.find(path)
        if found is None:
            if default is NEEDED:
                raise Invalid(f"{node.name}: {path} is needed")
            return default
        return read(found.text.strip(), path)

    def writing(value: Any) -> str:
        return "" if default is not NEEDED and value == default else nested(path, write(value))

    return Field(name, reading, writing)


def nested(path: str, said: str | Iterable[str]) -> str:
    """Return elements, one in the other along ``path``, that say ``said``."""
    *outer, tag = path.split("/")
    made = element(tag, said)
    for one in reversed(outer):
        made = element(one, [made])
    return made


def word(name: str, path: str, default: Any = NEEDED, *, of: Sequence[str] = ()) -> Field:
    """Return the field of a text, one ``of`` these where they are given."""
    return _single(name, path, default, lambda text, where: _word(text, where, of), str)


def flag(name: str, path: str, default: Any = NEEDED) -> Field:
    """Return the field of a boolean."""
    return _single(name, path, default, _flag, lambda value: "true" if value else "false")


def whole(name: str, path: str, default: Any = NEEDED, *, most: int = 2**32 - 1) -> Field:
    """Return the field of a number without sign."""
    return _single(name, path, default, lambda text, where: _whole(text, where, most), str)


def number(name: str, path: str, default: Any = NEEDED, *, finite: bool = True) -> Field:
    """Return the field of a floating number; ``finite``: that it must be."""
    return _single(name, path, default, lambda text, where: _number(text, where, finite=finite), _float)


def moment(name: str, path: str, default: Any = NEEDED) -> Field:
    """Return the field of a time [µs since 1970]; one without a zone is UTC."""
    return _single(name, path, default, _moment, format_rfc3339)


def duration(name: str, path: str, default: Any = NEEDED) -> Field:
    """Return the field of a duration [µs], written in whole seconds."""
    return _single(name, path, default, _duration, lambda us: f"PT{us // US}S")


def one(name: str, path: str, shape: Shape, default: Any = NEEDED) -> Field:
    """Return the field of a struct in an element of its own."""

    def reading(node: Node) -> Any:
        found = node.find(path)
        if found is None:
            if default is NEEDED:
                raise Invalid(f"{node.name}: {path} is needed")
            return default
        return shape.read(found)

    def writing(value: Any) -> str:
        return "" if default is not NEEDED and value == default else nested(path, shape.write(value))

    return Field(name, reading, writing)


def many(name: str, path: str, shape: Shape, *, most: int, least: int = 0) -> Field:
    """Return the field of several structs; all but the last part of ``path`` stands once around them."""
    outer, _, tag = path.rpartition("/")

    def reading(node: Node) -> tuple[Any, ...]:
        return tuple(shape.read(each) for each in _all(node, outer, tag, least, most))

    def writing(values: tuple[Any, ...]) -> str:
        made = [element(tag, shape.write(value)) for value in values]
        return (nested(outer, made) if made else "") if outer else "".join(made)

    return Field(name, reading, writing)


def words(name: str, path: str, *, around: str = "", always: bool = False, most: int = 1_000) -> Field:
    """Return the field of several texts: ``path`` is repeated; ``around`` stands once, ``always``: also around none."""
    tag, _, inner = path.partition("/")

    def reading(node: Node) -> tuple[str, ...]:
        found = _all(node, around, tag, 0, most)
        texts = [each.find(inner) if inner else each for each in found]
        return tuple(_word(each.text.strip(), path, ()) for each in texts if each is not None)

    def writing(values: tuple[str, ...]) -> str:
        made = "".join(nested(path, value) for value in values)
        return element(around, [made]) if around and (made or always) else made

    return Field(name, reading, writing)


def _all(node: Node, outer: str, tag: str, least: int, most: int) -> list[Node]:
    around = node.find(outer) if outer else node
    found = [each for each in around.children if each.name == tag] if around is not None else []
    if not least <= len(found) <= most:
        raise Invalid(f"{node.name}: {least} to {most} of {tag} are taken, there are {len(found)}")
    return found


def _word(text: str, where: str, of: Sequence[str]) -> str:
    if of and text not in of:
        raise Invalid(f"{where}: {text[:40]!r} is none of {', '.join(of)}")
    if len(text) > MAX_WORD:
        raise Invalid(f"{where}: at most {MAX_WORD} characters")
    return text


def _flag(text: str, where: str) -> bool:
    if text not in _FLAGS:
        raise Invalid(f"{where}: true or false")
    return _FLAGS[text]


def _whole(text: str, where: str, most: int) -> int:
    if not _WHOLE.fullmatch(text) or int(text) > most:
        raise Invalid(f"{where}: a whole number from 0 to {most} is needed")
    return int(text)


def _number(text: str, where: str, *, finite: bool) -> float:
    if text in {"INF", "-INF", "NaN"} and not finite:
        return float(text.lower())
    if not _FLOAT.fullmatch(text) or (finite and not math.isfinite(float(text))):
        raise Invalid(f"{where}: a number is needed")
    return float(text)


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "INF" if value > 0 else "-INF"


def _moment(text: str, where: str) -> int:
    try:
        return parse_rfc3339(text if text[-1:] in {"Z", "z"} or text[-6:-5] in {"+", "-"} else f"{text}Z")
    except Invalid as error:
        raise Invalid(f"{where}: {error.detail}") from error


def _duration(text: str, where: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None or text[-1] in "PT":
        raise Invalid(f"{where}: {text[:40]!r} is no duration such as PT15M, forward in time, without months and years")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return min(((((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds) * US, MAX_US)
