"""Pages on which people decide over many Things or others': orders, behaviours, transfers, vouchers; in a browser."""

from typing import Any

import msgspec
from playwright.async_api import expect

from gridspine.apps.cli.keys import new_key
from gridspine.apps.portal.command import command_row
from gridspine.infra.identity import jws
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.time import US
from gridspine.things.approval import ApprovalRule
from gridspine.things.behaviour import SIGNATURE_TYPE, Behaviour, digest_of
from gridspine.things.command import Change, Command
from gridspine.things.lease import Authority
from gridspine.things.schedule import Step
from tests.apps.portal.conftest import BATTERY, METER, MODELS, PASSWORD, Opens, Portal
from tests.apps.portal.test_browser import CONTRAST, NAMELESS, PHONE, fits, live
from tests.apps.portal.test_things_alive import EVIL

PROGRAM = "def on_reading(twin, state):\n    return None  # </pre><script>window.hacked=1</script>\n"


async def publish(portal: Portal, *versions: str, title: str = "Keep some charge") -> None:
    """Publish versions of a behaviour, signed by a key of the portal's sender."""
    key = new_key()
    jwk = {k: v for k, v in key.as_dict(private=False).items() if k in {"kty", "crv", "x"}}
    portal.node.identity.directory.add_key(portal.device.id, jwk)
    for version in versions:
        package = Behaviour("reserve", version, MODELS + "battery", PROGRAM, title, listens=("stateOfCharge",))
        text = msgspec.json.encode(package).decode()
        header = {"typ": SIGNATURE_TYPE, "kid": jws.thumbprint(jwk)}
        await portal.post("/behaviours", package=text, signature=jws.sign(header, {"digest": digest_of(text)}, key))


async def neighbour(portal: Portal) -> None:
    """Let Brightfield have an owner, nina."""
    portal.node.identity.users.add("brightfield", "nina", PASSWORD, ("owner", "operator"))


async def order(portal: Portal, opens: Opens, value: str = "1500") -> Any:
    """Open the form as olga, fill it in for all batteries and look."""
    page = await (await opens()).sign_in("olga", "/portal/orders")
    await page.get_by_label("Whom").select_option(f"model:{MODELS}battery")
    await page.get_by_label("Point", exact=True).select_option("activePowerSetpoint")
    await page.get_by_label("Value").fill(value)
    await page.locator("#order-reason").fill("<b>peak</b> at six")
    await page.get_by_role("button", name="See what it would do").click()
    return page


async def test_of_a_schedule_the_value_is_shown_that_holds_now(portal: Portal) -> None:
    now_us = portal.node.clock.now_us()
    steps = (Step(now_us - 90 * US, 4000.0), Step(now_us - 30 * US, 1500.0), Step(now_us + 90 * US, 10.0))
    lease = portal.node.commands.new_lease(
        thing=BATTERY, point="activePowerSetpoint", value=4000.0, role="setpoint", authority=Authority.OWNER,
        principal=portal.device.id, from_us=steps[0].from_us, until_us=now_us + 200 * US, steps=steps,
    )  # fmt: skip
    caller = Caller(portal.device.id, "northside-networks", "user", "olga", frozenset({"owner"}), "portal:x", "cookie")
    row = command_row(portal.node, caller, Command(lease.command, "", lease, (Change("accepted", now_us),)))
    assert row.text == "1.5\N{NO-BREAK SPACE}kW"
    assert row.steps[0][1] == "4\N{NO-BREAK SPACE}kW"


async def test_an_order_is_looked_at_given_followed_and_ended(portal: Portal, opens: Opens) -> None:
    await portal.thing("urn:example:battery-2", EVIL, "battery")
    page = await order(portal, opens, "9000")
    await expect(page.locator("#looked")).to_contain_text("Nobody would be commanded")
    await expect(page.locator("#looked")).to_contain_text("2 takes −5 000 to 5 000 W only")
    await page.get_by_label("Value").fill("1500")
    await page.get_by_role("button", name="See what it would do").click()
    told = "2 Things would be told: Set-point of active power 1.5\N{NO-BREAK SPACE}kW, for 15 min"
    await expect(page.locator("#looked h3")).to_have_text(told)
    assert portal.node.commands.commander.commands() == []  # looking orders nothing
    await portal.thing("urn:example:battery-3", "Latecomer", "battery")
    await page.get_by_role("button", name="Command 2 Things").click()
    await expect(page.locator("#looked")).to_contain_text("Who fits has changed since you looked")
    assert portal.node.commands.commander.commands() == []
    await page.get_by_role("button", name="Command 3 Things").click()
    await page.wait_for_url("**/portal/orders/urn*")
    await expect(page.locator(".sub")).to_contain_text("<b>peak</b> at six")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await expect(page.locator(".tiles")).to_contain_text("accepted")
    await live(page)
    (command,) = portal.node.commands.commander.commands(BATTERY)
    await portal.node.commands.progress(command.id, "sent")
    row = page.locator("tbody tr").filter(has_text="Yard battery")
    await expect(row).to_contain_text("sent")  # without anybody loading the page again
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_label("Reason to end it", exact=True).fill("enough")
    await page.get_by_role("button", name="End all of it").click()
    await expect(page.locator(".tiles")).to_have_text("cancelled3", use_inner_text=False)
    await page.goto(f"{portal.url}/portal/orders")
    await expect(page.locator(".rows")).to_contain_text("to 3 Things, by olga")
    assert await page.evaluate("window.hacked") is None


