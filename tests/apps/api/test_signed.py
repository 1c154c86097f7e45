"""Signed requests to a whole node: what is missing, old, stolen or said twice is a 401 that names its reason."""

import httpx
import pytest
import pytest_asyncio
from running_node import World, settings_for

from gridspine.apps.cli.keys import ClientFile, new_key, read_client_file
from gridspine.apps.cli.signing import SigningAuth
from gridspine.apps.node.run import start
from gridspine.infra.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")


class ShiftedClock(SystemClock):
    """The machine's clock, moved by hand."""

    shift_us = 0

    def now_us(self):
        return super().now_us() + self.shift_us

    def monotonic_us(self):
        return super().monotonic_us() + self.shift_us


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signed(tmp_path_factory):
    """A node on a clock that can be moved, and its operator's client file."""
    folder, clock = tmp_path_factory.mktemp("signed") / "data", ShiftedClock()
    world = World(await start(settings_for(), folder, clock), folder)
    world.clock = clock
    world.file = read_client_file(folder / "clients" / "operator.json")
    yield world
    await world.stop()


async def signer(world, **more):
    """Return an authentication that has fetched its token."""
    auth = SigningAuth(world.file, node=world.url, clock=world.clock, **more)
    async with httpx.AsyncClient(base_url=world.url, auth=auth) as http:
        assert (await http.get("/things")).status_code == 200
    return auth


async def ask(world, headers, path="/things", method="GET"):
    answer = await world.nobody.request(method, path, headers=headers)
    if answer.status_code == 401:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "DPoP" in answer.headers["www-authenticate"]
        return answer.json()["reason"]
    return answer.status_code


async def test_a_signed_request_once(signed):
    auth = await signer(signed)
    headers = auth.headers("GET", f"{signed.url}/things")
    assert await ask(signed, headers) == 200
    assert await ask(signed, headers) == "proof-replayed"


async def test_nothing_and_half(signed):
    auth = await signer(signed)
    headers = auth.headers("GET", f"{signed.url}/things")
    assert await ask(signed, {}) == "missing"
    assert await ask(signed, {"Authorization": headers["Authorization"]}) == "no-proof"
    assert await ask(signed, {"DPoP": headers["DPoP"]}) == "missing"
    assert await ask(signed, {"Authorization": headers["Authorization"].replace("DPoP", "Bearer")}) == "wrong-scheme"
    for wrong in ("DPoP", "DPoP x", "DPoP " + "x" * 9000, "Basic eDp5", "Bearer demo.x", "\u00e4"):
        assert isinstance(await ask(signed, {"Authorization": wrong.encode("latin-1")}), str), wrong


async def test_a_stolen_token_opens_nothing(signed):
    """The thief has the token, and a key of his own."""
    auth = await signer(signed)
    thief = SigningAuth(ClientFile(signed.file.client, signed.file.node, new_key()), clock=signed.clock)
    thief._token = auth._token
    assert await ask(signed, thief.headers("GET", f"{signed.url}/things")) == "wrong-key"


async def test_a_proof_is_for_one_method_and_path(signed):
    auth = await signer(signed)
    for method, path in (("POST", "/things"), ("GET", "/grants"), ("GET", "/thing")):
        assert isinstance(await ask(signed, auth.headers(method, f"{signed.url}{path}")), str), (method, path)


async def test_an_old_token_and_an_old_proof(signed):
    auth = await signer(signed)
    old = auth.headers("GET", f"{signed.url}/things")
    signed.clock.shift_us += 301_000_000
    assert await ask(signed, old) in {"expired", "proof-expired"}
    assert await ask(signed, auth.headers("GET", f"{signed.url}/things")) == "expired"
    renewed = await signer(signed)
    assert await ask(signed, renewed.headers("GET", f"{signed.url}/things")) == 200


async def test_a_narrowed_token_may_no_more_than_it_says(signed):
    auth = await signer(signed, scope="operator")
    assert await ask(signed, auth.headers("GET", f"{signed.url}/status"), "/status") == 200
    assert await ask(signed, auth.headers("GET", f"{signed.url}/principals"), "/principals") == 403


async def test_a_deactivated_client_is_out_at_once(signed):
    made, http = signed.client("northside-networks", "operator")
    assert (await http.get("/things")).status_code == 200
    assert (await signed.op.post(f"/principals/{made}/deactivate")).status_code == 200
    answer = await http.get("/things")
    assert answer.status_code == 401
    assert answer.json()["reason"]


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-real-ip", "via"])
async def test_plain_tokens_of_the_demo_do_not_pass_a_proxy(signed, name):
    answer = await signed.op.get("/things", headers={name: "127.0.0.1"})
    assert answer.status_code == 401


async def test_other_host_names_are_not_answered_for(signed):
    answer = await signed.op.get("/things", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
