"""Requests no client library would send: smuggled, split, with paths and numbers that mean to be misread."""

import asyncio
import json
import time

import msgspec
import pytest
import pytest_asyncio
from matrix_requests import METER_ID, TITLE, Scene
from running_node import SENML, World, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("wire") / "data", settings_for())
    await Scene(made).set()
    yield made
    await made.stop()


async def raw(world, text: bytes) -> bytes:
    """Send bytes as they are; return all that comes back."""
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(text)
        writer.write_eof()
        async with asyncio.timeout(60):
            return await reader.read(1 << 20)
    finally:
        writer.close()


HOST = b"Host: localhost\r\n"
INNER = b"GET /things HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMUGGLED = [
    b"POST /revoke HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    b"POST /revoke HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER,
    b"POST /revoke HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc" + INNER,
    b"POST /revoke HTTP/1.1\r\n" + HOST + b"Content-Length: +4\r\n\r\nabcd",
    b"POST /revoke HTTP/1.1\r\n" + HOST + b"Content-Length: 4, 4\r\n\r\nabcd",
    b"GET /things HTTP/1.1\r\n" + HOST + b"X: a\nAuthorization: Bearer x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    b"GET http://evil.example/things HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n",
    b"GET /things HTTP/1.1\r\n" + HOST + b"Authorization : Bearer x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("request_", SMUGGLED, ids=range(len(SMUGGLED)))
async def test_nothing_is_smuggled(world, request_) -> None:
    """What is answered is a refusal, each of its own; nothing of anybody's comes back."""
    answered = await raw(world, request_)
    statuses = [line.split(b" ")[1] for line in answered.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert all(status[:1] == b"4" for status in statuses), answered[:300]
    assert TITLE.encode() not in answered
    assert (await world.nobody.get("/health")).status_code == 200


PATHS = [
    "/things/..%2f..%2fetc%2fpasswd", "/things/%2e%2e/%2e%2e/health", "//things", "/things//", "/./things", "/things/.",
    "/things/%00", "/things/%ff%fe", "/things/\uff0e\uff0e/", "/THINGS", "/things%2F" + METER_ID, "/things;a=b",
    "/things%20",
    "/portal/static/..%2f..%2fapi%2fapp.py", "/portal/static/%2e%2e/routes.py", "/portal/static//etc/passwd",
    "/products/%2e%2e/principals", "/schema/../things", "/things?%00=%00", "/things/" + "a" * 30_000,
    f"/things/{METER_ID}%2fproperties", f"/things/{METER_ID}/properties/%2e%2e", f"/things/{METER_ID}%00/properties",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
async def test_no_path_leads_past_a_door(world, path) -> None:
    """As nobody: never anything of anybody's, no file, no 500."""
    encoded = path.encode("utf-8")
    answered = await raw(world, b"GET " + encoded + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert not answered.startswith(b"HTTP/1.1 5"), answered[:200]
    for secret in (TITLE.encode(), b"root:", b"def framework", b"portal_routes"):
        assert secret not in answered
    _, stranger = world.client("third", "administrator", "operator", "owner", "consumer", "auditor")
    answer = await raw(
        world,
        b"GET " + encoded + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\nAuthorization: "
        + stranger.headers["authorization"].encode() + b"\r\n\r\n",
    )  # fmt: skip
    assert not answer.startswith(b"HTTP/1.1 5"), answer[:200]
    assert TITLE.encode() not in answer


async def test_what_is_sent_comes_back_in_no_header(world) -> None:
    for path in (
        "/things/a%0d%0aX-Evil:%20yes",
        "/commands?thing=a%0d%0aX-Evil:%20yes",
        "/sign-in?next=/%0d%0aX-Evil:%20yes",
    ):
        answer = await world.op.get(path)
        assert "x-evil" not in answer.headers
    headers = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x-request-id": "a" * 4000}
    assert (await world.nobody.get("/health", headers=headers)).status_code == 200


DEEP = [b"[" * 100_000, b'{"a":' * 50_000, b'[{"n":' * 20_000, b"[" * 900 + b"]" * 900]


@pytest.mark.parametrize("path", ["/readings", "/things", "/commands", "/query", "/incidents", "/principals"])
async def test_depth_is_refused(world, path) -> None:
    for body in DEEP:
        headers = SENML if path == "/readings" else {"content-type": "application/json"}
        answer = await world.op.post(path, content=body, headers=headers)
        # An array in arrays, well closed, is one reading that is none.
        none_taken = path == "/readings" and answer.status_code == 200 and answer.json()["accepted"] == 0
        assert none_taken or answer.status_code in {400, 413}, (path, answer.status_code)


async def test_numbers_too_great_are_refused(world) -> None:
    for number in ("1e400", "-1e400", "9" * 5000, "1" + "0" * 400, "0." + "0" * 5000 + "1"):
        body = f'[{{"n":"{METER_ID}/voltage","v":{number},"t":{number}}}]'
        assert (await world.op.post("/readings", content=body, headers=SENML)).status_code in {200, 400}
        order = f'{{"thing":"urn:example:battery","point":"activePowerSetpoint","value":{number},"durationS":{number}}}'
        answer = await world.op.post("/commands", content=order, headers={"content-type": "application/json"})
        assert answer.status_code in {201, 400}, answer.text[:200]
    assert (await world.op.get("/health")).status_code == 200


async def test_many_names_cost_what_many_names_cost(world) -> None:
    """Names made to meet in one place of a table do not: ours are keyed at random or sorted."""

    def cost_s(names: list[str]) -> float:
        body = msgspec.json.encode([{"n": name, "v": 1} for name in names])
        from gridspine.kernel.codecs.senml import decode_senml_json

        started = time.process_time()
        decode_senml_json(body, now_us=1_767_225_600_000_000)
        return time.process_time() - started

    plain = cost_s([f"urn:x:{at}" for at in range(20_000)])
    alike = cost_s(["urn:x:" + "\x00" * (at % 50) + f"{at:05d}" for at in range(20_000)])
    assert alike < 50 * plain + 1, "not quadratic"
    answer = await world.op.post(
        "/things", content=json.dumps({"title": "T", "model": "m", **{f"k{at}": 1 for at in range(20_000)}}),
        headers={"content-type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 400
    assert len(answer.content) < 5000


async def test_a_grant_revoked_while_streams_open_leaves_none_open(world) -> None:
    """A race on purpose: streams open while the grant ends; afterwards none is left, and none reads on."""
    _, product, grant = await world.shared()
    statuses = []

    async def follow() -> None:
        async with world.co.stream("GET", f"/products/{product}/stream", timeout=60) as answer:
            statuses.append(answer.status_code)
            async for _ in answer.aiter_bytes():
                pass

    following = [asyncio.ensure_future(follow()) for _ in range(20)]
    await asyncio.sleep(0.02)
    assert (await world.op.post(f"/grants/{grant}/revoke")).status_code == 200
    following += [asyncio.ensure_future(follow()) for _ in range(20)]
    async with asyncio.timeout(60):
        await asyncio.gather(*following)
    assert set(statuses) <= {200, 403, 503}, "a gate that is not sure lets nobody through, and has them try again"
    assert (await world.co.get(f"/products/{product}/stream")).status_code == 403
    assert world.node.hub.subscriptions == 0
