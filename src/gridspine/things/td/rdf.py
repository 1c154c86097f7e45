"""Thing Descriptions as RDF, by a fixed mapping: no context is ever fetched.

::

    Thing described by its model     <thing> a td:Thing, kinds; td:title; gs:model; place; td:has…Affordance <model#/…>
    Thing with a description         the whole of it, nodes named by JSON pointers: <thing#/properties/power/forms/0>
    model                            <model> a tm:ThingModel; gs:hasPropertyAffordance those that its Things share

Terms of TD 1.1 become what W3C's context says; terms with a prefix that the description declares (as a text) are
expanded; others are left out, and so are forms and security of Things described by their models, which follow from
their ids. Source: W3C WoT Thing Description 1.1, context ``td-context-1.1.jsonld`` (read in the working group's
repository); the index of affordances is ``td:name`` (TD ontology).
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from gridspine.kernel.time import format_rfc3339
from gridspine.things.action import Same
from gridspine.things.exposed import GEO, GS
from gridspine.things.model import ThingModel
from gridspine.things.thing import Thing

TD, JSON_SCHEMA = "https://www.w3.org/2019/wot/td#", "https://www.w3.org/2019/wot/json-schema#"
HYPERMEDIA, SECURITY = "https://www.w3.org/2019/wot/hypermedia#", "https://www.w3.org/2019/wot/security#"
RDF, XSD = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://www.w3.org/2001/XMLSchema#"
DCT, TM = "http://purl.org/dc/terms/", "https://www.w3.org/2019/wot/tm#"
PREFIXES = {
    "td": TD, "jsonschema": JSON_SCHEMA, "hctl": HYPERMEDIA, "wotsec": SECURITY, "dct": DCT, "geo": GEO, "gs": GS,
    "schema": "http://schema.org/", "tm": TM, "xsd": XSD, "rdf": RDF, "htv": "http://www.w3.org/2011/http#",
}  # fmt: skip
"""Prefixes that every query may use without declaring them."""
MAX_TRIPLES, MAX_DEPTH = 500, 8
"""What is taken of one description."""
_AFFORDANCES = {
    "properties": f"{TD}hasPropertyAffordance", "actions": f"{TD}hasActionAffordance",
    "events": f"{TD}hasEventAffordance",
}  # fmt: skip
_TERMS: dict[str, dict[str, str]] = {
    TD: {
        "title": f"{TD}title", "description": f"{TD}description", "support": f"{TD}supportContact",
        "created": f"{DCT}created", "modified": f"{DCT}modified", "license": f"{DCT}license",
        "forms": f"{TD}hasForm", "links": f"{TD}hasLink", "version": f"{TD}versionInfo", "instance": f"{TD}instance",
        "model": f"{TD}model", "safe": f"{TD}isSafe", "idempotent": f"{TD}isIdempotent", "input": f"{TD}hasInputSchema",
        "output": f"{TD}hasOutputSchema", "data": f"{TD}hasNotificationSchema", **_AFFORDANCES,
    },
    JSON_SCHEMA: {
        "title": f"{DCT}title", "description": f"{DCT}description", "unit": "http://schema.org/unitCode",
        "observable": f"{TD}isObservable", "forms": f"{TD}hasForm", "safe": f"{TD}isSafe",
        "idempotent": f"{TD}isIdempotent", "input": f"{TD}hasInputSchema", "output": f"{TD}hasOutputSchema",
        "data": f"{TD}hasNotificationSchema",
        **{name: JSON_SCHEMA + name for name in (
            "readOnly", "writeOnly", "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "enum",
            "const", "multipleOf", "format", "required", "items", "properties", "oneOf", "exclusiveMinimum",
            "exclusiveMaximum", "pattern", "contentEncoding", "contentMediaType",
        )},
    },
    HYPERMEDIA: {
        "href": f"{HYPERMEDIA}hasTarget", "op": f"{HYPERMEDIA}hasOperationType",
        "contentType": f"{HYPERMEDIA}forContentType", "subprotocol": f"{HYPERMEDIA}forSubProtocol",
        "rel": f"{HYPERMEDIA}hasRelationType", "type": f"{HYPERMEDIA}hintsAtMediaType",
        "response": f"{HYPERMEDIA}returns",
    },
}  # fmt: skip
_SCOPE = {
    "properties": JSON_SCHEMA, "actions": JSON_SCHEMA, "events": JSON_SCHEMA, "input": JSON_SCHEMA,
    "output": JSON_SCHEMA, "data": JSON_SCHEMA, "items": JSON_SCHEMA, "oneOf": JSON_SCHEMA, "forms": HYPERMEDIA,
    "links": HYPERMEDIA, "response": HYPERMEDIA,
}  # fmt: skip
_INDEXED = frozenset(_AFFORDANCES)
_NOT_TAKEN = frozenset({"@context", "@type", "id", "security", "securityDefinitions", "uriVariables", "base"})
_KINDS = {"properties": "PropertyAffordance", "actions": "ActionAffordance", "events": "EventAffordance"}
_UNSAFE = "".join(map(chr, range(33))) + '<>"{}|\\^`'


def thing_triples(thing: Thing, model: ThingModel) -> str:
    """Return the N-Triples of a Thing that is described by its model; it shares the model's affordances."""
    subject = _iri(thing.id)
    lines = [
        f"{subject} <{TD}title> {_text(thing.title)} .",
        f'{subject} <{DCT}created> "{format_rfc3339(thing.created_us)}"^^<{XSD}dateTime> .',
        *_place(subject, thing),
        *[subject + said for said in _said_of_all(Same(model))],
    ]
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=1024)
def _said_of_all(same: Same) -> tuple[str, ...]:
    """Return what is said of every Thing of a model, without its subject."""
    model = same.model
    kinds = (f" <{RDF}type> {kind} ." for kind in _types(model.document, _prefixes(model.document)))
    points = (_iri(f"{model.id}#/properties/{point.name}") for point in model.points)
    return (
        f" <{RDF}type> <{TD}Thing> .",
        f" <{GS}model> {_iri(model.id)} .",
        *kinds,
        *(f" <{TD}hasPropertyAffordance> {point} ." for point in points),
    )


