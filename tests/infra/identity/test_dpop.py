"""Tokens bound to a DPoP key: the round trip, and each way to be refused."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws as jose
from joserfc.jwk import ECKey, OctKey, OKPKey

from gridspine.infra.identity import jws
from gridspine.infra.identity.dpop import MAX_AGE_S, Proofs, normalise_url, token_hash
from gridspine.infra.identity.replay import ReplayCache
from gridspine.kernel.errors import GridspineError, Overloaded, Unauthenticated

URL = "https://node.example/things?page=2"
Reason = Callable[..., str]


@pytest.mark.parametrize("kind", ["Ed25519", "ES256"])
def test_a_signed_request_has_a_caller(world, kind: str) -> None:
    key = OKPKey.generate_key("Ed25519") if kind == "Ed25519" else ECKey.generate_key("P-256")
    client, key = world.client("operator", "owner", key=key)
    token = world.token(client, key, scope="operator")
    caller = world.identity.by_dpop(token, world.proof(key, "GET", URL, token), method="GET", url=URL)
    assert (caller.principal, caller.organisation, caller.kind) == (client.id, "acme", "application")
    assert caller.roles == {"operator"}
    assert caller.how == "dpop"
    assert caller.session == f"key:{jws.thumbprint(dict(key.as_dict(private=False)))}"
    assert world.identity.holds(caller)


def test_the_session_survives_a_new_token(world) -> None:
    client, key = world.client("operator")
    sessions = set()
    for _ in range(2):
        token = world.token(client, key, dpop=(fresh := OKPKey.generate_key("Ed25519")))
        sessions.add(
            world.identity.by_dpop(token, world.proof(fresh, "GET", URL, token), method="GET", url=URL).session
        )
    assert len(sessions) == 1


def refusals(world) -> dict[str, tuple[str, str]]:
    client, key = world.client("operator")
    other = ECKey.generate_key("P-256")
    token = world.token(client, key)

    def proof(**claims):
        return world.proof(key, "GET", URL, token, **claims)

    symmetric = OctKey.generate_key(256)
    hs256 = jose.serialize_compact(
        {"alg": "HS256", "typ": "dpop+jwt", "jwk": symmetric.as_dict()}, b"{}", symmetric, algorithms=["HS256"]
    )
    private = jws.sign({"typ": "dpop+jwt", "jwk": key.as_dict(private=True)}, {"jti": "1"}, key)
    replayed = proof()
    world.identity.by_dpop(token, replayed, method="GET", url=URL)
    now = world.now_s()
    return {
        "proof-replayed": (token, replayed),
        "no-proof": (token, ""),
        "proof-malformed": (token, "abc"),
        "proof-malformed 2": (token, hs256),
        "proof-malformed 3": (token, private),
        "proof-malformed 4": (token, world.proof(key, "GET", URL, token, typ="JWT")),
        "proof-malformed 5": (token, proof(jti="")),
        "proof-malformed 6": (token, proof(jti="x" * 129)),
        "proof-malformed 7": (token, proof(iat=None)),
        "proof-malformed 8": (token, proof(iat="now")),
        "proof-malformed 9": (token, jws.sign({"typ": "dpop+jwt"}, {"jti": "1"}, key)),
        "proof-signature": (
            token,
            jws.sign({"typ": "dpop+jwt", "jwk": other.as_dict(private=False)}, {}, ECKey.generate_key("P-256")),
        ),
        "proof-method": (token, proof(htm="POST")),
        "proof-method 2": (token, proof(htm="get")),
        "proof-url": (token, proof(htu="https://node.example/thing")),
        "proof-url 2": (token, proof(htu="http://node.example/things")),
        "proof-token": (token, proof(ath=token_hash("another"))),
        "proof-token 2": (token, world.proof(key, "GET", URL)),
        "proof-future": (token, proof(iat=now + 11)),
        "proof-stale": (token, proof(iat=now - 61)),
        "wrong-key": (token, world.proof(other, "GET", URL, token)),
        "malformed": ("abc", proof()),
        "unknown-key": (jws.sign({"typ": "at+jwt", "kid": "x"}, {}, key), proof()),
        "malformed 2": (replayed, proof()),
    }


def test_each_refusal_has_its_reason(world, reason_of: Reason) -> None:
    # A clock that has run for a while: otherwise "older than the start" hides "too old".
    world.clock.step_wall(1000)
    for expected, (token, proof) in refusals(world).items():
        assert reason_of(world.identity.by_dpop, token, proof, method="GET", url=URL) == expected.split()[0], expected


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b'{"jti":"\xff"}', b"[" * 4000, b'{"x":' * 1000, b"null", b'{"jti":NaN}', b'{"iat":1e999}'],
)
def test_signed_nonsense_is_malformed_and_nothing_worse(world, reason_of: Reason, payload: bytes) -> None:
    client, key = world.client("operator")
    token = world.token(client, key)
    header = {"typ": "dpop+jwt", "jwk": key.as_dict(private=False), "alg": "Ed25519"}
    proof = jose.serialize_compact(header, payload, key, algorithms=["Ed25519"])
    assert reason_of(world.identity.by_dpop, token, proof, method="GET", url=URL) == "proof-malformed"
    assertion = jose.serialize_compact({"alg": "Ed25519"}, payload, key, algorithms=["Ed25519"])
    with pytest.raises(Unauthenticated, match="malformed"):
        world.identity.assertions.check(assertion)


def test_a_refusal_says_how_to_do_it_right(world) -> None:
    client, key = world.client("operator")
    token = world.token(client, key)
    with pytest.raises(Unauthenticated) as caught:
        world.identity.by_dpop(token, world.proof(key, "PUT", URL, token), method="GET", url=URL)
    challenge = caught.value.headers["WWW-Authenticate"]
    assert challenge.startswith('DPoP realm="gridspine", error="invalid_dpop_proof", error_description="')
    assert challenge.endswith('algs="Ed25519 ES256"')


def test_proofs_from_before_a_restart_are_refused(world, reason_of: Reason) -> None:
    client, key = world.client("operator")
    token = world.token(client, key)
    proof = world.proof(key, "GET", URL, token)
    world.identity.by_dpop(token, proof, method="GET", url=URL)
    world.clock.step_wall(1)
    world.start()
    assert reason_of(world.identity.by_dpop, token, proof, method="GET", url=URL) == "proof-stale"
    again = world.proof(key, "GET", URL, token)
    assert world.identity.by_dpop(token, again, method="GET", url=URL).principal == client.id


async def test_a_wall_clock_set_back_later_does_not_shut_clients_out(world, reason_of: Reason) -> None:
    client, key = world.client("operator")
    world.clock.step_wall(-3600)
    proofs = world.identity.proofs
    assert reason_of(proofs.check, world.proof(key, "GET", URL), method="GET", url=URL, owner="o") == "proof-stale"
    await world.clock.advance(320)
    assert proofs.check(world.proof(key, "GET", URL), method="GET", url=URL, owner="o")
    assert world.token(client, key)


def test_the_memory_of_proofs_is_bounded_per_principal(world) -> None:
    cache = ReplayCache(10, capacity=5, per_owner=2)
    assert [cache.first_time("a", name, 0) for name in "xyx"] == [True, True, False]
    with pytest.raises(Overloaded):
        cache.first_time("a", "z", 0)
    assert all(cache.first_time("b", name, 0) for name in "xy")
    assert cache.first_time("c", "x", 0)
    with pytest.raises(Overloaded):
        cache.first_time("c", "y", 0)
    assert not cache.first_time("a", "x", 9_999_999)
    assert not cache.first_time("a", "x", 10_000_001)
    assert cache.first_time("a", "x", 30_000_000)
    assert len(cache) <= 5


@given(gaps=st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc")), max_size=60))
def test_a_name_is_never_new_twice_within_the_window(gaps) -> None:
    cache, now, last = ReplayCache(10), 0, {}
    for gap_s, name in gaps:
        now += gap_s * 1_000_000
        first = cache.first_time("o", name, now)
        if name in last and now - last[name] < 10_000_000:
            assert not first
        if first:
            last[name] = now


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("HTTPS://Node.Example:443/a?x#y", "https://node.example/a"),
        ("http://127.0.0.1:80", "http://127.0.0.1/"),
        ("http://127.0.0.1:8080/%7Ea%2fb", "http://127.0.0.1:8080/~a%2Fb"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("https://u@node.example/", ""),
        ("ftp://node.example/", ""),
        ("https://[/", ""),
        ("https://h:99999/", ""),
        ("/things", ""),
    ],
)
def test_addresses_are_compared_in_normal_form(sent: str, meant: str) -> None:
    assert normalise_url(sent) == meant


def mutations() -> st.SearchStrategy[Callable[[str], str]]:
    characters = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ é")
    places = st.integers(0, 10_000)

    def put(at: int, character: str) -> Callable[[str], str]:
        return lambda text: text[: at % len(text)] + character + text[at % len(text) + 1 :]

    def insert(at: int, character: str) -> Callable[[str], str]:
        return lambda text: text[: at % (len(text) + 1)] + character + text[at % (len(text) + 1) :]

    def cut(at: int, length: int) -> Callable[[str], str]:
        return lambda text: text[: at % len(text)] + text[at % len(text) + length :]

    return st.one_of(
        st.builds(put, places, characters),
        st.builds(insert, places, characters),
        st.builds(cut, places, st.integers(1, 50)),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(mutate=mutations())
def test_no_mutation_of_an_assertion_is_let_in(world, mutate) -> None:
    if not hasattr(world, "kept"):
        world.kept = world.client("operator")
    client, key = world.kept
    assertion = world.assertion(client.id, key)
    changed = mutate(assertion)
    if changed == assertion:
        return
    with pytest.raises(Unauthenticated) as caught:
        world.identity.assertions.check(changed)
    assert caught.value.extra["error"] == "invalid_client"
    assert world.identity.assertions.check(assertion)[0] == client


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(mutate=mutations(), which=st.sampled_from(["token", "proof"]))
def test_no_mutation_of_a_token_or_proof_is_let_in(world, mutate, which: str) -> None:
    if not hasattr(world, "kept"):
        world.kept = world.client("operator")
    client, key = world.kept
    token = world.token(client, key)
    proof = world.proof(key, "GET", URL, token)
    if which == "token":
        changed = mutate(token)
        if changed == token:
            return
        # The proof is made for the changed token, so that nothing but the token's own signature can tell.
        call = (changed, world.proof(key, "GET", URL, changed))
    else:
        changed = mutate(proof)
        if changed == proof:
            return
        call = (token, changed)
    with pytest.raises(GridspineError) as caught:
        world.identity.by_dpop(*call, method="GET", url=URL)
    assert caught.value.status == 401


def test_the_age_limit_is_a_limit(world, reason_of: Reason) -> None:
    proofs = Proofs(world.clock)
    world.clock.step_wall(1000)
    key = OKPKey.generate_key("Ed25519")
    at_the_edge = world.proof(key, "GET", URL, iat=world.now_s() - MAX_AGE_S)
    assert proofs.check(at_the_edge, method="GET", url=URL, owner="o")
    beyond = world.proof(key, "GET", URL, iat=world.now_s() - MAX_AGE_S - 1)
    assert reason_of(proofs.check, beyond, method="GET", url=URL, owner="o") == "proof-stale"
