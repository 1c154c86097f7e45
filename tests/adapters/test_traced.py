"""What each adapter shows of its wire when somebody looks: what is said, and no secret."""

import asyncio

from adapter_node import FakeNode

from gridspine.adapters.modbus import adapter as modbus
from gridspine.adapters.mqtt.driver import adapter as mqtt
from gridspine.adapters.wot_http import adapter as wot_http
from gridspine.things.adapter import Binding


def texts(node: FakeNode) -> str:
    return "\n".join(f"{line.direction} {line.text}" for line in node.traced.lines())


async def test_modbus_shows_its_frames() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(12)
                writer.write(head[:4] + bytes((0, 5, head[6], head[7], 2, 0, 230)))
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    register = {"unit": "V", "read": {"entity": "input", "address": 3, "type": "uint16"}}
    port = server.sockets[0].getsockname()[1]
    connection = {"host": "127.0.0.1", "port": port, "unit": 1, "intervalS": 1, "registers": {"voltage": register}}
    node = FakeNode([Binding("urn:x:1", "t", "org", "m", connection)], settings={"allow": ["127.0.0.0/8"]})
    node.traced.turn_on(60)
    async with node.running(modbus()):
        await node.until(lambda: node.stored)
    server.close()
    await server.wait_closed()
    assert "out 00 01 00 00 00 06 01 04 00 03 00 01" in texts(node)
    assert "in 00 01 00 00 00 05 01 04 02 00 e6" in texts(node)


async def test_wot_http_shows_requests_and_answers_without_what_proves_them() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: s=1\r\nContent-Length: 3\r\n\r\n230")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    security = {"scheme": "apikey", "secret": "key", "in": "query", "name": "k"}
    connection = {"forms": {"voltage": {"href": f"{url}/v", "unit": "V"}}, "intervalS": 1, "security": security}
    settings = {"allow": ["127.0.0.0/8"], "secrets": {"key": {"origins": [url], "organisations": ["org"]}}}
    node = FakeNode([Binding("urn:x:1", "t", "org", "m", connection)], settings=settings, secrets={"key": "Pa/ss wörd"})
    node.traced.turn_on(60)
    async with node.running(wot_http()):
        await node.until(lambda: node.stored)
    server.close()
    await server.wait_closed()
    said = texts(node)
    assert f"out GET {url}/v?k=(hidden)\n" in said
    assert "in 200\n" in said and "set-cookie: (hidden)" in said and said.endswith("\n\n230")


async def test_mqtt_shows_packets_and_no_password() -> None:
    thing = "urn:x:1"
    node = FakeNode([Binding(thing, "t", "org", "m", {})])
    node.add_user(thing, "swordfish", thing)
    node.traced.turn_on(60)

    def text(value: str) -> bytes:
        return len(value).to_bytes(2, "big") + value.encode()

    body = text("MQTT") + bytes((4, 0xC2, 0, 60)) + text("c1") + text(thing) + text("swordfish")
    reading = text("gridspine/urn:x:1/readings") + b"\0\x07" + b'{"voltage": 230}'
    async with node.running(mqtt()):
        await node.until(lambda: "mqtt" in node.address)
        reader, writer = await asyncio.open_connection(*node.address["mqtt"])
        writer.write(bytes((0x10, len(body))) + body)
        assert (await reader.readexactly(4))[3] == 0
        writer.write(bytes((0x32, len(reading))) + reading)
        assert await reader.readexactly(4) == b"\x40\x02\0\x07"
        writer.close()
    said = texts(node)
    assert 'in PUBLISH QoS 1 id 7 gridspine/urn:x:1/readings\n{"voltage": 230}' in said
    assert "out PUBACK 0 00 07" in said
    assert "note connected" in said
    assert "swordfish" not in said
