"""Hearing of a VTN by MQTT: which offers are followed, and what a broker may do without the poll being harmed."""

import asyncio
import contextlib
import ssl

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.adapters.openadr3 import mqtt_wire
from gridspine.adapters.openadr3.mqtt_place import read_mqtt_place
from gridspine.adapters.openadr3.remote import read_connection
from gridspine.adapters.openadr3.remote_broker import RemoteBroker, _NotOffered
from gridspine.adapters.openadr3.remote_call import Said
from gridspine.adapters.openadr3.settings import Settings
from gridspine.kernel.errors import GridspineError, Invalid, NotFound, TooLarge, Unavailable
from gridspine.testing.node import FakeNode
from tests.adapters.mqtt.authority import Authority

TOKEN = {"method": "OAUTH2_BEARER_TOKEN", "username": "{clientID}"}
GOOD = {"URIS": ["mqtts://b.example.org"], "serialization": "JSON", "authentication": TOKEN}


class Vtn:
    """Answers of a VTN by their paths; what it does not know is not found."""

    def __init__(self, **answers):
        self.answers = answers

    async def ask(self, method, path, body=None, tag=""):
        found = self.answers.get(path.strip("/").replace("/", "_"))
        if found is None:
            raise NotFound(path)
        return Said(200, httpx.Headers(), msgspec.json.encode(found))

    async def bearer(self):
        return "t0ken"


def broker(vtn, changed=lambda: None, **more):
    connection = read_connection({"vtn": "https://v.example.org", "clientId": "me", "secret": "s"})
    node = FakeNode()
    return RemoteBroker(node, "urn:t", connection, vtn, Settings(**more), changed)


@pytest.mark.parametrize(
    "offer",
    [
        None, {}, "yes", {**GOOD, "serialization": "XML"}, {**GOOD, "URIS": []}, {**GOOD, "URIS": "mqtts://x"},
        {**GOOD, "URIS": ["ws://b", "mqtt://b.example.org", "mqtts://b/path", "mqtts://u:p@b", "mqtts://b:x"]},
        {**GOOD, "authentication": {"method": "CERTIFICATE", "clientKey": "k"}}, {**GOOD, "authentication": None},
    ],
)  # fmt: skip
async def test_an_offer_that_is_not_followed(offer) -> None:
    with pytest.raises(_NotOffered):
        await broker(Vtn(notifiers={"WEBHOOK": True, "MQTT": offer}))._find()


async def test_offers_that_are_followed() -> None:
    found = await broker(Vtn(notifiers={"MQTT": GOOD}))._find()
    assert (found.place, found.username) == (("b.example.org", 8883, True), "me")
    offer = {**GOOD, "URIS": ["mqtt://b:1999"], "authentication": {"method": "ANONYMOUS"}}
    found = await broker(Vtn(notifiers={"MQTT": offer}), plain_vtns=True)._find()
    assert (found.place, found.method) == (("b", 1999, False), "ANONYMOUS")
    offer = {**GOOD, "authentication": {"method": "OAUTH2BEARERTOKEN", "username": "{clientID}"}}
    found = await broker(Vtn(notifiers={"MQTT": offer}))._find()
    assert (found.method, found.username) == ("OAUTH2_BEARER_TOKEN", "me"), "as openleadr-vtn writes it"


async def test_the_machines_own_addresses_are_not_gone_to() -> None:
    one = broker(Vtn(), plain_vtns=True)
    with pytest.raises(Invalid):
        await one._open(read_mqtt_place("mqtt://127.0.0.1:1883"))


@contextlib.asynccontextmanager
async def answering(*said):
    """Yield the port of a broker that says one thing after each packet that comes, and what came."""
    came = []

    async def serve(reader, writer):
        splitter = mqtt_wire.Splitter()
        answers = list(said)
        with contextlib.suppress(ConnectionError):
            while answers and (chunk := await reader.read(4096)):
                for packet in splitter.feed(chunk):
                    came.append(packet)
                    if answers:
                        writer.write(answers.pop(0))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()


