"""What an adapter's listener may ask of TLS: other authorities, another certificate, ciphers, mutual or not.

Protocols with a key infrastructure of their own (IEEE 2030.5) need all of it; the others say ``tls = true``.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from gridspine.kernel.errors import Invalid

_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS of a listener, as its section of the settings says.

    tls: whether there is any.
    names: names for the node's own certificate, besides those of this machine.
    client: whether a client must show a certificate, or may.
    ca: files (PEM) with the authorities of clients' certificates, in place of the node's own.
    certificate: file (PEM) with the server's certificate and what it is signed by, in place of the node's own.
    key: file (PEM) with its key.
    ciphers: OpenSSL's list of ciphers for TLS 1.2.
    minimum: the least version.
    maximum: the highest version, none where it is empty.
    """

    tls: bool = False
    names: tuple[str, ...] = ()
    client: Literal["optional", "required"] = "optional"
    ca: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    ciphers: str = ""
    minimum: Literal["1.2", "1.3"] = "1.2"
    maximum: Literal["", "1.2", "1.3"] = ""

    def trusted(self) -> bytes:
        """Return the authorities of ``ca`` (PEM), nothing when there are none. Blocks; raises `Invalid`."""
        return b"\n".join(_read(one, "ca") for one in self.ca)

    def own(self) -> ssl.SSLContext | None:
        """Return a context with the section's own certificate, None where the node's is to be used. Blocks."""
        if not self.certificate:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key or None)
        except OSError as error:  # ssl.SSLError is one, too
            raise Invalid(f"certificate, key: {self.certificate} cannot be used: {error}") from error
        if trusted := self.trusted():
            context.load_verify_locations(cadata=trusted.decode("ascii"))
        return context

    def finish(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Return ``context`` with versions, ciphers, and what clients must show; raise `Invalid`."""
        context.minimum_version = _MINIMUM[self.minimum]
        if self.maximum:
            context.maximum_version = _MINIMUM[self.maximum]
        context.verify_mode = ssl.CERT_REQUIRED if self.client == "required" else ssl.CERT_OPTIONAL
        if self.ca:  # strict checks (RFC 5280) refuse what other key infrastructures have issued for years
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        try:
            if self.ciphers:
                context.set_ciphers(self.ciphers)
        except ssl.SSLError as error:
            raise Invalid(f"ciphers: {self.ciphers!r} is no list of ciphers that this OpenSSL has") from error
        return context


def tls_of(section: Mapping[str, Any]) -> Tls:
    """Return what a listener's section says of TLS; raise `Invalid`."""
    try:
        return msgspec.convert({name: section[name] for name in Tls.__struct_fields__ if name in section}, Tls)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error


def _read(path: str, field: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Invalid(f"{field}: {path} cannot be read: {error.strerror}") from error
