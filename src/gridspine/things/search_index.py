"""`SearchIndex`: which Things can have a value at a path of their descriptions; never too few of them.

Whoever is found is asked itself: entries of former versions, and hashes that collide, only cost time. A Thing that was
not read yet, or whose description has more than is kept, is always among those found.

::

    title of each Thing, and whether it has a description of its own ─┐
    values and paths of those descriptions ───────────────────────────┴─► hash ─► numbers, sorted
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gridspine.kernel.readings import BoolArray, Int32Array, Int64Array
from gridspine.things.column import Column

MAX_TERMS, MAX_DEPTH, MAX_ITEMS = 64, 4, 8
"""What is kept of a description: so many terms, so deep, so many items of a list."""
_LEFT_OUT = frozenset({"forms", "securityDefinitions", "security", "uriVariables"})
_MERGE = 20_000
_UNREAD, _BY_MODEL, _WHOLE, _PARTLY = 0, 1, 2, 3


class SearchIndex:
    """Grown on one thread at a time."""

    def __init__(self) -> None:
        self._version = Column(np.int32)
        self._kind = Column(np.uint8)
        self._key: Int64Array = np.zeros(0, np.int64)
        self._number: Int32Array = np.zeros(0, np.int32)
        self._new: list[tuple[Int64Array, Int32Array]] = []
        self._new_count = 0

    def stale(self, versions: Int32Array) -> Int64Array:
        """Return the Things whose version, one of all ``versions`` (n,), is not the one that was read."""
        self._version.grow(len(versions))
        self._kind.grow(len(versions))
        return np.flatnonzero(self._version.array[: len(versions)] != versions)

    def put(self, numbers: Sequence[int], versions: Sequence[int], heads: Sequence["tuple[str, Any]"]) -> None:
        """Read Things: title and description (None: described by the model) of each."""
        keys: list[int] = []
        owners: list[int] = []
        for number, (title, document) in zip(numbers, heads, strict=True):
            if document is None:
                terms, kind = [_hash((("title",), title))], _BY_MODEL
            else:
                terms = [_hash(term) for term in _terms(document, title)]
                kind = _PARTLY if len(terms) > MAX_TERMS else _WHOLE
                terms = terms[:MAX_TERMS]
            keys += terms
            owners += [number] * len(terms)
            self._kind.array[number] = kind
        self._version.array[np.array(numbers, np.int64)] = np.array(versions, np.int32)
        self._new.append((np.array(keys, np.int64), np.array(owners, np.int32)))
        self._new_count += len(keys)
        if self._new_count > max(_MERGE, len(self._key) // 4):
            self._merge()

    def by_model(self, numbers: Int64Array) -> BoolArray:
        """Return which Things were read, and are described by their models alone."""
        found: BoolArray = self._kind.array[numbers] == _BY_MODEL
        return found

    def sure(self, numbers: Int64Array) -> BoolArray:
        """Return of which Things all terms are known that a description of their own has."""
        found: BoolArray = self._kind.array[numbers] == _WHOLE
        return found

    def having(self, path: tuple[str | int, ...], value: Any, exists: bool, size: int) -> BoolArray:
        """Return, for Things up to ``size``, which may have the term; other than those that were not read whole."""
        found: BoolArray = np.zeros(size, np.bool_)
        key = _hash((path,) if exists else (path, value))
        low, high = np.searchsorted(self._key, [key, key + 1] if key < (1 << 63) - 1 else [key, key])
        found[self._number[low : max(high, low)]] = True
        for keys, numbers in self._new:
            found[numbers[keys == key]] = True
        return found

    def knows(self, path: tuple[str | int, ...]) -> bool:
        """Whether terms at a path are kept."""
        names = (one for one in path if isinstance(one, str))
        places = (one for one in path if isinstance(one, int))
        return len(path) <= MAX_DEPTH and not _LEFT_OUT & set(names) and all(one < MAX_ITEMS for one in places)

    def _merge(self) -> None:
        key = np.concatenate([self._key, *(keys for keys, _ in self._new)])
        number = np.concatenate([self._number, *(numbers for _, numbers in self._new)])
        order = np.argsort(key, kind="stable")
        self._key, self._number, self._new, self._new_count = key[order], number[order], [], 0


def _hash(term: tuple[Any, ...]) -> int:
    return hash(term)


def _terms(document: Mapping[str, Any], title: str) -> list[tuple[Any, ...]]:
    """Return the terms of a description, the shallow ones first."""
    found: list[tuple[Any, ...]] = []
    level: list[tuple[tuple[str | int, ...], Any]] = [((), {**document, "title": document.get("title", title)})]
    while level and len(found) <= MAX_TERMS:
        deeper: list[tuple[tuple[str | int, ...], Any]] = []
        for path, value in level:
            for at, one in _children(value):
                here = (*path, at)
                found.append((here,))
                if isinstance(one, dict | list):
                    if len(here) < MAX_DEPTH:
                        deeper.append((here, one))
                else:
                    found.append((here, one))
        level = deeper
    return found


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from ((name, one) for name, one in value.items() if name not in _LEFT_OUT)
    else:
        yield from enumerate(value[:MAX_ITEMS])
