"""The portal as an attacker's browser meets it: fixed sessions, redirects elsewhere, frames, bad cookies."""

import re

import httpx
import pytest
import pytest_asyncio
from matrix_requests import METER_ID, TITLE, Scene
from running_node import World, settings_for

from gridspine.apps.portal.routes import PAGES

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "correct horse battery"
ELSEWHERE = [
    "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
    "%2F%2Fevil.example",
    "javascript:alert(1)", " //evil.example", "/\r\nLocation: //evil.example", "///evil.example", "http:evil.example",
    "/portal/%0d%0aSet-Cookie:%20a=b", "\u2028//evil.example", "/" + "a" * 5000,
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    made = await World.start(tmp_path_factory.mktemp("portal") / "data", settings_for())
    made.scene = Scene(made)
    await made.scene.set()
    made.node.identity.users.add("northside-networks", "olga", PASSWORD, ("operator", "administrator"))
    yield made
    await made.stop()


async def sign_in(world, http: httpx.AsyncClient, following: str = "/") -> httpx.Response:
    form = {"username": "olga", "password": PASSWORD, "next": following}
    return await http.post("/sign-in", data=form, headers={"origin": world.url})


async def test_a_session_cannot_be_fixed(world) -> None:
    """A cookie that was there before is neither taken nor kept alive."""
    async with httpx.AsyncClient(base_url=world.url) as http:
        first = (await sign_in(world, http)).cookies["gridspine"]
    for planted in ("chosen-by-somebody-else", first):
        async with httpx.AsyncClient(base_url=world.url, cookies={"gridspine": planted}) as http:
            made = (await sign_in(world, http)).cookies["gridspine"]
            assert made != planted
    answer = await world.nobody.get("/portal/products", headers={"cookie": f"gridspine={first}"})
    assert answer.status_code == 303 or answer.is_redirect, "the session that was there has ended"


@pytest.mark.parametrize("following", ELSEWHERE, ids=range(len(ELSEWHERE)))
async def test_signing_in_leads_nowhere_else(world, following) -> None:
    async with httpx.AsyncClient(base_url=world.url) as http:
        answer = await sign_in(world, http, following)
        assert answer.is_redirect
        assert "\n" not in answer.headers["location"]
        assert httpx.URL(world.url).join(answer.headers["location"]).netloc == httpx.URL(world.url).netloc
        shown = await world.nobody.get("/sign-in", params={"next": following})
        assert 'value="//' not in shown.text
        assert "javascript:" not in shown.text


async def test_no_page_may_be_framed_or_kept(world) -> None:
    async with httpx.AsyncClient(base_url=world.url) as http:
        await sign_in(world, http)
        for path in ("/", "/sign-in", "/portal/products", "/portal/nowhere"):
            headers = (await http.get(path)).headers
            assert headers["x-frame-options"] == "DENY"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert len(headers.get_list("content-security-policy")) == 1
            assert "no-store" in headers["cache-control"]


async def cookies(world) -> dict[str, str]:
    """A session's cookie in every state but good."""
    identity = world.node.identity
    made = {"none": "", "chosen": "x" * 43}
    for state in ("signed-out", "everywhere", "suspended", "cut", "longer"):
        user = identity.users.add("northside-networks", f"u-{state}", PASSWORD, ("operator",))
        cookie = identity.sessions.open(user, 0)
        made[state] = cookie
        if state == "signed-out":
            identity.sessions.close(cookie)
        elif state == "everywhere":
            identity.sign_out_everywhere(user.id)
        elif state == "suspended":
            identity.directory.deactivate(user.id)
        elif state == "cut":
            made[state] = cookie[:-1]
        else:
            made[state] = cookie + "A"
    return made


async def test_no_bad_cookie_opens_a_page(world) -> None:
    """Every page and form of the portal, with a session in every state but good."""
    asked = 0
    bad = await cookies(world)
    for handler in PAGES:
        for path in handler.paths:
            if path in {"/sign-in", "/sign-out", "/set-up"}:
                continue
            filled = re.sub(r"\{(\w+):str\}", lambda found: world.scene.ids.get(found[1], "revoke"), path)
            for method in set(handler.http_methods) & {"GET", "POST"}:
                for state, cookie in bad.items():
                    headers = {"cookie": f"gridspine={cookie}"} if cookie else {}
                    answer = await world.nobody.request(
                        method, filled, headers=headers, content=b"" if method == "GET" else b"a=b"
                    )
                    asked += 1
                    assert answer.status_code in {302, 303, 307, 401}, (method, path, state, answer.status_code)
                    assert TITLE not in answer.text
                    assert METER_ID not in answer.text.replace(filled, "")
    assert asked > 100
