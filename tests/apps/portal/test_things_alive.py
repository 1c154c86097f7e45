"""A Thing's channels, control and life, what waits for people, ensembles and adding a Thing, in a real browser."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import expect

from gridspine.things.approval import ApprovalRule
from tests.apps.portal.conftest import BATTERY, METER, MODELS, Opens, Portal
from tests.apps.portal.test_browser import CONTRAST, NAMELESS, PHONE, fits, live

EVIL = '"><script>window.hacked=1</script><img src=x onerror=window.hacked=1>{{7*7}}'
TM = {
    "@context": ["https://www.w3.org/2022/wot/td/v1.1"], "@type": "tm:ThingModel", "title": "Kettle of {{ROOM}}",
    "security": ["none"], "securityDefinitions": {"none": {"scheme": "nosec"}},
    "properties": {"power": {"type": "number", "unit": "W", "readOnly": True, "forms": [{"href": "{{BASE}}/power"}]}},
}  # fmt: skip


async def test_channels_stand_side_by_side_and_the_form_is_changed_with_its_consequences(
    portal: Portal, opens: Opens
) -> None:
    await portal.read(BATTERY, activePower=500)
    plan = [{"n": f"{BATTERY}/activePower", "v": 800, "t": -60}, {"n": f"{BATTERY}/activePower", "v": 900, "t": 3600}]
    answer = await portal.api.post("/readings", json=plan, headers={"channel": "planned"})
    assert answer.json()["accepted"] == 2, answer.text
    page = await (await opens()).sign_in("olga", f"/portal/things/{BATTERY}/channels")
    await live(page)
    power = page.locator("tr").filter(has_text="Active power").first
    await expect(power.locator('[data-channel="Planned"]')).to_contain_text("800")
    await expect(power.locator('[data-channel="Planned"]')).to_contain_text("then 900")
    await expect(power.locator('[data-channel="Reported"]')).to_contain_text("500")
    await expect(power.locator('[data-channel="Emulated"] .value')).to_have_text("–")
    await portal.post("/commands", thing=BATTERY, point="activePowerSetpoint", value=1500, durationS=600)
    told = page.locator("tr").filter(has_text="Set-point").locator('[data-channel="Commanded"]')
    await expect(told).to_contain_text("1.5")  # without anybody loading the page again
    await page.get_by_role("button", name="Emulate it…").click()
    await expect(page.locator("dialog")).to_contain_text("never to a wire")
    await page.locator("dialog").get_by_label("Reason").fill("a <b>drill</b>")
    await page.get_by_role("button", name="Emulate", exact=True).click()
    await expect(page.locator("#channels")).to_contain_text("a <b>drill</b>")  # a process starts
    assert portal.node.forms.forms.get(BATTERY).form == "emulator"  # type: ignore[union-attr]
    assert all(command.state == "cancelled" for command in portal.node.commands.commander.commands(BATTERY))
    number = portal.node.things.get(BATTERY).first
    body = [{"n": f"{BATTERY}/activePower", "v": 321, "t": 0}]
    emulated = await portal.api.post("/readings", json=body, headers={"channel": "emulated"})
    if emulated.json()["accepted"]:  # else the twin's own emulator has spoken already
        assert portal.node.twins.channels.emulated(number + 2) is not None
    await expect(power.locator('[data-channel="Emulated"] .words')).to_have_text("good")
    await expect(power.locator('[data-channel="Reported"]')).to_contain_text("500")
    await page.get_by_role("button", name="Make it live again…").click()
    await page.locator("dialog").get_by_label("Reason").fill("over")
    await page.get_by_role("button", name="Make it live", exact=True).click()
    await expect(page.get_by_role("button", name="Emulate it…")).to_be_visible()


async def test_local_control_and_blocking_tags(portal: Portal, opens: Opens) -> None:
    page = await (await opens()).sign_in("olga", f"/portal/things/{BATTERY}/channels")
    await page.get_by_label("Why it is blocked").fill("crew <i>inside</i>")
    await page.get_by_role("button", name="Hang the tag").click()
    await expect(page.locator("#channels")).to_contain_text("crew <i>inside</i>")
    await expect(page.locator("#channels")).to_contain_text("blocked")
    await page.get_by_label("Reason to take the tag down").fill("crew left")
    await page.get_by_role("button", name="Take down").click()
    await expect(page.get_by_role("button", name="Take down")).to_have_count(0)  # what came in answer is there
    await page.locator("#local-reason").fill("electrician on site")
    await page.get_by_role("button", name="Take into local control").click()
    await expect(page.locator("#channels")).to_contain_text("Taken into local control by olga")
    await page.locator("#local-reason").fill("done")
    await page.get_by_role("button", name="Give back to remote").click()
    await expect(page.get_by_role("button", name="Take into local control")).to_be_visible()
    watcher = await (await opens()).sign_in("audrey", f"/portal/things/{BATTERY}/channels")
    await expect(watcher.get_by_role("button", name="Hang the tag")).to_have_count(0)
    await expect(watcher.get_by_role("button", name="Emulate it…")).to_have_count(0)


async def test_a_life_is_seen_and_lived(portal: Portal, opens: Opens, tmp_path: Path) -> None:
    await portal.read(METER, activePower=100, activeEnergyImport=1000, activeEnergyExport=5)
    page = await (await opens()).sign_in("olga", f"/portal/things/{METER}/life")
    await page.get_by_role("button", name="Examine it now").click()
    await expect(page.locator(".report")).to_contain_text("checks made")
    await page.get_by_label("Step", exact=True).select_option("suspended")
    await page.get_by_label("Why", exact=True).first.fill("seal <u>broken</u>")
    await page.get_by_role("button", name="Take this step").click()
    await expect(page.locator(".lifeline")).to_contain_text("seal <u>broken</u>")
    await expect(page.locator(".timeline")).to_contain_text("suspended: seal <u>broken</u>")
    await page.goto(f"{portal.url}/portal/things/{METER}")
    await expect(page.locator("main")).to_contain_text("This Thing is suspended")
    await page.get_by_role("link", name="see its life").click()
    await page.get_by_label("Step", exact=True).select_option("resumed")
    await page.get_by_label("Why", exact=True).first.fill("sealed again")
    await page.get_by_role("button", name="Take this step").click()
    await expect(page.locator("#life .state").first).to_have_text("commissioned")
    file = tmp_path / "seals.txt"
    file.write_text("two seals")
    await page.get_by_label("File", exact=True).set_input_files(file)
    await page.get_by_label("What it shows").fill(EVIL)
    await page.get_by_role("button", name="Attach").click()
    await expect(page.get_by_role("link", name="seals.txt")).to_be_visible()
    assert await page.evaluate("window.hacked") is None
    await page.get_by_text("Note an exchange").click()
    await page.get_by_label("When").fill("2026-01-02T03:04")
    await page.get_by_label("Old serial").fill("A1")
    await page.get_by_label("New serial").fill("B2")
    for name, final, first in (("import", "1000", "3"), ("export", "5", "0")):
        await page.locator(f"#final-activeenergy{name}").fill(final)
        await page.locator(f"#first-activeenergy{name}").fill(first)
    await page.locator("#exchange-why").fill("its time was over")
    await page.get_by_role("button", name="Keep the exchange").click()
    await expect(page.locator("#life")).to_contain_text("A1 → B2")
    await expect(page.locator(".timeline")).to_contain_text("meter exchanged")
    async with page.expect_download() as got:
        await page.goto(f"{portal.url}/portal/things/{METER}/about")
        await page.get_by_role("link", name="Download").click()
    document = json.loads(Path(await (await got.value).path()).read_text())
    assert document["id"] == METER


async def test_announced_devices_and_large_commands_wait_for_a_person(portal: Portal, opens: Opens) -> None:
    await portal.post("/announcements", make=EVIL, model="M3", serial="4711", thingModel=MODELS + "meter")
    portal.node.commands.commander._approvals.rule = ApprovalRule(1000, 600, 900)
    asked = await portal.post("/commands", thing=BATTERY, point="activePowerSetpoint", value=3000, durationS=600)
    assert asked["state"] == "awaiting-approval"
    page = await (await opens()).sign_in("olga", "/portal/waiting")
    assert await page.evaluate("window.hacked") is None
    await expect(page.locator(".menu .badge")).to_have_text("1")
    await page.get_by_role("button", name="Approve 3").click()
    await expect(page.locator("#waiting")).to_contain_text("None. A command that moves more power")
    assert portal.node.commands.commander.command(asked["id"]).approved_by
    await page.get_by_label("Title").fill("Mill Lane 12")
    await page.get_by_role("button", name="Take in").click()
    await expect(page.locator("h1")).to_have_text("Mill Lane 12")
    await expect(page.locator(".lifeline")).to_contain_text("announced")
    await page.get_by_label("Step", exact=True).select_option("commissioned")
    await page.get_by_label("Why", exact=True).first.fill("looked at it")
    await page.get_by_role("button", name="Take this step").click()
    await expect(page.locator("#life .state").first).to_have_text("commissioned")


async def test_a_thing_is_added_by_model_and_by_description(portal: Portal, opens: Opens) -> None:
    seen = await opens()
    page = await seen.sign_in("olga", "/portal/add")
    await page.get_by_label("Model").select_option(label="Electricity meter (5 points)")
    await page.get_by_label("Title").fill("Third meter")
    await page.get_by_label("Identifier").fill("urn:example:third")
    await page.get_by_label("Latitude").fill("52.1")
    await page.get_by_label("Longitude").fill("5.1")
    await page.get_by_role("button", name="Add it", exact=True).click()
    await expect(page.locator("h1")).to_have_text("Third meter")
    assert portal.node.things.get("urn:example:third").location == (52.1, 5.1)
    await seen.go("/portal/add")
    await page.get_by_label("Description").fill('{"title": "Kettle", "properties": {"power": {"type": 7}}}')
    await page.get_by_role("button", name="Check and add it").click()
    await expect(page.locator(".findings code").first).to_be_visible()
    await expect(page.locator(".findings")).to_contain_text("@context")
    await page.get_by_label("Description").fill(json.dumps(TM))
    await page.get_by_role("button", name="Check and add it").click()
    await page.get_by_label("ROOM").fill("<b>kitchen</b>")
    await page.get_by_label("BASE").fill("http://192.0.2.7")
    await page.get_by_role("button", name="Check and add it").click()
    await expect(page.locator("h1")).to_have_text("Kettle of <b>kitchen</b>")


async def test_an_ensemble_is_built_saved_and_followed(portal: Portal, opens: Opens) -> None:
    await portal.read(METER, voltage=230)
    page = await (await opens()).sign_in("olga", "/portal/ensembles")
    await page.get_by_label("Point").select_option("voltage")
    await page.get_by_label("Is", exact=True).select_option(">")
    await page.get_by_label("Value").fill("235")
    await page.get_by_role("button", name="Gather").click()
    await expect(page.locator("#gathered")).to_contain_text("0 of 2 Things fit")
    await page.get_by_label("Title").fill("High <i>voltage</i>")
    await page.get_by_label("Joins or leaves after").fill("0")
    await page.get_by_role("button", name="Save it").click()
    await expect(page.locator("h1")).to_have_text("High <i>voltage</i>")
    await live(page)
    await portal.node.ensembles.look()
    await portal.read(METER, voltage=240)
    await expect(page.locator("#ensemble-moves")).to_contain_text("Feeder 7 meter joined")
    await expect(page.locator(".members")).to_contain_text("Feeder 7 meter")
    await portal.read(METER, voltage=229)
    await expect(page.locator("#ensemble-moves")).to_contain_text("Feeder 7 meter left")
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Forget it").click()
    await expect(page.locator("#saved-title + .empty")).to_contain_text("None yet")


async def test_new_pages_fit_a_phone_and_stand_out_in_the_dark(portal: Portal, opens: Opens) -> None:
    long = "Substation_" + "Northside" * 12 + EVIL
    await portal.thing("urn:example:long", long, "battery")
    await portal.post("/announcements", make="Acme" * 20, model=EVIL, serial="4711" * 15)
    await portal.post("/ensembles", title=long, criteria={"models": [MODELS + "battery"]})
    ensemble = (await portal.api.get("/ensembles")).json()[0]["id"]
    await portal.post("/sites", title=long, exportLimitW=1500)
    programme = await portal.post("/programmes", title="Northside" * 4 + EVIL, modes=["targetW"])
    interval = {"from": "2024-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z", "control": {"targetW": -1500}}
    await portal.post(f"/programmes/{programme['id']}/events", title=EVIL, intervals=[interval])
    await portal.enrol(programme["id"], "urn:example:long")
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat(), (datetime.now(UTC) + timedelta(days=2)).isoformat()
    await portal.post(
        "/bids", title=long, programme=programme["id"], meter="urn:example:long", until=soon[1], direction="raise",
        energyWh=10**12, baselineWh=-(10**12), price="-0.00000001", currency="EUR", **{"from": soon[0]},
    )  # fmt: skip
    seen = await opens(**PHONE, color_scheme="dark")
    page = await seen.sign_in("olga")
    thing = "/portal/things/urn:example:long"
    for path in (thing, f"{thing}/channels", f"{thing}/life", f"{thing}/about", "/portal/waiting", "/portal/ensembles",
                 f"/portal/ensembles/{ensemble}", "/portal/edges", "/portal/models", "/portal/add",
                 "/portal/programmes", "/portal/bids",
                 f"/portal/models/one?id={MODELS}battery"):  # fmt: skip
        await seen.go(path)
        await fits(page)
        assert await page.evaluate(NAMELESS) == [], path
        assert await page.evaluate(CONTRAST) == [], path
        assert await page.evaluate("window.hacked") is None, path
        assert await page.locator("h1").count() == 1, path


async def test_edges_are_shown_with_their_rules(portal: Portal, opens: Opens) -> None:
    directory = portal.node.identity.directory
    edge = directory.add_principal("northside-networks", "device", "edge of <b>the yard</b>", ("device",))
    connection = {"edge": edge.id, "adapter": "modbus", "connection": {"host": "127.0.0.1", "port": 1, "unit": 1}}
    await portal.post(
        "/things", id="urn:example:far", title="Far battery", model=MODELS + "battery", adapter="edge",
        devices=[edge.id], connection=connection,
    )  # fmt: skip
    text = "def control(inputs, state, now_s):\n    return None  # <script>\n"
    for every_s in (5, 7):
        await portal.post(
            f"/edges/{edge.id}/rules", name="rest", text=text, everyS=every_s,
            inputs=["urn:example:far/stateOfCharge"], outputs=["urn:example:far/activePowerSetpoint"],
        )  # fmt: skip
    seen = await opens()
    page = await seen.sign_in("olga", "/portal/edges")
    panel = page.locator(".panel").filter(has_text="edge of <b>the yard</b>")
    await expect(panel).to_contain_text("not connected")
    await expect(panel).to_contain_text("version 2, every 7 s")
    await panel.get_by_text("1 input, 1 output").click()
    await expect(panel.locator("pre")).to_contain_text("# <script>")
    page.on("dialog", lambda dialog: dialog.accept())
    await panel.get_by_role("button", name="Roll back").click()
    await expect(panel).to_contain_text("version 3, every 5 s")
    await panel.get_by_text("Give it a rule").click()
    await panel.get_by_label("Name").fill("second")
    await panel.get_by_label("Points it reads").fill("urn:example:far/stateOfCharge")
    await panel.get_by_label("Points it sets").fill("urn:example:far/activePower")
    await panel.get_by_label("Program").fill("def control(inputs, state, now_s):\n    return None\n")
    await panel.get_by_role("button", name="Give it").click()
    await expect(panel.locator(".form-error").last).to_contain_text("takes no set-points")
    seen.complaints.clear()  # that the answer was 400
    await panel.get_by_label("Points it sets").fill("urn:example:far/activePowerSetpoint")
    await panel.get_by_role("button", name="Give it").click()
    await expect(panel).to_contain_text("second version 1, every 5 s")
    await panel.get_by_role("button", name="Take away second").click()
    await expect(panel).not_to_contain_text("second version 1")
    await panel.get_by_role("button", name="Take away").click()
    await expect(panel).to_contain_text("None: it keeps leases")
