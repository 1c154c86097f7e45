"""The adapter behind a real socket, posted to by a stranger's client (httpx) and by hand."""

import asyncio
import hmac
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from adapter_node import FakeNode

from gridspine.adapters.webhook import adapter, replays, session
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import Binding, Order, ReadRequest

SECRET = "a secret of some length"
THING = "urn:example:meter"


def binding(thing: str = THING, organisation: str = "org", **more: Any) -> Binding:
    connection = {"secret": "acme", "time": "/at", "points": {"activePower": {"pick": {"plus": ["/kw"]}, "unit": "kW"}}}
    return Binding(thing, "t", organisation, "m", connection | more)


def node_of(*things: Binding) -> FakeNode:
    use = {"acme": {"organisations": ["org"]}, "short": {"organisations": ["org"]}}
    return FakeNode(things, settings={"secrets": use}, secrets={"acme": SECRET, "short": "x"})


def body_of(value: Any = 1.5, at: str = "2026-01-31T12:00:00Z") -> bytes:
    return json.dumps({"kw": value, "at": at}).encode()


def proof_of(body: bytes, made: str, thing: str = THING, *, secret: str = SECRET, method: str = "POST") -> str:
    return hmac.new(secret.encode(), f"{method}\n/{thing}\n{made}\n".encode() + body, "sha256").hexdigest()


