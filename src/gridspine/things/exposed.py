"""A Thing of ours as others may use it: its Thing Description, with forms, for one caller at one address.

::

    model ─► affordances ─┐ made once for a model and what a caller may do
    Thing ─► head ────────┴─► Thing Description 1.1         hrefs are relative to ``base``: …/things/{id}/

A property's resource gives the plain value that its schema describes; quality and time are in headers, or in its SenML
form. Writing one is asking for a lease: it reads as reported, not as ordered. What a caller may not do is not offered.

Sources: W3C Web of Things (WoT) Thing Description 1.1 by its JSON Schema (release of 12 March 2025; the text's section
numbers were not checked); W3C WoT Profile (Editor's Draft, read as text) "HTTP Basic Profile" (actions) and "HTTP SSE
Profile" (all properties, all events), which is followed but not claimed: streams of a single property carry no event
name, so that any EventSource's ``onmessage`` hears them. Positions by http://www.w3.org/2003/01/geo/wgs84_pos#.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec

from gridspine.kernel.time import format_rfc3339
from gridspine.things.action import ActionModel, Same, actions_of
from gridspine.things.model import PointModel, ScreenRule, ThingModel
from gridspine.things.thing import Thing

TD_CONTEXT = "https://www.w3.org/2022/wot/td/v1.1"
GS = "https://gridspine.org/terms#"
GEO = "http://www.w3.org/2003/01/geo/wgs84_pos#"
TD_JSON, TM_JSON, LD_JSON = "application/td+json", "application/tm+json", "application/ld+json"
SENML_JSON, SENML_CBOR, CBOR = "application/senml+json", "application/senml+cbor", "application/cbor"
DEFAULT_LEASE_S = 900.0
"""How long [s] a written value holds when nothing is said, within what the model allows."""
EVENTS = ("alarm", "command", "lifecycle")
"""The events of every Thing."""
_NOT_SHOWN = frozenset({"gs:screen", "gs:does", "forms", "uriVariables", "readOnly", "writeOnly", "observable"})
_TEXT = {"type": "string"}
TICKET = {"type": "string", "title": "A ticket of POST /tickets, for clients that cannot send an Authorization header"}
"""The variable by which a stream is opened without a token of its own."""
_WRITING = "{?durationS,priority,key,reason}"
_Json = dict[str, Any]


class Reach(msgspec.Struct, frozen=True):
    """Where a caller reaches the node (``base``: scheme and authority, no slash) and what it may do to the Thing.

    ``command``: write and act; ``alarms``: hear of alarms. ``services`` are those that the node carries out.
    """

    base: str
    command: bool = False
    alarms: bool = False
    services: frozenset[str] = frozenset({"hold", "stop"})


def describe(thing: Thing, model: ThingModel, reach: Reach) -> _Json:
    """Return the Thing Description of ``thing`` for whoever has ``reach``.

    A pure function. Its parts are shared between Things: copy before you change any.
    """
    shared = _affordances(Same(model), reach.command, reach.alarms, reach.services)
    head: _Json = {
        "@context": shared["@context"],
        "id": thing.id,
        "title": thing.title,
        "base": f"{thing_url(reach.base, thing.id)}/",
        "version": {"instance": str(thing.version), "model": model.version},
        "created": format_rfc3339(thing.created_us),
        "gs:organisation": thing.organisation,
        **security(reach.base),
        "links": _links(reach.base, model),
        "forms": [*shared["forms"], _socket(reach.base, thing.id)],
    }
    if thing.location is not None:
        head |= {"geo:lat": thing.location[0], "geo:long": thing.location[1]}
    return {**shared, **head}


def thing_url(base: str, id: str) -> str:
    """Return where a Thing is found; what a URN may hold and a path may not is escaped."""
    return f"{base}/things/{quote(id, safe=':')}"


def security(base: str) -> _Json:
    """Return how a caller proves itself, as a TD says it (TD 1.1, class SecurityScheme).

    Two ways have no scheme in TD 1.1: DPoP proofs and client certificates; the description names them.
    """
    words = (
        "An access token of this node. It is bound to a client certificate (RFC 8705: connect with it), or to a DPoP "
        "key (RFC 9449: then send `Authorization: DPoP` and a proof instead); in the demo profile a plain one will do "
        "on the node's own machine."
    )
    bearer = {"scheme": "bearer", "in": "header", "name": "Authorization", "format": "jwt"}
    client = {"scheme": "oauth2", "flow": "client", "token": f"{base}/token"}
    got = "How a token is got: client_credentials, proven by private_key_jwt (RFC 7523) or by a client certificate."
    return {
        "securityDefinitions": {
            "bearer": {**bearer, "authorization": f"{base}/token", "description": words},
            "oauth2": {**client, "description": got},
        },
        "security": ["bearer"],
    }


def _socket(base: str, id: str) -> _Json:
    """Return the form of the WebSocket: a base has one scheme, so its address is a whole one."""
    href = f"{thing_url(base.replace('http', 'ws', 1), id)}/values/socket{{?names,ticket}}"
    observing = ["observeallproperties", "unobserveallproperties"]
    return {"href": href, "op": observing, "subprotocol": "gs:values", "contentType": "application/json"}


def _links(base: str, model: ThingModel) -> list[_Json]:
    return [
        {"rel": "type", "href": f"{base}/models?id={quote(model.id, safe=':/')}", "type": TM_JSON},
        {"rel": "collection", "href": f"{base}/things", "type": LD_JSON},
    ]


@lru_cache(maxsize=1024)
def _affordances(same: Same, command: bool, alarms: bool, services: frozenset[str]) -> _Json:
    """Return all of a TD that does not depend on the Thing."""
    model = same.model
    document = model.document
    kept = {key: value for key, value in document.items() if key not in _OF_THE_THING and not key.startswith("tm:")}
    given = document.get("properties", {})
    actions = actions_of(model, services) if command else ()
    found: _Json = {**kept, "@context": _context(document.get("@context"))}
    if kinds := _kinds(document.get("@type")):
        found["@type"] = kinds
    found["properties"] = {point.name: _property(point, given.get(point.name, {}), command) for point in model.points}
    if actions:
        found["actions"] = {action.name: _action(action) for action in actions}
    found["events"] = {name: _event(name) for name in EVENTS if alarms or name != "alarm"}
    writable = [point for point in model.points if point.lease is not None and command]
    found["forms"] = [*_forms_of_all(), *(_writing_all() if writable else ())]
    found["uriVariables"] = {"names": {"type": "array", "items": _TEXT}, "ticket": TICKET}
    if writable:
        longest_s = min(point.lease.max_duration_s for point in writable if point.lease is not None)
        found["uriVariables"] |= _variables(longest_s)
    return found


_OF_THE_THING = frozenset(
    {"@context", "@type", "id", "title", "titles", "version", "properties", "actions", "events", "forms", "links",
     "base", "security", "securityDefinitions", "created", "modified", "uriVariables"}
)  # fmt: skip


def _context(given: Any) -> list[Any]:
    """Return the model's contexts with TD 1.1 first, and the prefixes that are used here."""
    rest = given if isinstance(given, list) else [given] if given else []
    ours = {"gs": GS, "geo": GEO}
    others: list[Any] = []
    for one in rest:
        if one == TD_CONTEXT:
            continue
        if isinstance(one, Mapping):
            one = {key: value for key, value in one.items() if key not in ours}
        if one:
            others.append(one)
    return [TD_CONTEXT, ours, *others]