def model_triples(model: ThingModel) -> str:
    """Return the N-Triples of a Thing Model and its property affordances; a property is named as in its Things."""
    given = {name: value for name, value in model.document.items() if name not in {"actions", "events", "links"}}
    points = {point.name for point in model.points}
    given["properties"] = {name: value for name, value in given.get("properties", {}).items() if name in points}
    kinds = f"{_iri(model.id)} <{RDF}type> <{TM}ThingModel> .\n"
    lines = "".join(f"{line}\n" for line in _walk(model.id, given, own=False))
    return kinds + lines.replace(f"<{TD}hasPropertyAffordance>", f"<{GS}hasPropertyAffordance>")  # it is no Thing


def described_triples(thing: Thing, document: Mapping[str, Any]) -> str:
    """Return the N-Triples of a Thing that has a description of its own, `MAX_TRIPLES` at most."""
    subject = _iri(thing.id)
    lines = [f"{subject} <{RDF}type> <{TD}Thing> .", f"{subject} <{GS}model> {_iri(thing.model)} ."]
    if "geo:lat" not in document:
        lines += _place(subject, thing)
    for line in _walk(thing.id, document, own=True):
        if len(lines) >= MAX_TRIPLES:
            break
        lines.append(line)
    return "\n".join(lines) + "\n"


def _walk(root: str, document: Mapping[str, Any], *, own: bool) -> Iterator[str]:
    prefixes = _prefixes(document)
    if own:
        for kind in _types(document, prefixes):
            yield f"{_iri(root)} <{RDF}type> {kind} ."
    yield from _members(root, "", document, TD, prefixes, 0)


