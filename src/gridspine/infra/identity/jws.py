"""Compact JSON Web Signatures with the two algorithms this node speaks, and public JSON Web Keys.

Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7638 (thumbprint), RFC 9864 (``Ed25519``), RFC 7518 §3.4 (``ES256``).
The cryptography is joserfc's; what is added is a size bound, a short list of algorithms, and one kind of failure.
"""

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey
from joserfc.util import urlsafe_b64decode

from gridspine.infra.identity.refusal import ALGORITHMS
from gridspine.kernel.errors import Invalid

MAX_JWS_CHARS = 8192
"""Characters of a compact JWS at most; ours have about 700."""

Key = OKPKey | ECKey
C = TypeVar("C", bound=msgspec.Struct)
_REGISTRY = jws.JWSRegistry(algorithms=ALGORITHMS)
_FAILURES = (JoseError, ValueError, TypeError, KeyError, RecursionError)
_PUBLIC_MEMBERS = {("OKP", "Ed25519"): ("crv", "kty", "x"), ("EC", "P-256"): ("crv", "kty", "x", "y")}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class _Algorithm(Protocol):
    """One of joserfc's algorithms."""

    def check_key(self, key: Any) -> None: ...
    def verify(self, msg: bytes, sig: bytes, key: Any) -> bool: ...


class Envelope:
    """A compact JWS taken apart, not yet verified: nothing of it may be believed before `verified`."""

    __slots__ = ("_algorithm", "_header", "_signature", "_signed", "header", "unverified")

    header: Mapping[str, Any]
    unverified: bytes
    """The payload as claimed: good for finding the key that may prove it, for nothing else."""

    def __init__(self, compact: str) -> None:
        """Take ``compact`` apart; raise `Invalid` when it is no JWS of ours."""
        if len(compact) > MAX_JWS_CHARS:
            raise Invalid(f"the token is longer than {MAX_JWS_CHARS} characters")
        try:
            self._header, payload, self._signature = compact.encode("ascii").split(b".")
            _REGISTRY.validate_signature_size(self._signature)
            self.header, self._algorithm = _header(self._header)
            self.unverified = urlsafe_b64decode(payload)
        except _FAILURES as error:
            raise Invalid("the token is not a compact JSON Web Signature") from error
        self._signed = self._header + b"." + payload

    def check_type(self, types: Collection[str]) -> None:
        """Raise `Invalid` unless the header's ``typ`` is one of ``types`` (compared as RFC 7515 §4.1.9 says)."""
        typ = self.header.get("typ")
        if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in types:
            raise Invalid(f"the token's typ must be {' or '.join(types)}")

    def embedded_key(self) -> tuple[str, Key]:
        """Return ``(thumbprint, key)`` of the header's ``jwk``; raise `Invalid` when it has none we take."""
        return _embedded_key(self._header)

    def verified(self, key: Key) -> bytes:
        """Return the payload once ``key`` proves its signature; raise `Invalid` otherwise."""
        try:
            self._algorithm.check_key(key)
            good = self._algorithm.verify(self._signed, urlsafe_b64decode(self._signature), key)
        except _FAILURES as error:
            raise Invalid("the token's signature cannot be verified with this key") from error
        if not good:
            raise Invalid("the token's signature does not fit")
        return self.unverified


@lru_cache(maxsize=4096)
def _header(segment: bytes) -> tuple[Mapping[str, Any], _Algorithm]:
    """Return a header as it is written and its algorithm, both checked; raise one of `_FAILURES`, or `Invalid`.

    What it says depends on nothing else, and a client sends the same one with all it signs: so it is remembered.
    """
    _REGISTRY.validate_header_size(segment)
    header = json.loads(urlsafe_b64decode(segment))
    if not isinstance(header, dict):
        raise TypeError("a header is a JSON object")
    if "b64" in header or header.get("alg") not in ALGORITHMS:
        raise Invalid(f"the token must be signed with one of {', '.join(ALGORITHMS)}")
    _REGISTRY.check_header(header)
    return MappingProxyType(header), _REGISTRY.get_alg(header["alg"])


@lru_cache(maxsize=4096)
def _embedded_key(segment: bytes) -> tuple[str, Key]:
    jwk = _header(segment)[0].get("jwk")
    if not isinstance(jwk, dict):
        raise Invalid("the header has no jwk")
    return import_key(jwk)


def decode_claims(decoder: msgspec.json.Decoder[C], payload: bytes) -> C:
    """Return the claims in ``payload``; raise `Invalid` when they are not what ``decoder`` expects.

    Text that is not UTF-8 escapes msgspec as `UnicodeDecodeError`, and deep nesting as `RecursionError`.
    """
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Invalid("the token's claims are missing or malformed") from error


def sign(header: Mapping[str, Any], claims: Mapping[str, Any] | msgspec.Struct, key: Key) -> str:
    """Return the compact JWS of ``claims`` under ``key``; ``alg`` follows from the key."""
    full = {**header, "alg": algorithm_of(key)}
    return jws.serialize_compact(full, msgspec.json.encode(claims), key, registry=_REGISTRY)


def algorithm_of(key: Key) -> str:
    """Return the JOSE algorithm ``key`` signs with."""
    return "Ed25519" if isinstance(key, OKPKey) else "ES256"


def public_jwk(jwk: Mapping[str, Any]) -> dict[str, str]:
    """Return the public members of ``jwk`` in a fixed order; raise `Invalid` for anything but Ed25519 or P-256.

    A key with private members is refused rather than trimmed: whoever sent it has just given it away.
    """
    leaked = sorted(_PRIVATE_MEMBERS & jwk.keys())
    if leaked:
        raise Invalid(f"the key has private members ({', '.join(leaked)}): send the public key, and make a new pair")
    members = _PUBLIC_MEMBERS.get((str(jwk.get("kty")), str(jwk.get("crv"))))
    if members is None:
        raise Invalid("the key must be OKP on Ed25519 or EC on P-256 (JWK members kty and crv)")
    if not all(isinstance(jwk.get(name), str) for name in members):
        raise Invalid(f"the key needs the text members {', '.join(members)}")
    _check_purpose(jwk)
    return {name: jwk[name] for name in members}


def _check_purpose(jwk: Mapping[str, Any]) -> None:
    """Raise `Invalid` when the key says it is for something else than verifying (RFC 7517 §4.2 to §4.4)."""
    algorithms = ("Ed25519", "EdDSA") if jwk["kty"] == "OKP" else ("ES256",)
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise Invalid("the key is not meant for signatures (JWK members use and key_ops)")
    if jwk.get("alg", algorithms[0]) not in algorithms:
        raise Invalid(f"the key is meant for another algorithm than {algorithms[0]} (JWK member alg)")


def import_key(jwk: Mapping[str, Any]) -> tuple[str, Key]:
    """Return ``(thumbprint, key)`` of a public JWK; raise `Invalid` when it is none we take."""
    members = public_jwk(jwk)
    return _import(tuple(members.items()))


@lru_cache(maxsize=16_384)
def _import(members: tuple[tuple[str, str], ...]) -> tuple[str, Key]:
    jwk: Any = dict(members)
    kind: type[Key] = OKPKey if jwk["kty"] == "OKP" else ECKey
    try:
        key = kind.import_key(jwk)
        # The wire form may be sloppy (say, a short coordinate): the thumbprint is taken of the canonical one.
        canonical = kind.import_key(key.as_pem())
        return canonical.thumbprint(), canonical
    except _FAILURES as error:
        raise Invalid("the key's coordinates are not a point of its curve") from error


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the RFC 7638 SHA-256 thumbprint of a public JWK."""
    return import_key(jwk)[0]
