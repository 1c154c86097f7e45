"""What only time brings: silence is marked and alarmed once, held readings are released, alarms end."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gridspine.apps.node.run import start
from gridspine.infra.runtime.settings import Archive, Http, Settings
from gridspine.things.model import parse_model

MODEL = {
    "@type": "tm:ThingModel",
    "id": "https://example.org/models/probe",
    "title": "Probe",
    "properties": {
        "watched": {
            "gs:readingType": {"unit": "W"},
            "gs:screen": {"deadband": 5, "limitMax": 100, "maxSilenceS": 5.0},
        },
        "slow": {"gs:readingType": {"unit": "W"}, "gs:screen": {"minIntervalS": 5.0, "maxSilenceS": 1000}},
    },
}
THING = "urn:example:probe"


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(organisation="North", demo=True, http=Http(port=0), archive=Archive(enabled=False))
    running = await start(settings, tmp_path / "data")
    node = running.node
    node.points.add_model(parse_model(MODEL))
    operator = node.identity.directory.add_principal("north", "application", "operator", ("operator", "owner"))
    headers = {"Authorization": f"Bearer {node.identity.demo.issue(operator.id) if node.identity.demo else ''}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers) as client:
        answer = await client.post("/things", json={"title": "Probe", "model": MODEL["id"], "id": THING})
        assert answer.status_code == 201, answer.text
        yield client
    await running.stop()


async def send(http: httpx.AsyncClient, name: str, value: float, at_s: float | None = None) -> dict[str, Any]:
    body = [{"n": f"{THING}/{name}", "v": value, "t": time.time() if at_s is None else at_s}]
    answer = await http.post("/readings", json=body, headers={"content-type": "application/senml+json"})
    found: dict[str, Any] = answer.json()
    return found


async def point(http: httpx.AsyncClient, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get(f"/things/{THING}/properties/{name}")).json()
    return found


async def alarms(http: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    return {alarm["kind"]: alarm for alarm in (await http.get("/alarms")).json()}


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.05)


async def test_silence_is_marked_and_alarmed_until_the_point_is_heard_again(http: httpx.AsyncClient) -> None:
    await send(http, "watched", 50)

    async def old() -> bool:
        return "old-data" in (await point(http, "watched"))["quality"]

    await until(old)
    await until(lambda: _in(http, "silence"))
    assert (await alarms(http))["silence"]["over"] is None
    assert (await send(http, "watched", 51))["suppressed"] == 1  # unchanged, and yet heard of

    async def heard() -> bool:
        return (await alarms(http))["silence"]["over"] is not None

    await until(heard)
    assert (await point(http, "watched"))["quality"] == ["good"]


async def _in(http: httpx.AsyncClient, kind: str) -> bool:
    return kind in await alarms(http)


async def test_the_latest_held_reading_is_released_and_counted_as_accepted(http: httpx.AsyncClient) -> None:
    begin_s = time.time()
    outcomes = [await send(http, "slow", value, begin_s + value / 100) for value in (1, 2, 3)]
    assert [o["accepted"] for o in outcomes] == [1, 0, 0]

    async def released() -> bool:
        return bool((await point(http, "slow"))["value"] == 3)

    await until(released)


async def test_a_limit_is_alarmed_delivered_and_over_when_it_is_kept_again(http: httpx.AsyncClient) -> None:
    assert (await send(http, "watched", 150))["accepted"] == 1
    assert (await point(http, "watched"))["quality"] == ["questionable", "out-of-range"]
    assert (await alarms(http))["high"]["over"] is None
    await send(http, "watched", 60)
    assert (await alarms(http))["high"]["over"] is not None
    seen = await http.post("/alarms/acknowledge", json={"point": f"{THING}/watched", "kind": "high"})
    assert seen.json()["acknowledgedBy"] == "operator"
    assert "high" not in await alarms(http)
