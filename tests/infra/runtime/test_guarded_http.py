"""A client that connects only where a rule lets it, against a server that two names lead to."""

import asyncio
import contextlib
import gc
import gzip
import ipaddress
import socket
import ssl
import tracemalloc

import httpx
import pytest

from gridspine.infra.runtime import guarded_http
from gridspine.infra.runtime.address_rule import AddressRule
from gridspine.infra.runtime.guarded_http import guarded_client, operators_client, read_body
from gridspine.kernel.errors import Invalid, TooLarge
from tests.adapters.mqtt.authority import Authority

_ANSWER = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nok"


class _Here(AddressRule):
    """Every name is this machine."""

    def __init__(self) -> None:
        super().__init__((), (), "settings")
        self.asked: list[str] = []

    async def find(self, name, port):
        self.asked.append(name)
        return ipaddress.ip_address("127.0.0.1")


@pytest.fixture
def no_collector():
    """What nobody closes stays open, as it may for long in a process that seldom collects."""
    gc.disable()
    yield
    gc.enable()
    gc.collect()


class Server:
    """Says for whom each connection was proven, and what was asked on it."""

    def __init__(self) -> None:
        self.connections: list[tuple[str, list[bytes]]] = []
        self.named = ""
        self.port = 0

    async def take(self, reader, writer) -> None:
        asked: list[bytes] = []
        self.connections.append((self.named, asked))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(_ANSWER)
        writer.close()


@pytest.fixture
async def server(tmp_path):
    authority = Authority(tmp_path)
    contexts = {}
    for name in ("one.example", "two.example"):
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(*authority.issue(name, name))
    found = Server()

    def choose(connection, name, _):
        found.named = name
        connection.context = contexts[name]

    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    front.sni_callback = choose
    listening = await asyncio.start_server(found.take, "127.0.0.1", 0, ssl=front)
    found.port = listening.sockets[0].getsockname()[1]
    found.tls = ssl.create_default_context(cafile=authority.path)
    async with listening:
        yield found


async def test_a_connection_is_kept_for_the_name_that_it_was_proven_for(server):
    rule = _Here()
    async with guarded_client(rule, 5.0, server.tls) as http:
        for name in ("one.example", "two.example", "one.example"):
            answer = await http.get(f"https://{name}:{server.port}/at", headers={"authorization": f"for {name}"})
            assert answer.text == "ok"
        assert not http.cookies
    assert rule.asked == ["one.example", "two.example"]
    assert [(name, len(asked)) for name, asked in server.connections] == [("one.example", 2), ("two.example", 1)]
    for name, asked in server.connections:
        assert all(b"for " + name.encode() in one and b"\r\nHost: " + name.encode() in one for one in asked)
        assert not any(b"cookie" in one.lower() for one in asked)


async def test_the_address_that_was_checked_is_the_one_that_is_asked(server, monkeypatch):
    """A name that leads elsewhere a moment later leads nowhere else."""
    answers = ["127.0.0.1", "127.0.0.2"]
    rule = AddressRule(("127.0.0.1/32",), (), "settings")
    look_up = lambda *_, **__: [(socket.AF_INET, 1, 6, "", (answers.pop(0), server.port))]  # noqa: E731
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with guarded_client(rule, 5.0, server.tls, httpx.Limits(max_keepalive_connections=0)) as http:
        assert (await http.get(f"https://one.example:{server.port}/")).text == "ok"
        with pytest.raises(Invalid):
            await http.get(f"https://one.example:{server.port}/")
    assert len(server.connections) == 1
    assert not answers


async def test_who_cannot_prove_the_name_gets_nothing(server):
    async with guarded_client(_Here(), 5.0) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"https://one.example:{server.port}/")
    assert server.connections == []


async def test_nothing_connects_where_the_rule_forbids_it(server):
    async with guarded_client(AddressRule((), (), "settings"), 5.0, server.tls) as http:
        for name in ("127.0.0.1", "localhost", "[::1]"):
            with pytest.raises(Invalid, match="no address that may be connected to"):
                await http.get(f"https://{name}:{server.port}/")
    assert server.connections == []


