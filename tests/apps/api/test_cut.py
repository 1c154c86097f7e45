"""The cut: a stream ends when its grant, its caller or its node does, also for who has stopped reading."""

import asyncio
import json

import pytest
from running_node import Sse, running, until
from running_streams import (
    bearer,
    follow_socket,
    read_rest,
    read_until_end,
    stalled_stream,
    values,
    ws_url,
)
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gridspine.kernel.time import format_rfc3339


async def end_by(world, how, grant):
    if how in {"revoke", "suspend"}:
        answer = await world.op.post(f"/grants/{grant}/{how}", json={"reason": "enough"})
    else:
        answer = await world.op.post(f"/principals/{world.co_id}/deactivate")
    assert answer.status_code == 200, answer.text


REASONS = {"revoke": "revoked", "suspend": "suspended", "sign-out": "signed-out"}


@pytest.mark.parametrize("how", REASONS)
async def test_streams_are_cut_and_say_why(world, how):
    point, product, grant = await world.shared()
    await world.send(point, [1])
    stream = Sse()
    following = asyncio.ensure_future(stream.follow(world.co, product, params={"cursor": "0:0"}))
    socketing = asyncio.ensure_future(follow_socket(world, product, "?cursor=0:0"))
    await until(lambda: stream.records and world.node.hub.delivered >= 2)
    await end_by(world, how, grant)
    await asyncio.wait_for(following, 60)
    records, words, reason = await asyncio.wait_for(socketing, 60)
    assert stream.ended == {"reason": REASONS[how], "cursor": "0:1"}
    assert words[-1] == stream.ended
    assert reason == REASONS[how]
    await world.send(point, [2], begin_s=1_700_000_100)
    assert values(stream.records) == values(records) == [1]
    await nothing_is_readable(world, product, 401 if how == "sign-out" else 403)
    await until(lambda: world.node.hub.subscriptions == 0)


async def nothing_is_readable(world, product, status):
    for path in (f"/products/{product}/readings", f"/products/{product}/stream"):
        answer = await world.co.get(path)
        assert answer.status_code == status, (path, answer.text)
    with pytest.raises(InvalidStatus) as refused:
        await connect(ws_url(world, product), additional_headers=bearer(world.co)).__aenter__()
    assert refused.value.response.status_code in {401, 403}


async def test_expiry_cuts_by_itself(world):
    thing = await world.thing()
    point = f"{thing}/activeEnergyImport"
    product = await world.product(point)
    await world.send(point, [1])
    soon = world.node.clock.now_us() + 5_000_000  # room for a busy machine to open both before
    await world.grant(product, until=format_rfc3339(soon))
    stream = Sse()
    following = asyncio.ensure_future(stream.follow(world.co, product, params={"cursor": "0:0"}))
    socketing = asyncio.ensure_future(follow_socket(world, product, "?cursor=0:0"))
    await asyncio.wait_for(following, 60)
    assert stream.ended["reason"] == "expired"
    assert values(stream.records) == [1]
    assert (await asyncio.wait_for(socketing, 60))[2] == "expired"
    await nothing_is_readable(world, product, 403)


@pytest.mark.parametrize("kind", ["stream", "socket"])
@pytest.mark.parametrize("how", REASONS)
async def test_a_reader_that_has_stopped_reading_is_cut_too(world, how, kind):
    """The sender hangs on backpressure. After the cut its connection is gone, and little of what was sent comes out."""
    point, product, grant = await world.shared()
    path = f"/products/{product}/{kind}"
    raw = await stalled_stream(world, path, upgrade=kind == "socket")
    await until(lambda: world.node.hub.subscriptions == 1)
    sent = 0
    delivered = -1
    while world.node.hub.delivered != delivered or sent < 3:  # until nothing more goes out
        delivered = world.node.hub.delivered
        sent += 1
        await world.send(point, range(sent * 5000, sent * 5000 + 5000), begin_s=1_700_000_000 + sent * 5000)
        await asyncio.sleep(0.05)
    assert delivered < sent * 5000
    await end_by(world, how, grant)
    await until(lambda: world.node.hub.subscriptions == 0)
    server = world.running._servers[0]
    await until(lambda: not [c for c in server.state.connections if is_at(c, raw.getsockname())])
    await world.send(point, [-1.0 + 1e9], begin_s=1_800_000_000 - 5e7)
    got = await asyncio.to_thread(read_rest, raw)
    assert b"1000000000.0" not in got and b"999999999.0" not in got
    assert len(got) <= 256 << 10
    await nothing_is_readable(world, product, 401 if how == "sign-out" else 403)


def is_at(connection, address):
    peer = connection.transport.get_extra_info("peername") if connection.transport else None
    return peer == address


async def test_the_node_that_stops_ends_its_streams_with_a_reason_and_a_cursor_that_goes_on(tmp_path):
    async with running(tmp_path / "data") as world:
        point, product, _ = await world.shared()
        await world.send(point, [1, 2])
        stream = Sse()
        following = asyncio.ensure_future(stream.follow(world.co, product, params={"cursor": "0:0"}))
        socketing = asyncio.ensure_future(follow_socket(world, product, "?cursor=0:0"))
        await until(lambda: stream.records and world.node.hub.delivered >= 4)
        await world.running.stop()
        await following
        assert stream.ended == {"reason": "node-stopping", "cursor": "0:1"}
        assert (await socketing)[2] == "node-stopping"
        world.running = _Stopped()


class _Stopped:
    async def stop(self):
        """It was stopped already."""


async def test_the_end_cursor_never_passes_what_was_not_sent(world):
    """A send that the cut abandons is not counted as sent: whoever goes on from the end's cursor gets it."""
    point, product, grant = await world.shared()
    raw = await stalled_stream(world, f"/products/{product}/stream")
    await until(lambda: world.node.hub.subscriptions == 1)
    for at in range(12):
        await world.send(point, range(at * 5000, at * 5000 + 5000), begin_s=1_700_000_000 + at * 5000)
    await asyncio.sleep(0.1)
    got = []

    async def read():
        got.append(await asyncio.to_thread(read_until_end, raw))

    reading = asyncio.ensure_future(read())
    world.node.gate.end_streams(grant, "node-stopping")
    await reading
    text = got[0].decode()
    cursor = json.loads(text.rpartition("data: ")[2].split("\n")[0])["cursor"]
    records = [r for line in text.split("\n") if line.startswith("data: [") for r in json.loads(line[6:])]
    rest, _ = await world.pull_all(product, cursor)
    assert values(records) + values(rest) == list(range(60_000))
