"""Sites by forms: registered, changed, limited and removed; what is wrong is said at its field."""

import re
from typing import Any

import httpx

from tests.apps.portal.conftest import BATTERY, METER, PASSWORD, Opens, Portal
from tests.apps.portal.other_sides import said, signed_in
from tests.apps.portal.test_browser import CONTRAST, NAMELESS, PHONE, fits

OWN = "northside-networks"
GOOD = {
    "title": "Quellenweg <31>", "connectionPointId": "41020000002", "phases": "3", "importLimitW": "11000",
    "exportLimitW": "5500", f"things.{BATTERY}": "yes", "guard": "", "uncontrolledLoadW": "0", "more": "",
}  # fmt: skip


async def made(client: httpx.AsyncClient, **more: str) -> str:
    """Register a site by its form; return where its page is."""
    answer = await client.post("/portal/sites", data=GOOD | more)
    assert answer.status_code == 200, answer.text
    assert "hx-redirect" in answer.headers, said(answer.text)
    return answer.headers["hx-redirect"]


async def whole(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path, headers={"hx-request": "false"})
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_site_is_registered_with_its_limits_things_and_envelope(portal: Portal) -> None:
    async with signed_in(portal, "olga") as client:
        assert "None yet" in await whole(client, "/portal/sites")
        form = await whole(client, "/portal/sites/new")
        assert f'name="things.{BATTERY}"' in form and "Yard battery" in form
        where = await made(client, **{"default.exportLimitW": "1500", "latitude": "52.5", "longitude": "13.4"})
        (site,) = portal.node.controls.sites.of_organisation(OWN)
        assert (site.title, site.connection_point_id, site.things) == ("Quellenweg <31>", "41020000002", (BATTERY,))
        assert (site.import_limit_w, site.export_limit_w, site.location) == (11000, 5500, (52.5, 13.4))
        (envelope,) = portal.node.controls.sites.envelopes(site.id)
        assert (envelope.default.export_limit_w, envelope.default.import_limit_w) == (1500, None)
        page = await whole(client, where)
        for words in ("Quellenweg &lt;31&gt;", "Yard battery", "export at most 1.5", "import at most 11", "52.50000°"):
            assert words in page, words
        assert "1 Thing</span>" in await whole(client, "/portal/sites")
        assert BATTERY not in await whole(client, "/portal/sites/new")  # it is behind a connection point already
    assert portal.node.commands.commander.commands(BATTERY)  # the limits reach the Thing at once


WRONG: list[tuple[dict[str, str], str, str]] = [
    ({"title": ""}, "title", "needed"),
    ({"importLimitW": "-1"}, "importlimitw", "a number, 0 or more"),
    ({"exportLimitW": "much"}, "exportlimitw", "a number is needed"),
    ({"phases": "4"}, "phases", "offered"),
    ({"guard": METER}, "guard", "tick it"),
    ({"more": "urn:example:none"}, "things", "not a Thing of your organisation"),
    ({"latitude": "52"}, "longitude", "both are needed"),
    ({"default.loadLimitW": "nan"}, "default-loadlimitw", "a number is needed"),
]


async def test_what_is_wrong_with_a_site_is_said_at_its_field_and_nothing_is_kept(portal: Portal) -> None:
    async with signed_in(portal, "olga") as client:
        for change, field, words in WRONG:
            answer = await client.post("/portal/sites", data=GOOD | change)
            assert answer.headers.get("hx-reswap") == "none", (change, answer.text)
            assert words in said(answer.text)[field], (change, answer.text)
    assert not portal.node.controls.sites.of_organisation(OWN)


async def test_a_thing_that_is_not_offered_any_more_is_not_left_out_in_silence(portal: Portal) -> None:
    async with signed_in(portal, "olga") as client:
        await made(client)
        answer = await client.post("/portal/sites", data=GOOD | {"title": "Nine", f"things.{METER}": "yes"})
        assert said(answer.text)["things"] == f"{BATTERY} is not offered any more: open this page again"
        assert answer.headers.get("hx-reswap") == "none", "what was filled in stays"
        assert len(portal.node.controls.sites.of_organisation(OWN)) == 1
        await made(client, **{f"things.{BATTERY}": "", f"things.{METER}": "yes"})
    assert [one.things for one in portal.node.controls.sites.of_organisation(OWN)] == [(BATTERY,), (METER,)]


