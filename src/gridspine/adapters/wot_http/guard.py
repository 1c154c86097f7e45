"""Where this adapter may connect to, and which secret it may take there.

Addresses go by the rule of all who connect to where strangers say (`gridspine.infra.runtime.address_rule`).
"""

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

import msgspec

from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.kernel.errors import Invalid

_PORTS = {"http": 80, "https": 443}


class SecretUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret's leave: to which ``origins`` (scheme://host:port), for Things of which ``organisations``."""

    origins: tuple[str, ...]
    organisations: tuple[str, ...]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The adapter's section of the node's settings.

    ``allow`` are networks that may be connected to besides those that may by default; ``only``, when it is given, are
    all that may. ``secrets`` name each secret's leave; the secrets themselves are environment variables
    ``GRIDSPINE_SECRET_WOT_HTTP_<NAME>``: ``user:password`` (basic, digest), a token (bearer), a key (apikey),
    ``client:secret`` (oauth2), ``identity:key`` (psk, the key in hexadecimal digits).
    ``timeout_s`` [s] bounds a request, ``max_requests`` how many are under way at once. ``per_hour`` says for an
    origin how many requests it allows in an hour: those of all Things together are spread over it.
    """

    allow: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    secrets: dict[str, SecretUse] = {}
    timeout_s: float = 10.0
    max_requests: int = 64
    per_hour: dict[str, float] = {}


class Place(msgspec.Struct, frozen=True):
    """Where to connect: ``url`` with the address in it, ``host`` for the Host header and ``name`` for TLS."""

    url: str
    host: str
    name: str


class Guard:
    """Decides on addresses and secrets by the settings."""

    def __init__(self, settings: Settings, secrets: Mapping[str, str]) -> None:
        self._settings = settings
        self._secrets = secrets
        self._addresses = AddressRule(settings.allow, settings.only, "adapters.settings.wot_http")

    async def place(self, href: str) -> Place:
        """Look up where ``href`` leads; raise `Invalid` when it may not be gone to, `Unavailable` without an answer."""
        parts = split_address(href)
        port = parts.port or _PORTS[parts.scheme]
        name = parts.hostname or ""
        ip = await self._addresses.find(name, port)
        shown = f"[{ip}]" if ip.version == 6 else str(ip)
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        return Place(f"{parts.scheme}://{shown}:{port}{path}", parts.netloc, name)

    def secret(self, name: str, href: str, organisation: str) -> str:
        """Return a secret to take to ``href`` for a Thing of ``organisation``; raise `Invalid` when it has no leave."""
        use = self._settings.secrets.get(name)
        if use is None or organisation not in use.organisations:
            raise Invalid(f"there is no secret {name[:60]!r} for Things of this organisation")
        if origin_of(href) not in {origin_of(one) for one in use.origins}:
            raise Invalid(f"secret {name[:60]!r} may not be taken to {origin_of(href)[:100]}")
        if name not in self._secrets:
            raise Invalid(f"secret {name[:60]!r} is not set: GRIDSPINE_SECRET_WOT_HTTP_{name.upper()[:60]}")
        return self._secrets[name]


def split_address(href: str) -> SplitResult:
    """Return the parts of an http or https address; raise `Invalid` for any other."""
    try:
        parts = urlsplit(href)
        named = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise Invalid(f"not an address: {error}") from error
    if not named or parts.username is not None or parts.password is not None:
        raise Invalid("an address is http(s)://host[:port]/…, without a user")
    return parts


def origin_of(href: str) -> str:
    """Return scheme, host and port of an address; raise `Invalid` where it is none."""
    parts = split_address(href)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{parts.port or _PORTS[parts.scheme]}"