async def hear(port, vtn, changes):
    one = broker(vtn, lambda: changes.append(1), plain_vtns=True, allow=("127.0.0.0/8",))
    vtn.answers["notifiers"] = {"MQTT": {**GOOD, "URIS": [f"mqtt://127.0.0.1:{port}"]}}
    await one._hear(await one._find())


CONNACK, SUBACK = b"\x20\x02\0\0", b"\x90\x03\0\1\0"
TOPICS = {"topics": {"CREATE": "p/create", "UPDATE": "p/update", "DELETE": "p/delete"}}


async def test_what_a_broker_publishes_wakes_and_nothing_else_of_it_counts() -> None:
    publish = b"\x30\x05\0\1pxx" * 2
    changes = []
    async with answering(CONNACK, SUBACK + publish[:9]) as (port, came):
        with pytest.raises(Unavailable):
            await hear(port, Vtn(notifiers_mqtt_topics_programs=TOPICS), changes)
    assert len(changes) == 2, "at the beginning, and once: the second was not whole"
    assert [packet.kind for packet in came] == [0x10, 0x80]
    assert came[0].body.endswith(b"\0\2me\0\5t0ken")
    assert came[1].body.count(b"p/") == 3


@pytest.mark.parametrize(
    "said", [[b"\x20\x02\0\5"], [b"HTTP/1.1 400 Bad"], [b"\xff" * 9], [CONNACK, b"\x30\xff\xff\xff\x7f"], [b""]]
)
async def test_a_broker_that_is_none_ends_nothing_but_the_hearing(said) -> None:
    async with answering(*said) as (port, _):
        with pytest.raises(GridspineError):
            await hear(port, Vtn(notifiers_mqtt_topics_programs=TOPICS), [])


async def test_a_broker_that_never_says_good_bye_is_let_go_of_at_once(tmp_path, monkeypatch) -> None:
    """TLS waits for the other end's good-bye: whoever stops hearing, as a node that ends, does not."""
    monkeypatch.setattr(asyncio.constants, "SSL_SHUTDOWN_TIMEOUT", 3_600.0)
    authority, heard, taken = Authority(tmp_path), asyncio.Event(), []
    listening, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=authority.path)
    listening.load_cert_chain(*authority.issue("localhost", "broker"))
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: trusting)

    class Silent(asyncio.Protocol):
        """Says what lets a client in, and from then on neither reads nor answers."""

        def connection_made(self, transport) -> None:
            self.transport = transport
            taken.append(transport)

        def data_received(self, data) -> None:
            self.transport.write(CONNACK)
            self.transport.pause_reading()

    server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0, ssl=listening)
    async with server:
        port = server.sockets[0].getsockname()[1]
        vtn = Vtn(
            notifiers={"MQTT": {**GOOD, "URIS": [f"mqtts://localhost:{port}"]}}, notifiers_mqtt_topics_programs=TOPICS
        )
        one = broker(vtn, heard.set, allow=("127.0.0.0/8", "::1/128"))
        hearing = asyncio.create_task(one._hear(await one._find()))
        async with asyncio.timeout(60):
            await heard.wait()
            hearing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hearing
        for transport in taken:
            transport.abort()


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_packets_are_the_same_however_they_come(bodies, size) -> None:
    data = b"".join(mqtt_wire._packet(0x30, body) for body in bodies)
    splitter, found = mqtt_wire.Splitter(), []
    for at in range(0, len(data), size):
        found += splitter.feed(data[at : at + size])
    assert found == [mqtt_wire.Packet(0x30, body) for body in bodies]


def test_a_packet_without_an_end_is_refused() -> None:
    with pytest.raises(Invalid):
        mqtt_wire.Splitter().feed(b"\x30\xff\xff\xff\xff\x01")
    with pytest.raises(TooLarge):
        mqtt_wire.Splitter().feed(b"\x30\xff\xff\xff\x7f")
