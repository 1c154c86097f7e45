"""Quotas: what is over is answered 429, says which quota it was and when to come again, and is counted."""

import pytest
from running_node import BEGIN_S, METER, SENML, running, settings_for

from gridspine.apps.node.adapters import HostedContext
from gridspine.apps.node.quotas import Quotas
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.infra.runtime.settings import Adapters
from gridspine.infra.runtime.settings import Quotas as Settings
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.readings import named_readings
from gridspine.things.adapter import Source


async def test_rate_of_readings_is_a_bucket_of_ten_seconds():
    clock = VirtualClock()
    quotas = Quotas(Settings(readings_per_s=100), clock)
    quotas.readings("a", 400)
    quotas.readings("a", 600)
    with pytest.raises(Overloaded) as refused:
        quotas.readings("a", 100)
    assert refused.value.retry_after_s == 2
    quotas.readings("b", 1000)  # each has its own
    await clock.advance(1.0)
    quotas.readings("a", 100)
    with pytest.raises(Overloaded):
        quotas.readings("a", 1)
    assert quotas.refused == {"readings_per_s": 2}


async def test_a_request_beyond_the_bucket_passes_when_it_is_full_and_is_paid_for():
    clock = VirtualClock()
    quotas = Quotas(Settings(readings_per_s=10), clock)
    quotas.readings("a", 1000)
    await clock.advance(99.0)
    with pytest.raises(Overloaded) as refused:
        quotas.readings("a", 1000)
    assert refused.value.retry_after_s == 2
    await clock.advance(1.0)
    quotas.readings("a", 1000)


def over(answer, quota):
    assert answer.status_code == 429, answer.text
    assert answer.json()["quota"] == quota
    assert f"quotas.{quota}" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1


async def test_what_is_over_changes_nothing_of_what_is_there(tmp_path):
    quotas = Settings(readings_per_s=2, things=2, grants=1, principals=3)
    async with running(tmp_path / "data", settings_for(quotas=quotas)) as world:
        point, product, _ = await world.shared()
        await world.thing("urn:example:m2")
        over(await world.op.post("/things", json={"title": "M", "model": METER}), "things")
        asked = {"product": product, "purpose": "b", "until": "2100-01-01T00:00:00Z"}
        over(await world.co.post("/grants", json=asked), "grants")
        added = {"kind": "application", "name": "x", "roles": ["operator"]}
        answers = [await world.op.post("/principals", json=added) for _ in range(4)]
        over(answers[-1], "principals")
        row = [{"n": point, "v": at, "t": BEGIN_S + at} for at in range(20)]
        assert (await world.op.post("/readings", json=row, headers=SENML)).json()["accepted"] == 20
        over(await world.op.post("/readings", json=row, headers=SENML), "readings_per_s")
        assert (await world.op.get(f"/things/{point.partition('/')[0]}")).status_code == 200
        assert len((await world.co.get("/grants")).json()) == 1
        metrics = (await world.op.get("/metrics")).text
        for quota in ("things", "grants", "principals", "readings_per_s"):
            (line,) = [one for one in metrics.splitlines() if f'quota_refusals_total{{quota="{quota}"}}' in one]
            assert float(line.rpartition(" ")[2]) >= 1


async def test_readings_by_an_adapter_count_against_who_sent_them(tmp_path):
    settings = settings_for(quotas=Settings(readings_per_s=2), adapters=Adapters(allow=["modbus"]))
    async with running(tmp_path / "data", settings) as world:
        await world.shared()
        context = HostedContext(world.node.adapters, "modbus", {})
        source = Source("urn:example:device", world.node.organisation, "session")
        rows = named_readings([(f"urn:example:nobody/{at}", "", at, 1.0, 0) for at in range(21)])
        await context.intake(rows, source)
        with pytest.raises(Overloaded) as refused:
            await context.intake(rows, source)
        assert "quotas.readings_per_s" in refused.value.detail
