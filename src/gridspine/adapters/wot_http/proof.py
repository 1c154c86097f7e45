"""How a request is proven, scheme by scheme: what goes into its headers and its address, and into TLS. No I/O.

Sources: RFC 7617 (basic), RFC 6750 (bearer), RFC 7616 (digest, by httpx), RFC 6265 §4.1.1 (cookies), RFC 4279 (keys
shared beforehand, in TLS 1.2); W3C WoT Thing Description 1.1, security schemes. The clauses were not read again.
"""

import base64
import ssl
from typing import Literal
from urllib.parse import quote

import msgspec

from gridspine.infra.runtime.header_name import carries_a_key
from gridspine.kernel.errors import Invalid

MIN_KEY_BYTES = 16
_PSK_SUITES = "kECDHEPSK:kDHEPSK:kPSK:!eNULL:!RC4:!3DES"
"""Only suites that need the key: who answers has proven itself by it, and no certificate is looked at."""


class Security(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How requests are proven; ``secret`` is its name, ``token`` where oauth2 gets one, for ``scopes``, by ``grant``;
    ``client`` is where that endpoint wants the client's id and secret.

    An apikey goes into the parameter, header or cookie ``name``, as ``place`` says.
    """

    scheme: Literal["nosec", "basic", "digest", "bearer", "apikey", "oauth2", "psk"] = "nosec"
    secret: str = ""
    token: str = ""
    scopes: str = ""
    grant: Literal["client_credentials", "authorization_code"] = "client_credentials"
    client: Literal["header", "form"] = "header"
    place: Literal["header", "query", "cookie"] = msgspec.field(default="query", name="in")
    name: str = ""


def basic(secret: str) -> dict[str, str]:
    """Return the header of ``user:password``, or of a client's id and secret."""
    return {"authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


def bearer(secret: str) -> dict[str, str]:
    """Return the header of a token."""
    return {"authorization": f"Bearer {_plain(secret)}"}


def api_key(security: Security, secret: str) -> tuple[dict[str, str], str]:
    """Return headers and what is added to the query of an address, for a key."""
    if not security.name:
        raise Invalid("an apikey needs the name of its parameter, header or cookie")
    if security.place == "header":
        if not carries_a_key(security.name):
            raise Invalid("an apikey's header must be one that steers neither the request nor its connection")
        return {security.name: _plain(secret)}, ""
    if security.place == "cookie":
        if set(secret) & set(' ",;\\'):
            raise Invalid("this secret has characters that no cookie takes")
        return {"cookie": f"{security.name}={_plain(secret)}"}, ""
    return {}, f"{quote(security.name, safe='')}={quote(secret, safe='')}"


def shared_key(secret: str) -> ssl.SSLContext:
    """Return TLS with a key shared beforehand, of ``identity:key``, the key in hexadecimal digits.

    Raises `Invalid` for what is no such secret, and where this Python cannot do it.
    """
    identity, _, digits = secret.rpartition(":")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if not identity or len(key) < MIN_KEY_BYTES:
        raise Invalid(f"a shared key is identity:key, the key at least {MIN_KEY_BYTES} bytes as hexadecimal digits")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not hasattr(context, "set_psk_client_callback") or not getattr(ssl, "HAS_PSK", False):
        raise Invalid("psk needs Python 3.13 or later, with a TLS library that has it")
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_PSK_SUITES)
    context.set_psk_client_callback(lambda _hint: (identity, key))
    return context


def _plain(secret: str) -> str:
    """Return a secret that can stand in a header; else what refuses it would show it."""
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        raise Invalid("this secret has characters that no header takes")
    return secret
