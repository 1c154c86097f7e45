"""The pages of programmes and sites: events in words, who takes part, what limits a site now."""

import httpx

from tests.apps.portal.conftest import METER, PASSWORD, Portal

FOREVER = "2099-01-01T00:00:00Z"


async def test_programmes_are_shown_with_their_events_and_sites_with_their_limits(portal: Portal) -> None:
    await portal.post("/sites", title="Quellenweg 31", things=[METER], exportLimitW=1500)
    signals = [{"payloadType": "PRICE"}]
    programme = (await portal.post("/programmes", title="Evening peak", modes=["targetW"], signals=signals))["id"]
    interval = {"from": "2024-01-01T00:00:00Z", "until": FOREVER, "control": {"targetW": -2000}}
    priced = interval | {"signals": [{"type": "PRICE", "values": [-0.03]}]}
    event = await portal.post(f"/programmes/{programme}/events", title="Tonight <b>", intervals=[priced])
    await portal.post(f"/programmes/{programme}/events", title="Later", intervals=[interval])
    async with httpx.AsyncClient(base_url=portal.url, headers={"Origin": portal.url}) as client:
        await client.post("/sign-in", data={"username": "olga", "password": PASSWORD})
        text = (await client.get("/portal/programmes")).text
        for words in ("Evening peak", "Tonight &lt;b&gt;", "PRICE -0.03; come to"):
            assert words in text, words
        sites = (await client.get("/portal/sites")).text
        assert "Quellenweg 31" in sites and "export at most" in sites
        assert ">active<" in text and 'href="/portal/programmes"' in text
        await portal.post(f"/programmes/{programme}/events/{event['id']}/cancel", reason="rain")
        assert ">cancelled<" in (await client.get("/portal/programmes")).text
