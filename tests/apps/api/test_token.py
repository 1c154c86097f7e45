"""The token endpoint over HTTP."""

from typing import Any

import httpx
import pytest

from gridspine.apps.cli.signing import SigningAuth
from gridspine.infra.identity import jws
from gridspine.infra.runtime.clock import SystemClock, new_id

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def assertion(file, **changes: Any) -> str:
    clock = SystemClock()
    now = clock.now_us() // 1_000_000
    claims = {"iss": file.client, "sub": file.client, "aud": file.node, "iat": now, "exp": now + 60}
    return jws.sign({}, {**claims, "jti": new_id(clock), **changes}, file.key)


def form(file, **changes: str) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion(file),
        **changes,
    }


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256"])
def test_a_client_gets_a_token_and_uses_it(node, algorithm) -> None:
    file = node.client("operator", "owner", algorithm=algorithm)
    with node.serve() as url, httpx.Client(base_url=url, auth=SigningAuth(file, node=url, scope="owner")) as client:
        for _ in range(2):
            answer = client.get("/me?x=1")
            assert answer.status_code == 200, answer.text
            assert answer.json()["principal"] == file.client
            assert answer.json()["roles"] == ["owner"]
            assert answer.json()["how"] == "dpop"
        assert client.post("/change", content=b"12345").json()["body"] == 5


def test_the_answer_has_the_form_of_rfc_6749(node) -> None:
    file = node.client()
    with node.serve() as url:
        proof = SigningAuth(file, node=url).proof("POST", f"{url}/token")
        answer = httpx.post(f"{url}/token", data=form(file), headers={"DPoP": proof})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("DPoP", 300, "operator")
    assert answer.headers["cache-control"] == "no-store"


def test_each_error_has_its_code(node) -> None:
    file, other = node.client(), node.client()
    with node.serve() as url:
        token_url = f"{url}/token"
        signer = SigningAuth(file, node=url)

        def ask(data: Any, *, proof: str | None = "", **more: Any) -> httpx.Response:
            headers = {} if proof is None else {"DPoP": proof or signer.proof("POST", token_url)}
            return httpx.post(token_url, data=data, headers={**headers, **more.pop("headers", {})}, **more)

        used = form(file)
        assert ask(used).status_code == 200
        cases = {
            "replayed assertion": (ask(used), 401, "invalid_client"),
            "no client": (ask({"grant_type": "client_credentials"}), 401, "invalid_client"),
            "unknown client": (
                ask(form(file, client_assertion=assertion(file, iss="urn:x:y", sub="urn:x:y"))),
                401,
                "invalid_client",
            ),
            "wrong key": (
                ask(form(file, client_assertion=assertion(file, iss=other.client, sub=other.client))),
                401,
                "invalid_client",
            ),
            "wrong audience": (
                ask(form(file, client_assertion=assertion(file, aud="https://other.example"))),
                401,
                "invalid_client",
            ),
            "two audiences": (
                ask(form(file, client_assertion=assertion(file, aud=[file.node, "https://b.example"]))),
                401,
                "invalid_client",
            ),
            "long life": (ask(form(file, client_assertion=assertion(file, exp=4_000_000_000))), 401, "invalid_client"),
            "run out": (ask(form(file, client_assertion=assertion(file, exp=1))), 401, "invalid_client"),
            "before the start": (ask(form(file, client_assertion=assertion(file, iat=1))), 401, "invalid_client"),
            "not yet": (ask(form(file, client_assertion=assertion(file, nbf=4_000_000_000))), 401, "invalid_client"),
            "other client_id": (ask(form(file, client_id=other.client)), 401, "invalid_client"),
            "no assertion": (ask(form(file, client_assertion="x")), 401, "invalid_client"),
            "other type": (ask(form(file, client_assertion_type="saml")), 400, "invalid_request"),
            "other grant": (ask(form(file, grant_type="password")), 400, "unsupported_grant_type"),
            "other scope": (ask(form(file, scope="administrator")), 400, "invalid_scope"),
            "bound to nothing": (ask(form(file), proof=None), 400, "invalid_request"),
            "bad proof": (ask(form(file), proof="x"), 400, "invalid_dpop_proof"),
            "proof for elsewhere": (ask(form(file), proof=signer.proof("POST", url)), 400, "invalid_dpop_proof"),
            "JSON": (httpx.post(token_url, json=form(file)), 400, "invalid_request"),
            "twice": (
                httpx.post(
                    token_url, content="scope=a&scope=b", headers={"content-type": "application/x-www-form-urlencoded"}
                ),
                400,
                "invalid_request",
            ),
            "not a form": (
                httpx.post(token_url, content="&&&=%", headers={"content-type": "application/x-www-form-urlencoded"}),
                400,
                "invalid_request",
            ),
            "too many": (ask({f"p{n}": "1" for n in range(60)}), 400, "invalid_request"),
        }
        assert httpx.post(token_url, data={"x": "y" * 20_000}).status_code == 413
    for name, (answer, status, code) in cases.items():
        assert (answer.status_code, answer.json()["error"]) == (status, code), (name, answer.text)
        assert answer.json()["error_description"], name
        assert answer.headers["cache-control"] == "no-store", name
        assert ("www-authenticate" in answer.headers) == (status == 401), name


def test_metadata_and_keys(node) -> None:
    with node.serve() as url:
        metadata = httpx.get(f"{url}/.well-known/oauth-authorization-server").json()
        keys = httpx.get(f"{url}/jwks").json()["keys"]
    assert metadata["issuer"] == node.identity.issuer
    assert metadata["token_endpoint"] == "https://node.example/token"
    assert metadata["token_endpoint_auth_methods_supported"] == ["private_key_jwt", "tls_client_auth"]
    assert metadata["scopes_supported"] == ["operator"]
    assert [(key["kty"], key["alg"], key["use"]) for key in keys] == [("OKP", "Ed25519", "sig")]
    assert not any("d" in key for key in keys)


def test_a_revoked_token_ends_at_once(node) -> None:
    file, other = node.client(), node.client()
    auth = SigningAuth(file, node="x")
    with node.serve() as url:
        auth = SigningAuth(file, node=url)
        with httpx.Client(auth=auth) as client:
            assert client.get(f"{url}/me").status_code == 200
        headers = auth.headers("GET", f"{url}/me")
        token = headers["Authorization"].removeprefix("DPoP ")

        def revoke(asker, token: str) -> int:
            return httpx.post(f"{url}/revoke", data={**form(asker), "token": token}).status_code

        assert revoke(other, token) == 200, "not telling a stranger whether the token is one"
        assert httpx.get(f"{url}/me", headers=headers).status_code == 200
        assert revoke(file, token) == revoke(file, token) == revoke(file, "nonsense") == 200
        refused = httpx.get(f"{url}/me", headers=auth.headers("GET", f"{url}/me"))
        assert (refused.status_code, refused.json()["reason"]) == (401, "revoked")
        assert httpx.post(f"{url}/revoke", data=form(file)).json()["error"] == "invalid_request"
        assert httpx.post(f"{url}/revoke", data={"token": token}).json()["error"] == "invalid_client"
