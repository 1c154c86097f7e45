"""JSON documents of strangers, read with bounds: size, depth, and what is found wrong in them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn

import msgspec

from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.things.td.quick import quickly

MAX_TD_BYTES = 262_144
"""Bytes of a Thing Description or Thing Model at most."""
MAX_DEPTH = 48
"""How deep objects and arrays may nest."""
MAX_FINDINGS = 100
"""Things that are said to be wrong at once, at most."""
_FIELD_CHARS, _WORDS_CHARS = 300, 500
_WHOLE_CHARS = 20
"""Digits and sign of a whole number of 64 bits, at most."""
Path = tuple[str | int, ...]


class Finding(msgspec.Struct, frozen=True):
    """What is wrong with a document, and where: ``field`` is a path such as ``properties.power.forms.0.href``.

    Source: W3C WoT Discovery, assertion tdd-validation-response, for the two names.
    """

    field: str
    description: str


def read_document(body: bytes) -> dict[str, Any]:
    """Return a JSON object; raise `TooLarge`, or `Invalid` where it is none or nests too deeply."""
    if len(body) > MAX_TD_BYTES:
        raise TooLarge(f"a Thing Description has at most {MAX_TD_BYTES} bytes")
    if (quick := quickly(body, MAX_DEPTH)) is not None:
        return quick
    if _depth(body) > MAX_DEPTH:
        refuse([finding((), f"objects and arrays nest at most {MAX_DEPTH} deep")])
    twice: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counted = Counter(name for name, _ in pairs)
            twice.extend(name for name, count in counted.items() if count > 1)
        return found

    try:
        document = json.loads(
            body.decode(), object_pairs_hook=members, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
        )
        if b"\\u" in body:
            msgspec.json.encode(document)  # half of a surrogate pair is no character, and could not be sent on
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", validationErrors=[]) from error
    if twice:
        refuse([finding((name,), "the name is there twice in one object") for name in twice])
    if not isinstance(document, dict):
        refuse([finding((), "a JSON object is needed")])
    return document


def check_depth(document: Any) -> None:
    """Raise `Invalid` where a document that was read elsewhere nests too deeply."""
    level, depth = [document], 0
    while level:
        inner = (one.values() if isinstance(one, Mapping) else one for one in level if isinstance(one, Mapping | list))
        level, depth = [value for values in inner for value in values], depth + 1
        if depth > MAX_DEPTH + 1:
            refuse([finding((), f"objects and arrays nest at most {MAX_DEPTH} deep")])


def finding(path: Path, words: str) -> Finding:
    """Return a finding at ``path``, "(root)" for the document itself."""
    field = ".".join(str(part) for part in path) or "(root)"
    return Finding(field[:_FIELD_CHARS], words[:_WORDS_CHARS])


def refuse(findings: Sequence[Finding]) -> NoReturn:
    """Raise `Invalid` with what is wrong, field by field."""
    shown = [{"field": one.field, "description": one.description} for one in findings[:MAX_FINDINGS]]
    words = "; ".join(f"{one['field']}: {one['description']}" for one in shown[:3])
    more = f" (and {len(findings) - 3} more)" if len(findings) > 3 else ""
    raise Invalid(f"{words}{more}", validationErrors=shown)


def walk(document: Any) -> Iterator[tuple[Path, Any]]:
    """Yield every value in a document with its path; a document that was read is never too deep for it."""
    waiting: list[tuple[Path, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        inner: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, Mapping):
            inner = value.items()
        elif isinstance(value, list):
            inner = enumerate(value)
        waiting += [((*path, key), one) for key, one in inner]


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _no_number(text)


def _whole(text: str) -> int:
    """Return a whole number of 64 bits, signed or not: longer ones come out of other readers as something else."""
    number = int(text) if len(text) <= _WHOLE_CHARS else _no_number(text)
    return number if -(1 << 63) <= number < 1 << 64 else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is no number that can be kept")


def _depth(body: bytes) -> int:
    """Return how deep JSON nests, without reading it: brackets in texts are passed over."""
    depth = most = at = 0
    while at < len(body):
        byte = body[at]
        if byte == 0x22:
            at = _end_of_text(body, at + 1)
        elif byte in b"{[":
            depth += 1
            most = max(most, depth)
            if most > MAX_DEPTH:
                return most
        elif byte in b"}]":
            depth -= 1
        at += 1
    return most


def _end_of_text(body: bytes, at: int) -> int:
    """Return the place of the quote that ends a text, or the end of the body."""
    while (end := body.find(b'"', at)) >= 0:
        slashes = end
        while body[slashes - 1] == 0x5C:
            slashes -= 1
        if (end - slashes) % 2 == 0:
            return end
        at = end + 1
    return len(body)
