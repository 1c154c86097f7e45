"""The page of bids: offered, accepted by a button, and settled from registers under the reader's eyes."""

import time

import httpx

from gridspine.kernel.time import US, format_rfc3339
from tests.apps.portal.conftest import METER, PASSWORD, Portal
from tests.apps.portal.test_doors import csrf


async def offered(portal: Portal, title: str, begin_us: int, **more: object) -> str:
    programme = (await portal.post("/programmes", title="Evening"))["id"]
    await portal.enrol(programme, METER)
    body = {
        "title": title, "programme": programme, "meter": METER, "from": format_rfc3339(begin_us),
        "until": format_rfc3339(begin_us + 3 * US), "direction": "shed", "energyWh": 2000, "baselineWh": 1200,
        "price": "0.25", "currency": "EUR", "toleranceS": 1, "waitS": 2, **more,
    }  # fmt: skip
    return str((await portal.post("/bids", **body))["id"])


async def test_a_bid_is_accepted_on_its_page_and_shown_with_what_it_comes_to(portal: Portal) -> None:
    begin_us = time.time_ns() // 1000 + 3 * US
    bid = await offered(portal, "Two kWh <b>", begin_us)
    async with httpx.AsyncClient(base_url=portal.url, headers={"Origin": portal.url}) as client:
        await client.post("/sign-in", data={"username": "olga", "password": PASSWORD})
        text = (await client.get("/portal/bids")).text
        for words in (
            "Two kWh &lt;b&gt;",
            ">offered<",
            "0.25 EUR a kWh",
            "less than a baseline of",
            "Accept",
            "Withdraw",
        ):
            assert words in text, words
        headers = await csrf(client)
        answer = await client.post(f"/portal/bids/{bid}/accept", headers=headers)
        assert answer.status_code == 200 and ">accepted<" in answer.text and "Withdraw" not in answer.text
        again = await client.post(f"/portal/bids/{bid}/refuse", headers=headers)
        assert again.status_code == 409 and "accepted" in again.text
        assert (await client.post(f"/portal/bids/{bid}/burn", headers=headers)).status_code == 400
        for at_us, import_wh, export_wh in ((begin_us, 81_240.5, 12), (begin_us + 3 * US, 81_940.5, 1512)):
            values = {"activeEnergyImport": import_wh, "activeEnergyExport": export_wh}
            body = [{"n": f"{METER}/{name}", "v": value, "t": at_us / 1e6} for name, value in values.items()]
            while time.time_ns() // 1000 < at_us:
                await portal.node.clock.sleep(0.05)
            senml = {"content-type": "application/senml+json"}
            assert (await portal.api.post("/readings", json=body, headers=senml)).json()["refused"] == 0
        deadline = time.monotonic() + 20
        while "0.50 EUR" not in (text := (await client.get("/portal/bids")).text):
            assert time.monotonic() < deadline, text
            await portal.node.clock.sleep(0.1)
        for words in (
            "81240.5\xa0Wh",
            "81940.5\xa0Wh",
            "1512\xa0Wh",
            "Export: read at that time",
            ">settled<",
            ":made",
        ):
            assert words in text, words


async def test_the_portals_own_address_leads_to_its_first_page(portal: Portal) -> None:
    async with httpx.AsyncClient(base_url=portal.url, headers={"Origin": portal.url}) as client:
        await client.post("/sign-in", data={"username": "olga", "password": PASSWORD})
        answer = await client.get("/portal")
        assert (answer.status_code, answer.headers["location"]) == (302, "/")
