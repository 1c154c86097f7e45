"""What a target is, and the list of them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Target:
    """A decoder: ``run`` takes bytes and may only raise ``errors``; ``seeds`` are inputs it accepts, or nearly.

    ``kind`` says where its bytes come from: ``wire`` anybody, ``disk`` the node's own files. ``xml``: they are documents,
    and changed as trees.
    """

    name: str
    decodes: str
    run: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()
    kind: str = "wire"
    xml: bool = False
    shape: Callable[[Any], Any] = field(default=lambda result: type(result).__name__)


Maker = Callable[[], Target]
_MAKERS: dict[str, Maker] = {}


def target(make: Maker) -> Maker:
    """Register a function that makes a target; its name is the function's."""
    _MAKERS[make.__name__.replace("_", "-")] = make
    return make


def names() -> list[str]:
    """Return the names of all targets."""
    import decoders  # noqa: F401 - registers them

    return sorted(_MAKERS)


def make(name: str) -> Target:
    """Return the target ``name``."""
    names()
    return _MAKERS[name]()