async def test_a_large_order_waits_for_a_second_person(portal: Portal, opens: Opens) -> None:
    portal.node.identity.users.add("northside-networks", "otto", PASSWORD, ("operator",))
    portal.node.commands.commander._approvals.rule = ApprovalRule(1000, 600, 900)
    page = await order(portal, opens)
    await page.get_by_role("button", name="Command 1 Thing").click()
    await expect(page.locator("#order")).to_contain_text("somebody else must approve it")
    where = page.url.removeprefix(portal.url)
    watcher = await (await opens()).sign_in("audrey", where)
    await expect(watcher.get_by_role("button", name="Approve the whole order")).to_have_count(0)
    second = await (await opens()).sign_in("otto", where)
    second.on("dialog", lambda dialog: dialog.accept())
    await live(page)
    await second.get_by_role("button", name="Approve the whole order").click()
    for one in (second, page):
        await expect(one.locator(".tiles")).to_contain_text("accepted")
    stranger = await (await opens()).sign_in("carl", "/portal/products")
    answer = await stranger.request.get(portal.url + where)
    assert answer.status in {403, 404}


async def test_a_behaviour_is_let_out_to_some_given_to_all_and_taken_back(portal: Portal, opens: Opens) -> None:
    await publish(portal, "1.0.0", "1.1.0", title=EVIL)
    page = await (await opens()).sign_in("olga", "/portal/behaviours")
    await expect(page.locator(".card")).to_contain_text("not let out")
    await page.locator(".card a").click()
    await page.get_by_label("Version", exact=True).select_option("1.0.0")
    await page.get_by_label("To first").fill("100")
    await page.get_by_role("button", name="Let it out").click()
    await expect(page.locator("[role=status]").first).to_have_text("running")
    await page.get_by_label("To first").fill("25")
    await page.get_by_role("button", name="Let it out").click()
    await expect(page.locator("#behaviour")).to_contain_text("25 % of the Things have 1.1.0")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.locator("#change-reason").fill("<i>fine</i> everywhere")
    await page.get_by_role("button", name="Give the canary to all").click()
    await expect(page.locator(".timeline li").first).to_contain_text("1.1.0: <i>fine</i> everywhere")
    await live(page)
    await portal.read(BATTERY, stateOfCharge=50)
    await page.get_by_text("Its program, and who signed it").first.click()
    await page.get_by_role("button", name="Show the program of 1.1.0").click()
    await expect(page.locator("pre")).to_contain_text("</pre><script>window.hacked=1</script>")
    await page.get_by_role("button", name="Roll back").click()
    await expect(page.locator("article").filter(has_text="1.1.0")).to_contain_text("taken back")
    await expect(page.locator("#behaviour")).to_contain_text("Every version is out already, or was taken back")
    await page.get_by_role("button", name="Stop it").click()
    await expect(page.locator("[role=status]").first).to_have_text("stopped")
    assert await page.evaluate("window.hacked") is None
    watcher = await (await opens()).sign_in("audrey", "/portal/behaviours/reserve")
    await expect(watcher.locator("h1")).to_have_text(EVIL)
    await expect(watcher.get_by_role("button", name="Let it out")).to_have_count(0)