def _kinds(given: Any) -> list[str]:
    kinds = given if isinstance(given, list) else [given]
    return [str(kind) for kind in kinds if kind and kind != "tm:ThingModel"]


def data_type(affordance: Mapping[str, Any]) -> str:
    """Return which JSON type carries a property's number: ``number``, ``integer`` or ``boolean``."""
    kind = affordance.get("type", "number")
    return kind if kind in {"integer", "boolean"} else "number"


def _property(point: PointModel, given: Mapping[str, Any], command: bool) -> _Json:
    """Return a property: the model's words and schema, its reading type, and where it is read, written, observed."""
    kept = {key: value for key, value in given.items() if key not in _NOT_SHOWN and not key.startswith("tm:")}
    writable = point.lease is not None and command
    found: _Json = {"title": point.title, "unit": point.reading_type.unit, **kept, "type": data_type(given)}
    _widen(found, point.screen)
    found |= {"readOnly": not writable, "observable": True}
    here = f"properties/{quote(point.name)}"
    watching = ["observeproperty", "unobserveproperty"]
    forms: list[_Json] = [{"href": f"{here}/value", "op": ["readproperty"], "contentType": "application/json"}]
    if writable:
        forms.append(_writing(f"{here}/value{_WRITING}", "application/json"))
        found["uriVariables"] = _lease_variables(point)
    forms += [
        {"href": f"{here}/next", "op": watching, "subprotocol": "longpoll", "contentType": "application/json"},
        {"href": f"{here}/observe{{?ticket}}", "op": watching, "subprotocol": "sse", "contentType": "application/json"},
        {"href": f"{here}/value", "op": ["readproperty"], "contentType": CBOR},
        {"href": here, "op": ["readproperty"], "contentType": SENML_JSON},
        {"href": here, "op": ["readproperty"], "contentType": SENML_CBOR},
    ]
    if writable:
        forms.append(_writing(f"{here}/value{_WRITING}", CBOR))
    return {**found, "forms": forms}


def _widen(schema: _Json, screen: ScreenRule) -> None:
    """Let the schema hold all that may be read, which can lie beyond what may be written: consumers check by it."""
    for name, bound, wider in (("minimum", screen.possible_min, min), ("maximum", screen.possible_max, max)):
        if name in schema and bound is None:
            del schema[name]
        elif name in schema and bound is not None:
            schema[name] = wider(schema[name], bound)


