"""A vendor that lies, repeats itself, and whose meter runs backwards, at a whole node: what each post comes to."""

import asyncio
import hmac
import importlib.util
import json
import sys
from pathlib import Path

import httpx

if "running_node" not in sys.modules:
    _file = Path(__file__).parents[2] / "apps" / "running.py"
    _specification = importlib.util.spec_from_file_location("running_node", _file)
    sys.modules["running_node"] = _module = importlib.util.module_from_spec(_specification)
    _specification.loader.exec_module(_module)
from running_node import running, settings_for, until

from gridspine.infra.runtime.settings import Adapters
from gridspine.kernel.time import US, format_rfc3339

SECRET, THING, NEIGHBOUR = "a secret of some length", "urn:example:m1", "urn:example:m2"
POINTS = {
    "activePower": {"pick": {"plus": ["/w"]}},
    "activeEnergyImport": {"pick": {"plus": ["/kwh"], "scale": 1e300}, "unit": "Wh"},
    "activeEnergyExport": {"pick": {"plus": ["/out"]}, "unit": "Wh"},
}
COUNTS = ("received", "accepted", "duplicate", "refused")


async def test_each_post_comes_to_what_it_is_worth(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRIDSPINE_SECRET_WEBHOOK_ACME", SECRET)
    use = {"acme": {"organisations": ["northside-networks"]}}
    allowed = Adapters(allow=["webhook"], settings={"webhook": {"webhook": {"port": 0}, "secrets": use}})
    async with running(tmp_path / "data", settings_for(adapters=allowed)) as world:
        await until(lambda: "webhook.webhook" in world.node.adapters.listening)
        host, port = world.node.adapters.listening["webhook.webhook"]
        for thing in (THING, NEIGHBOUR):
            await world.thing(thing, adapter="webhook", connection={"secret": "acme", "time": "/at", "points": POINTS})
        begun_s, count = world.node.clock.now_us() // US, 0

        async def post(at_s=0.0, to=THING, proven_for=THING, made_s=None, **values):
            nonlocal count
            count += 1  # each was made at another time than those before: else it would be a replay
            made = str(made_s if made_s is not None else begun_s - count)
            at = format_rfc3339(round((begun_s + at_s) * US))
            body = json.dumps({"at": at, **values}).encode()
            whole = f"POST\n/{proven_for}\n{made}\n".encode() + body
            headers = {"x-signature": hmac.new(SECRET.encode(), whole, "sha256").hexdigest(), "x-timestamp": made}
            async with httpx.AsyncClient(trust_env=False) as vendor:
                return await vendor.post(f"http://{host}:{port}/{to}", content=body, headers=headers)

        async def counted(**values):
            answer = await post(**values)
            assert answer.status_code == 200, answer.text
            return tuple(answer.json()[name] for name in COUNTS)

        async with asyncio.timeout(60):
            while (await post(at_s=-100, w=1, out=5_000)).status_code == 403:  # not served yet
                await asyncio.sleep(0.05)
        assert await counted(at_s=-100, w=1, out=5_000) == (3, 0, 2, 1)  # the same again, as a new post
        assert await counted(at_s=-90, w=200, kwh=5, out=4_000) == (
            3,
            2,
            0,
            1,
        )  # kwh times 1e300: no meter has counted that
        fallen = (await world.op.get(f"/things/{THING}/properties/activeEnergyExport")).json()
        assert (fallen["value"], "inconsistent" in fallen["quality"]) == (4_000, True)
        assert await counted(at_s=86_400, w=3, kwh=1e9, out=0) == (3, 0, 0, 3)  # tomorrow's, and beyond a float
        assert (await post(w=4, made_s=begun_s - 86_400)).status_code == 409  # a post of yesterday
        assert (await post(w=4, made_s=begun_s + 86_400)).status_code == 409
        assert (await post(w=4, to=NEIGHBOUR)).status_code == 403  # proven for another address
        other = (await world.op.get(f"/things/{NEIGHBOUR}/properties/activePower")).json()
        assert other.get("value") is None
        assert len((await world.op.get("/quarantine")).json()) >= 2
