"""A client that connects only where a rule lets it, against a server that two names lead to."""

import asyncio
import contextlib
import gc
import ipaddress
import socket
import ssl

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
            await asyncio.wait_for(ended.wait(), 20)


async def test_an_answer_of_more_than_is_taken_is_left_unread():
    read = []

    async def parts():
        for _ in range(100):
            read.append(1)
            yield b"x" * 10

    assert await read_body(httpx.Response(200, content=b"abc"), 3, "the VTN", TooLarge) == b"abc"
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
