"""Documents in XML that strangers send: read by expat, without a DTD and so without entities, and bounded.

What becomes of elements is the caller's: each protocol has names and rules of its own.
"""

from collections.abc import Callable
from typing import Protocol
from xml.parsers import expat

from gridspine.kernel.errors import Invalid


class Builder(Protocol):
    """Is told of a document in its order; a name is that of its namespace, a space, and the local one."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        ...

    def end(self, name: str) -> None:
        """It ends."""
        ...

    def characters(self, text: str) -> None:
        """It says this; what it says may come in parts."""
        ...


def read_xml(body: bytes, builder: Builder, *, max_elements: int, max_depth: int) -> None:
    """Tell ``builder`` of a document; raise `Invalid` for what is none, has a DTD, or is too large."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _no_dtd
    parser.StartElementHandler, parser.EndElementHandler = _bounded(builder, max_elements, max_depth)
    parser.CharacterDataHandler = builder.characters
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an encoding nobody knows
        raise Invalid(f"this is no XML document: {str(error)[:100]}") from error


def _bounded(
    builder: Builder, max_elements: int, max_depth: int
) -> tuple[Callable[[str, dict[str, str]], None], Callable[[str], None]]:
    count = depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count, depth
        count, depth = count + 1, depth + 1
        if count > max_elements or depth > max_depth:
            raise Invalid("the document has too many elements, or they lie too deep")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    return start, end


def _no_dtd(*_: object) -> None:
    raise Invalid("the document has a DTD, which is not read here")
