"""Which adapter can serve a described Thing, and where: its forms, as an adapter's ``connection``.

::

    http, https       GET of JSON or text; nosec, basic, bearer, oauth2 (client)   wot_http   polled
    mqtt, mqtts       a topic for a property, at the node's own broker              mqtt       published to us
    modbus+tcp        a device of a model that is mapped to SunSpec                 modbus     polled
    any other         described only

Who proves itself by a secret has it in the adapter's secrets; a security definition names it: ``gs:secret``.

Sources: W3C WoT Thing Description 1.1 (forms, security schemes); WoT Binding Templates: HTTP (``htv:methodName``), MQTT
(``mqv:topic``, ``mqv:filter``), Modbus (``modv:unitID``; addresses are modbus+tcp://host:port/unit/…), whose versions
were not looked up.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.things.td.derive import Left, code_names, known_unit

HTTP, MQTT, MODBUS = "wot_http", "mqtt", "modbus"
SCHEMES = frozenset({"nosec", "basic", "bearer", "oauth2"})
"""Security schemes that forms over HTTP may have."""
POLL_S = 60.0
_ADAPTER_OF = {"http": HTTP, "https": HTTP, "mqtt": MQTT, "mqtts": MQTT, "modbus+tcp": MODBUS}
_PORTS = {"mqtt": 1883, "mqtts": 8883, "modbus+tcp": 502}
_READS = {MQTT: frozenset({"observeproperty", "readproperty"})}
_OPS = frozenset({"readproperty"})


class Reachable(msgspec.Struct, frozen=True):
    """What the node can use: ``adapters`` that run, the ``broker`` it is a client of, models ``mapped`` to registers.

    ``own`` is the node's own address: forms there are none of a device.
    """

    adapters: Collection[str] = ()
    broker: tuple[str, int] | None = None
    mapped: Collection[str] = ()
    own: str = ""


class Consumed(NamedTuple):
    """The adapter that serves a Thing ("": none) by ``connection``; the points it ``reads``; what is left, and why."""

    adapter: str
    connection: dict[str, Any]
    reads: tuple[str, ...]
    left: tuple[Left, ...]


class _Form(NamedTuple):
    name: str
    adapter: str
    scheme: str
    host: str
    port: int
    form: Mapping[str, Any]
    href: str


def consume(document: Mapping[str, Any], property_of: Mapping[str, str], model: str, reach: Reachable) -> Consumed:
    """Return how the points of a checked Thing Description are read: by the adapter that reads most of them."""
    offers = {point: _offers(document, name, model, reach) for point, name in property_of.items()}
    ways: dict[str, _Way] = {}
    for point, offer in offers.items():
        for adapter, (shared, entry) in offer.ways.items():
            way = ways.setdefault(adapter, _Way(shared, {}))
            if way.shared == shared:
                way.entries[point] = entry
    adapter = max(ways, key=lambda one: (len(ways[one].entries), one), default="")
    chosen = ways.get(adapter, _Way({}, {}))
    left = []
    for point, offer in offers.items():
        if point not in chosen.entries and (offer.ways or offer.why):
            elsewhere = f"{adapter} reads most of the others, and this is at another place or proven in another way"
            left.append(Left(f"properties.{property_of[point]}", "; ".join(offer.why) or elsewhere))
    connection = dict(chosen.shared)
    if adapter == HTTP:
        connection |= {"forms": chosen.entries, "intervalS": POLL_S}
    elif adapter == MQTT:
        connection |= {"topics": chosen.entries}
    return Consumed(adapter, connection, tuple(sorted(chosen.entries)), tuple(left))


class _Offer(NamedTuple):
    """The ways to read a property, by adapter: what all its points share, and its own entry; why others are none."""

    ways: dict[str, tuple[dict[str, Any], dict[str, Any]]]
    why: list[str]


class _Way(NamedTuple):
    shared: dict[str, Any]
    entries: dict[str, dict[str, Any]]


def _offers(document: Mapping[str, Any], name: str, model: str, reach: Reachable) -> _Offer:
    offer = _Offer({}, [])
    if name not in document.get("properties", {}):
        return offer
    for form in _forms(document, name):
        try:
            found = _entry(document, form, model, reach)
        except Invalid as error:
            if error.detail not in offer.why:
                offer.why.append(error.detail)
            continue
        offer.ways.setdefault(form.adapter, found)
    return offer


def _forms(document: Mapping[str, Any], name: str) -> Iterator[_Form]:
    base = document.get("base", "")
    affordance = document["properties"][name]
    for form in affordance.get("forms", []):
        href = urljoin(base, form["href"]) if base else form["href"]
        ops = form.get("op", ["readproperty", "writeproperty"])
        ops = {ops} if isinstance(ops, str) else set(ops)
        parts = urlsplit(href)
        adapter = _ADAPTER_OF.get(parts.scheme, "")
        if not ops & _READS.get(adapter, _OPS):
            continue
        try:
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            port = 0
        yield _Form(name, adapter, parts.scheme, parts.hostname or "", port, form, href)


def _entry(
    document: Mapping[str, Any], form: _Form, model: str, reach: Reachable
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the part of the connection that all points share, and this point's own; raise `Invalid`."""
    if not form.adapter:
        raise Invalid(f"no adapter speaks {form.scheme or 'a relative address'}")
    if reach.own and form.href.startswith(f"{reach.own}/"):
        raise Invalid("its address is this node's own")
    if form.adapter not in reach.adapters:
        raise Invalid(f"the adapter {form.adapter} is not among those this node runs (adapters.allow)")
    affordance = document["properties"][form.name]
    if form.adapter == HTTP:
        return _http(document, form, affordance)
    if form.adapter == MQTT:
        return _mqtt(form, affordance, reach)
    return _modbus(form, model, reach)


