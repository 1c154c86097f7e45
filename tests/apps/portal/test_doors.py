"""Who gets in, and what every answer carries: asked of a real node over HTTP, without a browser."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gridspine.apps.portal import live
from gridspine.apps.portal.headers import SECURITY_HEADERS
from gridspine.apps.portal.routes import PAGES
from tests.apps.portal.conftest import METER, PASSWORD, PEOPLE, Portal, running

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def client(portal: Portal) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=portal.url, headers={"Origin": portal.url}) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, name: str = "olga", password: str = PASSWORD) -> httpx.Response:
    return await client.post("/sign-in", data={"username": name, "password": password})


async def csrf(client: httpx.AsyncClient) -> dict[str, str]:
    found = re.search(r'name="csrf-token" content="([0-9a-f]+)"', (await client.get("/portal/products")).text)
    assert found is not None
    return {"x-csrf-token": found[1], "hx-request": "true"}


def paths() -> list[tuple[str, str]]:
    fill = {"thing_id": METER, "command_id": "c", "product_id": "p", "grant_id": "g", "incident_id": "i", "verb": "v"}
    fill |= {"bid_id": "b", "announcement_id": "a", "ensemble_id": "e", "edge_id": "x", "rule": "r"}
    fill |= {
        "adapter": "ocpp",
        "kind": "charge-point",
        "voucher_id": "v",
        "transfer_id": "t",
        "order_id": "o",
        "behaviour": "b",
        "version": "1.0.0",
        "transaction": "t",
        "site_id": "s",
        "envelope_id": "e",
    }
    every = []
    for handler in PAGES:
        for path in handler.paths:  # type: ignore[union-attr]
            filled = re.sub(r"\{(\w+):str\}", lambda m: fill[m[1]], path)
            every += [(str(method), filled) for method in handler.http_methods if method in {"GET", "POST"}]  # type: ignore[union-attr]
    return [*every, ("GET", "/portal/nowhere"), ("GET", "/portal/static/portal.css"), ("GET", "/portal/static/none.js")]


@pytest.mark.parametrize("who", ["nobody", "olga"])
async def test_every_answer_of_the_portal_carries_the_security_headers(client: httpx.AsyncClient, who: str) -> None:
    extra = {}
    if who != "nobody":
        await sign_in(client, who)
        extra = await csrf(client)
    for method, path in paths():
        if path == "/sign-out":
            continue
        answer = await client.request(method, path, headers=extra, content="" if method == "GET" else "x=1")
        missing = {k: v for k, v in SECURITY_HEADERS.items() if answer.headers.get(k) != v}
        assert not missing, (method, path, answer.status_code)
        assert answer.status_code != 500, (method, path)
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    for part in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
        assert part in policy


async def test_pages_lead_to_the_sign_in_page_and_the_api_keeps_its_problem(client: httpx.AsyncClient) -> None:
    answer = await client.get("/portal/grants")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/portal/grants")
    assert (await client.get("/")).headers["location"] == "/sign-in"
    part = await client.get("/portal/grants", headers={"hx-request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/sign-in?next=/portal/grants")
    api = await client.get("/grants")
    assert (api.status_code, api.headers["content-type"]) == (401, "application/problem+json")


async def test_signing_in_and_out(client: httpx.AsyncClient) -> None:
    answer = await client.post("/sign-in", data={"username": "OLGA", "password": PASSWORD, "next": "/portal/status"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/portal/status")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert (await client.get("/portal/status")).status_code == 200
    assert (await client.get("/sign-in")).headers["location"] == "/"
    held = dict(client.cookies)
    assert (await client.post("/sign-out")).status_code == 303
    client.cookies.update(held)  # the session has ended, not only its cookie
    assert (await client.get("/portal/status")).status_code == 303


async def test_a_wrong_name_and_a_wrong_password_look_the_same(client: httpx.AsyncClient) -> None:
    known, unknown = await sign_in(client, "olga", "x" * 20), await sign_in(client, "nobody-here", "x" * 20)
    assert known.status_code == unknown.status_code == 401
    assert known.text.replace("olga", "*") == unknown.text.replace("nobody-here", "*")
    assert "User name or password is wrong." in known.text
    script = await sign_in(client, '"><script>alert(1)</script>', "x" * 20)
    assert "<script>alert" not in script.text


async def test_too_many_attempts_are_told_how_long_to_wait(client: httpx.AsyncClient) -> None:
    answers = [await sign_in(client, "carl", "x" * 20) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert re.search(r"Too many attempts\. Wait \d+ s", answers[-1].text)
    assert int(answers[-1].headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/set-up"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "OWN"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
async def test_forms_of_other_sites_are_refused(portal: Portal, path: str, headers: dict[str, str]) -> None:
    headers = {name: portal.url if value == "OWN" else value for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=portal.url) as client:
        answer = await client.post(path, data={"username": "olga", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_changes_need_the_csrf_token_of_the_session(client: httpx.AsyncClient, portal: Portal) -> None:
    await sign_in(client)
    good = await csrf(client)
    for bad in ({}, {"x-csrf-token": "0" * 64}, {**good, "sec-fetch-site": "cross-site"}):
        answer = await client.post("/portal/all-stop", data={"reason": "x"}, headers={"hx-request": "true", **bad})
        assert answer.status_code == 403
    assert portal.node.commands.commander.stopped is None
    assert (await client.post("/portal/all-stop", data={"reason": "x"}, headers=good)).status_code == 200
    assert portal.node.commands.commander.stopped is not None


async def test_roles_are_kept_whatever_the_page_shows(client: httpx.AsyncClient, portal: Portal) -> None:
    product = await portal.product()
    await sign_in(client, "carl")
    headers = await csrf(client)
    assert (await client.get("/")).headers["location"] == "/portal/products"
    parts = [f"/portal/things/{METER}/{part}" for part in ("channels", "life", "timeline", "about", "description")]
    others = [
        "/portal/waiting",
        "/portal/ensembles",
        "/portal/models",
        "/portal/add",
        "/portal/ensembles/urn:uuid:none",
        "/portal/orders",
        "/portal/orders/urn:uuid:none",
        "/portal/programmes",
        "/portal/sites",
        "/portal/sites/new",
        "/portal/sites/urn:uuid:none",
        "/portal/sites/urn:uuid:none/change",
        "/portal/bids",
        "/portal/behaviours",
        "/portal/behaviours/none",
        "/portal/behaviours/none/text/1.0.0",
        "/portal/transfers",
        "/portal/vouchers",
        "/portal/connections",
        "/portal/connect",
        "/portal/connect/charge-point",
        "/portal/connect/authority.pem",
        "/portal/wires/ocpp",
    ]
    own = [f"/portal/things/{METER}", "/portal/things/urn:example:none", "/portal/status", "/portal/incidents"]
    for path in (*own, *parts, *others):
        answer = await client.get(path)
        assert answer.status_code in {403, 404}, path
        assert "Feeder 7" not in answer.text
    lives = [f"/portal/things/{METER}/life/{verb}" for verb in ("step", "examine", "note", "exchange", "remove-file")]
    hands = [f"/portal/things/{METER}/control/{verb}" for verb in ("local", "remote", "tag", "untag")]
    adds = [f"/portal/things/{METER}/form", "/portal/add/by-model", "/portal/add/by-description", "/portal/ensembles",
            "/portal/announcements/a/accept", "/portal/edges/e/rules/r/remove"]  # fmt: skip
    whole = {
        "to": "retired", "why": "x", "what": "noted", "words": "x", "at": "2026-01-01T00:00:00Z", "form": "emulator",
        "document": '{"title": "x"}', "title": "x", "model": "https://gridspine.org/models/meter", "verb": "gather",
    }  # fmt: skip
    for path in (*lives, *hands, *adds):
        answer = await client.post(path, data={**whole, "reason": "x", "tag": "t", "file": "f"}, headers=headers)
        assert answer.status_code == 403, (path, answer.status_code, answer.text)
    for path in (f"/portal/things/{METER}/commands", "/portal/all-stop", "/portal/alarms/acknowledge"):
        form = {"point": f"{METER}/voltage", "kind": "high", "value": "1", "duration": "1", "reason": "x"}
        assert (await client.post(path, data=form, headers=headers)).status_code == 403, path
    asked = {"product": product, "purpose": "balancing", "until": "2099-01-01T00:00:00Z"}
    assert (await client.post("/portal/grants", data=asked, headers=headers)).status_code == 200
    grant = portal.node.access.grants_of("brightfield")[0].id
    assert (await client.post(f"/portal/grants/{grant}/approve", headers=headers)).status_code == 403


async def test_an_adapter_that_is_not_switched_on_is_told_how_to(client: httpx.AsyncClient) -> None:
    await sign_in(client, "ada")
    headers = await csrf(client)
    assert "is not switched on" in (await client.get("/portal/connect")).text
    form = (await client.get("/portal/connect/openadr3-utility")).text
    assert "organisations = [&#34;northside-networks&#34;]" in form
    assert 'id="connect"' not in form
    answer = await client.post("/portal/connect/charge-point", data={"title": "x"}, headers=headers)
    assert answer.status_code == 400
    assert "is not switched on" in answer.text


async def test_a_point_of_others_stays_unnamed_on_the_product_page(client: httpx.AsyncClient, portal: Portal) -> None:
    product = await portal.product()
    await sign_in(client, "carl")
    assert METER not in (await client.get(f"/portal/products/{product}")).text
    await client.post("/sign-out")
    await sign_in(client, "olga")
    assert METER in (await client.get(f"/portal/products/{product}")).text


async def test_the_first_administrator(tmp_path: Any) -> None:
    async with (
        running(tmp_path / "node") as portal,
        httpx.AsyncClient(base_url=portal.url, headers={"Origin": portal.url}) as client,
    ):
        assert "Set up the first administrator" in (await client.get("/sign-in")).text
        code = await asyncio.to_thread(portal.node.identity.first.new_code)
        form = {"code": code, "username": "root", "password": PASSWORD, "again": PASSWORD}
        for wrong, status in (({"code": "x"}, 401), ({"again": "other"}, 400), ({"password": "a", "again": "a"}, 400)):
            answer = await client.post("/set-up", data={**form, **wrong})
            assert answer.status_code == status
            assert PASSWORD not in answer.text
        answer = await client.post("/set-up", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "No Things yet" in (await client.get("/")).text
        assert (await client.post("/set-up", data=form)).status_code == 409
        assert "has its first administrator" in (await client.get("/set-up")).text


# -- live streams ----------------------------------------------------------------------------------------------------


async def ticket(client: httpx.AsyncClient) -> str:
    answer = await client.post("/portal/ticket", headers=await csrf(client))
    return str(answer.json()["ticket"])


async def test_a_stream_needs_a_ticket_that_works_once(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    assert (await client.get("/portal/live")).status_code == 403
    assert (await client.post("/portal/ticket")).status_code == 403
    one = await ticket(client)
    async with client.stream("GET", "/portal/live", params={"ticket": one, "thing": METER}) as stream:
        assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream")
        assert await anext(stream.aiter_lines()) == "event: open"
    assert (await client.get("/portal/live", params={"ticket": one})).status_code == 401


async def test_a_stream_is_refused_what_its_page_would_be(client: httpx.AsyncClient, portal: Portal) -> None:
    await portal.product()
    await sign_in(client, "carl")
    for query, status in (
        ({"thing": METER}, 403), ({"chart": METER}, 403), ({"thing": "urn:example:none"}, 403),
        ({"grant": "urn:uuid:none"}, 404), ({"part": "status"}, 403), ({"part": "nothing"}, 400),
        ({"thing": ["x"] * 100}, 400),
    ):  # fmt: skip
        answer = await client.get("/portal/live", params={"ticket": await ticket(client), **query})
        assert answer.status_code == status, query


async def test_streams_end_with_the_session(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    async with client.stream("GET", "/portal/live", params={"ticket": await ticket(client), "part": "stop"}) as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "event: open"
        await client.post("/sign-out")
        rest = [line async for line in lines]
    assert rest[-3:] == ["event: end", 'data: {"reason":"signed-out"}', ""]


async def test_streams_are_bounded_and_let_go(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS_EACH", 1)
    await sign_in(client)
    async with client.stream("GET", "/portal/live", params={"ticket": await ticket(client), "thing": METER}) as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "event: open"
        refused = await client.get("/portal/live", params={"ticket": await ticket(client)})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    async with asyncio.timeout(60):  # the slot of a stream that was left is given back
        while True:
            async with client.stream("GET", "/portal/live", params={"ticket": await ticket(client)}) as stream:
                if stream.status_code == 200:
                    return
            await asyncio.sleep(0.05)


async def test_all_people_can_open_their_menu(client: httpx.AsyncClient) -> None:
    for name in PEOPLE:
        await sign_in(client, name)
        home = await client.get("/", follow_redirects=True)
        assert home.status_code == 200
        for path in re.findall(r'<li><a href="([^"]+)"', home.text):
            assert (await client.get(path)).status_code == 200, (name, path)
        await client.post("/sign-out")


async def test_the_menu_has_what_is_for_the_caller(client: httpx.AsyncClient) -> None:
    for name, groups, places in (
        ("carl", ["Sharing"], ["Products", "Grants"]),
        ("audrey", ["Things", "Control", "Waiting", "Sharing", "Alarms", "Status"], ["For somebody"]),
        ("ada", ["Things", "Control", "Waiting", "Sharing", "Alarms", "Status"], ["For somebody", "Vouchers"]),
    ):
        await sign_in(client, name)
        page = (await client.get("/portal/products" if name == "carl" else "/portal/waiting")).text
        menus = re.findall(r'<ul class="menu">(.*?)</ul>', page, re.DOTALL)
        titles = [re.findall(r"<a [^>]*>([^<]+)</a>", one) for one in menus]
        assert titles[0] == groups, name
        if len(places) > 1:  # a group of one place has no row of its own
            assert titles[1] == places, name
        client.cookies.clear()
