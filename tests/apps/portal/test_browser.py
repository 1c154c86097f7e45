"""The portal in a real browser: what people see and press. No page may log an error or break its own policy."""

import asyncio
import math
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.apps.portal.conftest import BATTERY, METER, PASSWORD, Opens, Portal

LONG = "Substation_" + "Northside" * 12 + ' <img src=x onerror="window.hacked=1"> a title much longer than it should be'
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


def row(page: Page, point: str) -> Any:
    return page.locator(f'[data-point="{point}"]')


async def live(page: Page) -> None:
    await expect(page.locator("#live-state")).to_have_text("Live")


async def ask(portal: Portal, product: str) -> str:
    node = portal.node
    grant = await node.access.ask(
        node.access.product(product), consumer="brightfield", purpose="balancing", from_us=node.clock.now_us(),
        until_us=node.clock.now_us() + 3600 * 1_000_000, actor="test",
    )  # fmt: skip
    return grant.id


async def test_values_move_as_readings_arrive(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga")
    await live(page)
    voltage = row(page, f"{METER}/voltage")
    await expect(voltage).to_contain_text("never reported")
    await portal.read(METER, voltage=230.5)
    await expect(voltage.locator(".value")).to_have_text("230.5\N{NO-BREAK SPACE}V")
    await expect(voltage.locator(".words")).to_have_text("good")
    await expect(voltage.locator(".age")).to_contain_text("s ago")
    await portal.read(METER, voltage=254)
    await expect(voltage.locator(".words")).to_have_text("questionable, out of range")
    card = page.locator(".card").filter(has_text="Feeder 7 meter")
    await expect(card.locator("[data-worst]")).to_have_text("questionable")
    earlier = await voltage.locator(".age").text_content()
    await expect(voltage.locator(".age")).not_to_have_text(earlier or "")


async def test_things_are_searched_and_filtered(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga")
    await live(page)
    await page.get_by_label("Search").fill("yard")
    await expect(page.locator(".card")).to_have_count(1)
    await expect(page.locator(".card")).to_contain_text("Yard battery")
    assert "q=yard" in page.url
    await live(page)
    await portal.read(BATTERY, stateOfCharge=44)  # the stream follows what the search left
    await expect(row(page, f"{BATTERY}/stateOfCharge").locator(".value")).to_contain_text("44")
    await page.get_by_label("Search").fill("nothing like it")
    await expect(page.locator("#things")).to_contain_text("None of 2 Things fits")
    await page.get_by_label("Search").fill("")
    await portal.read(METER, voltage=254)
    await page.get_by_label("Show").select_option("attention")
    await expect(page.locator(".card h2")).to_have_text(["Feeder 7 meter"])


async def test_the_chart_has_the_past_and_moves(portal: Portal, opens: Opens) -> None:
    for second in range(5):
        await portal.read(METER, activePower=1000 + 100 * second)
    page = await (await opens()).sign_in("olga", f"/portal/things/{METER}")
    chart = page.locator("#chart")
    await expect(chart).to_have_attribute("data-samples", "5")
    await portal.read(METER, activePower=-2500)
    await expect(chart).to_have_attribute("data-samples", "6")
    await expect(page.locator("#chart-summary")).to_contain_text("lowest −2.5")
    drawn = """() => { const c = document.querySelector('#chart canvas');
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let blue = 0; for (let i = 0; i < d.length; i += 4) if (d[i + 2] > d[i] + 60 && d[i + 3] > 200) blue++;
      return blue; }"""
    assert await page.evaluate(drawn) > 50
    await portal.read(METER, voltage=260)
    await page.get_by_label("Point shown").select_option("voltage")
    await expect(page.locator("#chart-summary")).to_contain_text("1 marked")


async def test_a_grant_from_asking_to_its_visible_end(portal: Portal, opens: Opens) -> None:
    product = await portal.product()
    consumer = await (await opens()).sign_in("carl", f"/portal/products/{product}")
    await consumer.get_by_label("Purpose").select_option("research")
    await consumer.get_by_role("button", name="Ask Northside Networks").click()
    await consumer.wait_for_url("**/portal/grants/*")
    await expect(consumer.locator("#preview-state")).to_have_text("requested")

    owner = await (await opens()).sign_in("olga", "/portal/grants")
    await owner.get_by_role("link", name="Decide").click()
    await expect(owner.locator(".sub")).to_have_text("Northside Networks → Brightfield")
    await live(owner)
    await owner.get_by_role("button", name="Approve").click()
    for page in (owner, consumer):
        await expect(page.locator("#preview-state")).to_have_text("live")
    await expect(consumer.locator("#grant .state")).to_have_text("active")  # without anybody loading the page again
    await expect(owner.locator("[data-until]").first).to_contain_text("left")
    for value in (1500, 1700):
        await portal.read(METER, activePower=value)
    for page in (owner, consumer):
        await expect(page.locator("#preview-rows tr")).to_have_count(2)
        await expect(page.locator("#preview-rows tr").first).to_contain_text("1.7")

    await owner.get_by_role("button", name="Revoke").click()
    await expect(owner.locator("#grant .state")).to_have_text("active")  # not without a reason
    await owner.get_by_label("Reason").fill("<b>Enough</b>")
    await owner.get_by_role("button", name="Revoke").click()
    for page in (owner, consumer):
        await expect(page.locator("#preview-state")).to_have_text("ended: revoked")
        await expect(page.locator("#preview-text")).to_contain_text("Reason: <b>Enough</b>")
        await expect(page.locator("#grant .state")).to_have_text("revoked")
    await portal.read(METER, activePower=1900)
    await asyncio.sleep(1)
    for page in (owner, consumer):
        await expect(page.locator("#preview-rows tr")).to_have_count(2)


async def test_a_suspended_stream_opens_again(portal: Portal, opens: Opens) -> None:
    grant = await ask(portal, await portal.product())
    await portal.node.access.decide(grant, "approve", actor="test")
    page = await (await opens()).sign_in("olga", f"/portal/grants/{grant}")
    await expect(page.locator("#preview-state")).to_have_text("live")
    await page.get_by_label("Reason").fill("maintenance")
    await page.get_by_role("button", name="Suspend").click()
    await expect(page.locator("#preview-state")).to_have_text("ended: suspended")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#preview-state")).to_have_text("live")
    await portal.read(METER, activePower=1234)
    await expect(page.locator("#preview-rows")).to_contain_text("1.234")


async def test_commands_are_asked_for_refused_and_cancelled(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga", f"/portal/things/{BATTERY}")
    await live(page)
    await page.get_by_label("Value [W]").fill("2500")
    await page.get_by_role("button", name="Ask").click()
    commands = page.locator(".command")
    await expect(commands).to_have_count(1)
    await expect(commands.locator(".state")).to_have_text("accepted")
    await expect(commands.locator("[data-until]")).to_contain_text("left")
    await page.get_by_label("Value [W]").fill("9000")
    await page.get_by_role("button", name="Ask").click()
    refused = commands.filter(has_text="refused")
    await expect(refused).to_contain_text("beyond what the device can do")
    command = portal.node.commands.commander.commands(BATTERY)[0]
    await portal.node.commands.progress(command.id, "sent")
    await portal.node.commands.progress(command.id, "acknowledged")
    await expect(commands.first.locator(".state")).to_have_text("acknowledged")
    await portal.read(BATTERY, activePower=2490)
    await expect(commands.first.locator(".state")).to_have_text("applied")
    await commands.first.locator("summary").click()
    for state in ("accepted", "sent", "acknowledged", "applied"):
        await expect(commands.first.locator(".changes")).to_contain_text(state)
    await page.get_by_label("Reason to cancel").fill("<i>plans</i> changed")
    await page.get_by_role("button", name="Cancel").click()
    await expect(commands.filter(has_text="cancelled")).to_contain_text("<i>plans</i> changed")


async def test_all_stop_is_confirmed_seen_by_all_and_lifted(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga")
    other = await (await opens()).sign_in("audrey", "/portal/products")
    await other.goto(portal.url)
    await live(other)
    await page.get_by_role("button", name="All stop").click()
    await page.get_by_role("button", name="Keep running").click()
    assert portal.node.commands.commander.stopped is None
    await page.get_by_role("button", name="All stop").click()
    await page.get_by_label("Reason").fill("drill")
    await page.get_by_role("button", name="Stop all set-points").click()
    for one in (page, other):
        await expect(one.locator(".banner")).to_contain_text("All set-points are stopped by olga")
    await expect(other.get_by_role("button", name="Take set-points again")).to_have_count(0)
    await page.get_by_role("button", name="Take set-points again").click()
    await expect(page.locator(".banner")).to_have_count(0)


async def test_alarms_are_acknowledged(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga", "/portal/alarms")
    await expect(page.locator("#alarms")).to_contain_text("No alarms")
    await live(page)
    await portal.read(METER, voltage=260)
    alarm = page.locator(".card").filter(has_text="Feeder 7 meter")
    await expect(alarm).to_contain_text("above its operating limit: 260")
    await alarm.get_by_placeholder("Note").fill("<u>seen</u>")
    await alarm.get_by_role("button", name="Acknowledge").click()
    await expect(alarm).to_contain_text("Seen by olga: <u>seen</u>")
    await portal.read(METER, voltage=230)
    await expect(page.locator("#alarms")).to_contain_text("No alarms")


async def test_an_incident_is_worked_on_and_closed(portal: Portal, opens: Opens) -> None:
    incident = await portal.node.incidents.open(
        portal.device.id, organisation="northside-networks", title="A source was quarantined", owner="on duty",
        deadline_us=portal.node.clock.now_us() + 3600 * 1_000_000, evidence="it lied", actor="node",
    )  # fmt: skip
    page = await (await opens()).sign_in("olga", "/portal/incidents")
    await page.get_by_role("link", name="A source was quarantined").click()
    await page.get_by_label("Note").fill("<script>looked</script>")
    await page.get_by_role("button", name="Add note").click()
    await expect(page.locator("#incident")).to_contain_text("olga: <script>looked</script>")
    await page.get_by_label("To", exact=True).fill("ada")
    await page.get_by_role("button", name="Assign").click()
    await expect(page.locator(".terms")).to_contain_text("ada")
    await page.get_by_label("Reason").fill("meter replaced")
    await page.get_by_role("button", name="Close incident").click()
    await expect(page.locator(".terms")).to_contain_text("olga: meter replaced")
    assert (await portal.node.incidents.get(incident.id)).closed_by == "olga"


async def test_what_others_wrote_stays_text(portal: Portal, opens: Opens) -> None:
    evil = '"><script>window.hacked=1</script><img src=x onerror=window.hacked=1>{{7*7}}'
    await portal.thing("urn:example:evil", LONG, "meter")
    await portal.thing("urn:example:evil2", evil, "battery")
    product = await portal.product(
        evil, description=evil, purposes=("balancing", evil), licence=evil, sample="readings"
    )
    grant = await ask(portal, product)
    await portal.node.access.decide(grant, "approve", actor="test", reason=evil)
    seen = await opens()
    page = await seen.sign_in("olga")
    things = [f"/portal/things/urn:example:{name}" for name in ("evil", "evil2")]
    sharing = ["/portal/products", f"/portal/products/{product}", "/portal/grants", f"/portal/grants/{grant}"]
    paths = ["/", *things, *sharing, "/?q=" + evil.replace("#", "")]
    for path in paths:
        await seen.go(path)
        assert await page.evaluate("window.hacked") is None, path
        assert await page.locator("main img, main script").count() == 0, path
    await seen.go(f"/portal/products/{product}")
    await expect(page.locator("h1")).to_have_text(evil)


async def test_signed_out_elsewhere_a_live_page_leaves(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga")
    await live(page)
    user = next(p for p in portal.node.identity.directory.principals() if p.name == "olga")
    await asyncio.to_thread(portal.node.identity.sign_out_everywhere, user.id)
    await page.wait_for_url("**/sign-in")


async def test_the_stream_comes_back_after_it_broke(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga")
    await live(page)
    portal.node.gate.end_all_streams("maintenance")
    await expect(page.locator("#live-state")).to_contain_text("trying again")
    await live(page)
    await portal.read(METER, voltage=231)
    await expect(row(page, f"{METER}/voltage").locator(".value")).to_contain_text("231")


async def test_by_keyboard_alone(portal: Portal, opens: Opens) -> None:
    grant = await ask(portal, await portal.product())
    await portal.node.access.decide(grant, "approve", actor="test")
    page = (await opens()).page
    await page.goto(f"{portal.url}/portal/grants/{grant}")
    await expect(page.locator("input[autofocus]")).to_be_focused()  # the browser does that when it draws
    await page.keyboard.type("olga")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("#preview-state")).to_have_text("live")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    await page.keyboard.press("Enter")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.id") == "reason":
            break
    await page.keyboard.type("done by keyboard")
    for _ in range(5):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "Revoke":
            break
    outline = (
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
    )
    assert await page.evaluate(outline) == "solid3px"
    await page.keyboard.press("Enter")
    await expect(page.locator("#preview-state")).to_have_text("ended: revoked")


NAMELESS = """() => [...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a')]
  .filter((e) => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML)"""


async def test_on_a_phone_nothing_sticks_out(portal: Portal, opens: Opens) -> None:
    await portal.thing("urn:example:long", LONG, "battery")
    product = await portal.product(LONG, description=LONG * 3, purposes=("balancing", LONG), licence=LONG)
    grant = await ask(portal, product)
    await portal.node.access.decide(grant, "approve", actor="test", reason="W" * 300)
    await portal.read("urn:example:long", activePower=-5432.1, stateOfCharge=12.3)
    await portal.read(METER, voltage=260)
    seen = await opens(**PHONE)
    await seen.go("/sign-in")
    await fits(seen.page)
    page = await seen.sign_in("olga")
    for path in ("/", "/portal/things/urn:example:long", "/portal/products", f"/portal/products/{product}",
                 "/portal/grants", f"/portal/grants/{grant}", "/portal/alarms", "/portal/incidents", "/portal/status",
                 "/?q=nothing"):  # fmt: skip
        await seen.go(path)
        await fits(page)
        assert await page.evaluate(NAMELESS) == [], path
        assert await page.locator("h1").count() == 1, path
    await seen.go(f"/portal/grants/{grant}")
    await live(page)
    await portal.read(METER, activePower=1500)
    await expect(page.locator("#preview-rows tr")).to_have_count(1)
    await fits(page)


async def fits(page: Page) -> None:
    widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    wide, room = await page.evaluate(widths)
    assert wide <= room == 360, page.url


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 10.02 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const lum = ([r, g, b]) => [r, g, b].map(linear)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.closest('.hidden, .skip, canvas')) continue;
    const [a, b] = [lum(parse(getComputedStyle(e).color)), lum(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${e.className || e.tagName}: ${ratio.toFixed(2)} ${e.textContent.trim().slice(0, 30)}`);
  }
  return [...new Set(bad)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_stands_out_in_light_and_dark(portal: Portal, opens: Opens, tmp_path: Any, scheme: str) -> None:
    grant = await ask(portal, await portal.product())
    await portal.read(METER, voltage=260, activePower=100)
    seen = await opens(color_scheme=scheme, viewport={"width": 1100, "height": 800})
    await seen.go("/sign-in")
    assert await seen.page.evaluate(CONTRAST) == []
    page = await seen.sign_in("olga")
    for path in ("/", f"/portal/things/{METER}", f"/portal/things/{BATTERY}", "/portal/products",
                 f"/portal/grants/{grant}", "/portal/grants", "/portal/alarms", "/portal/status"):  # fmt: skip
        await seen.go(path)
        assert await page.evaluate(CONTRAST) == [], path
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in ground[4:-1].split(",")) / 3
    assert (light > 200) == (scheme == "light")
    # `caret` is left alone: hiding it would need an inline style, which the policy forbids.
    picture = await page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True, caret="initial")
    assert len(picture) > 10_000


async def test_many_updates_are_told_four_times_a_second_at_most(portal: Portal, opens: Opens) -> None:
    seen = await opens()
    await seen.page.add_init_script("""
      const Real = window.EventSource; window.told = [];
      window.EventSource = class extends Real { constructor(url) { super(url);
        this.addEventListener('values', (e) => window.told.push([performance.now(), JSON.parse(e.data).length])); } };
    """)
    page = await seen.sign_in("olga")
    await live(page)
    for number in range(40):
        await portal.read(METER, activePower=1000 + 50 * number, voltage=230 + math.sin(number))
    last = f"{1000 + 50 * 39:,}".replace(",", "")
    await expect(row(page, f"{METER}/activePower").locator(".value")).to_contain_text(str(int(last) / 1000))
    told = await page.evaluate("window.told")
    assert 0 < len(told) < 40  # fewer messages than readings: they were gathered
    assert all(count <= 11 for _, count in told)
