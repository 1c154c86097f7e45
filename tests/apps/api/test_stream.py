"""Delivery over HTTP, judged as a consumer and as an attacker: no gap, no second copy, and an end that is an end."""

import asyncio
import base64
import json

import pytest
from running_node import Sse, running, settings_for, until
from running_streams import bearer, follow_socket, handshake, stalled_connection, stalled_stream, values, ws_url
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gridspine.kernel.codecs.arrow import decode_arrow
from gridspine.kernel.codecs.senml import decode_senml_cbor
from gridspine.kernel.readings import Channel, named_readings
from gridspine.sharing import delivery
from gridspine.things.adapter import Source

ROUNDS, EACH = 60, 40


async def keep_sending(world, point, rounds=ROUNDS, each=EACH, first=0):
    for at in range(first, first + rounds):
        begin = at * each
        outcome = await world.send(point, range(begin, begin + each), begin_s=1_700_000_000 + begin)
        assert outcome["accepted"] == each, outcome


async def test_from_history_to_live_at_one_offset_while_readings_pour_in(world):
    """Three consumers by SSE, WebSocket and pull begin at different moments: each gets every reading exactly once."""
    point, product, _ = await world.shared()
    await keep_sending(world, point, rounds=20)
    wanted = list(range(ROUNDS * EACH))
    sending = asyncio.ensure_future(keep_sending(world, point, rounds=ROUNDS - 20, first=20))
    followers = []
    for _ in range(4):
        followers.append(Sse().follow(world.co, product, params={"cursor": "0:0"}, enough=len(wanted)))
        followers.append(follow_socket(world, product, "?cursor=0:0", enough=len(wanted)))
        followers[-2:] = [asyncio.ensure_future(one) for one in followers[-2:]]
        await asyncio.sleep(0.05)
    pulled, cursor = [], ""
    while len(pulled) < len(wanted):
        answer = await world.co.get(f"/products/{product}/readings", params={"cursor": cursor, "limit": 100})
        pulled += answer.json()
        cursor = answer.headers["gridspine-cursor"]
    await sending
    got = await asyncio.wait_for(asyncio.gather(*followers), 30)
    assert values(pulled) == wanted
    for one in got:
        assert values(one.records if isinstance(one, Sse) else one[0]) == wanted


async def test_last_event_id_goes_on_without_gap_or_copy(world):
    """A consumer that breaks off after every few records and comes back has the whole in the end."""
    point, product, _ = await world.shared()
    sending = asyncio.ensure_future(keep_sending(world, point, rounds=30))
    got, last = [], "0:0"
    while len(got) < 30 * EACH:
        part = Sse()
        # The URL's cursor stays what it was, as in a browser: the header is the newer one.
        await asyncio.wait_for(
            part.follow(world.co, product, params={"cursor": "0:0"}, headers={"Last-Event-ID": last}, enough=2 * EACH),
            20,
        )
        got, last = got + part.records, part.id
    await sending
    assert values(got) == list(range(30 * EACH))


async def test_a_socket_that_breaks_off_goes_on_from_the_cursor_it_was_told(world):
    point, product, _ = await world.shared()
    sending = asyncio.ensure_future(keep_sending(world, point, rounds=30))
    got, cursor = [], "0:0"
    while len(got) < 30 * EACH:
        records, words, _ = await follow_socket(world, product, f"?cursor={cursor}", enough=2 * EACH)
        got, cursor = got + records, words[-1]["cursor"]
    await sending
    assert values(got) == list(range(30 * EACH))