async def test_a_thing_is_offered_refused_offered_again_and_taken_over(portal: Portal, opens: Opens) -> None:
    await neighbour(portal)
    page = await (await opens()).sign_in("olga", f"/portal/things/{METER}/life")
    theirs = await (await opens()).sign_in("nina", "/portal/transfers")
    for why in ("sold with the <b>house</b>", "again " + EVIL):
        await page.goto(f"{portal.url}/portal/transfers?thing={METER}")
        await expect(page.locator("#thing-hint")).to_have_text("Feeder 7 meter")
        await page.get_by_label("To", exact=True).select_option("brightfield")
        await page.get_by_label("Why", exact=True).fill(why)
        await page.get_by_role("button", name="Offer it").click()
        await expect(page.locator(".card")).to_contain_text(why)
        await theirs.goto(f"{portal.url}/portal/waiting")
        await theirs.get_by_role("link", name="Feeder 7 meter").click()
        await expect(theirs.locator(".card")).to_contain_text(why)
        if why.startswith("sold"):
            await theirs.get_by_label("Why it is refused").fill("too <i>old</i>")
            await theirs.get_by_role("button", name="Refuse").click()
            await expect(theirs.locator(".rows")).to_contain_text("too <i>old</i>")
    assert await theirs.evaluate("window.hacked") is None
    await theirs.get_by_role("button", name="Accept").click()
    await theirs.get_by_role("link", name="Take it on").click()
    await expect(theirs.locator("h1")).to_have_text("Feeder 7 meter")
    assert portal.node.things.get(METER).organisation == "brightfield"
    await page.goto(f"{portal.url}/portal/transfers?thing={METER}")  # it is not theirs to offer any more
    await expect(page.get_by_label("Thing", exact=True)).to_have_value("")
    await page.get_by_label("Thing", exact=True).fill(BATTERY)
    await page.get_by_label("To", exact=True).select_option("brightfield")
    await page.get_by_label("Why", exact=True).fill("third")
    await page.get_by_role("button", name="Offer it").click()
    await page.get_by_label("Why it is withdrawn").fill("kept")
    await page.get_by_role("button", name="Withdraw").click()
    await expect(page.locator(".rows li").first).to_contain_text("withdrawn")


async def test_a_voucher_is_made_shown_once_spent_and_revoked(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga", "/portal/vouchers")
    await expect(page.locator("#vouchers .empty")).to_contain_text("None")
    await page.get_by_label("Note").fill("box of <b>the mill</b>")
    await page.get_by_role("button", name="Make a voucher").click()
    id_, code = [await page.locator(f"#made-{part}").text_content() or "" for part in ("id", "code")]
    assert len(code) > 20
    said = {"make": EVIL, "model": "M3", "serial": "77", "thingModel": MODELS + "meter"}
    answer = await portal.api.post("/enrolment", json=said, auth=(id_, code))
    assert answer.status_code == 202, answer.text
    await page.goto(f"{portal.url}/portal/vouchers")
    assert code not in await page.content()
    await expect(page.locator(".card")).to_contain_text("A device has announced itself with it.")
    await page.get_by_role("link", name="See who waits").click()
    await page.get_by_label("Why it is turned away").fill("not <u>ours</u>")
    await page.get_by_role("button", name="Turn away").click()
    await page.get_by_text("Decided lately").click()
    await expect(page.locator("details .rows")).to_contain_text("not <u>ours</u>")
    await page.goto(f"{portal.url}/portal/vouchers?thing={METER}")
    await expect(page.get_by_label("For the Thing")).to_have_value(METER)
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Revoke").click()
    await expect(page.locator("#vouchers .empty")).to_contain_text("None")
    assert await page.evaluate("window.hacked") is None


async def test_these_pages_fit_a_phone_and_stand_out(portal: Portal, opens: Opens) -> None:
    await neighbour(portal)
    long = "Substation_" + "Northside" * 12 + EVIL
    await portal.thing("urn:example:long", long[:200], "battery")
    await publish(portal, "1.0.0", title=long[:200])
    await portal.post("/vouchers", note=long[:200], thing="urn:example:long")
    await portal.node.lives.transfers.offer(
        portal.node.things.get("urn:example:long"), "brightfield", by=portal.device.id, why=long * 3, life_s=3600
    )
    wanted = {"point": "activePowerSetpoint", "value": 1000, "durationS": 600, "reason": long}
    body = [{"thing": thing, **wanted} for thing in (BATTERY, "urn:example:long")]
    ordered = (await portal.api.post("/commands/batch", json=body)).json()
    for scheme in ("dark", "light"):
        seen = await opens(**PHONE, color_scheme=scheme)
        page = await seen.sign_in("olga")
        behaviours = ["/portal/behaviours", "/portal/behaviours/reserve"]
        orders = ["/portal/orders", f"/portal/orders/{ordered['batch']}"]
        for path in (*orders, *behaviours, "/portal/transfers", "/portal/vouchers", "/portal/waiting"):
            await seen.go(path)
            await fits(page)
            assert await page.evaluate(NAMELESS) == [], path
            assert await page.evaluate(CONTRAST) == [], path
            assert await page.evaluate("window.hacked") is None, path
            assert await page.locator("h1").count() == 1, path
