"""Access tokens: their claims, their end."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from joserfc.jwk import OKPKey

from gridspine.infra.identity import jws, token
from gridspine.infra.identity.token import AccessTokens, Confirmation
from gridspine.kernel.errors import Overloaded

Reason = Callable[..., str]


@pytest.fixture
def key() -> OKPKey:
    return OKPKey.generate_key("Ed25519", auto_kid=True)


@pytest.fixture
def tokens(world, key) -> AccessTokens:
    return AccessTokens("https://i.example", "https://a.example", [key], world.clock)


def issue(tokens: AccessTokens, **more: Any) -> str:
    cnf = Confirmation(jkt="J")
    return tokens.issue("urn:x:a", **{"scope": "operator", "sid": "key:K", "epoch": 3, "cnf": cnf, **more})


def test_the_token_is_an_rfc_9068_one(tokens, key, world) -> None:
    envelope = jws.Envelope(issue(tokens))
    assert envelope.header == {"alg": "Ed25519", "typ": "at+jwt", "kid": key.kid}
    claims = msgspec.json.decode(envelope.verified(key))
    assert len(claims.pop("jti")) == 36
    assert claims == {
        "iss": "https://i.example",
        "aud": "https://a.example",
        "sub": "urn:x:a",
        "client_id": "urn:x:a",
        "iat": world.now_s(),
        "exp": world.now_s() + 300,
        "scope": "operator",
        "sid": "key:K",
        "epoch": 3,
        "cnf": {"jkt": "J"},
    }


def test_the_certificate_binding_has_its_name(tokens, key) -> None:
    claims = msgspec.json.decode(jws.Envelope(issue(tokens, cnf=Confirmation(x5t="X"))).verified(key))
    assert claims["cnf"] == {"x5t#S256": "X"}
    assert "cnf" not in msgspec.json.decode(jws.Envelope(issue(tokens, cnf=None)).verified(key))


def test_a_token_ends_when_it_says_remembered_or_not(tokens, world, reason_of: Reason) -> None:
    seen, unseen = issue(tokens), issue(tokens)
    tokens.verify(seen)
    world.clock.step_wall(299)
    assert tokens.verify(seen).sub == "urn:x:a"
    world.clock.step_wall(1)
    assert reason_of(tokens.verify, seen) == "expired"
    assert reason_of(tokens.verify, unseen) == "expired"
    world.clock.step_wall(-310)
    assert reason_of(tokens.verify, seen) == "not-yet-valid"


def test_no_token_lives_longer_than_five_minutes(tokens, key, world, reason_of: Reason) -> None:
    assert tokens.verify(issue(tokens, life_s=10_000)).exp == world.now_s() + 300
    claims = msgspec.to_builtins(tokens.verify(issue(tokens)))
    long = jws.sign({"typ": "at+jwt", "kid": key.kid}, {**claims, "exp": world.now_s() + 301}, key)
    assert reason_of(tokens.verify, long) == "malformed"


def test_each_wrong_claim_has_its_reason(tokens, key, reason_of: Reason) -> None:
    claims = msgspec.to_builtins(tokens.verify(issue(tokens)))
    stranger = OKPKey.generate_key("Ed25519")

    def changed(*, header: dict[str, str] | None = None, signer: OKPKey = key, **changes: Any) -> str:
        body = {name: value for name, value in {**claims, **changes}.items() if value is not ...}
        return jws.sign({"typ": "at+jwt", "kid": key.kid, **(header or {})}, body, signer)

    assert tokens.verify(changed()).sub == "urn:x:a"
    assert tokens.verify(changed(header={"typ": "application/at+jwt"})).sub == "urn:x:a"
    cases = {
        changed(iss="https://other.example"): "wrong-issuer",
        changed(aud="https://other.example"): "wrong-audience",
        changed(aud=["https://a.example"]): "malformed",
        changed(exp="soon"): "malformed",
        changed(sub=...): "malformed",
        changed(header={"typ": "JWT"}): "malformed",
        changed(header={"kid": "other"}): "unknown-key",
        changed(signer=stranger): "bad-signature",
        "": "malformed",
        "a.b.c": "malformed",
        "é": "malformed",
        "x" * 9000: "malformed",
    }
    for wrong, reason in cases.items():
        assert reason_of(tokens.verify, wrong) == reason, wrong


def test_one_token_can_be_ended(tokens, reason_of: Reason) -> None:
    one, other = issue(tokens), issue(tokens)
    tokens.revoke(tokens.verify(one))
    assert reason_of(tokens.verify, one) == "revoked"
    assert tokens.verify(other).sub == "urn:x:a"


def test_memories_are_bounded(tokens, world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "CACHE_SIZE", 3)
    monkeypatch.setattr(token, "REVOKED_SIZE", 3)
    issued = [tokens.verify(issue(tokens)) for _ in range(5)]
    assert len(tokens._cache) == 3
    for claims in issued[:3]:
        tokens.revoke(claims)
    with pytest.raises(Overloaded):
        tokens.revoke(issued[3])
    world.clock.step_wall(400)
    tokens.revoke(issued[3])
    assert len(tokens._revoked) == 1


def test_ended_keys_principals_and_roles_end_tokens(world, reason_of: Reason) -> None:
    client, key = world.client("operator", "owner")
    url = "https://node.example/"

    def use(text: str):
        return world.identity.by_dpop(text, world.proof(key, "GET", url, text), method="GET", url=url)

    first = world.token(client, key)
    assert use(first).roles == {"operator", "owner"}
    world.identity.directory.set_roles(client.id, ("owner", "auditor"))
    assert use(first).roles == {"owner"}, "what was taken is gone at once, what was given is not in the token"
    narrow = world.token(client, key, scope="owner")
    assert use(narrow).roles == {"owner"}
    world.identity.directory.revoke_issued(client.id)
    assert reason_of(use, first) == "revoked"
    second = world.token(client, key)
    assert use(second).principal == client.id
    world.start()
    assert use(second).principal == client.id, "a restart ends nothing"
    assert reason_of(use, first) == "revoked", "and brings nothing back"
