"""The facets of an order, and what a language makes of each: kept, kept in part, or lost. They are data.

::

    [order."OCPP 1.6"]                                    in an adapter's quality.toml, a table for each language
    end = ["part", "whole seconds, rounded up", [0, 1]]   what becomes of it, how, and by how much at most
    trace = ["lost", "it has no place for it"]
"""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Literal

import msgspec

State = Literal["kept", "part", "lost"]


class Facet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One facet: what it ``means``, and the ``unit`` in which a part of it may be off, "" where it is no number."""

    means: str
    unit: str = ""


class Fate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What becomes of a facet, and ``how``, in words.

    ``within`` is of a part: the least and the most that what arrives may be beside what was ordered [the facet's unit].
    """

    state: State
    how: Annotated[str, msgspec.Meta(min_length=1)]
    within: Annotated[tuple[float, ...], msgspec.Meta(min_length=2, max_length=2)] = ()


Language = dict[str, Fate]


@cache
def facets() -> dict[str, Facet]:
    """Return the facets by name."""
    text = (resources.files("gridspine.testing") / "facets.toml").read_text()
    return msgspec.convert(tomllib.loads(text), dict[str, Facet])


def order_complaints(order: Mapping[str, Language]) -> Iterator[str]:
    """Yield what is missing or does not fit in the languages of a ``quality.toml``."""
    known = facets()
    for language, said in order.items():
        for name in known.keys() - said.keys():
            yield f"order {language!r}: nothing is said of {name}"
        for name, fate in said.items():
            if name not in known:
                yield f"order {language!r}: {name} is no facet of an order; those are: {', '.join(known)}"
            elif fate.within and (fate.state != "part" or not known[name].unit):
                yield f"order {language!r}: {name}: a tolerance is for a part of what is a number"
            elif fate.within and fate.within[0] > fate.within[1]:
                yield f"order {language!r}: {name}: a tolerance is [least, most]"
