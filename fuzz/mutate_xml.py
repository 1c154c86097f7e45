"""Mutations of XML as trees: most are still well-formed, and reach what lies behind the parser. Seeded as all are."""

import copy
from collections.abc import Sequence
from typing import Any

from lxml import etree
from mutate import MAX_BYTES, Mutator

_TEXTS = (
    "", " ", "0", "-1", "1e308", "1e999", "9" * 400, "NaN", "INF", "-32768", "32767", "4294967296", "true", "2", "x" * 300,
    "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00", "2026-02-30T00:00:00Z", "PT0S", "-PT1S", "P9999Y",
    "P1Y2M3DT4H5M6S", "PT99999999999S", "../..", "http://[", "\u2028", "\U0001f50c", "00", "FFFFFFFFFFFFFFFFFFFF", "k", "none",
)  # fmt: skip
_PARSED = 2_000


class XmlMutator(Mutator):
    """Makes documents from a pool of documents; now and then bytes, which mostly are none any more."""

    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes], seed: int) -> None:
        super().__init__(seeds, words, seed)
        self._texts = (*_TEXTS, *(word.decode("utf-8", "ignore") for word in words))
        self._trees = [found for one in seeds if (found := _parsed(one)) is not None]

    def keep(self, data: bytes, limit: int = 3000) -> None:
        """Take a document that showed something new as a seed; what is none showed only how it is none."""
        found = _parsed(data) if len(self._trees) < _PARSED else None
        if found is not None:
            self._trees.append(found)
            super().keep(data, limit)

    def next(self) -> bytes:
        """Return the next input."""
        pick = self._random.random
        if pick() < 0.2 or not self._trees:
            return super().next()
        root = copy.deepcopy(self._random.choice(self._trees))
        for _ in range(1 + int(pick() ** 3 * 6)):
            self._graft(root)
        return etree.tostring(root)[:MAX_BYTES]

    def _graft(self, root: Any) -> None:
        """Change one element: its text, an attribute, its name, or what is in it."""
        pick, choose = self._random.random, self._random.choice
        one, kind = choose(_elements(root)), self._random.random()
        if kind < 0.45:
            one.text = choose(self._texts) if pick() < 0.7 else choose(_elements(root)).text
        elif kind < 0.52:
            one.set(choose([*one.keys(), "x"]), choose(self._texts))
        elif kind < 0.60:
            one.tag = choose(_elements(choose(self._trees))).tag
        elif len(one) and kind < 0.72:
            one.remove(choose(list(one)))
        elif len(one) and kind < 0.82:
            child = choose(list(one))
            for _ in range(1 + int(pick() ** 6 * 200)):
                one.append(copy.deepcopy(child))
        else:
            other = copy.deepcopy(choose(_elements(choose(self._trees))))
            one.insert(int(pick() * (len(one) + 1)), other)


def _parsed(data: bytes) -> Any:
    """Return a document, prefixes and all, as they count where it is signed; None for what is none."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        return etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError):
        return None


def _elements(tree: Any) -> list[Any]:
    return list(tree.iter(etree.Element))
