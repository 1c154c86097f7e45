"""`Description`: what a stranger's Thing Description brought, kept whole; with what the directory says of it.

Source: W3C WoT Discovery (Recommendation of 5 December 2023), "Registration Information" and "Enriched TD".
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339
from gridspine.things.td.derive import Left
from gridspine.things.td.document import finding, refuse
from gridspine.things.thing import Thing

DISCOVERY = "https://www.w3.org/2022/wot/discovery"
MAX_TTL_S = 10 * 366 * 86_400
_WRITES = frozenset({"writeproperty", "writeallproperties", "writemultipleproperties"})
_ACTS = frozenset({"invokeaction", "queryaction", "cancelaction", "queryallactions"})


class Description(msgspec.Struct, frozen=True, rename="camel"):
    """The Thing Description of a Thing as it was given, without registration information.

    ``working`` are the points that the node reads by the description's forms, ``left`` what it does not work with.
    ``ttl_s`` [s] is the time from each change to its expiry, 0 without one.
    """

    document: dict[str, Any]
    working: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    expires_us: int = 0
    ttl_s: float = 0.0


class Expiry(msgspec.Struct, frozen=True, rename="camel"):
    """When a Thing leaves the directory by itself [µs since 1970]."""

    id: str
    expires_us: int


def expiry_of(registration: Any, now_us: int) -> tuple[int, float]:
    """Return when a registration expires [µs since 1970, 0: never] and its time to live [s].

    A ``ttl`` decides; ``expires`` counts only without one (assertions tdd-registrationinfo-… of W3C WoT Discovery).
    """
    if registration is None:
        return 0, 0.0
    if not isinstance(registration, Mapping):
        refuse([finding(("registration",), "an object is needed")])
    ttl, expires = registration.get("ttl"), registration.get("expires")
    if ttl is not None:
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= MAX_TTL_S:
            refuse([finding(("registration", "ttl"), f"seconds, more than 0 and at most {MAX_TTL_S}")])
        return now_us + round(ttl * US), float(ttl)
    if expires is None:
        return 0, 0.0
    try:
        expires_us = parse_rfc3339(str(expires))
    except (Invalid, ValueError):
        refuse([finding(("registration", "expires"), "a time as in RFC 3339 is needed, with its offset")])
    if expires_us <= now_us:
        refuse([finding(("registration", "expires"), "it lies in the past")])
    return expires_us, 0.0


def enriched(document: Mapping[str, Any], thing: Thing, now_us: int, expires_us: int = 0, ttl_s: float = 0.0) -> Any:
    """Return a Thing Description with its id and what the directory knows of its registration."""
    registration: dict[str, Any] = {
        "created": format_rfc3339(thing.created_us),
        "modified": format_rfc3339(max(thing.created_us, thing.modified_us)),
        "retrieved": format_rfc3339(now_us),
    }
    if expires_us:
        registration["expires"] = format_rfc3339(expires_us)
    if ttl_s:
        registration["ttl"] = int(ttl_s) if ttl_s == int(ttl_s) else ttl_s
    context = document.get("@context", [])
    contexts = list(context) if isinstance(context, list) else [context]
    if DISCOVERY not in contexts:
        contexts.insert(1, DISCOVERY)
    return {**document, "@context": contexts, "id": thing.id, "registration": registration}


def trimmed(document: Mapping[str, Any], *, command: bool) -> dict[str, Any]:
    """Return a Thing Description without what a caller may not do: to write and to act, where not ``command``."""
    if command:
        return dict(document)
    result = {name: value for name, value in document.items() if name != "actions"}
    properties = {}
    for name, affordance in document.get("properties", {}).items():
        forms = [kept for form in affordance["forms"] if (kept := _read_only(form, affordance)) is not None]
        if forms:
            properties[name] = {**affordance, "readOnly": True, "forms": forms}
    if "properties" in document:
        result["properties"] = properties
    if "forms" in document:
        forms = [kept for form in document["forms"] if (kept := _read_only(form, {"readOnly": True})) is not None]
        result = {**result, "forms": forms} if forms else {k: v for k, v in result.items() if k != "forms"}
    return result


def _read_only(form: Mapping[str, Any], affordance: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a form without operations that write; None when nothing is left of it."""
    if "op" not in form:
        # Without op a property's form reads and writes, as far as the property does (TD 1.1, defaults of op).
        return None if affordance.get("writeOnly") else {**form, "op": ["readproperty"]}
    ops = [form["op"]] if isinstance(form["op"], str) else form["op"]
    kept = [op for op in ops if op not in _WRITES | _ACTS]
    return {**form, "op": kept} if kept else None
