"""Who is asking, over real connections: keys, certificates, cookies, tickets, plain tokens."""

import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from gridspine.apps.api.authenticate import CSRF_HEADER, is_loopback, session_cookie
from gridspine.apps.cli.keys import certificate_request, new_key
from gridspine.apps.cli.signing import SigningAuth
from gridspine.infra.identity.certificate import thumbprint
from gridspine.infra.identity.custody import Custody

PASSWORD = "correct horse battery"


def sign_in(node, url: str) -> tuple[Any, dict[str, str], str]:
    """Return a new user, the cookie of a session, and the session's CSRF token."""
    user = node.identity.users.add("acme", "Alice", PASSWORD, ("operator",))
    assert node.identity.users.sign_in("alice", PASSWORD, "127.0.0.1") == user
    cookie = node.identity.sessions.open(user, node.identity.directory.epoch(user.id))
    session = node.identity.sessions.find(cookie)
    made = session_cookie(cookie, secure=url.startswith("https"))
    return user, {made.key: str(made.value)}, node.identity.sessions.csrf_token(session)


def client_certificate(node, file, folder: Path) -> ssl.SSLContext:
    """Return a client's TLS context with a certificate issued to ``file``."""
    principal = node.identity.directory.principal(file.client)
    pem = node.identity.authority.issue(principal, certificate_request(file))
    chain = folder / f"{file.client.rpartition(':')[2]}.pem"
    chain.write_bytes(file.key.as_pem(private=True) + pem)
    context = trusting(node)
    context.load_cert_chain(chain)
    return context


def trusting(node) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=node.identity.authority.ca_pem.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def refused(answer: httpx.Response, reason: str, status: int = 401) -> httpx.Response:
    assert (answer.status_code, answer.json().get("reason")) == (status, reason), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    return answer


def test_nobody_is_told_how_to_be_somebody(node) -> None:
    with node.serve() as url:
        answer = refused(httpx.get(f"{url}/me"), "missing")
        assert answer.headers["www-authenticate"] == 'DPoP realm="gridspine", algs="Ed25519 ES256"'
        refused(httpx.get(f"{url}/me", headers={"Authorization": "Basic YTpi"}), "unknown-scheme")
        refused(httpx.get(f"{url}/me", headers={"Authorization": "DPoP"}), "malformed")
        refused(httpx.get(f"{url}/me", headers={"Authorization": "DPoP " + "x" * 9000}), "malformed")
        refused(httpx.get(f"{url}/me", headers={"Authorization": "Bearer abc"}), "malformed")
        refused(httpx.get(f"{url}/me", headers=[("Authorization", "DPoP a"), ("Authorization", "DPoP b")]), "malformed")


def test_every_refusal_of_a_signed_request_over_http(node) -> None:
    file, other = node.client(), node.client()
    with node.serve() as url:
        auth, stranger = SigningAuth(file, node=url), SigningAuth(other, node=url)
        me = f"{url}/me"
        for signer in (auth, stranger):
            assert httpx.get(me, auth=signer).status_code == 200
        good = auth.headers("GET", me)
        assert httpx.get(me, headers=good).status_code == 200
        answer = refused(httpx.get(me, headers=good), "proof-replayed")
        assert 'error="invalid_dpop_proof"' in answer.headers["www-authenticate"]
        refused(httpx.get(me, headers={"Authorization": good["Authorization"]}), "no-proof")
        refused(httpx.get(me, headers=auth.headers("POST", me)), "proof-method")
        refused(httpx.get(me, headers=auth.headers("GET", f"{url}/you")), "proof-url")
        refused(httpx.get(me, headers=auth.headers("GET", me.replace("127.0.0.1", "localhost"))), "proof-url")
        mixed = {**good, "DPoP": stranger.headers("GET", me)["DPoP"]}
        answer = refused(httpx.get(me, headers=mixed), "wrong-key")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        refused(httpx.get(me, headers={**good, "DPoP": auth.proof("GET", me, "another token")}), "proof-token")
        two = [*auth.headers("GET", me).items(), ("DPoP", auth.headers("GET", me)["DPoP"])]
        refused(httpx.get(me, headers=two), "malformed")
        token = good["Authorization"].removeprefix("DPoP ")
        refused(httpx.get(me, headers={"Authorization": f"Bearer {token}"}), "wrong-scheme")
        node.identity.directory.deactivate(file.client)
        refused(httpx.get(me, headers=auth.headers("GET", me)), "inactive")
        node.identity.directory.reactivate(file.client)
        refused(httpx.get(me, headers=auth.headers("GET", me)), "revoked")
        assert httpx.get(me, auth=auth).status_code == 200, "the client renews a refused token by itself"


