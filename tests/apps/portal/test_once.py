"""A change that leads to another page is sent once; and who asks for something has a name that people know."""

from tests.apps.portal.conftest import BATTERY, Opens, Portal
from tests.apps.portal.other_sides import signed_in

OWN = "northside-networks"
AGAIN = """() => document.addEventListener("htmx:afterRequest",
  () => document.getElementById("site").requestSubmit(), { once: true })"""

LEFT = """const form = document.getElementById("site"); form.classList.add("htmx-request");
  form.querySelector("button").disabled = true; form.dataset.leaving = "yes" """
BACK = 'window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))'
"""How a browser leaves a page that was sent, and shows it again as it kept it."""


async def test_a_form_that_leads_on_is_not_sent_again_while_the_next_page_comes(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga", "/portal/sites/new")
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
    await page.get_by_label("Title").fill("Nine")
    await page.evaluate(AGAIN)  # pressed once more when it was answered, and the page is still there
    await page.get_by_role("button", name="Register").click()
    await page.wait_for_url("**/portal/sites/urn:uuid:*")
    assert len([url for url in sent if url.endswith("/portal/sites")]) == 1
    assert len(portal.node.controls.sites.of_organisation(OWN)) == 1


async def test_who_comes_back_to_a_form_that_was_sent_can_send_it_again(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga", "/portal/sites/new")
    await page.get_by_label("Title").fill("half a na")
    await page.evaluate(f"window.known = true; {BACK}")
    await page.wait_for_timeout(500)
    assert await page.evaluate("window.known") is True
    assert await page.get_by_label("Title").input_value() == "half a na"
    async with page.expect_event("load"):
        await page.evaluate(f"{LEFT}; setTimeout(() => {BACK})")
    assert await page.evaluate("window.known") is None
    await page.get_by_label("Title").fill("Nine")
    await page.get_by_role("button", name="Register").click()
    await page.wait_for_url("**/portal/sites/urn:uuid:*")
    assert [one.title for one in portal.node.controls.sites.of_organisation(OWN)] == ["Nine"]


async def test_a_command_of_a_site_is_said_to_be_asked_by_it(portal: Portal) -> None:
    await portal.post("/sites", title="Quellenweg 31", things=[BATTERY], exportLimitW=1500)
    async with signed_in(portal, "olga") as client:
        for path in (f"/portal/things/{BATTERY}", "/portal/orders"):
            text = (await client.get(path, headers={"hx-request": "false"})).text
            assert "the site Quellenweg 31" in text, path
            assert "site:urn" not in text, path
