"""How much one may ask, how large it may be, and what every answer tells a browser."""

import asyncio
import contextlib
import gzip
import json
import time
from typing import Any

import httpx
import pytest
import pytest_asyncio
from matrix_requests import METER_ID, Scene
from matrix_tokens import Keyed
from running_node import SENML, World, settings_for, with_http

from gridspine.apps.api.app import create_app
from gridspine.apps.api.directory import MAX_BODY
from gridspine.infra.identity.limit import Rate

pytestmark = pytest.mark.asyncio(loop_scope="module")
SMALL = 64 << 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    settings = with_http(settings_for(), max_body_bytes=SMALL, max_items=100)
    made = await World.start(tmp_path_factory.mktemp("limits") / "data", settings)
    await Scene(made).set()
    yield made
    await made.stop()


@contextlib.contextmanager
def rate(world: World, per_s: float, burst: int):
    """A small rate for the length of a block."""
    identity = world.node.identity
    before, identity.rate = identity.rate, Rate(per_s, burst)
    try:
        yield identity.rate
    finally:
        identity.rate = before


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"/things/{METER_ID}/properties/activePower"), ("POST", "/readings"), ("GET", "/things")],
)
async def test_one_principal_has_a_rate_and_others_have_theirs(world, method, path) -> None:
    """Also on the fast lane; the answer says when to come back, and it is counted."""
    body: dict[str, Any] = (
        {"json": [{"n": f"{METER_ID}/voltage", "v": 230}], "headers": SENML} if method == "POST" else {}
    )
    _, other = world.client("northside-networks", "operator")
    with rate(world, 0.001, 3) as limit:
        answers = [await world.op.request(method, path, **body) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert answers[-1].json()["type"].endswith("/overloaded")
        assert limit.refused == 2
        assert (await other.request(method, path, **body)).status_code == 200
        assert (await world.nobody.get("/health")).status_code == 200


async def test_a_rate_costs_next_to_nothing() -> None:
    """Some hundred nanoseconds: measured, and held to a bound a hundred times that."""
    limit = Rate(1e9, 1_000_000)
    started = time.process_time()
    for _ in range(10_000):
        limit.take("urn:example:a")
    assert (time.process_time() - started) / 10_000 < 50e-6


class From:
    """A client at another address than this machine's, past the socket."""

    def __init__(self, world: World, address: str) -> None:
        transport = httpx.ASGITransport(create_app(world.node), client=(address, 4711))
        self.http = httpx.AsyncClient(transport=transport, base_url=world.url)


async def test_an_address_that_shows_forgeries_waits_and_honest_ones_do_not(world) -> None:
    """Nobody is locked out: what was proven before goes on, from the same address too."""
    keyed = Keyed(world.node, world.url, "northside-networks", "operator")
    evil, good = From(world, "198.51.100.7").http, From(world, "198.51.100.8").http

    async def ask(http: httpx.AsyncClient, state: str) -> httpx.Response:
        return await http.get("/things", headers=keyed.headers(state, "GET", "/things"))

    assert (await ask(evil, "valid")).status_code == 200
    seen = [(await ask(evil, "forged")).status_code for _ in range(25)]
    assert seen[:19] == [401] * 19
    assert seen[-1] == 429
    waiting = await ask(evil, "forged")
    assert int(waiting.headers["retry-after"]) >= 1
    assert (await ask(evil, "valid")).status_code == 200, "its token was verified before"
    assert (await ask(good, "forged")).status_code == 401
    assert (await ask(good, "valid")).status_code == 200
    for http in (evil, good):
        await http.aclose()


async def test_tokens_that_ran_out_are_no_forgeries(world) -> None:
    keyed, http = Keyed(world.node, world.url, "northside-networks", "operator"), From(world, "198.51.100.9").http
    for _ in range(30):
        assert (await http.get("/things", headers=keyed.headers("expired", "GET", "/things"))).status_code == 401
    await http.aclose()


async def test_the_token_endpoint_makes_those_wait_who_keep_failing(world) -> None:
    """Alike for a client that exists and one that does not: no oracle."""
    answers = {}
    for address, client in (("198.51.100.20", world.op_id), ("198.51.100.21", "urn:example:nobody")):
        http = From(world, address).http
        form = {"grant_type": "client_credentials", "client_id": client, "client_assertion": "a.b.c",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}  # fmt: skip
        answers[client] = [(await http.post("/token", data=form)).status_code for _ in range(22)]
        await http.aclose()
    first, second = answers.values()
    assert first == second
    assert first[0] == 401
    assert first[-1] == 429


BIG = {
    "json": (SENML, json.dumps([{"n": "x" * SMALL, "v": 1}]).encode()),
    "bomb": (SENML | {"content-encoding": "gzip"}, gzip.compress(b" " * (SMALL * 20))),
    "items": (SENML, json.dumps([{"n": f"{METER_ID}/voltage", "v": 1}] * 101).encode()),
}


@pytest.mark.parametrize("kind", BIG)
async def test_more_than_the_settings_allow_is_413(world, kind) -> None:
    headers, content = BIG[kind]
    assert (await world.op.post("/readings", content=content, headers=headers)).status_code == 413


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/things", MAX_BODY + 1),
        ("/commands", SMALL + 1),
        ("/incidents", SMALL + 1),
        ("/token", 16_385),
        ("/revoke", 16_385),
    ],
)
async def test_every_body_is_bounded(world, path, size) -> None:
    form = path in {"/token", "/revoke"}
    headers = {"content-type": "application/x-www-form-urlencoded" if form else "application/json"}
    answer = await world.op.post(path, content=b"a" * size, headers=headers)
    assert answer.status_code == 413, answer.text[:200]


async def test_a_body_without_a_length_is_bounded_too(world) -> None:
    async def endless():
        for _ in range(100):
            yield b"a" * 4096
            await asyncio.sleep(0)

    for path in ("/readings", "/commands"):
        try:
            answer = await world.op.post(
                path, content=endless(), headers=SENML if path == "/readings" else {"content-type": "application/json"}
            )
        except httpx.HTTPError:
            continue  # the node closed the connection while we were sending: a bound as well
        assert answer.status_code == 413


@pytest.mark.parametrize(
    "path", ["/things", "/health", f"/things/{METER_ID}/properties", "/nothing/here", "/schema/openapi.json"]
)
async def test_every_answer_of_the_api_tells_browsers_to_leave_it(world, path) -> None:
    for http in (world.op, world.nobody):
        headers = (await http.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "no-store" in headers["cache-control"]
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


async def test_over_tls_browsers_are_told_to_stay_there(world) -> None:
    transport = httpx.ASGITransport(create_app(world.node))
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as http:
        assert (await http.get("/health")).headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in (await world.nobody.get("/health")).headers


async def test_what_may_be_kept_says_so(world) -> None:
    assert (await world.nobody.get("/jwks")).headers["cache-control"] == "max-age=300"