async def test_forms_by_content_negotiation(world):
    point, product, _ = await world.shared()
    await world.send(point, [1, 2, 3])
    path = f"/products/{product}/readings"
    for accept, media in (
        ("application/senml+cbor", "application/senml+cbor"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("application/senml+json;q=0.1, application/senml+cbor;q=0.9", "application/senml+cbor"),
        ("*/*", "application/senml+json"),
        ("application/json", "application/senml+json"),
        ("text/html, */*;q=0.1", "application/senml+json"),
    ):
        answer = await world.co.get(path, headers={"accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media), accept
        assert answer.headers["gridspine-count"] == "3"
        if "cbor" in media:
            batch = decode_senml_cbor(answer.content, now_us=0)
        elif "arrow" in media:
            batch = decode_arrow(answer.content, max_items=10)
        else:
            assert values(answer.json()) == [1, 2, 3]
            continue
        assert batch.value.tolist() == [1, 2, 3]
        assert set(batch.names) == {point}
    for accept in ("text/html", "image/png;q=1", "application/senml+json;q=0"):
        answer = await world.co.get(path, headers={"accept": accept})
        assert answer.status_code == 406, accept
        assert answer.headers["content-type"] == "application/problem+json"


async def test_binary_forms_on_streams(world):
    point, product, _ = await world.shared()
    await world.send(point, [1, 2, 3])
    stream = Sse()
    async with world.co.stream(
        "GET", f"/products/{product}/stream?cursor=0:0", headers={"accept": "application/senml+cbor"}
    ) as answer:
        name = ""
        async for line in answer.aiter_lines():
            name = line[7:] if line.startswith("event: ") else name
            if line.startswith("data: ") and name == "readings":
                batch = decode_senml_cbor(base64.b64decode(line[6:]), now_us=0)
                break
    assert batch.value.tolist() == [1, 2, 3]
    assert not stream.records
    query = "?cursor=0:0&accept=application/vnd.apache.arrow.stream"
    async with connect(ws_url(world, product, query), additional_headers=bearer(world.co)) as ws:
        frame = await asyncio.wait_for(ws.recv(), 60)
        assert decode_arrow(frame, max_items=10).value.tolist() == [1, 2, 3]
        assert json.loads(await ws.recv()) == {"cursor": "0:1"}


@pytest.mark.parametrize(
    "cursor", ["x", "0", "0:-1", "-1:0", "0:1:2", "0:99999999999999999999", "0:" + "9" * 5000, "0:9"]
)
async def test_cursors_that_are_none_are_answered(world, cursor):
    """One ahead of the log would silently pass over what comes: it is refused, not taken."""
    _, product, _ = await world.shared()
    for path in ("readings", "stream"):
        answer = await world.co.get(f"/products/{product}/{path}", params={"cursor": cursor})
        assert answer.status_code == 400, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_cursor_below_the_trim_mark_is_gone_and_says_where_to_begin(world):
    point, product, _ = await world.shared()
    await world.send(point, [1])
    await world.send(point, [2], begin_s=1_700_000_100)
    world.node.log.trim("readings", 0, 1)
    for path in ("readings", "stream"):
        answer = await world.co.get(f"/products/{product}/{path}", params={"cursor": "0:0"})
        assert answer.status_code == 410, (path, answer.text)
        assert answer.json()["cursor"] == "0:1"
    records, _ = await world.pull_all(product, "0:1")
    assert values(records) == [2]


async def test_a_slow_consumer_is_told_and_loses_nothing(world, monkeypatch):
    """Its queue is bounded; what does not fit is read from the log again, in order and once."""
    monkeypatch.setattr(delivery, "MAX_WAITING_READINGS", 4000)
    point, product, _ = await world.shared()
    seen = asyncio.Event()

    async def slowly():
        records, names = [], []
        async with world.co.stream("GET", f"/products/{product}/stream", timeout=None) as answer:
            lines = answer.aiter_lines()
            name = ""
            async for line in lines:
                if line.startswith("event: "):
                    name = line[7:]
                    names.append(name)
                    if name == "open":
                        seen.set()
                elif line.startswith("data: ") and name == "readings":
                    records += json.loads(line[6:])
                    if len(records) == 2000:
                        await release.wait()
                    if len(records) >= total:
                        return records, names
        return records, names

    release, total = asyncio.Event(), 60 * 2000
    following = asyncio.ensure_future(slowly())
    await seen.wait()
    subscription = next(iter(next(iter(world.node.hub._by_product.values()))))
    for at in range(60):
        await world.send(point, range(at * 2000, at * 2000 + 2000), begin_s=1_700_000_000 + at * 2000)
        assert subscription._waiting <= 4000
    assert subscription.behind
    release.set()
    records, names = await asyncio.wait_for(following, 40)
    assert values(records) == list(range(total))
    assert "behind" in names


async def test_a_fast_consumer_does_not_wait_for_a_slow_one(world):
    point, product, _ = await world.shared()
    raw = await stalled_stream(world, f"/products/{product}/stream")
    stream = Sse()
    following = asyncio.ensure_future(stream.follow(world.co, product, enough=50_000))
    await until(lambda: world.node.hub.subscriptions == 2)
    for at in range(10):
        await world.send(point, range(at * 5000, at * 5000 + 5000), begin_s=1_700_000_000 + at * 5000)
    await asyncio.wait_for(following, 60)
    assert values(stream.records) == list(range(50_000))
    raw.close()


async def test_streams_are_bounded_for_all_and_for_one(tmp_path):
    async with running(tmp_path / "data", settings_for(http={"max_streams": 4})) as world:
        _, product, _ = await world.shared()
        streams = [Sse() for _ in range(2)]
        following = [asyncio.ensure_future(one.follow(world.co, product)) for one in streams]
        await until(lambda: world.node.hub.subscriptions == 2)
        answer = await world.co.get(f"/products/{product}/stream")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        with pytest.raises(InvalidStatus):
            await connect(ws_url(world, product), additional_headers=bearer(world.co)).__aenter__()
        assert world.node.hub.subscriptions == 2
        others = [Sse() for _ in range(2)]
        following += [asyncio.ensure_future(one.follow(world.op, product)) for one in others]
        await until(lambda: world.node.hub.subscriptions == 4)
        _, third = world.client("northside-networks", "owner")
        assert (await third.get(f"/products/{product}/stream")).status_code == 429
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await until(lambda: world.node.hub.subscriptions == 0)


async def test_clients_that_leave_leave_nothing_behind(world):
    _, product, grant = await world.shared()
    for _ in range(20):
        raw = stalled_connection(world, handshake(world, f"/products/{product}/stream", upgrade=False))
        raw.close()
        raw = stalled_connection(world, handshake(world, f"/products/{product}/socket", upgrade=True))
        raw.close()
    await asyncio.sleep(0.2)
    await until(lambda: world.node.hub.subscriptions == 0)
    assert grant not in world.node.gate._watchers


async def test_purposes_choose_the_grant(world):
    thing = await world.thing()
    point = f"{thing}/activeEnergyImport"
    product = await world.product(point)
    await world.grant(product, "a", until="2100-01-01T00:00:00Z")
    await world.grant(product, "b", until="2099-01-01T00:00:00Z")
    for purpose, status in (("a", 200), ("b", 200), ("", 200), ("c", 403), ("x" * 300, 400)):
        answer = await world.co.get(f"/products/{product}/readings", params={"purpose": purpose})
        assert answer.status_code == status, purpose


async def test_only_reported_readings_are_delivered(world):
    """Emulated, commanded and planned readings of the same point are in the log, and in no product."""
    point, product, _ = await world.shared()
    source = Source(world.op_id, "northside-networks", "test")
    for at, channel in enumerate(Channel):
        batch = named_readings([(point, "Wh", (1_700_000_000 + at) * 1_000_000, float(at), 0)])
        outcome = await world.node.intake.submit(batch, source, channel=channel)
        assert outcome.accepted == 1
    records, _ = await world.pull_all(product)
    assert values(records) == [0.0]
    stream = Sse()
    await asyncio.wait_for(stream.follow(world.co, product, params={"cursor": "0:0"}, enough=1), 60)
    assert values(stream.records) == [0.0]


async def test_quality_travels_with_the_value(world):
    thing = await world.thing()
    point = f"{thing}/voltage"
    product = await world.product(point, sample="readings")
    await world.grant(product)
    await world.send(point, [300.0])  # beyond the operating limit: delivered, and marked
    records, _ = await world.pull_all(product)
    sample = (await world.co.get(f"/products/{product}/sample")).json()["readings"]
    assert records[0]["q_"] & 0b11
    assert sample[0]["q_"] == records[0]["q_"]


async def test_a_token_that_ends_is_no_reason_to_cut_what_it_opened(world):
    """The caller is asked after again and again, not the token of five minutes; httpx would renew it in between."""
    point, product, _ = await world.shared()
    stream = Sse()
    following = asyncio.ensure_future(stream.follow(world.co, product, enough=1))
    await asyncio.wait_for(stream.opened.wait(), 60)
    await asyncio.sleep(0.6)  # some turns of the watch
    await world.send(point, [1])
    await asyncio.wait_for(following, 60)