async def post(
    node: FakeNode,
    body: bytes,
    thing: str = THING,
    *,
    secret: str = SECRET,
    method: str = "POST",
    made_s: int = 0,
    made: str = "",
) -> Any:
    """Post as a vendor does, at a time that differs by ``made_s`` [s] from the node's."""
    await node.until(lambda: "webhook" in node.address)
    made = made or str(node.clock.now_us() // US + made_s)
    proof = proof_of(body, made, thing, secret=secret, method=method)
    async with httpx.AsyncClient(trust_env=False) as client:
        host, port = node.address["webhook"]
        url = f"http://{host}:{port}/{thing}"
        headers = {"x-signature": proof, "x-timestamp": made}
        return await client.request(method, url, content=body, headers=headers)


async def raw(node: FakeNode, sent: bytes) -> bytes:
    await node.until(lambda: "webhook" in node.address)
    reader, writer = await asyncio.open_connection(*node.address["webhook"])
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_post_is_answered_when_its_readings_are_durable() -> None:
    node = node_of(binding())
    node.gate.clear()
    async with node.running(adapter()):
        asked = asyncio.create_task(post(node, body_of()))
        await node.until(lambda: node.waiting)
        assert not asked.done()
        assert node.stored == []
        node.gate.set()
        answer = await asked
    assert answer.status_code == 200
    assert answer.json() == {"received": 1, "accepted": 1, "suppressed": 0, "duplicate": 0, "refused": 0}
    (stored,) = node.stored
    assert (stored.point, stored.value, stored.unit) == (f"{THING}/activePower", 1.5, "kW")
    assert stored.observed_us == 1_769_860_800_000_000
    assert stored.source.principal == f"adapter:{THING}"


async def test_who_proves_nothing_learns_nothing() -> None:
    """A wrong proof, a Thing that is none, one of another organisation, one whose secret is too short: all alike."""
    others = [binding("urn:x:other", "another"), binding("urn:x:short", secret="short")]
    node = node_of(binding(), *others)
    async with node.running(adapter()):
        answers = [
            await post(node, body_of(), secret="not the secret at all"),
            await post(node, body_of(), "urn:x:nothing"),
            await post(node, body_of(), "urn:x:other"),
            await post(node, body_of(), "urn:x:short", secret="x"),
            await post(node, b"", method="GET", secret="not the secret at all"),
        ]
    assert {(one.status_code, one.text, tuple(sorted(one.headers))) for one in answers} == {
        (403, answers[0].text, tuple(sorted(answers[0].headers)))
    }
    assert node.stored == []
    assert node.problems == []


async def test_a_post_is_taken_once_also_after_a_restart_and_only_while_it_is_new() -> None:
    node = node_of(binding(time=""))
    found, made = [], str(node.clock.now_us() // US)
    for _ in range(2):
        async with node.running(adapter()):
            found += [(await post(node, body_of(), made=made)).status_code for _ in range(2)]
        node.address.clear()
    assert found == [200, 409, 409, 409], "a copy is known, also by who has just started"
    async with node.running(adapter()):
        assert (await post(node, body_of(), made_s=-330)).status_code == 409
        assert (await post(node, body_of(), made_s=330)).status_code == 409
        assert (await post(node, body_of(), made_s=-200)).status_code == 200
    assert len(node.stored) == 2


async def test_a_post_that_could_not_be_kept_is_taken_when_it_comes_again() -> None:
    node = node_of(binding())
    node.refusal = Overloaded("full", retry_after_s=7)
    async with node.running(adapter()):
        made = str(node.clock.now_us() // US)
        assert (await post(node, body_of(), made=made)).status_code == 503
        node.refusal = None
        assert (await post(node, body_of(), made=made)).status_code == 200


async def test_what_is_remembered_is_bounded_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "MAX_MARKS", 2)
    node = node_of(binding())
    kept = replays.Replays(node.store)
    for mark in (b"a" * 16, b"b" * 16):
        await kept.take(THING, 60 * US, mark, 0)
    with pytest.raises(Overloaded):
        await kept.take(THING, 61 * US, b"c" * 16, 0)
    await kept.take(THING, 600 * US, b"c" * 16, 300 * US)
    assert not kept.has(THING, 60 * US, b"a" * 16)
    assert list(await node.store.items()) == [f"post:10:{THING}"]


async def test_a_sender_that_proves_its_body_only_is_served_where_that_is_known() -> None:
    node = node_of(binding(covers="body", replayable=True))
    async with node.running(adapter()):
        await node.until(lambda: "webhook" in node.address)
        host, port = node.address["webhook"]
        headers = {"x-signature": hmac.new(SECRET.encode(), body_of(), "sha256").hexdigest()}
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            for _ in range(2):
                assert (await client.post(f"/{THING}", content=body_of(), headers=headers)).status_code == 200


async def test_what_is_no_reading_is_answered_and_counted() -> None:
    node = node_of(binding())
    async with node.running(adapter()):
        assert (await post(node, b"{]")).status_code == 400
        assert (await post(node, body_of("much"))).status_code == 400
        assert (await post(node, b"", method="GET")).status_code == 405
    assert [one.reason for _, one in node.problems] == ["unreadable", "not-a-number"]


async def test_what_cannot_be_kept_is_not_acknowledged() -> None:
    node = node_of(binding())
    node.refusal = Overloaded("full", retry_after_s=7)
    async with node.running(adapter()):
        answer = await post(node, body_of())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert node.stored == []


async def test_things_come_and_go() -> None:
    node = node_of()
    async with node.running(adapter()):
        assert (await post(node, body_of())).status_code == 403
        node.set_bindings([binding()])
        async with asyncio.timeout(60):
            while (await post(node, body_of())).status_code != 200:
                await asyncio.sleep(0.01)
        node.set_bindings([])
        async with asyncio.timeout(60):
            while (await post(node, body_of())).status_code != 403:
                await asyncio.sleep(0.01)


async def test_several_posts_on_one_connection() -> None:
    node = node_of(binding())
    async with node.running(adapter()):
        await node.until(lambda: "webhook" in node.address)
        host, port = node.address["webhook"]
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            for second in range(5):
                body = body_of(second, f"2026-01-31T12:00:0{second}Z")
                made = str(node.clock.now_us() // US)
                headers = {"x-signature": proof_of(body, made), "x-timestamp": made}
                assert (await client.post(f"/{THING}", content=body, headers=headers)).is_success
    assert [one.value for one in node.stored] == [0.0, 1.0, 2.0, 3.0, 4.0]


HEAD = f"POST /{THING} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".encode()


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", b"HTTP/1.1 400"),
        (HEAD + b"content-length: 70000\r\n\r\n" + b"x" * 70_000, b"HTTP/1.1 413"),
        (HEAD + b"content-length: -1\r\n\r\n", b"HTTP/1.1 400"),
        (HEAD + b"a: " + b"x" * 40_000 + b"\r\n\r\n", b"HTTP/1.1 4"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"HTTP/1.1 403"),
        (HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}", b"HTTP/1.1 "),
        (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 4"),
    ],
)
async def test_what_is_no_http_or_too_much_is_refused(sent: bytes, answered: bytes) -> None:
    node = node_of(binding())
    async with node.running(adapter()):
        assert (await raw(node, sent)).startswith(answered)
        assert (await post(node, body_of())).status_code == 200  # and the next one is taken


async def test_what_cannot_be_answered_with_words_ends_the_connection_and_nothing_else() -> None:
    ended: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def answer(post: session.Post, peer: str) -> session.Reply:
        return session.Reply(403, b"{}", close=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (said,) = await asyncio.gather(session.converse(reader, writer, answer), return_exceptions=True)
        ended.put_nowait(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.read() == b""
        assert await ended.get() is None
        writer.close()


async def test_who_is_slow_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TIMEOUT_S", 0.2)
    node = node_of(binding())
    async with node.running(adapter()):
        assert (await raw(node, HEAD + b"content-length: 9\r\n\r\n{")).startswith(b"HTTP/1.1 408")
        assert await raw(node, b"") == b""


async def test_a_connection_that_was_cut_amid_a_post_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that ends cuts it: what would be written to it is an error of the event loop."""
    sent: list[Any] = []
    monkeypatch.setattr(session, "_send", lambda *given: sent.append(given))
    reader, writer = asyncio.StreamReader(), SimpleNamespace(is_closing=lambda: True, get_extra_info=lambda _: None)
    reader.feed_data(HEAD + b"content-length: 9\r\n\r\n{")
    reader.feed_eof()
    await session.converse(reader, writer, None)
    assert sent == []


async def test_it_commands_nothing_and_cannot_be_asked() -> None:
    node = node_of(binding())
    node.order(Order("c", THING, "activePower", 1.0, 2**62, 0.0, 1))
    node.reading.put_nowait(ReadRequest("r", THING))
    async with node.running(adapter()):
        await node.until(lambda: node.progressed and node.read)
    assert node.progressed[0][:2] == ("c", "rejected")
    assert "posts" in node.read["r"]
