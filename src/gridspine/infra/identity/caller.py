"""The result of authentication, as the rest of the node sees it."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from gridspine.infra.identity.principal import Kind

How = Literal["dpop", "mtls", "cookie", "bearer", "password", "adapter"]


class Caller(msgspec.Struct, frozen=True):
    """Who is asking, proven. Authority only narrows: `narrowed` can take roles away, nothing can add one.

    ``session`` is what offences are counted against: it stays the same when a client renews its token
    (``key:<kid>``, ``certificate:<thumbprint>``, ``portal:<id>``, ``password:<principal>/<when made>``,
    ``demo:<principal>``, ``adapter:<name>:<thing>``).
    ``how`` tells what proved it: a DPoP key, a client certificate, the portal's cookie, a plain bearer token (demo
    profile on loopback only), a device password, or that the node's own adapter acts for it. ``epoch`` lets a long
    stream ask whether all this still holds.
    """

    principal: str
    organisation: str
    kind: Kind
    name: str
    roles: frozenset[str]
    session: str
    how: How
    epoch: int = 0

    def has(self, role: str) -> bool:
        """Whether the caller acts in ``role``."""
        return role in self.roles

    def narrowed(self, roles: Iterable[str]) -> "Caller":
        """Return the same caller with only those of its roles that ``roles`` names."""
        return msgspec.structs.replace(self, roles=self.roles & frozenset(roles))
