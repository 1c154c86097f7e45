"""Rules of Thing Description 1.1 that its JSON Schema cannot state. A document has passed the schema before.

Source: W3C WoT Thing Description 1.1, §5.3 (vocabulary: op of each form, uriVariables, security names), §5.3.4.2 (op).
The assertions' own identifiers are given where they were known; their texts were not read clause by clause.
"""

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gridspine.things.td.document import Finding, Path, finding, walk

_ALLOWED: dict[str, frozenset[str]] = {
    "properties": frozenset({"readproperty", "writeproperty", "observeproperty", "unobserveproperty"}),
    "actions": frozenset({"invokeaction", "queryaction", "cancelaction"}),
    "events": frozenset({"subscribeevent", "unsubscribeevent"}),
    "": frozenset(
        {"readallproperties", "writeallproperties", "readmultipleproperties", "writemultipleproperties",
         "observeallproperties", "unobserveallproperties", "queryallactions", "subscribeallevents",
         "unsubscribeallevents"}
    ),
}  # fmt: skip
"""Operations of the forms in each kind of affordance; "": in the Thing itself."""
_TEMPLATE = re.compile(r"\{[+#./;?&]?([^{}]*)\}")
_PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}")
_ILLEGAL = re.compile(r'[\x00-\x20<>"\\^`]')
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_COMBO = ("oneOf", "allOf")
MAX_SCHEMES = 100
"""Security definitions of one description: which of them lead to each other takes the square of their number."""


def rules_broken(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield each rule that a Thing Description breaks."""
    defined = document.get("securityDefinitions", {})
    yield from _security(document, defined)
    base = document.get("base", "")
    if isinstance(base, str) and base:
        yield from _address(("base",), base, absolute=True)
    for kind in ("properties", "actions", "events"):
        for name, affordance in document.get(kind, {}).items():
            yield from _affordance(document, kind, (kind, name), affordance, defined, base)
    links = document.get("links", [])
    if sum(link.get("rel") == "type" for link in links) > 1:
        yield finding(("links",), "at most one link has rel type: the Thing Model it was made of")
    if any(link.get("rel") == "tm:extends" for link in links):
        yield finding(("links",), "tm:extends is for Thing Models")
    for at, form in enumerate(document.get("forms", [])):
        yield from _form(("forms", at), form, "", document.get("uriVariables", {}), defined, base)
        if "op" not in form:
            yield finding(("forms", at, "op"), "a form of the Thing itself says its op")


def address_is_good(value: str, *, absolute: bool) -> bool:
    """Whether nothing is wrong with an address; ``absolute``: it needs a scheme."""
    return not any(_address((), value, absolute=absolute))


def placeholders_left(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield each placeholder that was not filled in."""
    for path, value in walk(document):
        if isinstance(value, str) and _PLACEHOLDER.search(value):
            yield finding(path, "a placeholder is not filled in")


def _security(document: Mapping[str, Any], defined: Mapping[str, Any]) -> Iterator[Finding]:
    if len(defined) > MAX_SCHEMES:
        yield finding(("securityDefinitions",), f"at most {MAX_SCHEMES} are taken")
        return
    yield from _names(("security",), document.get("security"), defined)
    for name, scheme in defined.items():
        if scheme.get("scheme") == "combo":
            for word in _COMBO:
                yield from _names(("securityDefinitions", name, word), scheme.get(word), defined)
            if _circular(name, defined):
                yield finding(("securityDefinitions", name), "a combination must not combine itself")


def _circular(name: str, defined: Mapping[str, Any]) -> bool:
    waiting, seen = [name], set()
    while waiting:
        scheme = defined.get(waiting.pop(), {})
        inner = [one for word in _COMBO for one in scheme.get(word) or () if isinstance(one, str)]
        if name in inner:
            return True
        waiting += [one for one in inner if one not in seen]
        seen.update(inner)
    return False


def _names(path: Path, given: Any, defined: Mapping[str, Any]) -> Iterator[Finding]:
    names = [given] if isinstance(given, str) else given or []
    for name in names:
        if name not in defined:
            yield finding(path, f"{str(name)[:80]!r} is not in securityDefinitions")


def _affordance(
    document: Mapping[str, Any], kind: str, path: Path, affordance: Mapping[str, Any], defined: Mapping[str, Any],
    base: str,
) -> Iterator[Finding]:  # fmt: skip
    variables = ChainMap(affordance.get("uriVariables", {}), document.get("uriVariables", {}))
    for at, form in enumerate(affordance.get("forms", [])):
        where = (*path, "forms", at)
        yield from _form(where, form, kind, variables, defined, base)
        ops = _ops(form)
        if affordance.get("readOnly") and "writeproperty" in ops:
            yield finding((*where, "op"), "a readOnly property is not written")
        if affordance.get("writeOnly") and ops & {"readproperty", "observeproperty"}:
            yield finding((*where, "op"), "a writeOnly property is not read")
    if affordance.get("readOnly") and affordance.get("writeOnly"):
        yield finding(path, "a property is not both readOnly and writeOnly")
    yield from _data(path, affordance)


def _data(path: Path, schema: Mapping[str, Any]) -> Iterator[Finding]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        yield finding((*path, "minimum"), f"{low} is above maximum {high}")


def _form(
    path: Path, form: Mapping[str, Any], kind: str, variables: Mapping[str, Any], defined: Mapping[str, Any], base: str
) -> Iterator[Finding]:
    for op in sorted(_ops(form) - _ALLOWED[kind]):
        yield finding((*path, "op"), f"{op[:40]!r} is no operation here; known are {', '.join(sorted(_ALLOWED[kind]))}")
    if "security" in form:
        yield from _names((*path, "security"), form["security"], defined)
    href = form.get("href")
    if not isinstance(href, str):
        return
    yield from _address((*path, "href"), href, absolute=not base)
    for name in _variables(href):
        if name in variables:
            continue
        yield finding((*path, "href"), f"variable {name[:60]!r} is not in uriVariables")


def _ops(form: Mapping[str, Any]) -> set[str]:
    given = form.get("op", [])
    return {given} if isinstance(given, str) else set(given)


def _variables(href: str) -> set[str]:
    found = set()
    for expression in _TEMPLATE.findall(_PLACEHOLDER.sub("", href)):
        found |= {name.strip().removesuffix("*").partition(":")[0] for name in expression.split(",")}
    return {name for name in found if name}


def _address(path: Path, value: str, *, absolute: bool) -> Iterator[Finding]:
    """Yield what is wrong with an address (RFC 3986; letters beyond ASCII are taken, as in RFC 3987)."""
    plain = _TEMPLATE.sub("x", _PLACEHOLDER.sub("x", value))
    if _ILLEGAL.search(plain):
        yield finding(path, "an address has no spaces, quotes or backslashes: escape them, as in %20")
    elif _BAD_PERCENT.search(plain):
        yield finding(path, "a % in an address is followed by two hexadecimal digits: write %25 for the sign itself")
    try:
        scheme = urlsplit(plain).scheme
    except ValueError as error:
        yield finding(path, f"not an address: {error}")
        return
    if absolute and not scheme:
        yield finding(path, "there is no base: the address must be absolute, with its scheme")
