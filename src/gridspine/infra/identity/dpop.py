"""Demonstrating proof of possession: each request is signed with the key its access token is bound to.

Source: RFC 9449 §4.2 (claims), §4.3 (checking), §7 (protected resources), §11.1 (replay). No nonces (§8) are asked
for; proofs older than the process are refused instead, so that a restart forgets no replay.
"""

import base64
import hashlib
import re
from urllib.parse import urlsplit

import msgspec

from gridspine.infra.identity import jws
from gridspine.infra.identity.refusal import refuse
from gridspine.infra.identity.replay import ReplayCache
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid, Unauthenticated
from gridspine.kernel.time import US

MAX_AGE_S = 60
"""Seconds [s] a proof may be old."""

MAX_AHEAD_S = 10
"""Seconds [s] a client's clock may run ahead."""

MAX_JTI_CHARS = 128
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]", re.ASCII)
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_PORTS = {"http": 80, "https": 443}


class ProofClaims(msgspec.Struct, frozen=True):
    """The claims of a DPoP proof."""

    jti: str
    htm: str
    htu: str
    iat: int | float
    ath: str = ""


class Proofs:
    """Checks DPoP proofs and remembers them for as long as they could be shown again."""

    def __init__(self, clock: Clock, *, replay: ReplayCache | None = None) -> None:
        self._clock = clock
        self._started_us, self._started_monotonic_us = clock.now_us(), clock.monotonic_us()
        self._replay = ReplayCache(MAX_AGE_S + MAX_AHEAD_S) if replay is None else replay
        self._decoder = msgspec.json.Decoder(ProofClaims)

    def check(self, proof: str, *, method: str, url: str, owner: str, token: str = "", jkt: str = "") -> str:
        """Return the thumbprint of the key that signed ``proof``; raise a 401 that says what is wrong with it.

        ``url`` is the request's, its query and fragment do not count. With ``token`` the proof must name that
        token's hash, with ``jkt`` its key must be that one. ``owner`` is whose share of the replay memory is used;
        raises `Overloaded` when that is used up.
        """
        thumbprint, claims = self._read(proof)
        if jkt and thumbprint != jkt:
            raise refuse("wrong-key", "the access token is bound to another key than the one that signed the proof")
        if claims.htm != method:
            raise _bad("proof-method", f"the DPoP proof is for {claims.htm[:16]!r}, the request is {method}")
        if claims.htu != url and normalise_url(claims.htu) != normalise_url(url):
            raise _bad("proof-url", "the DPoP proof is for another address (htu) than the request's")
        if token and claims.ath != token_hash(token):
            raise _bad("proof-token", "the DPoP proof is for another access token (ath)")
        self._check_time(claims.iat)
        if not self._replay.first_time(owner, f"{thumbprint}.{claims.jti}", self._clock.monotonic_us()):
            raise _bad("proof-replayed", "the DPoP proof was used before: sign each request with a new jti")
        return thumbprint

    def _read(self, proof: str) -> tuple[str, ProofClaims]:
        try:
            envelope = jws.Envelope(proof)
            envelope.check_type(("dpop+jwt",))
            thumbprint, key = envelope.embedded_key()
        except Invalid as error:
            raise _bad("proof-malformed", f"the DPoP proof is malformed: {error.detail}") from error
        try:
            payload = envelope.verified(key)
        except Invalid as error:
            raise _bad("proof-signature", "the DPoP proof's signature does not fit the key in it") from error
        try:
            claims = jws.decode_claims(self._decoder, payload)
        except Invalid as error:
            raise _bad("proof-malformed", "the DPoP proof needs jti, htm, htu and iat") from error
        if not 0 < len(claims.jti) <= MAX_JTI_CHARS:
            raise _bad("proof-malformed", f"the DPoP proof's jti must have 1 to {MAX_JTI_CHARS} characters")
        return thumbprint, claims

    def _check_time(self, iat_s: float) -> None:
        now_us = self._clock.now_us()
        if iat_s > now_us / US + MAX_AHEAD_S:
            raise _bad("proof-future", f"the DPoP proof is more than {MAX_AHEAD_S} s ahead: set the client's clock")
        if iat_s < now_us / US - MAX_AGE_S:
            raise _bad("proof-stale", f"the DPoP proof is older than {MAX_AGE_S} s: sign the request anew")
        # After the first window no proof from before the start is young enough anyway: then a wall clock that was set
        # back since does no harm. iat has whole seconds mostly: compare with the second the process started in.
        just_started = self._clock.monotonic_us() - self._started_monotonic_us <= (MAX_AGE_S + MAX_AHEAD_S) * US
        if just_started and iat_s < self._started_us // US:
            raise _bad("proof-stale", "the DPoP proof is older than this node's last start: sign the request anew")


def token_hash(token: str) -> str:
    """Return the ``ath`` of an access token: base64url of SHA-256 (RFC 9449 §4.2)."""
    digest = hashlib.sha256(token.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def normalise_url(url: str) -> str:
    """Return ``url`` without query and fragment, normalised (RFC 3986 §6.2.2, §6.2.3); empty when it is no web URL."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
    except ValueError:
        return ""
    if scheme not in _PORTS or not host or parts.username is not None:
        return ""
    host = f"[{host}]" if ":" in host else host
    authority = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
    return f"{scheme}://{authority}{_ESCAPE.sub(_normal_escape, parts.path) or '/'}"


def _normal_escape(match: re.Match[str]) -> str:
    character = chr(int(match[0][1:], 16))
    return character if _UNRESERVED.fullmatch(character) else match[0].upper()


def _bad(reason: str, detail: str) -> Unauthenticated:
    return refuse(reason, detail, error="invalid_dpop_proof")
