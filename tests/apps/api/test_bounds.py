"""Bounds of connections and requests, on a real server: each has a stated answer, and the next client is served."""

import asyncio
import contextlib
import errno
import gc
import json
import socket
import ssl
import time

import httpx
import pytest
from running_node import running, settings_for, until

from gridspine.apps.api import connection
from gridspine.apps.node import serve as serving
from gridspine.apps.node.seats import Seats
from gridspine.apps.node.serve import bind, serve
from tests.adapters.mqtt.authority import Authority

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def hello(scope, receive, send):
    body = b""
    more = True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@contextlib.asynccontextmanager
async def server(app=hello, tls=None, **bounds):
    listening = await serve(app, bind("127.0.0.1", 0), tls, http=settings_for(http=bounds).http)
    try:
        yield listening
    finally:
        await listening.stop()


async def rest(reader, timeout_s=60):
    """Read until the server ends the connection."""
    got = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while piece := await asyncio.wait_for(reader.read(65536), timeout_s):
            got += piece
    return got


async def said(listening, *parts):
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    got = await rest(reader)
    writer.close()
    return got


def problem_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert int(head[9:12]) == json.loads(body)["status"]
    return json.loads(body), head


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_of_one"])
async def test_beyond_its_connections_a_server_says_so(bound):
    async with server(**{bound: 3}) as listening:
        open_ = [await asyncio.open_connection("127.0.0.1", listening.port) for _ in range(3)]
        await until(lambda: len(listening.state.connections) == 3)
        problem, head = problem_of(await said(listening))
        assert problem["status"] == 503
        assert b"Retry-After" in head or b"retry-after" in head
        open_.pop()[1].close()
        await until(lambda: len(listening.state.connections) == 2)
        assert (await said(listening, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).endswith(b"hello")
        for _, writer in open_:
            writer.close()


async def test_beyond_its_requests_a_server_says_so():
    going, many = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(scope, receive, send):
        many.release()
        await going.wait()
        await hello(scope, receive, send)

    async with server(slow, max_requests=2) as listening, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{listening.port}/"
        asked = [asyncio.ensure_future(http.get(url)) for _ in range(2)]
        await many.acquire()
        await many.acquire()
        refused = await http.get(url)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["content-type"] == "application/problem+json"
        going.set()
        assert [answer.text for answer in await asyncio.gather(*asked)] == ["hello", "hello"]
        assert (await http.get(url)).text == "hello"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: local\x00host\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_problem_document(request_):
    async with server() as listening:
        problem, head = problem_of(await said(listening, request_))
        assert problem["status"] == 400
        assert b"connection: close" in head


async def test_a_body_that_stands_still_is_refused(monkeypatch):
    monkeypatch.setattr(connection, "BODY_S", 0.3)
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    async with server() as listening:
        for begun in (
            head,
            head + b"abc",
            head.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked") + b"3\r\n",
        ):
            problem, _ = problem_of(await said(listening, begun))
            assert problem["status"] == 408


async def test_a_body_that_drips_is_refused_and_one_that_flows_is_taken(monkeypatch):
    monkeypatch.setattr(connection, "BODY_S", 3.0)
    monkeypatch.setattr(connection, "BODY_BYTES_PER_S", 1000)
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    async with server() as listening:

        async def drip(size, pieces):
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
            answered = asyncio.ensure_future(rest(reader))
            writer.write(head % (size * pieces))
            for _ in range(pieces):
                writer.write(b"a" * size)
                await asyncio.wait({answered}, timeout=0.05)
                if answered.done():
                    break
            got = await answered
            writer.close()
            return got

        assert (await drip(1, 200)).startswith(b"HTTP/1.1 408")
        assert (await drip(1000, 80)).endswith(b"hello")  # 4 s, longer than a body may stand still


async def test_idle_connections_are_ended(monkeypatch):
    monkeypatch.setattr(connection, "IDLE_S", 0.3)
    async with server() as listening:
        assert (await said(listening, GET)).count(b"HTTP/1.1 200") == 1


async def test_idle_connections_are_ended_too_when_the_answer_came_before_the_body(monkeypatch):
    monkeypatch.setattr(connection, "IDLE_S", 0.3)

    async def refuses(scope, receive, send):
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    async with server(refuses) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")
        writer.write(b"abc")
        assert await rest(reader) == b"no"
        writer.close()


async def test_a_pipelined_request_is_not_idle_while_it_is_answered(monkeypatch):
    monkeypatch.setattr(connection, "IDLE_S", 0.1)
    asked, going = asyncio.Semaphore(0), asyncio.Event()

    async def second_waits(scope, receive, send):
        asked.release()
        if scope["path"] == "/second":
            await going.wait()
        await hello(scope, receive, send)

    async with server(second_waits) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(GET + GET.replace(b"GET /", b"GET /second"))
        await asked.acquire()
        await asked.acquire()
        (held,) = listening.state.connections
        held.end_if_slow(asyncio.get_running_loop().time() + 3600)
        going.set()
        assert (await rest(reader)).count(b"hello") == 2
        writer.close()


async def test_a_client_that_reads_nothing_is_ended(monkeypatch):
    monkeypatch.setattr(serving, "UNREAD_S", 0.5)

    async def much(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"a" * 65536, "more_body": True})

    async with server(much) as listening:
        raw = socket.create_connection(("127.0.0.1", listening.port))
        raw.sendall(GET)
        await until(lambda: listening.state.tasks)
        await until(lambda: not listening.state.connections)
        raw.close()


