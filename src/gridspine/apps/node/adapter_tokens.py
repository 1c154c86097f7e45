"""Plain access tokens for clients of protocols that know no other: made and taken at adapters' doors only.

They are tokens of the node, bound to no key but to the adapter whose door they were made at: no other door takes them,
nor does the node's API.
"""

from gridspine.infra.identity.refusal import refuse
from gridspine.infra.identity.service import Identity
from gridspine.infra.identity.token import MAX_LIFE_S
from gridspine.things.adapter import Source


class AdapterTokens:
    """Makes them of sources, and finds the source again."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def issue(self, source: Source, life_s: int, adapter: str) -> tuple[str, int]:
        """Return a token for ``adapter``'s door and how long it lives [s]; raise `Unauthenticated`, `Overloaded`."""
        self._identity.rate.take(source.principal)
        caller = self._identity.by_session(source.principal, source.session, source.epoch, source.roles)
        scope, life_s = " ".join(sorted(caller.roles)), max(1, min(life_s, MAX_LIFE_S))
        token = self._identity.tokens.issue(
            caller.principal,
            scope=scope,
            sid=caller.session,
            epoch=caller.epoch,
            cnf=None,
            life_s=life_s,
            door=adapter,
        )
        return token, life_s

    def find(self, token: str, adapter: str) -> Source:
        """Return the source a token was made for at the door of ``adapter``; raise `Unauthenticated`, `Overloaded`."""
        claims = self._identity.tokens.verify(token)
        if claims.cnf is not None:  # who stole it has not the key: here nobody would ask for a proof
            raise refuse("wrong-scheme", "this token is bound to a key: get a plain one at this door", scheme="Bearer")
        if claims.door != adapter:
            raise refuse("wrong-door", "this token was made elsewhere: get one at this door", scheme="Bearer")
        roles = tuple(claims.scope.split())
        caller = self._identity.by_session(claims.sub, claims.sid, claims.epoch, roles)
        self._identity.rate.take(caller.principal)
        return Source(caller.principal, caller.organisation, caller.session, caller.epoch, roles)
