"""An adapter's section of the node's settings, read into what the adapter knows it by."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec

from gridspine.kernel.errors import Invalid

_T = TypeVar("_T")


def read_section(name: str, section: Mapping[str, Any], kind: type[_T], *, of_the_node: Collection[str] = ()) -> _T:
    """Return the section of the adapter ``name`` as ``kind``, a `msgspec.Struct`.

    ``of_the_node`` are parts that are not the adapter's own: those of its listeners, which the node reads. Raises
    `Invalid` that names the adapter, the field and what is wrong with it.
    """
    try:
        return msgspec.convert({key: value for key, value in section.items() if key not in of_the_node}, kind)
    except msgspec.ValidationError as error:
        raise wrong(name, str(error)) from error


def wrong(name: str, words: str) -> Invalid:
    """Return the error that says what is wrong with the section of the adapter ``name``."""
    return Invalid(f"settings of the adapter {name}: {words}")
