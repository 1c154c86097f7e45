"""The edge's key: assertions for a token, and a proof with every request; without the libraries a node can afford.

Sources: RFC 7515 §3.1 (compact JWS), RFC 7517 (JWK), RFC 7638 (thumbprint), RFC 7523 §2.2 (client assertion),
RFC 9449 §4.2 (DPoP proof), RFC 7518 §3.4 (ES256: r and s, 32 bytes each), RFC 9864 (``Ed25519``).
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gridspine.infra.identity.private_file import read_private
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import Invalid, NotFound
from gridspine.kernel.time import US

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFE_S = 60
_MEMBERS = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y")}


class EdgeKey:
    """A client file (``gridspine client``): who the edge is, its node's name, and its private key."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Read a client file's document; raise `Invalid` when it is none."""
        try:
            self.client, self.node, jwk = str(document["client"]), str(document["node"]), document["jwk"]
            self._kind: str = jwk["kty"]
            self.public = {name: str(jwk[name]) for name in _MEMBERS[self._kind]}
            secret = _bytes(jwk["d"])
            if self._kind == "OKP":
                self._ed25519: Ed25519PrivateKey | None = Ed25519PrivateKey.from_private_bytes(secret)
                self._ec: ec.EllipticCurvePrivateKey | None = None
            else:
                self._ed25519, self._ec = None, ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid("this is not a client file: make one with 'gridspine client'") from error

    @classmethod
    def read(cls, path: Path) -> "EdgeKey":
        """Read ``path``; raise `NotFound`, or `Invalid` when others may read it or it is no client file."""
        content = read_private(path)
        if content is None:
            raise NotFound(f"there is no client file {path}: make one at the node with 'gridspine client'")
        try:
            return cls(msgspec.json.decode(content, type=dict[str, Any]))
        except msgspec.MsgspecError as error:
            raise Invalid(f"{path} is not a client file") from error

    def assertion(self, clock: Clock) -> str:
        """Return a signed assertion of who the edge is, for the token endpoint."""
        now_s = clock.now_us() // US
        claims = {
            "iss": self.client, "sub": self.client, "aud": self.node, "iat": now_s, "exp": now_s + _LIFE_S,
            "jti": new_id(clock),
        }  # fmt: skip
        return self._sign({"typ": "JWT", "kid": thumbprint(self.public)}, claims)

    def proof(self, clock: Clock, method: str, url: str, token: str = "") -> str:
        """Return a DPoP proof for one request to ``url`` (without query)."""
        claims = {"jti": new_id(clock), "htm": method, "htu": url, "iat": clock.now_us() // US}
        if token:
            claims["ath"] = _text(hashlib.sha256(token.encode()).digest())
        return self._sign({"typ": "dpop+jwt", "jwk": self.public}, claims)

    def _sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        algorithm = "Ed25519" if self._ed25519 else "ES256"
        head, body = (_text(msgspec.json.encode(part)) for part in ({**header, "alg": algorithm}, claims))
        signed = f"{head}.{body}".encode()
        return f"{head}.{body}.{_text(self._signature(signed))}"

    def _signature(self, signed: bytes) -> bytes:
        if self._ed25519 is not None:
            return self._ed25519.sign(signed)
        assert self._ec is not None
        r, s = decode_dss_signature(self._ec.sign(signed, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the RFC 7638 SHA-256 thumbprint of a public JWK."""
    members = {name: jwk[name] for name in sorted(_MEMBERS[jwk["kty"]])}
    return _text(hashlib.sha256(msgspec.json.encode(members)).digest())


def verifies(jwk: Mapping[str, str], signed: bytes, signature: str) -> bool:
    """Whether ``signature`` (base64url) of ``signed`` is by the Ed25519 key ``jwk``."""
    try:
        Ed25519PublicKey.from_public_bytes(_bytes(jwk["x"])).verify(_bytes(signature), signed)
    except (InvalidSignature, KeyError, ValueError, TypeError):
        return False
    return True


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
