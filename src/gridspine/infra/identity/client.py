"""How a client proves itself at the token endpoint: a signed assertion, or its certificate.

Sources: RFC 7523 §2.2 and §3 (``private_key_jwt``), RFC 8705 §2.1 (``tls_client_auth``).
"""

import msgspec

from gridspine.infra.identity import jws
from gridspine.infra.identity.directory import Directory
from gridspine.infra.identity.principal import Principal, PublicKey
from gridspine.infra.identity.refusal import refuse_client
from gridspine.infra.identity.replay import ReplayCache
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_LIFE_S = 300
"""Seconds [s] an assertion may be valid from now on, at most."""

MAX_AHEAD_S = 10
MAX_JTI_CHARS = 128
_UNKNOWN = "the client is not known here, or the assertion is not signed by one of its keys"


class AssertionClaims(msgspec.Struct, frozen=True):
    """The claims of a client assertion."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    jti: str
    iat: int | float | None = None
    nbf: int | float | None = None


class Assertions:
    """Checks client assertions against the registered keys; ``audiences`` are the names this node answers to.

    An assertion without ``iat`` could have been made before the process started and be shown again after it, so the
    claim is required although RFC 7523 §3 leaves it open.
    """

    def __init__(
        self, directory: Directory, clock: Clock, audiences: frozenset[str], *, replay: ReplayCache | None = None
    ) -> None:
        self._directory, self._clock, self._audiences = directory, clock, audiences
        self._started_s, self._started_monotonic_us = clock.now_us() // US, clock.monotonic_us()
        if replay is None:  # one that is empty is false, and is meant all the same
            replay = ReplayCache(MAX_LIFE_S + MAX_AHEAD_S, capacity=200_000, per_owner=20_000)
        self._replay = replay
        self._decoder = msgspec.json.Decoder(AssertionClaims)

    def check(self, assertion: str, *, client_id: str = "") -> tuple[Principal, PublicKey]:
        """Return the principal an assertion proves, and the key that did; raise a 401 ``invalid_client``.

        ``client_id`` is the request's parameter of that name; when given it must be the assertion's subject.
        """
        try:
            envelope = jws.Envelope(assertion)
            claims, principal, key = self._prove(envelope)
        except Invalid as error:
            raise refuse_client(f"the client assertion is malformed: {error.detail}") from error
        if claims.iss != claims.sub or client_id not in ("", claims.sub):
            raise refuse_client("the assertion's iss and sub, and client_id if sent, must all be the client's id")
        named = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        # More than one audience would let another server pass the assertion on.
        if len(named) != 1 or named[0] not in self._audiences:
            raise refuse_client("the assertion's aud must be this node's issuer or token endpoint, and nothing else")
        self._check_times(claims)
        if not self._replay.first_time(principal.id, claims.jti, self._clock.monotonic_us()):
            raise refuse_client("the assertion was used before: make a new one, with a new jti")
        return principal, key

    def _prove(self, envelope: jws.Envelope) -> tuple[AssertionClaims, Principal, PublicKey]:
        claims = jws.decode_claims(self._decoder, envelope.unverified)
        principal = self._directory.active(claims.sub)
        kid = envelope.header.get("kid")
        for key in self._directory.keys_of(claims.sub) if principal else ():
            if kid is not None and kid != key.kid:
                continue
            try:
                payload = envelope.verified(jws.import_key(key.jwk)[1])
            except Invalid:
                continue
            assert principal is not None
            return jws.decode_claims(self._decoder, payload), principal, key
        raise refuse_client(_UNKNOWN)

    def _check_times(self, claims: AssertionClaims) -> None:
        now_s = self._clock.now_us() / US
        if claims.exp <= now_s:
            raise refuse_client("the assertion has run out")
        if claims.exp > now_s + MAX_LIFE_S + MAX_AHEAD_S:
            raise refuse_client(f"the assertion's exp must lie within {MAX_LIFE_S} s")
        if claims.nbf is not None and claims.nbf > now_s + MAX_AHEAD_S:
            raise refuse_client("the assertion is not valid yet (nbf)")
        if claims.iat is None or claims.iat > now_s + MAX_AHEAD_S:
            raise refuse_client("the assertion needs an iat that is not in the future")
        just_started = self._clock.monotonic_us() - self._started_monotonic_us <= (MAX_LIFE_S + MAX_AHEAD_S) * US
        if just_started and claims.iat < self._started_s:
            raise refuse_client("the assertion is older than this node's last start: make a new one")
        if not 0 < len(claims.jti) <= MAX_JTI_CHARS:
            raise refuse_client(f"the assertion's jti must have 1 to {MAX_JTI_CHARS} characters")
