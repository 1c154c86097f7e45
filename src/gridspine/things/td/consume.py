"""Which adapter can serve a described Thing, and where: its forms, as an adapter's ``connection``.

::

    http, https       GET of JSON or text; nosec, basic, digest, bearer, apikey,    wot_http   polled
                      oauth2 (client), psk
    mqtt, mqtts       a topic for a property, at the node's own broker              mqtt       published to us
    modbus+tcp        registers, or a device of a model mapped to SunSpec           modbus     polled, commanded
    any other         described only

A value somewhere in JSON is found by a form's ``gs:pointer`` (ours; RFC 6901), and multiplied by its ``gs:factor``.

Who proves itself by a secret has it in the adapter's secrets; a security definition names it: ``gs:secret``.

Sources: W3C WoT Binding Templates: HTTP (``htv:methodName``) and MQTT (``mqv:topic``, ``mqv:filter``), whose versions
were not looked up; for Modbus see `gridspine.things.td.modbus`, for forms and security `gridspine.things.td.forms`.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from gridspine.kernel.codecs.pick import Pick
from gridspine.kernel.errors import Invalid
from gridspine.things.models import DERIVED
from gridspine.things.td import modbus
from gridspine.things.td.derive import Left, code_names, known_unit
from gridspine.things.td.forms import HTTP, MODBUS, MQTT, Form, forms_of, schemes_of, security_of

POLL_S = 60.0


class Reachable(msgspec.Struct, frozen=True):
    """What the node can use: ``adapters`` that run, the ``broker`` it is a client of, models ``mapped`` to registers.

    ``own`` is the node's own address: forms there are none of a device. ``psk`` says why there is no TLS with a key
    shared beforehand, "" where there is.
    """

    adapters: Collection[str] = ()
    broker: tuple[str, int] | None = None
    mapped: Collection[str] = ()
    own: str = ""
    psk: str = ""


class Consumed(NamedTuple):
    """The adapter that serves a Thing ("": none) by ``connection``; the points it ``reads``; what is left, and why."""

    adapter: str
    connection: dict[str, Any]
    reads: tuple[str, ...]
    left: tuple[Left, ...]


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
        elif offer.unwritten:
            left.append(Left(f"properties.{property_of[point]}", f"it is read, and not commanded: {offer.unwritten}"))
    connection = dict(chosen.shared)
    if adapter == HTTP:
        connection |= {"forms": chosen.entries, "intervalS": POLL_S}
    elif adapter == MQTT:
        connection |= {"topics": chosen.entries}
    elif adapter == MODBUS and any(chosen.entries.values()):
        connection |= {
            "registers": chosen.entries,
            **modbus.times(document, [property_of[name] for name in chosen.entries]),
        }
    return Consumed(adapter, connection, tuple(sorted(chosen.entries)), tuple(left))


class _Offer(NamedTuple):
    """The ways to read a property, by adapter: what all its points share, and its own entry; why others are none.

    ``unwritten`` says why it is not commanded, though it might be.
    """

    ways: dict[str, tuple[dict[str, Any], dict[str, Any]]]
    why: list[str]
    unwritten: str = ""


class _Way(NamedTuple):
    shared: dict[str, Any]
    entries: dict[str, dict[str, Any]]


def _offers(document: Mapping[str, Any], name: str, model: str, reach: Reachable) -> _Offer:
    offer = _Offer({}, [])
    if name not in document.get("properties", {}):
        return offer
    for form in forms_of(document, name):
        try:
            found = _entry(document, form, model, reach)
        except Invalid as error:
            if error.detail not in offer.why:
                offer.why.append(error.detail)
            continue
        offer.ways.setdefault(form.adapter, found)
    shared, entry = offer.ways.get(MODBUS, ({}, {}))
    if "read" in entry:
        own = not model or model.startswith(DERIVED)
        offer = offer._replace(unwritten=modbus.add_write(document, name, own, shared, entry))
    return offer


def _entry(
    document: Mapping[str, Any], form: Form, model: str, reach: Reachable
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
        return _http(document, form, affordance, reach)
    if form.adapter == MQTT:
        return _mqtt(form, affordance, reach)
    return _modbus(document, form, model, reach)


def _http(
    document: Mapping[str, Any], form: Form, affordance: Mapping[str, Any], reach: Reachable
) -> tuple[dict[str, Any], dict[str, Any]]:
    media = form.form.get("contentType", "application/json").partition(";")[0].strip().lower()
    if not (media == "text/plain" or media == "application/json" or media.endswith("+json")):
        raise Invalid(f"it is sent as {media[:60]}: JSON and plain text are read")
    if form.form.get("htv:methodName", "GET") != "GET":
        raise Invalid("it is not read by GET")
    if "{" in form.href:
        raise Invalid("its address has variables")
    entry: dict[str, Any] = {"href": form.href}
    pick = _pick(form)
    codes = code_names(affordance)
    if pick is not None:
        entry["pick"] = {"plus": list(pick.plus), "scale": pick.scale, **({"codes": codes} if codes else {})}
    elif codes:
        entry["codes"] = codes
    if not codes and "unit" in affordance:
        entry["unit"] = known_unit(str(affordance["unit"]))
    return {"security": security_of(document, form, reach.psk)}, entry


def _mqtt(form: Form, affordance: Mapping[str, Any], reach: Reachable) -> tuple[dict[str, Any], dict[str, Any]]:
    if reach.broker is None or (form.host, form.port) != reach.broker:
        ours = f"{reach.broker[0]}:{reach.broker[1]}" if reach.broker else "none: it is a broker itself"
        raise Invalid(f"its broker is {form.host}:{form.port}; the node is a client of {ours}")
    topic = form.form.get("mqv:topic") or form.form.get("mqv:filter") or unquote(urlsplit(form.href).path.lstrip("/"))
    if not isinstance(topic, str) or not topic or set(topic) & set("+#{"):
        raise Invalid("it has no topic of its own (mqv:topic), without wildcards")
    entry: dict[str, Any] = {"topic": topic}
    pick = _pick(form)
    if pick is not None:
        entry |= {"path": pick.plus[0], "scale": pick.scale}
    if codes := code_names(affordance):
        entry["codes"] = codes
    elif "unit" in affordance:
        entry["unit"] = known_unit(str(affordance["unit"]))
    return {}, entry


def _pick(form: Form) -> Pick | None:
    """Return where in an answer or a message the value is, by ``gs:pointer`` and ``gs:factor``; None without them."""
    pointer, factor = form.form.get("gs:pointer", ""), form.form.get("gs:factor", 1)
    if not isinstance(pointer, str):
        raise Invalid("gs:pointer is a JSON Pointer (RFC 6901), a text")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or factor == 0:
        raise Invalid("gs:factor is a number other than 0")
    if not pointer and factor == 1:
        return None
    pick = Pick((pointer,), scale=float(factor))
    pick.check()
    return pick


def _modbus(
    document: Mapping[str, Any], form: Form, model: str, reach: Reachable
) -> tuple[dict[str, Any], dict[str, Any]]:
    if schemes_of(document, form.form):
        raise Invalid("Modbus TCP has no proof of who asks, and its security is not nosec")
    if not form.host:
        raise Invalid("it has no host")
    # Whoever wrote the description says where it leads: the adapter looks at the address before it goes there.
    place = {"transport": "tcp", "host": form.host, "port": form.port, "guarded": True}
    shared = {**place, "unit": modbus.unit_of(form.form, form.href)}
    if model in reach.mapped:
        return shared, {}
    affordance = document["properties"][form.name]
    if affordance.get("type") == "string":
        raise Invalid("words are not read from registers")
    entry: dict[str, Any] = {"read": modbus.register(form.form, form.href, affordance)}
    if "unit" in affordance and not code_names(affordance):
        entry["unit"] = known_unit(str(affordance["unit"]))
    return shared, entry
