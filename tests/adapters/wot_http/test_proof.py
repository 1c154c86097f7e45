"""Schemes that prove a request, against real servers: keys, challenges, and TLS by a key shared beforehand."""

import asyncio
import hashlib
import logging
import re
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from adapter_node import DictStore

from gridspine.adapters.wot_http.guard import Guard, Settings
from gridspine.adapters.wot_http.proof import Security, shared_key
from gridspine.adapters.wot_http.session import Session
from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.web_place import SecretUse
from gridspine.kernel.errors import Invalid, Unavailable

KEY = "s3cret/key&more=1"
IDENTITY, SHARED = "meter-7", "00112233445566778899aabbccddeeff"
HAS_PSK = hasattr(ssl.SSLContext, "set_psk_client_callback")


class Handler(BaseHTTPRequestHandler):
    """Answers 1.5 to who proves itself as ``server.wanted`` says; sets a cookie on everybody."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        good, challenge = self.server.wanted(self)
        body = b"1.5" if good else b"0"
        self.send_response(200 if good else 401)
        if challenge:
            self.send_header("www-authenticate", challenge)
        self.send_header("set-cookie", "left=behind")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def device() -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.asked, made.wanted = [], lambda _: (True, "")
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def session(url: str, **secrets: str) -> Session:
    use = SecretUse((url,), ("org",))
    settings = Settings(allow=("127.0.0.0/8",), secrets=dict.fromkeys(secrets, use), timeout_s=5.0)
    return Session(Guard(settings, secrets), settings, SystemClock(), DictStore())


async def asked(url: str, security: Security, path: str = "/power", times: int = 1, **secrets: str) -> bytes:
    made = session(url, **secrets)
    try:
        for _ in range(times):
            body = (await made.get(url + path, security, "org")).body
    finally:
        await made.close()
    return body


@pytest.mark.parametrize("place", ["header", "query", "cookie"])
async def test_a_key_goes_where_the_description_says_and_into_no_log(
    device: Any, place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    key = KEY.replace(" ", "")

    def wanted(request: Any) -> tuple[bool, str]:
        query = parse_qs(urlsplit(request.path).query)
        found = {
            "header": request.headers.get("x-key"), "query": query.get("x-key", [""])[0],
            "cookie": (request.headers.get("cookie") or "").removeprefix("x-key="),
        }  # fmt: skip
        return found[place] == key and query["a"] == ["1"], ""

    device.wanted = wanted
    logging.getLogger("httpx").setLevel(logging.WARNING)
    caplog.set_level(logging.INFO)
    security = Security("apikey", "k", place=place, name="x-key")
    assert await asked(device.url, security, "/power?a=1", times=2, k=key) == b"1.5"
    assert key not in caplog.text
    assert "left=behind" not in str(device.asked), "nor is a cookie shown to anybody else"


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "connection", "Cookie", "TE", "upgrade", "Proxy-Authorization",
     "bad name", "a:b", "x\r\ny"],
)  # fmt: skip
async def test_a_key_takes_the_place_of_no_header_that_steers_the_request(device: Any, name: str) -> None:
    with pytest.raises(Invalid, match="header"):
        await asked(device.url, Security("apikey", "k", place="header", name=name), k="elsewhere.example")
    assert not device.asked


async def test_nothing_of_a_secret_is_in_what_is_said_of_it(device: Any) -> None:
    for security, secret in (
        (Security("bearer", "k"), "to\nken"), (Security("bearer", "k"), " token"), (Security("bearer", "k"), "tökén"),
        (Security("apikey", "k", place="header", name="x"), "ke\ry"),
        (Security("apikey", "k", place="cookie", name="x"), "ke;y"),
        (Security("apikey", "k", place="header"), "nameless"),
        (Security("psk", "k"), "identity:0011"), (Security("psk", "k"), "not hex"),
    ):  # fmt: skip
        with pytest.raises(Invalid) as caught:
            await asked(device.url.replace("http:", "https:") if security.scheme == "psk" else device.url, security,
                        k=secret)  # fmt: skip
        assert secret not in caught.value.detail
    assert not device.asked


def digest(algorithm: str, password: str = "pass word") -> Any:
    """Return what a server does that challenges by RFC 7616 with ``algorithm``, and counts."""
    hashed = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
    challenge = f'Digest realm="r", nonce="n1", qop="auth", algorithm={algorithm}, opaque="o"'
    seen: set[str] = set()

    def h(text: str) -> str:
        return hashed(text.encode()).hexdigest()

    def wanted(request: Any) -> tuple[bool, str]:
        said = dict(re.findall(r'(\w+)="?([^",]+)"?', request.headers.get("authorization", "")))
        if not said or said["nc"] in seen:
            return False, challenge
        seen.add(said["nc"])
        ours = h(f"user:r:{password}"), h(f"GET:{request.path}")
        expected = h(f"{ours[0]}:n1:{said['nc']}:{said['cnonce']}:auth:{ours[1]}")
        return said["response"] == expected and said["uri"] == request.path, challenge

    return wanted


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_a_challenge_is_answered_and_remembered(device: Any, algorithm: str) -> None:
    device.wanted = digest(algorithm)
    assert await asked(device.url, Security("digest", "k"), times=3, k="user:pass word") == b"1.5"
    proofs = [headers.get("Authorization", headers.get("authorization", "")) for _, headers in device.asked]
    assert [bool(proof) for proof in proofs] == [False, True, True, True], "one challenge, then counted on"
    assert not any("pass word" in proof for proof in proofs)
    with pytest.raises(Unavailable, match="401"):
        await asked(device.url, Security("digest", "k"), k="user:wrong")


async def test_a_challenge_that_makes_no_sense_is_no_crash(device: Any) -> None:
    for challenge in ("Digest realm=", 'Digest realm="r", nonce="n", qop="auth-int"', 'Digest nonce="n", algorithm=X',
                      'Digest realm="r", nonce="n", algorithm=ROT13'):  # fmt: skip
        device.wanted = lambda _, challenge=challenge: (False, challenge)  # type: ignore[misc]
        with pytest.raises(Unavailable):
            await asked(device.url, Security("digest", "k"), k="user:pass")


async def test_tls_by_a_shared_key_or_why_there_is_none() -> None:
    if not HAS_PSK:
        with pytest.raises(Invalid, match=r"Python 3\.13"):
            shared_key(f"{IDENTITY}:{SHARED}")
        return
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("PSK")
    context.set_psk_server_callback(
        lambda identity: bytes.fromhex(SHARED) if identity == IDENTITY else b"\0" * 16, "hint"
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n2.5")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        assert await asked(url, Security("psk", "k"), k=f"{IDENTITY}:{SHARED}") == b"2.5"
        for wrong in (f"{IDENTITY}:{SHARED[::-1]}", f"other:{SHARED}"):
            with pytest.raises(Unavailable):
                await asked(url, Security("psk", "k"), k=wrong)
    finally:
        server.close()
        await server.wait_closed()
