"""A vendor's cloud read in the name of who logged in: tokens that end, rotate, are revoked; pages, budgets, pauses."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from adapter_node import FakeNode
from oauth_cloud import OauthCloud

from gridspine.adapters.wot_http import adapter
from gridspine.adapters.wot_http.pace import Buckets, Limit, exhausted_s
from gridspine.adapters.wot_http.poller import read_connection
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Invalid, Overloaded
from gridspine.things.adapter import Binding, ReadRequest


@pytest.fixture
def cloud() -> Iterator[OauthCloud]:
    made = OauthCloud()
    thread = made.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def bound(cloud: OauthCloud, system: int, **more: Any) -> Binding:
    forms = {"activePower": {"href": f"{cloud.url}/systems", "unit": "W", "pick": {"plus": ["/power"]}}}
    security = {
        "scheme": "oauth2", "secret": "acme", "token": f"{cloud.url}/token", "grant": "authorization_code",
    }  # fmt: skip
    listing = {"items": "/systems", "key": "/system_id", "next": "/next"}
    connection = {"forms": forms, "security": security, "intervalS": 1, "listing": listing, "item": str(system)}
    return Binding(f"urn:example:system-{system}", "s", "org", "m", connection | more)


async def node_of(cloud: OauthCloud, *systems: int, logged_in: bool = True, **settings: Any) -> FakeNode:
    leave = {"origins": [cloud.url], "organisations": ["org"]}
    given = {"allow": ["127.0.0.0/8"], "secrets": {"acme": leave}, "timeout_s": 5, **settings}
    node = FakeNode([bound(cloud, one) for one in systems], settings=given, secrets={"acme": "client:s3cret"})
    if logged_in:
        account = {"refreshToken": cloud.refresh, "token": f"{cloud.url}/token"}
        await node.keyring.put("acme", msgspec.json.encode(account))
    return node


def power(node: FakeNode, system: int) -> float | None:
    points = [one.value for one in node.stored if one.point == f"urn:example:system-{system}/activePower"]
    return points[-1] if points else None


async def ask(node: FakeNode, system: int) -> str:
    node.reading.put_nowait(ReadRequest("r", f"urn:example:system-{system}", ()))
    await node.until(lambda: "r" in node.read)
    return node.read.pop("r")


async def test_all_devices_of_an_account_are_read_by_one_round_of_its_pages(cloud: OauthCloud, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    node = await node_of(cloud, 1, 2, 3)
    node.traced.on = True
    async with node.running(adapter()):
        await node.until(lambda: all(power(node, one) == 100.0 * one for one in (1, 2, 3)))
    rounds = len(cloud.asked) / 2
    assert {"/systems", "/systems?page=2"} == set(cloud.asked)
    assert len(node.stored) >= 3 * (rounds - 1), "each round was for all three"
    assert cloud.granted == 1
    kept = msgspec.json.decode(await node.keyring.get("acme") or b"{}")
    assert kept["refreshToken"] == cloud.refresh == "refresh-token-1", "the one that came is kept for the next time"
    shown = caplog.text + str(list(node.traced.__dict__.values()))
    assert not any(word in caplog.text for word in ("first-refresh-token", "refresh-token-1", "s3cret"))
    assert "refresh-token" not in shown


async def test_a_vendor_who_wants_the_secret_in_the_form_gets_it_there(cloud: OauthCloud) -> None:
    cloud.in_form = True
    node = await node_of(cloud)
    security = bound(cloud, 1).connection["security"] | {"client": "form"}
    node.set_bindings([bound(cloud, 1, security=security)])
    node.traced.on = True
    async with node.running(adapter()):
        await node.until(lambda: power(node, 1) == 100.0)
    assert "s3cret" not in str(list(node.traced.__dict__.values()))


async def test_a_token_that_ends_in_between_is_renewed_once_for_all_who_wait(cloud: OauthCloud) -> None:
    node = await node_of(cloud, 1, 2, 3)
    async with node.running(adapter()):
        await node.until(lambda: power(node, 3) is not None)
        with cloud.lock:
            cloud.access.clear()
            cloud.systems["2"]["power"] = 555
        await node.until(lambda: power(node, 2) == 555.0)
    assert cloud.granted == 2
    assert not cloud.revoked, "no refresh token came twice"


@pytest.mark.parametrize("expires_in", [1, -5, "soon", None, 10**9])
async def test_whatever_a_token_says_of_its_end_it_is_used_and_renewed(cloud: OauthCloud, expires_in: Any) -> None:
    cloud.expires_in = expires_in
    node = await node_of(cloud, 1)
    async with node.running(adapter()):
        await node.until(lambda: power(node, 1) == 100.0)
        assert await ask(node, 1) == ""
    assert not cloud.revoked


async def test_a_grant_that_was_revoked_says_what_to_do_and_is_not_hammered(cloud: OauthCloud) -> None:
    node = await node_of(cloud, 1)
    async with node.running(adapter()):
        await node.until(lambda: power(node, 1) is not None)
        with cloud.lock:
            cloud.access.clear()
            cloud.revoked = True
        await node.until(lambda: cloud.granted == 1 and not cloud.access)
        words = ""
        while "revoked" not in words:
            words = await ask(node, 1)
        assert "gridspine account login acme" in words
        before = len(cloud.used)
        await ask(node, 1)
        assert len(cloud.used) == before
        with cloud.lock:
            cloud.revoked, cloud.refresh = False, "fresh-after-login"
        account = {"refreshToken": "fresh-after-login", "token": f"{cloud.url}/token"}
        await node.keyring.put("acme", msgspec.json.encode(account))
        while await ask(node, 1):
            pass
    assert power(node, 1) == 100.0


async def test_who_has_not_logged_in_is_told_to(cloud: OauthCloud) -> None:
    node = await node_of(cloud, 1, logged_in=False)
    async with node.running(adapter()):
        assert "gridspine account login acme" in await ask(node, 1)
    assert not cloud.asked


async def test_a_device_that_the_account_has_not_is_named(cloud: OauthCloud) -> None:
    node = await node_of(cloud, 9)
    async with node.running(adapter()):
        assert "9 is not among what the account has: 3 items" in await ask(node, 9)


async def test_a_next_page_elsewhere_is_not_gone_to(cloud: OauthCloud) -> None:
    cloud.foreign_next = "http://127.0.0.1:9/steal"
    node = await node_of(cloud, 1)
    async with node.running(adapter()):
        assert "another origin" in await ask(node, 1)


async def test_pages_that_lead_back_end(cloud: OauthCloud) -> None:
    cloud.foreign_next = "/systems"
    node = await node_of(cloud, 1)
    async with node.running(adapter()):
        assert "leads back" in await ask(node, 1)


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {"retry-after": "60"}), (503, {"retry-after": "60"}), (429, {"ratelimit": '"day";r=0;t=60'}), (429, {})],
)
async def test_a_pause_is_the_accounts_and_not_one_things(
    cloud: OauthCloud, status: int, headers: dict[str, str]
) -> None:
    node = await node_of(cloud, 1, 2)
    cloud.statuses = [(status, headers)]
    async with node.running(adapter()):
        first = await ask(node, 1)
        assert "too much" in first or "pause" in first
        count = len(cloud.asked)
        assert await ask(node, 2)
        assert len(cloud.asked) == count == 1


async def test_when_nothing_is_left_the_account_waits_before_it_is_refused(cloud: OauthCloud) -> None:
    cloud.more = {"ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "60"}
    cloud.page = 3
    node = await node_of(cloud, 1)
    async with node.running(adapter()):
        await node.until(lambda: power(node, 1) == 100.0)
        count = len(cloud.asked)
        assert count == 1
        node_words = ""
        while "pause" not in node_words:  # what was had just now is still taken
            node_words = await ask(node, 1)
        assert len(cloud.asked) == count


async def test_an_accounts_budget_is_kept(cloud: OauthCloud) -> None:
    node = await node_of(cloud, 1, accounts={"acme": {"per_hour": 60, "burst": 2}})
    async with node.running(adapter()):
        await node.until(lambda: power(node, 1) == 100.0)
        words = ""
        while "budget" not in words:
            words = await ask(node, 1)
    assert len(cloud.asked) == 2, "two pages were the burst"


def test_a_bucket_fills_again() -> None:
    async def live() -> None:
        clock = VirtualClock()
        buckets = Buckets({"acme": Limit(3600, 3)}, clock)
        for _ in range(3):
            buckets.take("acme", "p")
        with pytest.raises(Overloaded) as refused:
            buckets.take("acme", "p")
        assert refused.value.retry_after_s == 1
        await clock.advance(1.0)
        buckets.take("acme", "p")
        with pytest.raises(Overloaded):
            buckets.take("acme", "p")
        buckets.take("other", "p")
        buckets.hold("p", 5)
        with pytest.raises(Overloaded, match="pause"):
            buckets.take("other", "p")
        buckets.take("other", "q")
        await clock.advance(5.0)
        buckets.take("other", "p")

    asyncio.run(live())
    with pytest.raises(Invalid, match="acme"):
        Buckets({"acme": Limit(0)}, VirtualClock())


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({}, 0),
        ({"ratelimit-remaining": "3", "ratelimit-reset": "9"}, 0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "9"}, 9),
        ({"ratelimit": "limit=10, remaining=0, reset=7"}, 7),
        ({"ratelimit": '"hour";r=0;t=30'}, 30),
        ({"ratelimit": '"hour";r=5;t=30'}, 0),
        ({"ratelimit": "remaining=none"}, 0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "99999999"}, 86_400),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1767225600"}, 0),
    ],
)
def test_what_answers_say_is_left(headers: dict[str, str], pause_s: int) -> None:
    assert exhausted_s(headers) == pause_s


@pytest.mark.parametrize(
    "change", [{"item": ""}, {"listing": {"items": "systems", "key": ""}}, {"listing": {"items": ""}}]
)
def test_a_listing_that_makes_no_sense_is_refused(cloud: OauthCloud, change: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        read_connection(bound(cloud, 1, **change).connection)
