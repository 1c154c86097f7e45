"""Where this adapter may connect to, and which secret it may take there.

Addresses go by the rule of all who connect to where strangers say (`gridspine.infra.runtime.address_rule`).
"""

from collections.abc import Mapping

import msgspec

from gridspine.adapters.wot_http.pace import Limit
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.web_place import SecretUse, origin_of
from gridspine.kernel.errors import Invalid


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The adapter's section of the node's settings.

    ``allow`` are networks that may be connected to besides those that may by default; ``only``, when it is given, are
    all that may. ``secrets`` name each secret's leave; the secrets themselves are environment variables
    ``GRIDSPINE_SECRET_WOT_HTTP_<NAME>``: ``user:password`` (basic, digest), a token (bearer), a key (apikey),
    ``client:secret`` (oauth2), ``identity:key`` (psk, the key in hexadecimal digits).
    ``timeout_s`` [s] bounds a request, ``max_requests`` how many are under way at once. ``per_hour`` says for an
    origin how many requests it allows in an hour: those of all Things together are spread over it. ``accounts`` says
    the same of what is proven by a secret, by its name, as a budget of which some may be spent at once.
    """

    allow: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    secrets: dict[str, SecretUse] = {}
    timeout_s: float = 10.0
    max_requests: int = 64
    per_hour: dict[str, float] = {}
    accounts: dict[str, Limit] = {}


class Guard:
    """Decides on addresses and secrets by the settings."""

    def __init__(self, settings: Settings, secrets: Mapping[str, str]) -> None:
        self._settings = settings
        self._secrets = secrets
        self.addresses = AddressRule(settings.allow, settings.only, "adapters.settings.wot_http")

    def secret(self, name: str, href: str, organisation: str) -> str:
        """Return a secret to take to ``href`` for a Thing of ``organisation``; raise `Invalid` when it has no leave."""
        use = self._settings.secrets.get(name)
        if use is None or organisation not in use.organisations:
            raise Invalid(f"there is no secret {name[:60]!r} for Things of this organisation")
        if not use.permits(href, organisation):
            raise Invalid(f"secret {name[:60]!r} may not be taken to {origin_of(href)[:100]}")
        if name not in self._secrets:
            raise Invalid(f"secret {name[:60]!r} is not set: GRIDSPINE_SECRET_WOT_HTTP_{name.upper()[:60]}")
        return self._secrets[name]