def _writing(href: str, media_type: str) -> _Json:
    return {"href": href, "op": ["writeproperty"], "contentType": media_type, "htv:methodName": "PUT"}


def _lease_variables(point: PointModel) -> _Json:
    assert point.lease is not None
    return _variables(point.lease.max_duration_s)


def _variables(longest: float) -> _Json:
    """Return what may be said of a lease of at most so long [s] beside its value."""
    usual = min(DEFAULT_LEASE_S, longest)
    duration = {"type": "number", "unit": "s", "exclusiveMinimum": 0, "maximum": longest, "default": usual}
    return {
        "durationS": {**duration, "title": "How long the value holds; then the device goes to its fallback"},
        "priority": {"type": "integer", "default": 0},
        "key": {"type": "string", "maxLength": 200, "title": "Makes a repetition harmless"},
        "reason": {"type": "string", "maxLength": 500},
    }


def _action(action: ActionModel) -> _Json:
    """Return an action; it is answered with where its state is to be found."""
    here = f"actions/{quote(action.name)}"
    found: _Json = {**action.more, "title": action.title, "description": action.description, "output": action.output}
    if action.input is not None:
        found["input"] = action.input
    one = {"href": f"{here}/{{invocation}}", "contentType": "application/json"}
    return {
        **found,
        "synchronous": False,
        "safe": action.safe or action.does == "readNow",
        "idempotent": action.does in {"stop", "readNow"} or action.more.get("idempotent") is True,
        "uriVariables": {"invocation": {"type": "string", "title": "The last part of the Location answered"}},
        "forms": [
            {"href": here, "op": ["invokeaction"], "contentType": "application/json", "htv:methodName": "POST"},
            {**one, "op": ["queryaction"], "htv:methodName": "GET"},
            {**one, "op": ["cancelaction"], "htv:methodName": "DELETE"},
        ],
    }


def _event(name: str) -> _Json:
    title, words, properties = _EVENTS[name]
    here, hearing = f"events/{name}", ["subscribeevent", "unsubscribeevent"]
    return {
        "title": title,
        "description": words,
        "data": {"type": "object", "properties": {key: dict(schema) for key, schema in properties.items()}},
        "forms": [
            {"href": f"{here}/next", "op": hearing, "subprotocol": "longpoll", "contentType": "application/json"},
            {"href": f"{here}{{?ticket}}", "op": hearing, "subprotocol": "sse", "contentType": "application/json"},
        ],
    }


def _forms_of_all() -> list[_Json]:
    """Return the forms of the Thing as a whole."""
    json = {"contentType": "application/json"}
    observing, hearing = (
        ["observeallproperties", "unobserveallproperties"],
        ["subscribeallevents", "unsubscribeallevents"],
    )
    return [
        {"href": "values", "op": ["readallproperties"], **json},
        {"href": "values{?names}", "op": ["readmultipleproperties"], **json},
        {"href": "values", "op": ["readallproperties"], "contentType": CBOR},
        {"href": "properties", "op": ["readallproperties"], "contentType": SENML_JSON},
        {"href": "properties", "op": ["readallproperties"], "contentType": SENML_CBOR},
        {"href": "values/observe{?ticket}", "op": observing, "subprotocol": "sse", **json},
        {"href": "actions", "op": ["queryallactions"], **json},
        {"href": "events{?ticket}", "op": hearing, "subprotocol": "sse", **json},
    ]


def _writing_all() -> list[_Json]:
    """Return the forms that write several properties in one order: those that the body names, all or none."""
    ops = ["writeallproperties", "writemultipleproperties"]
    return [
        {"href": f"values{_WRITING}", "op": ops, "contentType": media_type, "htv:methodName": "PUT"}
        for media_type in ("application/json", CBOR)
    ]


_NUMBER = {"type": ["number", "null"]}
_EVENTS: dict[str, tuple[str, str, Mapping[str, Mapping[str, Any]]]] = {
    "alarm": (
        "An alarm changed",
        "A condition that an operator must know of: raised, over, back, or acknowledged.",
        {"point": _TEXT, "kind": _TEXT, "priority": _TEXT, "first": _TEXT, "last": _TEXT, "count": {"type": "integer"},
         "acknowledgedBy": _TEXT, "note": _TEXT},
    ),
    "command": (
        "A command changed its state",
        "Accepted, sent, acknowledged, applied, ended …; an acknowledgement is not a reading.",
        {"id": _TEXT, "point": _TEXT, "state": _TEXT, "reason": _TEXT},
    ),
    "lifecycle": (
        "Something happened to the Thing",
        "Registered, changed, commissioned, suspended, retired …",
        {"type": _TEXT, "at": _TEXT, "actor": _TEXT, "data": {"type": "object"}},
    ),
}  # fmt: skip