async def test_a_name_that_nobody_answers_for_is_waited_for_so_long_only(server):
    rule = _Here()

    async def never(name, port):
        await asyncio.Event().wait()

    rule.find = never
    async with guarded_client(rule, 0.05, server.tls) as http:
        with pytest.raises(httpx.ConnectTimeout):
            await http.get(f"https://one.example:{server.port}/")


@pytest.mark.parametrize("make", [
    lambda tls: guarded_client(_Here(), 20.0, tls), lambda tls: operators_client(20.0, tls, httpx.Limits()),
])  # fmt: skip
async def test_a_handshake_that_is_cancelled_leaves_no_connection_open(make, no_collector):
    """The other end hears a greeting and never says a word: whoever stops waiting for it hangs up, not some day."""
    taken, ended = asyncio.Event(), asyncio.Event()

    async def take(reader, writer) -> None:
        await reader.read(1)
        taken.set()
        await reader.read()  # to its end: all that the client said
        ended.set()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with make(ssl.create_default_context()) as http:
            asking = asyncio.create_task(http.get(f"https://127.0.0.1:{port}/"))
            await taken.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.wait_for(ended.wait(), 60)


async def _said(*parts):
    for part in parts:
        yield part


async def _compressed(encoding: str, *parts: bytes, most_bytes: int = 65_536) -> bytes:
    answer = httpx.Response(200, headers={"content-encoding": encoding}, content=_said(*parts))
    return await read_body(answer, most_bytes, "the VTN", TooLarge)


async def test_what_is_compressed_is_read_as_far_as_it_is_taken():
    whole = gzip.compress(b"x" * 1_000)
    assert await _compressed("gzip", whole[:15], whole[15:], most_bytes=1_000) == b"x" * 1_000
    assert await _compressed("identity", b"abc") == b"abc"
    assert await _compressed("gzip") == b""  # as many answer where there is no body
    with pytest.raises(TooLarge, match="more than 999 bytes"):
        await _compressed("gzip", whole, most_bytes=999)
    for wrong, words in ((whole[:-9], "ends before"), (b"plain", "is no gzip"), (whole + b"more", "goes on behind")):
        with pytest.raises(TooLarge, match=words):
            await _compressed("gzip", wrong)


async def test_a_small_answer_that_grows_takes_no_memory():
    """A thousand times as much by gzip; by gzip in gzip, or by zstd, a million times: in one part of an answer."""
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        for encoding in ("gzip", "gzip, gzip", "zstd", "deflate", "br"):
            with pytest.raises(TooLarge, match=r"more than 65536 bytes|not asked for"):
                await _compressed(encoding, gzip.compress(bomb) if "," in encoding else bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


async def test_who_is_asked_is_told_what_is_taken(server):
    async with guarded_client(_Here(), 5.0, server.tls) as http:
        await http.get(f"https://one.example:{server.port}/")
    assert b"\r\naccept-encoding: gzip\r\n" in server.connections[0][1][0].lower()


async def test_an_answer_of_more_than_is_taken_is_left_unread():
    read = []

    async def parts():
        for _ in range(100):
            read.append(1)
            yield b"x" * 10

    assert await read_body(httpx.Response(200, content=_said(b"a", b"bc")), 3, "the VTN", TooLarge) == b"abc"
    with pytest.raises(TooLarge, match="the VTN has more than 25 bytes"):
        await read_body(httpx.Response(200, content=parts()), 25, "the VTN", TooLarge)
    assert len(read) == 3


async def test_a_body_without_an_end_is_not_read_for_ever(monkeypatch):
    async def parts():
        while True:
            yield b""
            await asyncio.sleep(0.01)

    monkeypatch.setattr(guarded_http, "BODY_S", 0.1)
    with pytest.raises(TimeoutError):
        await read_body(httpx.Response(200, content=parts()), 25, "the VTN", TooLarge)