def test_removing_a_key_ends_its_tokens(node) -> None:
    file = node.client()
    with node.serve() as url:
        auth = SigningAuth(file, node=url)
        assert httpx.get(f"{url}/me", auth=auth).status_code == 200
        (key,) = node.identity.directory.keys_of(file.client)
        node.identity.directory.remove_key(key.kid)
        refused(httpx.get(f"{url}/me", headers=auth.headers("GET", f"{url}/me")), "revoked")


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256"])
def test_a_token_bound_to_a_certificate(node, tmp_path: Path, algorithm) -> None:
    file, other = node.client("operator", algorithm=algorithm), node.client()
    with node.serve(tls=True) as url:
        context, strange = client_certificate(node, file, tmp_path), client_certificate(node, other, tmp_path)
        request = {"grant_type": "client_credentials", "client_id": file.client}
        stolen = httpx.post(f"{url}/token", data=request, verify=strange)
        assert (stolen.status_code, stolen.json()["error"]) == (401, "invalid_client")
        mixed = SigningAuth(file, node=url)._token_request()
        del mixed.headers["DPoP"]
        with httpx.Client(verify=strange) as client:
            assert client.send(mixed).json()["error"] == "invalid_client", "bound to a certificate that is not its own"
        answer = httpx.post(f"{url}/token", data=request, verify=context)
        assert answer.status_code == 200, answer.text
        assert answer.json()["token_type"] == "Bearer"
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        me = httpx.get(f"{url}/me", headers=headers, verify=context).json()
        assert (me["principal"], me["how"]) == (file.client, "mtls")
        refused(httpx.get(f"{url}/me", headers=headers, verify=trusting(node)), "no-certificate")
        refused(httpx.get(f"{url}/me", headers=headers, verify=strange), "wrong-certificate")
        refused(
            httpx.get(
                f"{url}/me",
                headers={"Authorization": headers["Authorization"].replace("Bearer", "DPoP")},
                verify=context,
            ),
            "wrong-scheme",
        )
        # The certificate alone opens nothing over HTTP.
        refused(httpx.get(f"{url}/me", verify=context), "missing")
        (issued,) = node.identity.authority.issued_to(file.client)
        node.identity.authority.revoke(issued.id)
        refused(httpx.get(f"{url}/me", headers=headers, verify=context), "revoked")


def test_a_resumed_tls_session_still_carries_the_certificate(node, tmp_path: Path) -> None:
    file = node.client()
    with node.serve(tls=True) as url:
        context = client_certificate(node, file, tmp_path)
        request = {"grant_type": "client_credentials", "client_id": file.client}
        token = httpx.post(f"{url}/token", data=request, verify=context).json()["access_token"]
        session, reused = None, []
        for _ in range(2):
            plain = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
            with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as tls:
                lines = ["GET /me HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}", "Connection: close"]
                tls.sendall("\r\n".join([*lines, "", ""]).encode())
                answer = b"".join(iter(lambda tls=tls: tls.recv(65536), b""))
                assert b'"how":"mtls"' in answer, answer
                session, reused = tls.session, [*reused, tls.session_reused]
        assert reused == [False, True]


async def test_dpop_and_websockets_over_tls_with_a_certificate(node, tmp_path: Path) -> None:
    file = node.client()
    with node.serve(tls=True) as url:
        context = client_certificate(node, file, tmp_path)
        auth = SigningAuth(file, node=url)
        assert httpx.get(f"{url}/me", auth=auth, verify=context).json()["how"] == "dpop"
        request = {"grant_type": "client_credentials", "client_id": file.client}
        token = httpx.post(f"{url}/token", data=request, verify=context).json()["access_token"]
        address = url.replace("https", "wss") + "/socket"
        # The blocking client reads and writes TLS from two threads at once, which CPython's ssl does not bear well.
        for headers in ({"Authorization": f"Bearer {token}"}, auth.headers("GET", f"{url}/socket")):
            async with connect_async(address, ssl=context, additional_headers=headers) as opened:
                assert await opened.recv() == file.client


def test_a_certificate_of_another_authority_does_not_get_through_tls(make_node, tmp_path: Path) -> None:
    node, elsewhere = make_node(), make_node()
    file = elsewhere.client()
    context = client_certificate(elsewhere, file, tmp_path)
    context.load_verify_locations(cadata=node.identity.authority.ca_pem.decode())
    with node.serve(tls=True) as url, pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/me", verify=context)


