"""Access tokens: signed, short-lived, bound to a key or certificate of the client, and revocable at once.

Sources: RFC 9068 (JWT profile for access tokens) §2, RFC 7800 and RFC 8705 §3.1 / RFC 9449 §6.1 (``cnf``).

::

    iat ─────────── exp (≤ 5 min)      the signature says who was meant;
     └ sid, epoch ──► Directory        memory says whether it still holds: principal active, same epoch, the key or
                                       certificate it was obtained with still in force, jti not revoked

A revoked ``jti`` is kept in the registry until its token would have run out anyway, so a restart brings nothing back.
"""

import hashlib
import threading
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import msgspec
from joserfc.jwk import OKPKey

from gridspine.infra.identity import jws
from gridspine.infra.identity.refusal import refuse
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.kernel.time import US

MAX_LIFE_S = 300
"""Seconds [s] an access token lives at most."""

LEEWAY_S = 5
"""Seconds [s] a token's ``iat`` may lie in the future, for a wall clock that was set back a little."""

CACHE_SIZE = 20_000
REVOKED_SIZE = 100_000
_TYPES = ("at+jwt",)


class Confirmation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token is bound to: ``jkt`` a DPoP key's thumbprint, or ``x5t`` a certificate's SHA-256 (base64url)."""

    jkt: str = ""
    x5t: str = msgspec.field(default="", name="x5t#S256")


class AccessClaims(msgspec.Struct, frozen=True):
    """The claims of an access token. ``sid`` names the key or certificate it was obtained with.

    ``door`` is the adapter whose clients it is for, and which alone takes it; a token without is the API's.
    """

    iss: str
    aud: str
    sub: str
    client_id: str
    iat: int
    exp: int
    jti: str
    scope: str
    sid: str
    epoch: int
    cnf: Confirmation | None = None
    door: str | None = None


class RevokedToken(msgspec.Struct, frozen=True):
    """A token that was ended before its time: its ``jti``, and when it would have run out [s since 1970]."""

    jti: str
    exp: int


class TokenKey(NamedTuple):
    """A key of access tokens; from ``retires_us`` [µs since 1970] on it verifies nothing (None: it stays)."""

    key: OKPKey
    retires_us: int | None = None


class AccessTokens:
    """Issues and verifies access tokens; a verified one is remembered by its hash until it expires.

    The memory holds `CACHE_SIZE` tokens and lets go of the oldest: losing one costs a signature check, nothing else.
    Without a ``registry`` revocations are forgotten at the end of the process.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: Sequence[TokenKey | OKPKey],
        clock: Clock,
        registry: Registry | None = None,
    ) -> None:
        self._issuer, self._audience, self._clock = issuer, audience, clock
        self._decoder = msgspec.json.Decoder(AccessClaims)
        self._cache: dict[bytes, AccessClaims] = {}
        self._registry = registry
        self._lock = threading.Lock()
        kept = registry.read(lambda tx: tx.list(RevokedToken)) if registry else ()
        self._revoked = {one.jti: one.exp for one in kept}
        self.use_keys(keys)

    def use_keys(self, keys: Sequence[TokenKey | OKPKey]) -> None:
        """Sign with the first of ``keys``, verify with all of them until they retire."""
        known = [one if isinstance(one, TokenKey) else TokenKey(one) for one in keys]
        self._signing = known[0].key
        self._verifying = {str(one.key.kid): one for one in known}
        with self._lock:
            self._cache.clear()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys as a JWK Set (RFC 7517 §5)."""
        now_us = self._clock.now_us()
        return {"keys": [self._public(one.key) for one in self._verifying.values() if _in_force(one, now_us)]}

    def knows(self, token: str) -> bool:
        """Whether ``token`` was verified before and is remembered: showing it again costs next to nothing."""
        return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest() in self._cache

    def issue(
        self, subject: str, *, scope: str, sid: str, epoch: int, cnf: Confirmation | None, life_s: int = MAX_LIFE_S,
        door: str | None = None,
    ) -> str:  # fmt: skip
        """Return a new access token for ``subject`` that lives ``life_s`` [s], `MAX_LIFE_S` at most."""
        now_s = self._clock.now_us() // US
        claims = AccessClaims(
            iss=self._issuer,
            aud=self._audience,
            sub=subject,
            client_id=subject,
            iat=now_s,
            exp=now_s + min(life_s, MAX_LIFE_S),
            jti=new_id(self._clock),
            scope=scope,
            sid=sid,
            epoch=epoch,
            cnf=cnf,
            door=door,
        )
        # What a token is not bound to must be absent, not null.
        body = {name: value for name, value in msgspec.to_builtins(claims).items() if value is not None}
        return jws.sign({"typ": "at+jwt", "kid": str(self._signing.kid)}, body, self._signing)

    def verify(self, token: str) -> AccessClaims:
        """Return the claims of a token that this node issued and that has not run out; raise a 401 otherwise."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        claims = self._cache.get(digest)
        if claims is None:
            claims = self._read(token)
            self._check_claims(claims)
            self._remember(digest, claims)
        now_s = self._clock.now_us() / US
        if now_s >= claims.exp:
            raise refuse("expired", "the access token has run out: get a new one from the token endpoint")
        if claims.iat > now_s + LEEWAY_S:
            raise refuse("not-yet-valid", "the access token was issued in the future of this node's clock")
        if claims.jti in self._revoked:
            raise refuse("revoked", "the access token was revoked: get a new one from the token endpoint")
        return claims

    def revoke(self, claims: AccessClaims) -> None:
        """End one token, durably. Blocks.

        Raises `Overloaded` when `REVOKED_SIZE` are remembered: then void the principal's epoch.
        """
        with self._lock:
            over = self._forget_revoked() if len(self._revoked) >= REVOKED_SIZE or not len(self._revoked) % 64 else []
            if len(self._revoked) >= REVOKED_SIZE:
                raise Overloaded("too many tokens were revoked one by one", retry_after_s=MAX_LIFE_S)
            # Memory first: a token that should end must not live on because the disk is full.
            self._revoked[claims.jti] = claims.exp
        if self._registry is None:
            return

        def work(tx: Transaction) -> None:
            tx.put(RevokedToken(claims.jti, claims.exp), id=claims.jti)
            for jti in over:
                tx.delete(RevokedToken, jti)

        self._registry.transact(work)

    def _forget_revoked(self) -> list[str]:
        """Forget revoked tokens that have run out anyway; return their names."""
        now_s = self._clock.now_us() // US
        over = [jti for jti, exp in self._revoked.items() if exp <= now_s]
        for jti in over:
            del self._revoked[jti]
        return over

    def _read(self, token: str) -> AccessClaims:
        try:
            envelope = jws.Envelope(token)
            envelope.check_type(_TYPES)
            kid = envelope.header.get("kid")
            found = self._verifying.get(kid) if isinstance(kid, str) else None
        except Invalid as error:
            _malformed(error)
        if found is None or not _in_force(found, self._clock.now_us()):
            raise refuse("unknown-key", "the access token is not signed by a key of this node")
        try:
            payload = envelope.verified(found.key)
        except Invalid as error:
            raise refuse("bad-signature", "the access token's signature does not fit") from error
        try:
            return jws.decode_claims(self._decoder, payload)
        except Invalid as error:
            _malformed(error)

    def _check_claims(self, claims: AccessClaims) -> None:
        if claims.iss != self._issuer:
            raise refuse("wrong-issuer", "the access token was issued by another node")
        if claims.aud != self._audience:
            raise refuse("wrong-audience", "the access token is meant for another audience")
        if claims.exp - claims.iat > MAX_LIFE_S:
            raise refuse("malformed", "the access token lives longer than this node allows")

    def _remember(self, digest: bytes, claims: AccessClaims) -> None:
        with self._lock:
            while len(self._cache) >= CACHE_SIZE:
                del self._cache[next(iter(self._cache))]
            self._cache[digest] = claims

    @staticmethod
    def _public(key: OKPKey) -> dict[str, str]:
        members = {name: str(value) for name, value in key.as_dict(private=False).items()}
        return {**members, "use": "sig", "alg": jws.algorithm_of(key)}


def _in_force(one: TokenKey, now_us: int) -> bool:
    return one.retires_us is None or now_us < one.retires_us


def _malformed(error: Exception) -> NoReturn:
    raise refuse("malformed", "the access token is not an at+jwt of this node") from error