def _http(
    document: Mapping[str, Any], form: _Form, affordance: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    media = form.form.get("contentType", "application/json").partition(";")[0].strip().lower()
    if not (media == "text/plain" or media == "application/json" or media.endswith("+json")):
        raise Invalid(f"it is sent as {media[:60]}: JSON and plain text are read")
    if form.form.get("htv:methodName", "GET") != "GET":
        raise Invalid("it is not read by GET")
    if "{" in form.href:
        raise Invalid("its address has variables")
    entry: dict[str, Any] = {"href": form.href}
    if codes := code_names(affordance):
        entry["codes"] = codes
    elif "unit" in affordance:
        entry["unit"] = known_unit(str(affordance["unit"]))
    return {"security": _security(document, form.form)}, entry


def _security(document: Mapping[str, Any], form: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a form is proven, in the adapter's terms; raise `Invalid` where the adapter cannot."""
    names = form.get("security", document["security"])
    defined = document["securityDefinitions"]
    wanted = [_chosen(name, defined) for name in ([names] if isinstance(names, str) else names)]
    schemes = [one for one in wanted if one["scheme"] != "nosec"]
    if not schemes:
        return {"scheme": "nosec"}
    if len(schemes) > 1:
        raise Invalid("it needs several proofs at once")
    (scheme,) = schemes
    kind = scheme["scheme"]
    if kind not in SCHEMES or scheme.get("in", "header") != "header":
        raise Invalid(f"security scheme {kind} in {scheme.get('in', 'header')} is not one of the adapter's")
    if not scheme.get("gs:secret"):
        raise Invalid(f"its {kind} needs a secret: name it with gs:secret in the security definition")
    proof = {"scheme": kind, "secret": str(scheme["gs:secret"])}
    if kind == "oauth2":
        if scheme.get("flow") not in {"client", "client_credentials"} or not isinstance(scheme.get("token"), str):
            raise Invalid("of oauth2 only the client flow is used, with its token address")
        scopes = scheme.get("scopes", [])
        proof |= {"token": scheme["token"], "scopes": scopes if isinstance(scopes, str) else " ".join(scopes)}
    return proof


def _chosen(name: str, defined: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a scheme; of a choice the first that the adapter has."""
    scheme: Mapping[str, Any] = defined[name]
    if scheme["scheme"] != "combo":
        return scheme
    choices = [defined[one] for one in scheme.get("oneOf", []) if defined[one]["scheme"] in SCHEMES]
    if not choices:
        raise Invalid("its combination of security schemes is not one of the adapter's")
    first: Mapping[str, Any] = choices[0]
    return first


def _mqtt(form: _Form, affordance: Mapping[str, Any], reach: Reachable) -> tuple[dict[str, Any], dict[str, Any]]:
    if reach.broker is None or (form.host, form.port) != reach.broker:
        ours = f"{reach.broker[0]}:{reach.broker[1]}" if reach.broker else "none: it is a broker itself"
        raise Invalid(f"its broker is {form.host}:{form.port}; the node is a client of {ours}")
    topic = form.form.get("mqv:topic") or form.form.get("mqv:filter") or unquote(urlsplit(form.href).path.lstrip("/"))
    if not isinstance(topic, str) or not topic or set(topic) & set("+#{"):
        raise Invalid("it has no topic of its own (mqv:topic), without wildcards")
    entry: dict[str, Any] = {"topic": topic}
    if codes := code_names(affordance):
        entry["codes"] = codes
    elif "unit" in affordance:
        entry["unit"] = known_unit(str(affordance["unit"]))
    return {}, entry


def _modbus(form: _Form, model: str, reach: Reachable) -> tuple[dict[str, Any], dict[str, Any]]:
    if model not in reach.mapped:
        raise Invalid("registers of its own are not read: the modbus adapter reads SunSpec devices of mapped models; "
                      "link to such a model with rel type")  # fmt: skip
    unit = form.form.get("modv:unitID") or urlsplit(form.href).path.strip("/").partition("/")[0] or "1"
    if not (str(unit).isdigit() and len(str(unit)) <= 3 and form.host):
        raise Invalid("it has no host and unit")
    return {"transport": "tcp", "host": form.host, "port": form.port, "unit": int(unit)}, {}
