"""Documents of IEEE 2030.5 in XML: bytes ↔ elements. Pure; no I/O.

::

    bytes ─ expat: no DTD, no entities, bounded ─► Element ─► what is asked of it          part(…) ─► text ─► bytes

Names of the standard's namespace are as they are, those of CSIP-AUS begin with ``csipaus:``, whichever of its versions
was spoken; what is of any other namespace is left out, as a server that does not know an extension must do.

Source: IEEE 2030.5-2018 ``sep.xsd`` (urn:ieee:std:2030.5:ns); namespaces of CSIP-AUS 1.2 and 1.3 as their published
schemas name them. The clauses were not read.
"""

import re
from typing import Literal

from gridspine.energy.mapping.xml import element
from gridspine.infra.runtime.bounded_xml import read_xml
from gridspine.kernel.errors import Invalid

SEP = "urn:ieee:std:2030.5:ns"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
Version = Literal["1.2", "1.3"]
CSIP_AUS: dict[Version, str] = {"1.2": "https://csipaus.org/ns", "1.3": "https://csipaus.org/ns/v1.3"}
_PREFIX = {SEP: "", **dict.fromkeys(CSIP_AUS.values(), "csipaus:")}
MEDIA = "application/sep+xml"
MAX_ELEMENTS, MAX_DEPTH = 20_000, 12
"""Elements of one document, and how deep they may lie."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_HEX = re.compile(r"[0-9A-Fa-f]*", re.ASCII)


class Element:
    """An element: its ``name``, what it says by itself (``text``), its ``attributes`` and its ``children``."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.text, self.attributes = name, "", attributes
        self.children: list[Element] = []

    def all(self, name: str) -> "list[Element]":
        """Return the children of that name."""
        return [one for one in self.children if one.name == name]

    def find(self, name: str) -> "Element | None":
        """Return the first child of that name."""
        return next((one for one in self.children if one.name == name), None)

    def said(self, name: str) -> str | None:
        """Return what the child of that name says, None when there is none."""
        found = self.find(name)
        return None if found is None else found.text.strip()

    def whole(self, name: str, low: int, high: int) -> int | None:
        """Return the whole number that a child says, from ``low`` to ``high``; raise `Invalid` for another."""
        text = self.said(name)
        return None if text is None else whole(text, low, high, f"{self.name}.{name}")

    def hex(self, name: str, digits: int) -> str | None:
        """Return the hexBinary of at most ``digits`` that a child says, in capitals; raise `Invalid` for another."""
        text = self.said(name)
        return None if text is None else hex_binary(text, digits, f"{self.name}.{name}")

    def needed(self, name: str) -> "Element":
        """Return the child of that name; raise `Invalid` when there is none."""
        found = self.find(name)
        if found is None:
            raise Invalid(f"{self.name}: {name} is needed")
        return found


def whole(text: str, low: int, high: int, where: str) -> int:
    """Return a whole number from ``low`` to ``high``; raise `Invalid` naming ``where``."""
    if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
        raise Invalid(f"{where}: a whole number from {low} to {high} is needed")
    return int(text)


def hex_binary(text: str, digits: int, where: str) -> str:
    """Return hexBinary of at most ``digits``, an even number, in capitals; raise `Invalid` naming ``where``."""
    if not _HEX.fullmatch(text) or len(text) > digits or len(text) % 2 or not text:
        raise Invalid(f"{where}: at most {digits} hexadecimal digits, an even number, are needed")
    return text.upper()


def decode(body: bytes) -> Element:
    """Return the document in ``body``; raise `Invalid` for what is none, or has a DTD, or is too large."""
    builder = _Builder()
    read_xml(body, builder, max_elements=MAX_ELEMENTS, max_depth=MAX_DEPTH)
    if builder.root is None:
        raise Invalid("the body is no document of urn:ieee:std:2030.5:ns")
    return builder.root


class _Builder:
    """What expat tells, as elements; those of a namespace that nobody asked for are left out, with what is in them."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element | None] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        prefix = _PREFIX.get(namespace)
        above = self._open[-1] if self._open else None
        if prefix is None or (self._open and above is None):
            self._open.append(None)
            return
        made = Element(prefix + local, {key.rpartition(" ")[2]: value for key, value in attributes.items()})
        if above is None:
            self.root = made
        else:
            above.children.append(made)
        self._open.append(made)

    def end(self, _name: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        if self._open and (at := self._open[-1]) is not None:
            at.text += text


class Part:
    """An element to be written: its content is text or other parts' text, so that it can be named anew as a whole."""

    __slots__ = ("attributes", "content", "tag")

    def __init__(self, tag: str, content: list[str], attributes: dict[str, str]) -> None:
        self.tag, self.content, self.attributes = tag, content, attributes

    def __str__(self) -> str:
        return element(self.tag, self.content, **self.attributes)

    def document(self, version: Version) -> bytes:
        """Return it as a whole document."""
        spaces = {"xmlns": SEP, "xmlns_csipaus": CSIP_AUS[version]}
        return element(self.tag, self.content, **spaces, **self.attributes).encode()

    def resource(self) -> str:
        """Return it as the ``Resource`` of a notification, which names its type."""
        return element("Resource", self.content, xsi_type=self.tag, **self.attributes)


def part(tag: str, *content: str, **attributes: str | None) -> Part:
    """Return an element of elements already written; attributes that are None are left out."""
    kept = {name: value for name, value in attributes.items() if value is not None}
    return Part(tag, [one for one in content if one], kept)


def text(tag: str, value: str | int | bool | None) -> str:
    """Return an element that says ``value``, "" for None."""
    if value is None:
        return ""
    return element(tag, str(value).lower() if isinstance(value, bool) else str(value))


def link(tag: str, href: str, all_: int | None = None) -> str:
    """Return a link to ``href``; ``all_`` is how many there are of what it lists."""
    return element(tag, href=href) if all_ is None else element(tag, href=href, all=str(all_))