def _members(
    root: str, path: str, node: Mapping[str, Any], scope: str, prefixes: Mapping[str, str], depth: int
) -> Iterator[str]:
    """Yield the triples of an object, the ones nearest to it first."""
    subject, deeper = _iri(f"{root}#{path}" if path else root), []
    for name, value in node.items():
        predicate = _predicate(name, scope, prefixes)
        if predicate is None:
            continue
        several = value.items() if name in _INDEXED and isinstance(value, Mapping) else enumerate(_list(value))
        for key, one in several:
            here = f"{path}/{_pointer(name)}/{_pointer(str(key))}"
            if isinstance(one, Mapping):
                yield f"{subject} {predicate} {_iri(f'{root}#{here}')} ."
                deeper.append((name, str(key), here, one))
            elif (value_ := _object(name, one, scope)) is not None:
                yield f"{subject} {predicate} {value_} ."
    for name, key, here, one in deeper if depth < MAX_DEPTH else ():
        inner, inside = _iri(f"{root}#{here}"), _SCOPE.get(name, scope)
        if name in _INDEXED:
            yield f"{inner} <{TD}name> {_text(key)} ."
            yield f"{inner} <{RDF}type> <{TD}{_KINDS[name]}> ."
        for kind in _types(one, prefixes):
            yield f"{inner} <{RDF}type> {kind} ."
        if inside == JSON_SCHEMA and isinstance(one.get("type"), str) and one["type"].isalpha():
            yield f"{inner} <{RDF}type> <{JSON_SCHEMA}{one['type'].capitalize()}Schema> ."
        yield from _members(root, here, one, inside, prefixes, depth + 1)


def _predicate(name: str, scope: str, prefixes: Mapping[str, str]) -> str | None:
    if name in _NOT_TAKEN or (name == "type" and scope == JSON_SCHEMA):
        return None
    known = _TERMS.get(scope, {}).get(name)
    if known is not None:
        return f"<{known}>"
    prefix, colon, rest = name.partition(":")
    return _iri(prefixes[prefix] + rest) if colon and rest and prefix in prefixes else None


def _object(name: str, value: Any, scope: str) -> str | None:
    if isinstance(value, bool):
        return f'"{str(value).lower()}"^^<{XSD}boolean>'
    if isinstance(value, int):
        return f'"{value}"^^<{XSD}integer>'
    if isinstance(value, float):
        return f'"{value!r}"^^<{XSD}double>'
    if not isinstance(value, str):
        return None
    if name == "unit" and scope == JSON_SCHEMA:
        return _iri(JSON_SCHEMA + value)
    if name == "href" and scope == HYPERMEDIA:
        return _iri(value) if ":" in value else _text(value)
    if name in {"created", "modified"} and scope == TD:
        return f"{_text(value)}^^<{XSD}dateTime>"
    return _text(value)


def _types(node: Mapping[str, Any], prefixes: Mapping[str, str]) -> Iterator[str]:
    for kind in _list(node.get("@type")):
        prefix, colon, rest = kind.partition(":") if isinstance(kind, str) else ("", "", "")
        if colon and kind != "tm:ThingModel" and (prefix in prefixes or "//" in rest):
            yield _iri(prefixes[prefix] + rest if prefix in prefixes else kind)


def _prefixes(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the prefixes that a document declares, each with its IRI; the usual ones are known anyway."""
    found = dict(PREFIXES)
    for one in _list(document.get("@context")):
        if isinstance(one, Mapping):
            found |= {
                name: value for name, value in one.items()
                if isinstance(value, str) and not name.startswith("@") and ":" in value and name not in PREFIXES
            }  # fmt: skip
    return found


def _place(subject: str, thing: Thing) -> list[str]:
    if thing.location is None:
        return []
    return [
        f'{subject} <{GEO}{name}> "{value!r}"^^<{XSD}double> .'
        for name, value in zip(("lat", "long"), thing.location, strict=True)
    ]


def iri_of(text: str) -> str:
    """Return an id as an IRI: what none may hold is escaped."""
    return "".join(quote(one) if one in _UNSAFE else one for one in _valid(text))


def _iri(text: str) -> str:
    return f"<{iri_of(text)}>"


def _text(text: str) -> str:
    # JSON's escapes are those of N-Triples; what is not ASCII stays as it is.
    return json.dumps(_valid(text), ensure_ascii=False).replace("\x7f", "\\u007F")


def _valid(text: str) -> str:
    """Return a text without halves of surrogate pairs, which no UTF-8 can say."""
    return text.encode("utf-8", "replace").decode()


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
