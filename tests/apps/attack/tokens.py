"""Every way a token can be good or bad, each made as an attacker (or an unlucky client) would come by it."""

from typing import Any

from joserfc.jwk import OKPKey

from gridspine.infra.identity import jws
from gridspine.infra.identity.dpop import token_hash
from gridspine.infra.identity.token import AccessClaims, Confirmation
from gridspine.infra.runtime.clock import new_id

STATES = {
    "valid": 0,
    "none": 401,
    "expired": 401,
    "revoked": 401,
    "wrong-audience": 401,
    "wrong-issuer": 401,
    "forged": 401,
    "wrong-dpop-key": 401,
    "no-proof": 401,
    "replayed-proof": 401,
    "as-bearer": 401,
    "suspended": 401,
    "signed-out": 401,
    "key-removed": 401,
}
"""State of the token → status of every endpoint that asks for a name (0: whatever the caller may)."""
RENEWED_US = 100_000_000
"""Tokens are made anew after so long [µs]: one that is bad for its own reason must not run out besides."""


class Keyed:
    """A principal with a key, and tokens of it in every state."""

    def __init__(self, node: Any, url: str, organisation: str, role: str) -> None:
        self.node, self.url, self.role, self.organisation = node, url, role, organisation
        self.identity, self.clock = node.identity, node.clock
        self.keys: dict[str, OKPKey] = {}
        self.ids: dict[str, str] = {}
        for standing in ("good", "suspended", "signed-out", "key-removed"):
            self._enrol(standing)
        self.id = self.ids["good"]
        self._make_tokens()
        directory = self.identity.directory
        directory.deactivate(self.ids["suspended"])
        directory.revoke_issued(self.ids["signed-out"])
        directory.remove_key(str(self.keys["key-removed"].kid))

    def _make_tokens(self) -> None:
        self._made_us = self.clock.monotonic_us()
        self.tokens = {state: self._token(state) for state in STATES if state != "none"}
        self.identity.tokens.revoke(self.identity.tokens.verify(self.tokens["revoked"]))

    def _enrol(self, standing: str) -> None:
        kind = "device" if self.role == "device" else "application"
        made = self.identity.directory.add_principal(self.organisation, kind, standing, (self.role,))
        key = OKPKey.generate_key("Ed25519", auto_kid=True)
        self.identity.directory.add_key(made.id, dict(key.as_dict(private=False)))
        self.keys[standing], self.ids[standing] = key, made.id

    def _standing(self, state: str) -> str:
        return state if state in self.ids else "good"

    def _token(self, state: str) -> str:
        standing = self._standing(state)
        key, id_, now_s = self.keys[standing], self.ids[standing], self.clock.now_us() // 1_000_000
        tokens, issuer = self.identity.tokens, self.identity.issuer
        good = {"scope": self.role, "sid": f"key:{key.kid}", "epoch": 0, "cnf": Confirmation(jkt=key.thumbprint())}
        if state in {"expired", "wrong-audience", "wrong-issuer", "forged"}:
            ends = -60 if state == "expired" else 200
            claims = AccessClaims(
                iss="https://elsewhere.example" if state == "wrong-issuer" else issuer,
                aud="https://elsewhere.example" if state == "wrong-audience" else issuer,
                sub=id_, client_id=id_, iat=now_s + ends - 240, exp=now_s + ends, jti=new_id(self.clock), **good,
            )  # fmt: skip
            signing = tokens._signing
            by = OKPKey.generate_key("Ed25519") if state == "forged" else signing
            return jws.sign({"typ": "at+jwt", "kid": str(signing.kid)}, claims, by)
        return tokens.issue(id_, **good)

    def headers(self, state: str, method: str, path: str, proof: str = "") -> dict[str, str]:
        """Return the headers of a request to ``path`` with a token in ``state``."""
        if state == "none":
            return {}
        if self.clock.monotonic_us() - self._made_us > RENEWED_US:
            self._make_tokens()
        token = self.tokens[state]
        if state == "as-bearer":
            return {"authorization": f"Bearer {token}"}
        if state == "no-proof":
            return {"authorization": f"DPoP {token}"}
        key = OKPKey.generate_key("Ed25519") if state == "wrong-dpop-key" else self.keys[self._standing(state)]
        return {"authorization": f"DPoP {token}", "dpop": proof or self.proof(key, token, method, path)}

    def proof(self, key: OKPKey, token: str, method: str, path: str) -> str:
        """Return a fresh proof for a request to ``path``."""
        claims = {"jti": new_id(self.clock), "htm": method, "htu": f"{self.url}{path}",
                  "iat": self.clock.now_us() // 1_000_000, "ath": token_hash(token)}  # fmt: skip
        return jws.sign({"typ": "dpop+jwt", "jwk": dict(key.as_dict(private=False))}, claims, key)
