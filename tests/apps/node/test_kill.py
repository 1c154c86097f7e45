"""``kill -9`` under load: every reading that was answered 200 is found after the restart, and only once."""

import asyncio
import itertools

import httpx
import msgspec
import numpy as np
import pytest
from running_node import BEGIN_S, METER, SENML, Child, pull_own

from gridspine.kernel.codecs.arrow import encode_arrow

POINT = "urn:example:m1/activeEnergyImport"
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


async def post(http, numbers, acknowledged, answered):
    """Send batches one after another until the node is gone; note what it answered."""
    for at in numbers:
        values = range(at * 50, at * 50 + 50)
        if at % 2:
            content = msgspec.json.encode([{"n": POINT, "v": value, "t": BEGIN_S + value} for value in values])
            headers = SENML
        else:
            times = (BEGIN_S + np.array(values)) * 1_000_000
            columns = np.zeros(50, np.int32), times, np.array(values, np.float64), np.zeros(50, np.uint16)
            content, headers = encode_arrow([POINT], *columns), ARROW
        try:
            answer = await http.post("/readings", content=content, headers=headers)
        except httpx.HTTPError:
            return
        if answer.status_code != 200:
            return
        outcome = answer.json()
        assert outcome["accepted"] + outcome["duplicate"] == 50, outcome
        acknowledged.update(values)
        answered.set()


async def round_of_killing(folder, numbers, acknowledged, *, wait_s):
    """Start the node, check what it has, load it, kill it; return what was pulled before the load."""
    child = Child(folder)
    try:
        http = await child.ready()
        if not acknowledged:
            thing = await http.post("/things", json={"id": "urn:example:m1", "title": "M", "model": METER})
            assert thing.status_code == 201, thing.text
        await check(http, acknowledged)
        answered = asyncio.Event()
        posting = [asyncio.ensure_future(post(http, numbers, acknowledged, answered)) for _ in range(6)]
        await asyncio.wait_for(answered.wait(), 30)
        await asyncio.sleep(wait_s)
        child.kill()
        await asyncio.gather(*posting)
        await http.aclose()
    finally:
        child.stop()


async def check(http, acknowledged):
    """All that was acknowledged is there, once, and the twin shows the newest that the log has."""
    product = {"title": "P", "points": [POINT], "contract": {"licence": "x", "purposes": ["a"]}}
    product = (await http.post("/products", json=product)).json()["id"]
    found = [record["v"] for record in await pull_own(http, product)]
    assert len(found) == len(set(found))
    assert acknowledged <= set(found), f"{len(acknowledged - set(found))} acknowledged readings are lost"
    shown = (await http.get("/things/urn:example:m1/properties/activeEnergyImport")).json()["value"]
    assert shown == max(found, default=None)
    return found


async def kill_often(folder, kills):
    numbers, acknowledged = itertools.count(), set()
    for at in range(kills):
        await round_of_killing(folder, numbers, acknowledged, wait_s=0.02 + 0.07 * (at % 4))
    child = Child(folder)
    try:
        http = await child.ready()
        found = await check(http, acknowledged)
        # What is sent once more is a duplicate, whether or not its answer was heard.
        body = [{"n": POINT, "v": value, "t": BEGIN_S + value} for value in found[-200:]]
        outcome = (await http.post("/readings", json=body, headers=SENML)).json()
        assert outcome["duplicate"] == len(body)
        await http.aclose()
    finally:
        assert child.stop() == 0
    assert len(acknowledged) > 100 * kills


async def test_five_kills_under_load(tmp_path):
    await kill_often(tmp_path / "data", 5)


@pytest.mark.slow
async def test_many_kills_under_load(tmp_path):
    await kill_often(tmp_path / "data", 25)


async def test_grants_and_commands_that_were_answered_survive_a_kill(tmp_path):
    """And their receipts: the event was in the log, or waits in the outbox, before the answer."""
    child = Child(tmp_path / "data")
    try:
        http = await child.ready()
        await http.post("/things", json={"id": "urn:example:m1", "title": "M", "model": METER})
        product = {"title": "P", "points": [POINT], "contract": {"licence": "x", "purposes": ["a"]}}
        product = (await http.post("/products", json=product)).json()["id"]
        asked = {"product": product, "purpose": "a", "until": "2100-01-01T00:00:00Z"}
        grants = []
        for _ in range(10):
            grant = (await http.post("/grants", json=asked)).json()["id"]
            answer = await http.post(f"/grants/{grant}/approve")
            assert answer.status_code == 200, answer.text
            grants.append(grant)
        child.kill()
        await http.aclose()
        child = Child(tmp_path / "data")
        http = await child.ready()
        known = {grant["id"]: grant["state"] for grant in (await http.get("/grants")).json()}
        assert known == dict.fromkeys(grants, "active")
        for grant in grants:
            events = (await http.get("/receipts", params={"subject": grant})).json()
            assert {event["type"] for event in events} == {"grant.requested", "grant.approve"}
            receipt = await http.get(f"/receipts/{events[0]['id']}")
            assert receipt.status_code == 200, receipt.text
        await http.aclose()
    finally:
        child.stop()