async def test_too_many_requests_at_once_on_a_connection_end_it():
    going = asyncio.Event()

    async def slow(scope, receive, send):
        await going.wait()
        await hello(scope, receive, send)

    async with server(slow) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(GET * (connection.MAX_WAITING * 10))
        assert await rest(reader) == b""
        writer.close()
        going.set()


async def test_running_out_of_file_descriptors_is_survived(monkeypatch):
    """The listener waits a little, and takes who waited."""
    async with server() as listening:
        real, failures = listening._sock, []

        class Exhausted:
            def accept(self):
                if len(failures) < 3:
                    failures.append(time.monotonic())
                    raise OSError(errno.EMFILE, "Too many open files")
                return real.accept()

            def __getattr__(self, name):
                return getattr(real, name)

        listening._loop.remove_reader(real)
        listening._sock = Exhausted()
        listening._accept_again()
        close = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert (await said(listening, close)).endswith(b"hello")
        assert len(failures) == 3


async def test_who_connects_in_the_moment_of_stopping_is_let_go_of(recwarn):
    """Taken from the kernel, and the server stops before the connection is made: sockets close, seats come back."""
    listening = await serve(hello, bind("127.0.0.1", 0), http=settings_for().http)
    clients = [socket.create_connection(("127.0.0.1", listening.port)) for _ in range(3)]
    listening._accept()
    assert len(listening._arriving) == listening._seats.taken == 3
    await listening.stop()
    assert not listening._arriving
    assert listening._seats.taken == 0
    gc.collect()
    assert not [str(warned.message) for warned in recwarn]
    for client in clients:
        client.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
        client.close()


@pytest.fixture
def tls(tmp_path, monkeypatch):
    """TLS of a server that waits for its clients' last words all day, and the same of its clients."""
    monkeypatch.setattr(serving, "_TLS_SHUTDOWN_S", 86_400.0)
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost", "server"))
    client = ssl.create_default_context(cafile=authority.path)
    client.check_hostname = False
    return context, client


def idle(port, client):
    """Return a connection that was answered, and reads nothing more."""
    made = client.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=40))
    made.sendall(GET)
    got = b""
    while not got.endswith(b"hello"):
        got += made.recv(4096)
    return made


async def test_a_client_of_tls_that_is_idle_holds_no_stop(tls):
    async with server(tls=tls[0]) as listening:
        made = await asyncio.to_thread(idle, listening.port, tls[1])
        await listening.stop()
        assert not listening.state.connections
        assert made.recv(1) == b"", "it was told that this is the end"
        made.close()


async def test_a_client_of_tls_is_cut_also_where_its_connection_was_closed_twice(tls):
    async with server(tls=tls[0]) as listening:
        made = await asyncio.to_thread(idle, listening.port, tls[1])
        (held,) = listening.state.connections
        held.transport.close()
        held.transport.close()
        listening.cut()
        await until(lambda: not listening.state.connections)
        assert listening._seats.taken == 0
        made.close()


def test_seats_are_counted_and_given_back_once():
    seats = Seats(3, 2)
    first, second = seats.take("10.0.0.1"), seats.take("10.0.0.1")
    assert first and second
    assert seats.take("10.0.0.1") is None
    assert seats.take("10.0.0.2")
    assert seats.take("10.0.0.3") is None
    first()
    first()
    assert seats.taken == 2
    assert seats.take("10.0.0.3")
    assert seats.take("10.0.0.4") is None
    assert seats.refused == 3


def test_neighbours_of_one_network_share_its_seats():
    seats = Seats(10, 1)
    assert seats.take("2001:db8::1")
    assert seats.take("2001:db8::ffff:2") is None
    assert seats.take("2001:db8:0:1::1")


async def test_a_websocket_keeps_its_seat_and_gives_it_back(tmp_path):
    from running_streams import bearer, ws_url
    from websockets.asyncio.client import connect

    async with running(tmp_path / "data") as world:
        _, product, _ = await world.shared()
        await world.hang_up()
        server_ = world.running._servers[0]
        await until(lambda: server_._seats.taken == 0)
        async with connect(ws_url(world, product), additional_headers=bearer(world.co)):
            await until(lambda: world.node.hub.subscriptions == 1)
            assert server_._seats.taken == 1
        await until(lambda: server_._seats.taken == 0)


async def test_an_edge_reports_no_number_that_nobody_can_show(world):
    edge, http = world.client("northside-networks", "device", kind="device")
    connection = {"edge": edge, "adapter": "none", "connection": {}}
    await world.thing("urn:example:at-edge", adapter="edge", connection=connection, devices=[edge])
    for clock in (10**400, -(10**40), 1 << 63):
        answer = await http.post("/edge/report", json={"clockUs": clock})
        assert answer.status_code == 400, answer.text
    assert (await http.post("/edge/report", json={"clockUs": 1})).status_code == 200
    assert (await world.op.get("/edges")).json()[0]["aheadS"] < 0