def test_the_portal_cookie_and_its_csrf_token(node) -> None:
    with node.serve() as url:
        user, cookies, csrf = sign_in(node, url)
        with httpx.Client(base_url=url, cookies=cookies) as browser:
            me = browser.get("/me").json()
            assert (me["principal"], me["how"]) == (user.id, "cookie")
            refused(browser.post("/change"), "csrf", 403)
            refused(browser.post("/change", headers={CSRF_HEADER: csrf[::-1] + "0"}), "csrf", 403)
            assert browser.post("/change", headers={CSRF_HEADER: csrf}).status_code == 200
            crossing = {CSRF_HEADER: csrf, "Sec-Fetch-Site": "cross-site"}
            refused(browser.post("/change", headers=crossing), "cross-site", 403)
            node.identity.sessions.close_all(user.id)
            refused(browser.get("/me"), "session-ended")


def test_a_websocket_with_a_cookie_must_come_from_the_portal(node) -> None:
    with node.serve() as url:
        user, cookies, _ = sign_in(node, url)
        ((name, value),) = cookies.items()
        address = url.replace("http", "ws") + "/socket"
        with connect(address, origin=url, additional_headers={"Cookie": f"{name}={value}"}) as socket:
            assert socket.recv() == user.id
        for origin in ("https://evil.example", None):
            with (
                pytest.raises(InvalidStatus),
                connect(address, origin=origin, additional_headers={"Cookie": f"{name}={value}"}),
            ):
                pass


def test_a_ticket_opens_one_stream_once(node) -> None:
    file = node.client()
    with node.serve() as url:
        auth = SigningAuth(file, node=url)
        with httpx.Client(auth=auth) as client, client.stream("GET", f"{url}/events") as stream:
            assert next(stream.iter_lines()) == f"data: {file.client}", "a signed stream is not read to its end"
        caller = node.identity.by_dpop(*signed(auth, "GET", f"{url}/events"), method="GET", url=f"{url}/events")
        ticket = node.identity.tickets.issue(caller, "/events")
        refused(httpx.get(f"{url}/me", params={"ticket": ticket}), "bad-ticket")
        ticket = node.identity.tickets.issue(caller, "/events")
        refused(httpx.post(f"{url}/change", params={"ticket": ticket}), "missing")
        with httpx.stream("GET", f"{url}/events", params={"ticket": ticket}) as stream:
            assert next(stream.iter_lines()) == f"data: {file.client}"
        refused(httpx.get(f"{url}/events", params={"ticket": ticket}), "bad-ticket")
        late = node.identity.tickets.issue(caller, "/events")
        node.identity.directory.deactivate(file.client)
        refused(httpx.get(f"{url}/events", params={"ticket": late}), "revoked")


def signed(auth: SigningAuth, method: str, url: str) -> tuple[str, str]:
    headers = auth.headers(method, url)
    return headers["Authorization"].removeprefix("DPoP "), headers["DPoP"]


def test_plain_tokens_are_for_the_demo_on_loopback(make_node) -> None:
    for demo in (True, False):
        node = make_node(demo=demo)
        file = node.client()
        token = node.identity.demo.issue(file.client) if demo else "demo.abc"
        headers = {"Authorization": f"Bearer {token}"}
        with node.serve() as url:
            answer = httpx.get(f"{url}/me", headers=headers)
            if not demo:
                refused(answer, "malformed")
                continue
            assert answer.json()["how"] == "bearer"
            forwarded = {**headers, "X-Forwarded-For": "192.0.2.1"}
            refused(httpx.get(f"{url}/me", headers=forwarded), "malformed")
            refused(httpx.get(f"{url}/me", headers={"Authorization": "Bearer demo.x"}), "malformed")


def test_an_unbound_token_is_issued_and_taken_in_the_demo_only(make_node) -> None:
    node = make_node(demo=True)
    file = node.client()
    with node.serve() as url:
        request = SigningAuth(file, node=url)._token_request()
        del request.headers["DPoP"]
        with httpx.Client() as client:
            answer = client.send(request).json()
        assert answer["token_type"] == "Bearer"
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        assert httpx.get(f"{url}/me", headers=headers).json()["how"] == "bearer"
        refused(httpx.get(f"{url}/me", headers={**headers, "Via": "1.1 proxy"}), "bearer-refused")


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("127.0.0.1", 1), True),
        (("::1", 1), True),
        (("127.9.9.9", 1), True),
        (("192.0.2.1", 1), False),
        (None, False),
        (("pipe", 1), False),
    ],
)
def test_loopback(client, expected: bool) -> None:
    assert is_loopback({"client": client}) is expected  # type: ignore[arg-type]


def test_keys_stay_private_to_the_server(node) -> None:
    with node.serve(tls=True):
        custody = node.identity.custody
        assert custody.path("server.pem").stat().st_mode & 0o077 == 0
        assert isinstance(custody, Custody)
    assert len(thumbprint(b"x")) == 43
    assert new_key("ES256").is_private
