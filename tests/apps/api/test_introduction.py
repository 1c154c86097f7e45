"""How strangers find and open what there is: the directory's description, and tickets for streams."""

import asyncio
import json

import pytest
from running_node import running, settings_for

from gridspine.apps.api.introduction import directory_description
from gridspine.things.td.check import check_description

THING = "urn:example:m1"


async def test_the_directory_introduces_itself_to_anyone_and_says_nothing_of_anybody(tmp_path):
    async with running(tmp_path / "data", settings_for()) as world:
        await world.thing(THING)
        answer = await world.nobody.get("/.well-known/wot")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/td+json"
        found = answer.json()
        assert check_description(found) == []
        assert found["@type"] == "ThingDirectory"
        assert found["base"] == world.url
        assert found["security"] == ["bearer"]
        link = await world.nobody.get("/.well-known/core")  # W3C WoT Discovery, "CoRE Link Format …"
        assert link.headers["content-type"].startswith("application/link-format")
        assert link.text == '</.well-known/wot>;rt="wot.directory";ct=432'
        assert found == (await world.op.get("/.well-known/wot")).json()
        for secret in (THING, "Northside", "northside", world.op_id):
            assert secret not in answer.text
        assert (await world.nobody.get("/.well-known/wot", headers={"host": "evil.example"})).status_code == 421


def test_the_directory_s_id_stays_whatever_it_is_asked_by():
    one, other = (
        directory_description(base, "http://n:8600") for base in ("http://127.0.0.1:8600", "https://n.example")
    )
    assert one["id"] == other["id"] != directory_description("http://a", "http://m:8600")["id"]


async def test_a_ticket_opens_one_stream_once(tmp_path):
    async with running(tmp_path / "data", settings_for()) as world:
        await world.thing(THING)
        await world.send(f"{THING}/voltage", [230])
        path = f"/things/{THING}/properties/voltage/observe"
        answer = await world.op.post("/tickets", json={"href": f"{world.url}{path}?ticket=old&a=b"})
        assert answer.status_code == 201, answer.text
        href = answer.json()["href"]
        assert href.startswith(f"{world.url}{path}?a=b&ticket=")
        async with world.nobody.stream("GET", href, timeout=60) as stream:
            assert stream.status_code == 200
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    assert json.loads(line.removeprefix("data: ")) == 230.0
                    break
        assert (await world.nobody.get(href)).status_code == 401
        other = (await world.op.post("/tickets", json={"href": path})).json()["ticket"]
        wrong = await world.nobody.get(f"/things/{THING}/values/observe", params={"ticket": other})
        assert wrong.status_code == 401
        stranger = (await world.co.post("/tickets", json={"href": path})).json()["ticket"]
        assert (await world.nobody.get(path, params={"ticket": stranger})).status_code == 403
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "href", ["/things", "/things/urn:a:b/properties", "/portal/live", "http://[", "", "/query", "x" * 9000]
)
async def test_a_ticket_opens_streams_only(world, href):
    answer = await world.op.post("/tickets", json={"href": href})
    assert answer.status_code == 400
    assert "href" in answer.json()["detail"]