async def test_a_site_is_changed_unless_somebody_else_did_meanwhile(portal: Portal) -> None:
    async with signed_in(portal, "olga") as client:
        where = await made(client, guard=BATTERY)
        form = await whole(client, f"{where}/change")
        assert re.search(rf'name="things.{BATTERY}" value="yes" checked', form)
        for words in ('value="11000"', 'value="5500"', 'value="41020000002"', f'value="{BATTERY}" selected'):
            assert words in form, words
        changed = {**GOOD, "title": "Nine", "exportLimitW": "", f"things.{METER}": "yes", "version": "1"}
        assert (await client.post(where, data=changed)).headers["hx-redirect"] == where
        (site,) = portal.node.controls.sites.of_organisation(OWN)
        assert (site.title, site.export_limit_w, set(site.things)) == ("Nine", None, {BATTERY, METER})
        late = await client.post(where, data=changed | {"title": "Ten"})
        assert late.status_code == 409 and "open it again" in late.text
        assert portal.node.controls.sites.of_organisation(OWN)[0].title == "Nine"


async def test_envelopes_are_set_and_lifted_and_a_site_is_removed(portal: Portal) -> None:
    async with signed_in(portal, "olga") as client:
        where = await made(client)
        empty = await client.post(f"{where}/envelopes", data={"title": "Windy"})
        assert "one limit at least" in said(empty.text)["default-importlimitw"]
        await client.post(f"{where}/envelopes", data={"title": "Windy", "default.exportLimitW": "0"})
        site = portal.node.controls.sites.of_organisation(OWN)[0]
        (envelope,) = portal.node.controls.sites.envelopes(site.id)
        assert (envelope.title, envelope.default.export_limit_w) == ("Windy", 0)
        assert "export at most 0" in await whole(client, where)
        lifted = await client.post(f"{where}/envelopes/{envelope.id}/lift", data={})
        assert lifted.headers["hx-redirect"] == where
        assert not portal.node.controls.sites.envelopes(site.id)
        assert (await client.post(f"{where}/remove", data={})).headers["hx-redirect"] == "/portal/sites"
    assert not portal.node.controls.sites.of_organisation(OWN)


async def test_the_forms_of_sites_give_nobody_a_power_that_they_lack(portal: Portal) -> None:
    async with signed_in(portal, "olga") as client:
        where = await made(client)
    for name in ("audrey", "ada", "carl"):
        async with signed_in(portal, name) as client:
            for path in ("/portal/sites", where, f"{where}/envelopes", f"{where}/envelopes/e/lift", f"{where}/remove"):
                answer = await client.post(path, data=GOOD | {"version": "1", "default.exportLimitW": "1"})
                assert answer.status_code == 403, (name, path, answer.text)
            assert (await client.get("/portal/sites/new")).status_code == 403
            page = await client.get(where)
            assert page.status_code == (403 if name == "carl" else 200)
            assert "hx-post" not in page.text.partition("<main")[2], name
    (site,) = portal.node.controls.sites.of_organisation(OWN)
    assert site.version == 1
    node = portal.node
    node.identity.users.add("brightfield", "bea", PASSWORD, ("operator", "owner"))
    async with signed_in(portal, "bea") as client:
        assert "Quellenweg" not in await whole(client, "/portal/sites")
        assert (await client.get(where)).status_code == 404
        assert (await client.post(f"{where}/remove", data={})).status_code == 404
        theirs = await client.post("/portal/sites", data=GOOD | {f"things.{BATTERY}": "", "more": BATTERY})
        assert "not a Thing of your organisation" in said(theirs.text)["things"]


async def test_a_site_is_registered_in_a_browser_on_a_phone(portal: Portal, opens: Opens) -> None:
    seen: Any = await opens(**PHONE)
    page = await seen.sign_in("olga", "/portal/sites")
    await page.get_by_role("link", name="Register a site").click()
    await page.get_by_label("Import at most [W]").first.fill("many")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#f-title-error:not(:empty)")
    assert await page.locator("#f-importlimitw-error").inner_text() == "a number is needed"
    assert await page.evaluate("document.activeElement.id") == "f-title"  # the first that is wrong
    await page.get_by_label("Title").fill("Dahlienweg " + "9" * 60)
    await page.get_by_label("Import at most [W]").first.fill("4200")
    await page.get_by_label("Yard battery").check()
    await fits(page)
    assert await page.evaluate(NAMELESS) == [] and await page.evaluate(CONTRAST) == []
    await page.get_by_role("button", name="Register").click()
    await page.wait_for_url("**/portal/sites/urn:uuid:*")
    await fits(page)
    assert await page.evaluate(NAMELESS) == [] and await page.evaluate(CONTRAST) == []
    await page.get_by_role("link", name="Change").click()
    await page.wait_for_url("**/change")
    await fits(page)
    assert await page.get_by_label("Import at most [W]").input_value() == "4200"
    await page.go_back()
    await page.wait_for_selector("#point-title")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Remove").click()
    await page.wait_for_url("**/portal/sites")
    assert not portal.node.controls.sites.of_organisation(OWN)
