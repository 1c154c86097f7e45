"""The forms of a Thing Description: where each leads, for what, and what proof it asks for.

Source: W3C WoT Thing Description 1.1: forms, ``base``, default operations of a property, security schemes
(``apikey`` is in the query where nothing else is said).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from gridspine.infra.runtime.header_name import carries_a_key
from gridspine.kernel.errors import Invalid

HTTP, MQTT, MODBUS = "wot_http", "mqtt", "modbus"
SCHEMES = frozenset({"nosec", "basic", "digest", "bearer", "apikey", "oauth2", "psk"})
"""Security schemes that forms over HTTP may have."""
READS = frozenset({"readproperty"})
WRITES = frozenset({"writeproperty"})
_ADAPTER_OF = {"http": HTTP, "https": HTTP, "mqtt": MQTT, "mqtts": MQTT, "modbus+tcp": MODBUS}
_PORTS = {"mqtt": 1883, "mqtts": 8883, "modbus+tcp": 502}
_OBSERVES = {MQTT: READS | {"observeproperty"}, MODBUS: READS | {"observeproperty"}}
_KEY_PLACES = frozenset({"header", "query", "cookie"})
_KEY_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-]{1,64}")


class Form(NamedTuple):
    """A form of property ``name``, and what its address, ``href``, is made of; ``adapter`` speaks it ("": none)."""

    name: str
    adapter: str
    scheme: str
    host: str
    port: int
    form: Mapping[str, Any]
    href: str


def forms_of(document: Mapping[str, Any], name: str, wanted: frozenset[str] | None = None) -> Iterator[Form]:
    """Yield the forms of a property that are for one of the operations ``wanted``; None: that read it."""
    base = document.get("base", "")
    affordance = document["properties"][name]
    for form in affordance.get("forms", []):
        href = join(base, form["href"])
        ops = form.get("op", ["readproperty", "writeproperty"])
        ops = {ops} if isinstance(ops, str) else set(ops)
        parts = urlsplit(href)
        adapter = _ADAPTER_OF.get(parts.scheme, "")
        if not ops & (wanted or _OBSERVES.get(adapter, READS)):
            continue
        try:
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            port = 0
        yield Form(name, adapter, parts.scheme, parts.hostname or "", port, form, href)


def join(base: str, href: str) -> str:
    """Return the address that ``href`` is at ``base`` (RFC 3986 §5), whatever the scheme; ``base`` may be empty."""
    scheme, found, rest = base.partition("://")
    if not found or urlsplit(href).scheme:
        return href
    return scheme + urljoin(f"http://{rest}", href).removeprefix("http")


def security_of(document: Mapping[str, Any], form: Form, no_psk: str) -> dict[str, Any]:
    """Return how a form over HTTP is proven, in the adapter's terms; raise `Invalid` where the adapter cannot.

    ``no_psk`` says why a key shared beforehand cannot be used, "" where it can.
    """
    schemes = schemes_of(document, form.form)
    if not schemes:
        return {"scheme": "nosec"}
    if len(schemes) > 1:
        raise Invalid("it needs several proofs at once")
    (scheme,) = schemes
    defined = document["securityDefinitions"]
    choices = [defined[one] for one in scheme.get("oneOf", [])] if scheme["scheme"] == "combo" else [scheme]
    why = [] if choices else ["its combination of security schemes is not one of the adapter's"]
    for choice in choices:
        try:
            return _proof(choice, form, no_psk)
        except Invalid as error:
            why.append(error.detail)
    raise Invalid("; ".join(why))


def schemes_of(document: Mapping[str, Any], form: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the security schemes that a form needs, all at once; none for nosec."""
    names = form.get("security", document["security"])
    defined = document["securityDefinitions"]
    wanted = [defined[name] for name in ([names] if isinstance(names, str) else names)]
    return [one for one in wanted if one["scheme"] != "nosec"]


def _proof(scheme: Mapping[str, Any], form: Form, no_psk: str) -> dict[str, Any]:
    kind = scheme["scheme"]
    if kind == "nosec":
        return {"scheme": "nosec"}
    place = scheme.get("in", "query" if kind == "apikey" else "header")
    if kind not in SCHEMES or place not in (_KEY_PLACES if kind == "apikey" else {"header"}):
        raise Invalid(f"security scheme {kind} in {str(place)[:20]} is not one of the adapter's")
    if kind == "psk" and (no_psk or form.scheme != "https"):
        raise Invalid(no_psk or "psk is a way of TLS, and its address is not https")
    if not scheme.get("gs:secret"):
        raise Invalid(f"its {kind} needs a secret: name it with gs:secret in the security definition")
    proof = {"scheme": kind, "secret": str(scheme["gs:secret"])}
    if kind == "apikey":
        if not isinstance(scheme.get("name"), str) or not _KEY_NAME.fullmatch(scheme["name"]):
            raise Invalid("its apikey does not say in which parameter, header or cookie the key goes (name)")
        if place == "header" and not carries_a_key(scheme["name"]):
            raise Invalid(f"its apikey would go in the header {scheme['name']}, which steers the request: no key does")
        proof |= {"in": place, "name": scheme["name"]}
    if kind == "oauth2":
        if scheme.get("flow") not in {"client", "client_credentials"} or not isinstance(scheme.get("token"), str):
            raise Invalid("of oauth2 only the client flow is used, with its token address")
        scopes = scheme.get("scopes", [])
        proof |= {"token": scheme["token"], "scopes": scopes if isinstance(scopes, str) else " ".join(scopes)}
    return proof
