"""From a Thing Model to a Thing Description: what it extends and refers to, placeholders, what is optional.

::

    model ─ tm:extends ─► parent + model ─ tm:ref ─► pieces + what stands beside ─ {{…}} ─► values ─► TD

References lead to the same document or to a model the node knows; nothing is fetched.

Source: W3C WoT Thing Description 1.1, §10 (Thing Model): extension and import by JSON Merge Patch (RFC 7396),
``tm:optional``, placeholders, no recursion (the sub-clauses were not looked up).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gridspine.things.td.document import Finding, Path, finding, refuse
from gridspine.things.td.merge_patch import patched

Known = Callable[[str], Mapping[str, Any] | None]
"""Address of a Thing Model → its document, or None."""
MAX_REFERENCES, MAX_CHAIN, MAX_NODES = 1_000, 16, 100_000
MAX_VALUES, MAX_VALUE_CHARS = 1_000, 10_000
_HOLE = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")
_TM = "tm:ThingModel"


def filled(
    model: Mapping[str, Any], placeholders: Mapping[str, Any], known: Known = lambda _: None, *,
    without: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return the Thing Description that a Thing Model becomes; raise `Invalid` with what stands in the way.

    ``without`` are those of its ``tm:optional`` that the Thing has not.
    """
    if len(placeholders) > MAX_VALUES or any(len(str(value)) > MAX_VALUE_CHARS for value in placeholders.values()):
        refuse([finding(("placeholders",), "too many, or too long")])
    document = _without(_extended(model, _Maker(known), ()), without)
    document = _numbered(document, placeholders)
    return _described(model, document)


def _extended(model: Mapping[str, Any], maker: "_Maker", chain: tuple[str, ...]) -> Mapping[str, Any]:
    """Return a model without references, with what it extends merged beneath it (TD 1.1 §10, extension)."""
    model = maker.made(model)
    parents = [link.get("href") for link in model.get("links", []) if link.get("rel") == "tm:extends"]
    for href in parents:
        if not isinstance(href, str):
            refuse([finding(("links",), "a link with rel tm:extends needs an href")])
        if href in chain or len(chain) >= MAX_CHAIN:
            refuse([finding(("links",), f"{href[:100]} extends itself, or too many others")])
        parent = maker.known(href)
        if parent is None:
            refuse([finding(("links",), f"{href[:100]} is not known here, and nothing is fetched: register it first")])
        links = [link for link in model.get("links", []) if link.get("rel") != "tm:extends"]
        model = patched(_extended(parent, maker, (*chain, href)), {**model, "links": links or None})
    return model


def _without(model: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    optional = model.get("tm:optional", [])
    document = {name: value for name, value in model.items() if name not in {"tm:optional", "tm:required"}}
    for pointer in without:
        if pointer not in optional:
            refuse([finding(("tm:optional",), f"{pointer[:80]} is not optional")])
        kind, _, name = pointer.removeprefix("/").partition("/")
        document[kind] = {key: value for key, value in document.get(kind, {}).items() if key != name}
    return document


class _Maker:
    """Replaces ``tm:ref`` by what it leads to."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self._left, self._values = MAX_REFERENCES, MAX_NODES

    def made(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``model`` without references."""
        return self._resolved(model, model, (), ())  # type: ignore[no-any-return]

    def _resolved(self, value: Any, root: Mapping[str, Any], path: Path, chain: tuple[str, ...]) -> Any:
        self._values -= 1
        if self._values < 0:
            refuse([finding(path, "its references make it too large")])
        if isinstance(value, list):
            return [self._resolved(one, root, (*path, at), chain) for at, one in enumerate(value)]
        if not isinstance(value, Mapping):
            return value
        beside = {
            name: self._resolved(one, root, (*path, name), chain) for name, one in value.items() if name != "tm:ref"
        }
        reference = value.get("tm:ref")
        if not isinstance(reference, str):
            return beside
        self._left -= 1
        if reference in chain or len(chain) >= MAX_CHAIN or self._left < 0:
            refuse([finding((*path, "tm:ref"), "a reference leads back to itself, or through too many others")])
        address, mark, pointer = reference.partition("#")
        there = root if not address else self.known(address)
        if not mark or there is None:
            words = f"{reference[:100]} leads nowhere: the node fetches nothing; register that model first"
            refuse([finding((*path, "tm:ref"), words)])
        piece = _piece(there, pointer, (*path, "tm:ref"))
        return patched(self._resolved(piece, there, path, (*chain, reference)), beside)


def _piece(document: Mapping[str, Any], pointer: str, path: Path) -> Any:
    """Return what a JSON Pointer leads to (RFC 6901 §4)."""
    found: Any = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isascii() and name.isdigit() and len(name) < 9 and int(name) < len(found):
            found = found[int(name)]
        else:
            refuse([finding(path, f"there is nothing at {pointer[:100]}")])
    return found


def _numbered(document: dict[str, Any], placeholders: Mapping[str, Any]) -> dict[str, Any]:
    missing: list[Finding] = []
    result = _with_values(document, placeholders, (), missing)
    if missing:
        refuse(missing)
    return result  # type: ignore[no-any-return]


def _with_values(value: Any, given: Mapping[str, Any], path: Path, missing: list[Finding]) -> Any:
    if isinstance(value, Mapping):
        return {
            _with_values(name, given, path, missing): _with_values(one, given, (*path, name), missing)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [_with_values(one, given, (*path, at), missing) for at, one in enumerate(value)]
    if not isinstance(value, str):
        return value
    names = _HOLE.findall(value)
    missing += [finding(path, f"placeholder {name[:60]} has no value") for name in names if name not in given]
    if len(names) == 1 and _HOLE.fullmatch(value) and names[0] in given:
        return given[names[0]]  # the whole text: a number stays a number
    return _HOLE.sub(lambda hole: str(given.get(hole[1], "")), value)


def _described(model: Mapping[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return a filled document as a Thing Description that says which model it was made of."""
    kinds = document.get("@type")
    others = [kind for kind in kinds if kind != _TM] if isinstance(kinds, list) else []
    result = {name: value for name, value in document.items() if name != "@type"}
    if others:
        result["@type"] = others
    if document.get("id") == model.get("id"):
        result.pop("id", None)  # it names the model
    href = model.get("id")
    links = [link for link in document.get("links", []) if link.get("rel") not in {"type", "tm:submodel"}]
    if isinstance(href, str) and "{{" not in href:
        links.append({"rel": "type", "href": href, "type": "application/tm+json"})
    if links:
        result["links"] = links
    else:
        result.pop("links", None)
    if isinstance(document.get("version"), Mapping):
        result["version"] = {"instance": "1", **document["version"]}
    return result


def holes(document: Any) -> Iterator[str]:
    """Yield the names of all placeholders in a document, each once."""
    seen: set[str] = set()
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            for name in _HOLE.findall(value):
                if name not in seen:
                    seen.add(name)
                    yield name
