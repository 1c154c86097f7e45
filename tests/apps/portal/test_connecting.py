"""Connections: each kind by its form, what is said at a field, what is shown once, and the Things that come of it."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets
from playwright.async_api import Browser, async_playwright, expect

from gridspine.apps.demo.ven import HeatPump, Ven
from gridspine.apps.node.adapter_words import AdapterWords
from gridspine.apps.portal.connect import KINDS
from gridspine.apps.portal.connection import _word
from gridspine.infra.identity.user import Cost
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.things.directory import Thing
from tests.apps.portal.conftest import ARGUMENTS, CHROMIUM, METER, PASSWORD, Portal, Watched, running
from tests.apps.portal.other_sides import (
    EVERY,
    GOOD,
    OWN,
    SECRET,
    WRONG,
    a_certificate,
    entered,
    good,
    said,
    settings,
    shown,
    signed_in,
    things_of,
    wallbox,
)
from tests.apps.portal.test_browser import CONTRAST, NAMELESS, PHONE, fits

pytestmark = pytest.mark.asyncio(loop_scope="module")
WAIT_MS = 50_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connecting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Portal]:
    """A node whose adapters all listen, with people of all roles."""
    folder = tmp_path_factory.mktemp("connecting")
    (folder / "gateway.pem").write_text(a_certificate("gateway", key=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRIDSPINE_SECRET_OPENADR3_UTILITY", SECRET)
        async with running(folder / "node", settings(folder)) as started:
            node = started.node
            node.identity.directory.add_organisation("brightfield", "Brightfield")
            node.identity.users._cost = Cost(n=16, r=8, p=1)  # the cost of a password is not what is tested here
            people = {"ada": EVERY, "adam": ("administrator",), "olga": ("operator",), "audrey": ("auditor",)}
            for name, roles in people.items():
                node.identity.users.add(OWN, name, PASSWORD, roles)
            node.identity.users.add("brightfield", "bea", PASSWORD, EVERY)
            await started.thing(METER, "Feeder 7 meter", "meter")
            listeners = {"ocpp.ocpp", "ocpi.http", "openadr3.http", "openadr2.vtn", "ieee2030_5.server"}
            async with asyncio.timeout(60):
                while not listeners <= set(node.adapters.listening):
                    await asyncio.sleep(0.02)
            yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        await started.close()


async def test_each_kind_is_connected_by_its_form_and_becomes_things(connecting: Portal) -> None:
    assert set(GOOD) == {kind.key for kind in KINDS}
    counts = {"charge-point": 2, "csip-device": 2}
    async with signed_in(connecting, "ada") as client:
        shown: dict[str, dict[str, str]] = {}
        for kind in KINDS:
            form = (await client.get(f"/portal/connect/{kind.key}")).text
            assert 'id="connect"' in form, kind.key
            answer = await client.post(f"/portal/connect/{kind.key}", data=good(kind.key))
            assert answer.status_code == 200, (kind.key, answer.text)
            assert said(answer.text) == {}, kind.key
            shown[kind.key] = entered(answer.text)
            things = things_of(answer.text)
            assert len(things) == counts.get(kind.key, 1), kind.key
            assert all(connecting.node.things.get(one).adapter == kind.adapter for one in things)
        everything = (await client.get("/portal/connections")).text
        pages = [everything, *[(await client.get(f"/portal/connect/{kind.key}")).text for kind in KINDS]]
    secrets = [shown["charge-point"]["Password"], shown["ven"]["Client secret"], shown["roaming-partner"]["Token"]]
    assert all(len(secret) > 15 for secret in secrets)
    assert not any(secret in page for secret in (*secrets, SECRET) for page in pages)
    assert len(things_of(everything)) >= 11
    port = connecting.node.adapters.listening["ocpp.ocpp"][1]
    assert shown["charge-point"]["Address"] == f"ws://127.0.0.1:{port}/ocpp/"
    assert shown["csip-device"]["DeviceCapability"].startswith("https://127.0.0.1:")
    node = connecting.node
    (site,) = node.controls.sites.of_organisation(OWN)
    assert site.connection_point_id == "41020000002"
    follower = next(one for one in node.things.of_adapter("openadr3") if "vtn" in one.connection)
    assert follower.connection["modes"] == ["importLimitW"]
    speaker = node.identity.directory.principal(follower.devices[0])
    assert (speaker.kind, set(speaker.roles)) == ("application", {"owner", "operator"})


async def test_what_is_wrong_is_said_at_its_field_and_nothing_is_made(connecting: Portal) -> None:
    node = connecting.node
    before = node.things.count(OWN), sum(one.active for one in node.identity.directory.principals(OWN))
    async with signed_in(connecting, "ada") as client:
        for kind, change, field, words in WRONG:
            answer = await client.post(f"/portal/connect/{kind}", data=good(kind) | change)
            assert answer.headers.get("hx-reswap") == "none", (kind, change, answer.text)
            assert words in said(answer.text)[field], (kind, change, answer.text)
            assert "<b>" not in answer.text
        answer = await client.post("/portal/connect/nothing", data={})
        assert answer.status_code == 404
        there = {"url": "http://127.0.0.1:9/ocpi/versions", "token": "abc-secret"}
        asked = {"name": "gone", "party": "DE BRF", "how": "register", **there}
        gone = await client.post("/portal/connect/roaming-partner", data=asked)
        assert gone.status_code >= 400
        assert "abc-secret" not in gone.text
    assert (node.things.count(OWN), sum(one.active for one in node.identity.directory.principals(OWN))) == before


async def test_a_device_of_a_known_make_is_connected_by_its_template(connecting: Portal) -> None:
    node = connecting.node
    async with signed_in(connecting, "ada") as client:
        assert "/portal/connect/template.eastron-sdm120" in (await client.get("/portal/connect")).text
        path = "/portal/connect/template.eastron-sdm120"
        wrong = await client.post(path, data={"title": "Meter", "at": "http://192.0.2.7"})
        assert "tcp://host:port/unit" in said(wrong.text)["at"]
        made = await client.post(path, data={"title": "Meter", "at": "tcp://127.0.0.1:9/3"})
        thing = node.things.get(things_of(made.text)[0])
        assert (thing.adapter, thing.connection["unit"]) == ("modbus", 3)
        plug = {"title": "Plug", "parameters.topic": "plug-1"}
        made = await client.post("/portal/connect/template.tasmota-plug", data=plug)
        there, (device,) = entered(made.text), node.things.get(things_of(made.text)[0]).devices
        assert there["User name"] == device
        source = await asyncio.to_thread(node.identity.by_password, device, there["Password"])
        assert source.principal == device
        off = await client.post("/portal/connect/template.fronius-inverter", data={"title": "Roof"})
        assert "is not switched on" in off.text  # wot_http is not, here
        assert (await client.get("/portal/connect/template.none")).status_code == 404


async def test_what_was_made_is_taken_back_when_a_later_step_is_refused(connecting: Portal) -> None:
    node = connecting.node
    pem = a_certificate("twice")
    async with signed_in(connecting, "ada") as client:
        form = good("csip-device") | {"certificate": pem, "point": ""}
        first = await client.post("/portal/connect/csip-device", data=form)
        assert things_of(first.text)
        before = node.things.count(OWN), sum(one.active for one in node.identity.directory.principals(OWN))
        again = await client.post("/portal/connect/csip-device", data=form)
        assert not things_of(again.text)
    assert (node.things.count(OWN), sum(one.active for one in node.identity.directory.principals(OWN))) == before


async def test_a_form_gives_nobody_a_power_that_they_lack(connecting: Portal) -> None:
    lacks = {
        "adam": {"openadr3-utility", "openadr2-utility", "csip-utility", "roaming-partner"},
        "olga": {kind.key for kind in KINDS} - {"sunspec", "roaming-partner"},
        "audrey": {kind.key for kind in KINDS},
        "bea": {kind.key for kind in KINDS},
    }
    before = connecting.node.things.count(OWN)
    for name, kinds in lacks.items():
        async with signed_in(connecting, name) as client:
            for kind in kinds:
                answer = await client.post(f"/portal/connect/{kind}", data=good(kind))
                assert answer.status_code == 403, (name, kind, answer.text)
                form = await client.get(f"/portal/connect/{kind}")
                assert 'id="connect"' not in form.text, (name, kind)
            if name in {"audrey", "olga"}:
                assert (await client.get("/portal/connections")).status_code == 200
    assert connecting.node.things.count(OWN) == before
    assert not connecting.node.things.count("brightfield")


async def test_connections_of_others_are_not_shown(connecting: Portal) -> None:
    async with signed_in(connecting, "ada") as client:
        made = await client.post("/portal/connect/sunspec", data=good("sunspec"))
        (thing,) = things_of(made.text)
        assert things_of((await client.get(f"/portal/connections?thing={thing}")).text) == [thing]
    async with signed_in(connecting, "bea") as client:
        assert "Nothing is connected yet" in (await client.get("/portal/connections")).text
        for path in ("/portal/connections", f"/portal/connections?thing={thing}", "/portal/connections?adapter=modbus"):
            assert things_of((await client.get(path)).text) == []
        assert (await client.get("/portal/wires/modbus")).status_code == 403


async def test_what_is_said_of_a_server_is_shown_to_who_runs_the_node_alone() -> None:
    words = AdapterWords(VirtualClock(), lambda _adapter, _thing: True)
    words.note("ieee2030_5", "utility northside", "server.example does not answer")
    node: Any = SimpleNamespace(organisation=OWN, adapters=SimpleNamespace(words=words))
    things = [
        Thing("urn:example:a", of, "Utility", METER, adapter="ieee2030_5", connection={"utility": "northside"})
        for of in (OWN, "brightfield")
    ]
    assert [_word(node, one) is not None for one in things] == [True, False]


async def test_a_wire_is_watched_by_operators_of_the_node(connecting: Portal) -> None:
    async with signed_in(connecting, "adam") as client:
        assert (await client.get("/portal/wires/ocpp")).status_code == 403
        assert (await client.post("/portal/wires/ocpp/watch", data={"for": "60"})).status_code == 403
    async with signed_in(connecting, "olga") as client:
        assert "Nobody looks" in (await client.get("/portal/wires/ocpp")).text
        assert (await client.post("/portal/wires/ocpp/watch", data={"for": "9"})).status_code == 400
        assert "Nothing was said yet" in (await client.post("/portal/wires/ocpp/watch", data={"for": "60"})).text
        trace = connecting.node.adapters.wire_trace("ocpp")
        trace("in", b'<b>[2,"1","Heartbeat",{}]</b>', peer="CP001")
        trace("note", "password=hush-hush", peer="CP001")
        seen = (await client.get("/portal/wires/ocpp")).text
        assert "&lt;b&gt;[2" in seen
        assert "hush-hush" not in seen
        assert "every 2s" in seen
        assert "Nobody looks" in (await client.post("/portal/wires/ocpp/stop", data={})).text
        assert not trace.on
        assert (await client.get("/portal/wires/nothing")).status_code == 404


# -- in a browser, with a charge point and a VEN at the other side ---------------------------------------------------


async def opened(browser: Browser, portal: Portal, **options: Any) -> Watched:
    context = await browser.new_context(locale="en-GB", timezone_id="Europe/London", **options)
    context.set_default_timeout(WAIT_MS)
    return Watched(await context.new_page(), portal.url)


async def event_now(portal: Portal) -> None:
    programme = (await portal.post("/programmes", title="Evening", modes=["importLimitW"]))["id"]
    interval = {"from": "2024-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z", "control": {"importLimitW": 1000}}
    await portal.post(f"/programmes/{programme}/events", title="Tonight", intervals=[interval])


@pytest.mark.slow
async def test_a_charge_point_and_a_ven_go_through_the_forms(connecting: Portal, chromium: Browser) -> None:
    seen = await opened(chromium, connecting)
    page = await seen.sign_in("ada", "/portal/connections")
    await page.locator("main .button.main").first.click()
    await page.get_by_role("link", name="A charge point").click()
    await page.get_by_label("EVSEs").fill("many")
    await page.keyboard.press("Enter")  # no mouse is needed
    await expect(page.locator("#f-evses-error")).to_have_text("a number is needed")
    await expect(page.get_by_label("Title")).to_be_focused()  # the first that is wrong
    await expect(page.get_by_label("EVSEs")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Title").fill("Yard <b>charger</b>")
    await page.get_by_label("Its identity").fill("CP-7")
    await page.get_by_label("EVSEs").fill("1")
    await page.get_by_role("button", name="Connect", exact=True).click()
    there = await shown(page)
    await expect(page.locator(".connections .state")).to_have_text("never heard")
    wrong = wallbox(there["Address"], "CP-7", "not-the-password")
    with pytest.raises(websockets.InvalidStatus):
        await wrong.__aenter__()
    await expect(page.locator(".connections .reason")).to_contain_text("turned away", timeout=WAIT_MS)
    async with wallbox(there["Address"], there["Identity, and user name"], there["Password"]):
        await expect(page.locator(".connections .state")).to_have_text("heard", timeout=WAIT_MS)
    assert there["Password"] in await page.content()  # what happens meanwhile takes it not away from who writes it down
    await event_now(connecting)
    await seen.go("/portal/connect/ven")
    await page.get_by_label("Title").fill("Pump")
    await page.get_by_label("Resource").fill("heat-pump-1")
    await page.get_by_label("Enrol it in").select_option(label="Evening")
    await page.get_by_role("button", name="Connect", exact=True).click()
    there = await shown(page)
    async with httpx.AsyncClient(base_url=there["VTN, OpenADR 3.1.0"]) as http:
        ven = Ven(http, there["Client id"], there["Client secret"], "heat-pump-1", HeatPump(7))
        await ven.step()
        await expect(page.locator(".connections .state")).to_have_text("heard", timeout=WAIT_MS)
    await page.get_by_role("link", name="All connections").click()
    await expect(page.get_by_role("link", name="Yard <b>charger</b>")).to_be_visible()
    assert await page.evaluate("document.querySelector('.connections b')") is None
    assert [one for one in seen.complaints if "was turned away" not in one] == []
    await page.context.close()


@pytest.mark.slow
async def test_these_forms_fit_a_phone_stand_out_and_have_names(connecting: Portal, chromium: Browser) -> None:
    async with signed_in(connecting, "ada") as client:
        for kind in ("openadr3-utility", "sunspec"):
            await client.post(f"/portal/connect/{kind}", data=good(kind) | {"title": "Station_" + "North" * 30})
    for scheme in ("dark", "light"):
        seen = await opened(chromium, connecting, **PHONE, color_scheme=scheme)
        page = await seen.sign_in("ada")
        forms = [f"/portal/connect/{kind.key}" for kind in KINDS] + ["/portal/connect/template.eastron-sdm120"]
        for path in ("/portal/connections", "/portal/connect", "/portal/wires/openadr3", *forms):
            await seen.go(path)
            await fits(page)
            assert await page.evaluate(NAMELESS) == [], path
            assert await page.evaluate(CONTRAST) == [], path
            assert await page.locator("h1").count() == 1, path
        assert seen.complaints == []
        await page.context.close()
