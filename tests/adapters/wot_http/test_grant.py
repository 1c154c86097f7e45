"""A grant is ended by nobody's haste: one refresh for all who ask, to its end, and kept; and rounds that must pause."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest
from oauth_cloud import OauthCloud

from gridspine.adapters.wot_http import session as session_module
from gridspine.adapters.wot_http import tokens as tokens_module
from gridspine.adapters.wot_http.guard import Guard, Settings
from gridspine.adapters.wot_http.proof import Security
from gridspine.adapters.wot_http.session import Session
from gridspine.adapters.wot_http.shared import Listing, Shared
from gridspine.adapters.wot_http.tokens import Tokens
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Overloaded
from gridspine.testing.node import DictStore

API = "https://api.acme.example"
ACME = Security(scheme="oauth2", secret="acme", token=f"{API}/token", grant="authorization_code")
OTHER_SCOPES = msgspec.structs.replace(ACME, scopes="more")


class Vendor:
    """The vendor's answers without a wire; ``gate`` closed holds them back when it has already done its part."""

    def __init__(self, cloud: OauthCloud) -> None:
        self.cloud = cloud
        self.gate = asyncio.Event()
        self.gate.set()
        self.clock = VirtualClock()
        self.keyring = DictStore({"acme": account(cloud.refresh)})
        leave = {"origins": [API], "organisations": ["org", "other"]}
        given = {"secrets": {"acme": leave}, "accounts": {"acme": {"per_hour": 12, "burst": 1}}}
        self.settings = msgspec.convert(given, Settings)
        self.guard = Guard(self.settings, {"acme": "client:s3cret"})
        self.late: dict[str, asyncio.Event] = {}
        """By bearer: the next request with it is answered when the event is set."""

    async def post(self, href: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        status, said = self.cloud.token(dict(parse_qsl(body.decode())), headers["authorization"])
        await self.gate.wait()
        return status, msgspec.json.encode(said)

    def tokens(self) -> Tokens:
        return Tokens(self.guard, self.clock, self.keyring, self.post)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            status, body = await self.post(str(request.url), request.headers, request.content)
        else:
            bearer = request.headers["authorization"].removeprefix("Bearer ")
            if bearer in self.late:
                await self.late.pop(bearer).wait()
            self.cloud.asked.append(request.url.raw_path.decode())
            status, body = 401, b"{}"
            if bearer in self.cloud.access:
                at = int(request.url.params.get("page", "1"))
                system = self.cloud.systems[str(at)]
                following = f"/systems?page={at + 1}" if at < len(self.cloud.systems) else None
                status, body = 200, msgspec.json.encode({"systems": [system], "next": following})
        return httpx.Response(status, content=streamed(body))


def account(refresh: str) -> bytes:
    return msgspec.json.encode({"refreshToken": refresh, "token": ACME.token})


async def streamed(body: bytes) -> AsyncIterator[bytes]:
    yield body


@pytest.fixture
def cloud() -> Iterator[OauthCloud]:
    made = OauthCloud()
    yield made
    made.server_close()


@pytest.fixture
async def vendor(cloud: OauthCloud) -> Vendor:
    return Vendor(cloud)


@pytest.fixture
async def session(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Session]:
    def client(*_: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(vendor.answer))

    monkeypatch.setattr(session_module, "guarded_client", client)
    made = Session(vendor.guard, vendor.settings, vendor.clock, vendor.keyring)
    yield made
    await made.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def test_things_of_other_scopes_and_organisations_refresh_a_grant_once(vendor: Vendor) -> None:
    tokens, cloud = vendor.tokens(), vendor.cloud
    asking = [(ACME, "org"), (OTHER_SCOPES, "org"), (ACME, "other")]
    vendor.gate.clear()
    got = [asyncio.create_task(tokens.get(*one)) for one in asking]
    await until(lambda: cloud.used)
    vendor.gate.set()
    assert set(await asyncio.gather(*got)) == {"access-1"}
    assert not cloud.revoked
    assert vendor.keyring.content["acme"] == account(cloud.refresh)
    await tokens.close()


async def test_who_is_cancelled_takes_no_refresh_token_along(vendor: Vendor) -> None:
    tokens, cloud = vendor.tokens(), vendor.cloud
    vendor.gate.clear()
    asking = asyncio.create_task(tokens.get(ACME, "org"))
    await until(lambda: cloud.used)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    again = asyncio.create_task(tokens.get(ACME, "org"))
    vendor.gate.set()
    assert await again == "access-1"
    assert not cloud.revoked
    await tokens.close()


async def test_the_end_waits_until_a_refresh_token_is_kept(vendor: Vendor) -> None:
    tokens, cloud = vendor.tokens(), vendor.cloud
    vendor.gate.clear()
    asking = asyncio.create_task(tokens.get(ACME, "org"))
    await until(lambda: cloud.used)
    asking.cancel()
    closing = asyncio.create_task(tokens.close())
    await asyncio.wait([asking])
    assert not closing.done()
    vendor.gate.set()
    await closing
    assert vendor.keyring.content["acme"] == account(cloud.refresh) == account("refresh-token-1")


async def test_a_login_meanwhile_is_not_overwritten(vendor: Vendor) -> None:
    tokens = vendor.tokens()
    vendor.gate.clear()
    asking = asyncio.create_task(tokens.get(ACME, "org"))
    await until(lambda: vendor.cloud.used)
    await vendor.keyring.put("acme", account("of-the-login"))
    vendor.gate.set()
    assert await asking == "access-1"
    assert vendor.keyring.content["acme"] == account("of-the-login")
    await tokens.close()


async def test_a_refusal_that_comes_late_costs_no_new_token(vendor: Vendor, session: Session) -> None:
    cloud = vendor.cloud
    assert vendor.settings.accounts.pop("acme"), "no budget here"
    await session.get(f"{API}/systems", ACME, "org")
    cloud.access.clear()
    vendor.late["access-1"] = answered = asyncio.Event()
    late = asyncio.create_task(session.get(f"{API}/systems", ACME, "org"))
    await until(lambda: not vendor.late)
    assert (await session.get(f"{API}/systems", ACME, "org")).status == 200
    answered.set()
    assert (await late).status == 200
    assert cloud.granted == 2


async def test_pages_beyond_a_budget_are_read_when_it_fills(vendor: Vendor, session: Session) -> None:
    shared, begin_us = Shared(session, vendor.clock), vendor.clock.now_us()
    listing = Listing("/systems", "/system_id", "/next")

    async def ask() -> Any:
        return await shared.get(f"{API}/systems", ACME, "org", listing, 3600.0)

    for _ in (1, 2):
        with pytest.raises(Overloaded, match="budget"):
            await ask()
        with pytest.raises(Overloaded, match="budget"):
            await ask()
        await vendor.clock.advance(300.0)
    items = await ask()
    assert vendor.cloud.asked == ["/systems", "/systems?page=2", "/systems?page=3"]
    came = {key: (item.value["power"], (item.at_us - begin_us) / 1e6) for key, item in items.items()}
    assert came == {"1": (100, 0.0), "2": (200, 300.0), "3": (300, 600.0)}, "each is as old as its page"
    assert await ask() is items


@pytest.mark.parametrize(
    ("expires", "holds_s"), [(60, 60.0), ("60", 60.0), (1e300, 86_400.0), (-1, 0.0), (10**400, 300.0), ([], 300.0)]
)
def test_how_long_a_token_holds_is_bounded_and_never_a_fault(expires: Any, holds_s: float) -> None:
    said = {"access_token": "t", "expires_in": expires}
    assert tokens_module._token_of(200, said, f"{API}/token") == ("t", holds_s)
