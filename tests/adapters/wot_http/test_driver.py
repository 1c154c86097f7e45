"""The adapter against a real HTTP server: polled, proven, refused, and back again."""

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from adapter_node import DictStore, FakeNode

from gridspine.adapters.wot_http import adapter
from gridspine.adapters.wot_http.guard import Guard, Settings
from gridspine.adapters.wot_http.proof import Security
from gridspine.adapters.wot_http.session import Session
from gridspine.infra.runtime.clock import SystemClock
from gridspine.infra.runtime.web_place import SecretUse
from gridspine.kernel.errors import Unavailable
from gridspine.things.adapter import Binding, Order, ReadRequest

BASIC = "Basic " + base64.b64encode(b"user:pass word").decode()
CLIENT = "Basic " + base64.b64encode(b"client:secret").decode()


class Device(ThreadingHTTPServer):
    """A device: ``values`` by path; ``asked`` are paths and Authorization headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.values: dict[str, Any] = {"/power": 1.5, "/on": True}
        self.proof = ""
        self.tokens = 0
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Device

    def do_GET(self) -> None:
        proof = self.headers.get("authorization", "")
        self.server.asked.append((self.path, proof))
        value = self.server.values.get(self.path)
        if isinstance(value, threading.Event):
            value.wait(20)
            value = 2.5
        if self.server.proof and proof != self.server.proof:
            self.answer(401, b"")
        elif value == "redirect":
            self.answer(302, b"1", location=f"{self.server.url}/power")
        else:
            self.answer(
                200 if value is not None else 404, value if isinstance(value, bytes) else json.dumps(value).encode()
            )

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        good = self.headers.get("authorization") == CLIENT and form == {
            "grant_type": ["client_credentials"], "scope": ["read"],
        }  # fmt: skip
        self.server.tokens += 1
        token = {"access_token": f"t{self.server.tokens}", "expires_in": 3600}
        self.answer(200 if good else 400, json.dumps(token).encode())

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def binding(device: Device, *paths: str, thing: str = "urn:x:1", security: Any = None, **more: Any) -> Binding:
    forms = {path: {"href": f"{device.url}/{path}", **more} for path in paths or ("power",)}
    connection = {"forms": forms, "intervalS": 1, "security": security or {"scheme": "nosec"}}
    return Binding(thing, "t", "org", "m", connection)


def node_of(device: Device, *things: Binding) -> FakeNode:
    use = {"origins": [device.url], "organisations": ["org"]}
    secrets = {"basic": "user:pass word", "bearer": "tok", "client": "client:secret"}
    settings = {"allow": ["127.0.0.0/8"], "secrets": dict.fromkeys(secrets, use)}
    return FakeNode(things, settings=settings, secrets=secrets)


async def test_properties_are_polled(device: Device) -> None:
    power, on = binding(device, "power", unit="kW"), binding(device, "on", codes={"true": 1.0, "false": 0.0})
    both = {"forms": power.connection["forms"] | on.connection["forms"], "intervalS": 1}
    node = node_of(device, Binding("urn:x:1", "t", "org", "m", both))
    async with node.running(adapter()):
        await node.until(lambda: len(node.stored) >= 2)
        device.values["/power"] = 2
        await node.until(lambda: 2.0 in [one.value for one in node.stored])
    found = {(one.point, one.value, one.unit) for one in node.stored}
    assert found >= {("urn:x:1/power", 1.5, "kW"), ("urn:x:1/on", 1.0, "")}
    assert {one.source.principal for one in node.stored} == {"adapter:urn:x:1"}


@pytest.mark.parametrize(
    ("scheme", "proof"),
    [
        ({"scheme": "basic", "secret": "basic"}, BASIC),
        ({"scheme": "bearer", "secret": "bearer"}, "Bearer tok"),
        ({"scheme": "oauth2", "secret": "client", "scopes": "read", "token": ""}, "Bearer t2"),
    ],
)
async def test_each_scheme_proves_itself(device: Device, scheme: dict[str, str], proof: str) -> None:
    """A token that is refused is replaced by another."""
    device.proof = proof
    if "token" in scheme:
        scheme = scheme | {"token": f"{device.url}/token"}
    node = node_of(device, binding(device, security=scheme))
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
    assert device.asked[-1] == ("/power", proof)
    assert device.tokens in {0, 2}


async def test_a_secret_without_leave_goes_nowhere(device: Device) -> None:
    foreign = Binding(
        "urn:x:2", "t", "other", "m", binding(device, security={"scheme": "basic", "secret": "basic"}).connection
    )
    node = node_of(device, foreign, binding(device, "on", codes={"true": 1.0}))
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
    assert {path for path, _ in device.asked} == {"/on"}


@pytest.mark.parametrize("value", ["redirect", None, [1], b"x" * 100_000, b"not json"])
async def test_what_is_no_value_gives_no_reading(device: Device, value: Any) -> None:
    device.values["/odd"] = value
    node = node_of(device, binding(device, "odd", "power"))
    async with node.running(adapter()):
        await node.until(lambda: node.stored)
    assert {one.point for one in node.stored} == {"urn:x:1/power"}
    assert all(path in {"/odd", "/power"} for path, _ in device.asked)


async def test_things_come_and_go(device: Device) -> None:
    node = node_of(device, Binding("urn:x:bad", "t", "org", "m", {"forms": 7}))
    async with node.running(adapter()):
        node.set_bindings([binding(device, thing="urn:x:2")])
        await node.until(lambda: node.stored)
        node.set_bindings([binding(device, "on", thing="urn:x:3", codes={"true": 1.0})])
        await node.until(lambda: node.stored[-1].point == "urn:x:3/on")
        device.asked.clear()
        await node.until(lambda: len(device.asked) >= 1)
    assert {path for path, _ in device.asked} == {"/on"}


async def test_orders_are_answered_and_requests_to_read_are_met(device: Device) -> None:
    slow = binding(device)
    slow.connection["intervalS"] = 3600
    node = node_of(device, slow)
    async with node.running(adapter()):
        await node.until(lambda: node.waiting_orders is not None)
        node.order(Order("c1", "urn:x:1", "power", 1.0, 0, 0.0, 7))
        await node.until(lambda: node.progressed)
        for name, thing in (("r1", "urn:x:1"), ("r2", "urn:x:none")):
            node.reading.put_nowait(ReadRequest(name, thing))
        await node.until(lambda: len(node.read) == 2)
    assert node.progressed[0][:2] == ("c1", "rejected")
    assert node.read["r1"] == ""
    assert "does not serve" in node.read["r2"]
    assert {one.value for one in node.stored} == {1.5}


async def test_a_device_that_is_slow_to_read_keeps_no_other_waiting(device: Device) -> None:
    device.values["/slow"] = answers = threading.Event()
    node = node_of(device, binding(device, "slow"), binding(device, "on", thing="urn:x:2", codes={"true": 1.0}))
    async with node.running(adapter()):
        for name, thing in (("r1", "urn:x:1"), ("r2", "urn:x:2")):
            node.reading.put_nowait(ReadRequest(name, thing))
        try:
            await node.until(lambda: "r2" in node.read)
            assert "r1" not in node.read
        finally:
            answers.set()
        await node.until(lambda: "r1" in node.read)


async def test_who_answers_byte_by_byte_is_not_waited_for_for_ever() -> None:
    """A timeout between bytes would let one such device hold a place for hours."""
    over, closed = asyncio.Event(), asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not over.is_set():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    settings = Settings(allow=("127.0.0.0/8",), timeout_s=2.0)
    session = Session(Guard(settings, {}), settings, SystemClock(), DictStore())
    try:
        with pytest.raises(Unavailable, match="no whole answer"):
            await asyncio.wait_for(
                session.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", Security(), "org"), 60
            )
    finally:
        over.set()
        await session.close()
        await asyncio.wait_for(closed.wait(), 60)
        server.close()
        await server.wait_closed()


async def test_a_refusal_of_one_device_takes_nobody_elses_token(device: Device) -> None:
    """Whoever answers 401 to everything must not have others ask for a token each time."""
    settings = Settings(
        allow=("127.0.0.0/8",), secrets={"client": SecretUse(origins=(device.url,), organisations=("acme", "other"))}
    )
    session = Session(Guard(settings, {"client": "client:secret"}), settings, SystemClock(), DictStore())
    oauth = Security("oauth2", "client", f"{device.url}/token", "read")
    try:
        await session.get(f"{device.url}/power", oauth, "acme")
        device.proof = "Bearer nothing that is ever issued"
        with contextlib.suppress(Unavailable):
            await session.get(f"{device.url}/power", oauth, "other")
        assert device.tokens == 3, "one, and two for the one who is refused"
        device.proof = "Bearer t1"
        await session.get(f"{device.url}/power", oauth, "acme")
        assert device.tokens == 3, "what was good is used on"
    finally:
        await session.close()


async def test_a_device_whose_certificate_nobody_vouches_for_is_not_read(tmp_path, device: Device) -> None:
    """Another device stands at the address, or somebody between: it is not even told which path is asked for."""
    own, crt = tmp_path / "own.pem", tmp_path / "crt.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=d", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(own), "-out", str(crt)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, own)
    # The handshake is of the thread that answers: one that never ends must not keep the device from being stopped.
    device.socket = context.wrap_socket(device.socket, server_side=True, do_handshake_on_connect=False)
    device.handle_error = lambda *_: None  # type: ignore[method-assign]
    node = node_of(device, binding(device))
    secure = Binding("urn:x:2", "t", "org", "m", {
        "forms": {"power": {"href": f"https://127.0.0.1:{device.server_address[1]}/power"}}, "intervalS": 1,
        "security": {"scheme": "nosec"},
    })  # fmt: skip
    node.set_bindings([secure])
    async with node.running(adapter()):
        node.reading.put_nowait(ReadRequest("r", "urn:x:2"))
        await node.until(lambda: "r" in node.read)
    assert node.read["r"]
    assert (node.stored, device.asked) == ([], [])
