"""A consumer's SQL over HTTP: under a grant, for as long as it holds, over what it covers."""

import asyncio
import contextlib
import io

import msgspec
import psutil
import pyarrow as pa
import pytest
import pytest_asyncio
from running_node import BEGIN_S, World, settings_for, until

from gridspine.infra.runtime.settings import Archive

pytestmark = pytest.mark.asyncio(loop_scope="module")
ENDLESS = "SELECT sum(a.i * b.i) FROM range(100000000) a(i), range(100000) b(i)"
LATEST = "SELECT value FROM readings ORDER BY observed"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(tmp_path_factory):
    """A product of one point of a Thing that has more, granted from 2023 on, and other readings beside it."""
    settings = settings_for(archive=True)
    settings = msgspec.structs.replace(settings, archive=Archive(flush_seconds=1.0, consumer_query_seconds=60.0))
    world = await World.start(tmp_path_factory.mktemp("market") / "data", settings)
    thing = await world.thing()
    world.point = f"{thing}/activeEnergyImport"
    world.product_id = await world.product(world.point)
    world.grant_id = await grant(world)
    await world.send(world.point, [1.0, 2.0, 3.0])
    await world.send(world.point, [987654.25], begin_s=1_600_000_000)  # before the grant begins
    await world.send(f"{thing}/activePower", [987654.25])
    yield world
    await world.stop()


async def grant(world, **more):
    asked = {"product": world.product_id, "purpose": "a", "from": "2023-01-01T00:00:00Z",
             "until": "2100-01-01T00:00:00Z"} | more  # fmt: skip
    made = (await world.co.post("/grants", json=asked)).json()["id"]
    assert (await world.op.post(f"/grants/{made}/approve")).status_code == 200
    return made


async def ask(world, sql, *, who=None, headers=None, **more):
    path = f"/products/{world.product_id}/query"
    return await (who or world.co).post(path, json={"sql": sql} | more, headers=headers or {})


async def test_it_answers_what_the_grant_covers(market):
    answer = await ask(market, "SELECT point, unit, value FROM readings ORDER BY observed")
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"] == [[market.point, "Wh", value] for value in (1.0, 2.0, 3.0)]
    assert [column["name"] for column in answer.json()["columns"]] == ["point", "unit", "value"]
    assert answer.headers["cache-control"] == "no-store"
    everything = await ask(market, "SELECT * FROM readings, points")
    assert "987654" not in everything.text and "activePower" not in everything.text
    arrow = await ask(market, LATEST, headers={"accept": "application/vnd.apache.arrow.stream"})
    assert pa.ipc.open_stream(io.BytesIO(arrow.content)).read_all().to_pydict() == {"value": [1.0, 2.0, 3.0]}


async def test_changed_since_goes_on_where_an_answer_ended(market):
    first = await ask(market, LATEST)
    cursor = first.headers["gridspine-cursor"]
    assert (await ask(market, LATEST, changedSince=cursor)).json()["rows"] == []
    before = market.node.clock.now_us()
    await market.send(market.point, [20.0], begin_s=BEGIN_S + 1)  # a revision of the second reading
    assert (await ask(market, LATEST, changedSince=cursor)).json()["rows"] == [[20.0]]
    assert (await ask(market, LATEST)).json()["rows"] == [[1.0], [20.0], [3.0]]
    moment = rfc3339(before)
    assert (await ask(market, LATEST, changedSince=moment)).json()["rows"] == [[20.0]]
    assert (await ask(market, LATEST, asOf=moment)).json()["rows"] == [[1.0], [2.0], [3.0]]
    pulled = await market.co.get(f"/products/{market.product_id}/readings", params={"cursor": cursor})
    assert [record["v"] for record in pulled.json()] == [20.0], "the cursor is that of pulling, too"


def rfc3339(time_us):
    from gridspine.kernel.time import format_rfc3339

    return format_rfc3339(time_us)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"sql": "SELECT * FROM revisions"}, "there is no table"),
        ({"sql": "DROP TABLE readings"}, "only SELECT"),
        ({"sql": "SELECT * FROM read_text('/etc/passwd')"}, "not offered"),
        ({"sql": "x" * 20_001}, "at most 20000"),
        ({"sql": "SELECT 1", "changedSince": "nonsense"}, "is not a cursor"),
        ({"sql": "SELECT 1", "changedSince": "0:99999999"}, "ahead of this node"),
        ({"sql": "SELECT 1", "changedSince": "7:0"}, "ahead of this node"),
        ({"sql": "SELECT 1", "asOf": "yesterday"}, "yesterday"),
        ({"sql": "SELECT 1", "more": 1}, "more"),
    ],
)
async def test_what_is_wrong_is_said(market, body, said):
    answer = await market.co.post(f"/products/{market.product_id}/query", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.text


async def test_without_a_grant_it_is_refused_and_either_way_recorded(market):
    market.node.identity.directory.add_organisation("third", "Third")
    _, stranger = market.client("third", "consumer", "operator", "owner")
    for product in (market.product_id, "urn:uuid:01a1fe2e-232a-7d9a-8429-486e043c2b3e"):
        answer = await stranger.post(f"/products/{product}/query", json={"sql": "SELECT 1"})
        assert answer.status_code == 403
        assert answer.json()["decision"]
    other = await ask(market, "SELECT 1", purpose="b")
    assert other.status_code == 403
    assert "purpose" in other.json()["detail"]
    assert (await ask(market, "SELECT 1")).status_code == 200
    assert (await ask(market, LATEST, who=market.op)).json()["rows"], "owners ask their own products"

    def recorded():
        records = market.node.log.read("audit", 0, market.node.log.bounds("audit")[0][0], max_records=5000)
        found = [msgspec.json.decode(record.body) for record in records if b'"product.query"' in record.body]
        return {one["allowed"] for one in found} == {True, False}

    await until(recorded)


async def test_one_query_at_a_time_and_a_revoked_grant_ends_it(market):
    running = asyncio.ensure_future(ask(market, ENDLESS))
    await until(lambda: burning() or running.done())
    assert not running.done(), running.result().text
    second = await ask(market, "SELECT 1")
    assert second.status_code in {429, 503}
    assert "you have a query running" in second.json()["detail"]
    other = await ask(market, "SELECT count(*) FROM readings", who=market.op)
    assert other.status_code == 200, other.text
    revoked = await market.op.post(f"/grants/{market.grant_id}/revoke")
    assert revoked.status_code == 200
    ended = await running
    assert ended.status_code == 403, ended.text
    assert "revoked" in ended.json()["detail"]
    assert (await ask(market, "SELECT 1")).status_code == 403
    market.grant_id = await grant(market)
    assert (await ask(market, "SELECT 1")).status_code == 200


def burning():
    """Whether a query's process is at work."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "archive.child" in " ".join(child.cmdline()) and child.cpu_times().user > 1.5:
                return True
    return False


async def test_a_query_ends_with_its_caller(market):
    who, client = market.client("brightfield", "consumer")
    running = asyncio.ensure_future(ask(market, ENDLESS, who=client))
    await until(lambda: burning() or running.done())
    assert not running.done(), running.result().text
    market.node.identity.directory.deactivate(who)
    assert (await running).status_code in {401, 403, 503}
