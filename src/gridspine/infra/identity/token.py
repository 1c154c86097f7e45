"""Access tokens: signed, short-lived, bound to a key or certificate of the client, and revocable at once.

Sources: RFC 9068 (JWT profile for access tokens) §2, RFC 7800 and RFC 8705 §3.1 / RFC 9449 §6.1 (``cnf``).

::

    iat ─────────── exp (≤ 5 min)      the signature says who was meant;
     └ sid, epoch ──► Directory        memory says whether it still holds: principal active, same epoch, the key or
                                       certificate it was obtained with still in force, jti not revoked
"""

import hashlib
import threading
from collections.abc import Sequence
from typing import NoReturn

import msgspec
from joserfc.jwk import OKPKey

from gridspine.infra.identity import jws
from gridspine.infra.identity.refusal import refuse
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
    """The claims of an access token. ``sid`` names the key or certificate it was obtained with."""

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


class AccessTokens:
    """Issues and verifies access tokens; a verified one is remembered by its hash until it expires.

    The memory holds `CACHE_SIZE` tokens and lets go of the oldest: losing one costs a signature check, nothing else.
    """

    def __init__(self, issuer: str, audience: str, keys: Sequence[OKPKey], clock: Clock) -> None:
        self._issuer, self._audience, self._clock = issuer, audience, clock
        self._decoder = msgspec.json.Decoder(AccessClaims)
        self._cache: dict[bytes, AccessClaims] = {}
        self._revoked: dict[str, int] = {}
        self._lock = threading.Lock()
        self.use_keys(keys)

    def use_keys(self, keys: Sequence[OKPKey]) -> None:
        """Sign with the first of ``keys``, verify with all of them."""
        self._signing = keys[0]
        self._verifying = {str(key.kid): key for key in keys}
        with self._lock:
            self._cache.clear()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys as a JWK Set (RFC 7517 §5)."""
        return {"keys": [self._public(key) for key in self._verifying.values()]}

    def issue(
        self, subject: str, *, scope: str, sid: str, epoch: int, cnf: Confirmation | None, life_s: int = MAX_LIFE_S
    ) -> str:
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
        )
        # cnf must be absent, not null, in a token that is bound to nothing.
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
        """End one token. Raises `Overloaded` when `REVOKED_SIZE` are remembered: then void the principal's epoch."""
        with self._lock:
            if len(self._revoked) >= REVOKED_SIZE:
                now_s = self._clock.now_us() // US
                self._revoked = {jti: exp for jti, exp in self._revoked.items() if exp > now_s}
            if len(self._revoked) >= REVOKED_SIZE:
                raise Overloaded("too many tokens were revoked one by one", retry_after_s=MAX_LIFE_S)
            self._revoked[claims.jti] = claims.exp

    def _read(self, token: str) -> AccessClaims:
        try:
            envelope = jws.Envelope(token)
            envelope.check_type(_TYPES)
            kid = envelope.header.get("kid")
            key = self._verifying.get(kid) if isinstance(kid, str) else None
        except Invalid as error:
            _malformed(error)
        if key is None:
            raise refuse("unknown-key", "the access token is not signed by a key of this node")
        try:
            payload = envelope.verified(key)
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


def _malformed(error: Exception) -> NoReturn:
    raise refuse("malformed", "the access token is not an at+jwt of this node") from error
