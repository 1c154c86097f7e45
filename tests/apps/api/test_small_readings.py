"""Small posts of readings are taken by the connection itself: when their body is whole, in order, within the bounds."""

import asyncio
import json
import re

import numpy as np
import pytest
import pytest_asyncio
from both_ways import both_ways, noted, token, whole
from running_node import until

from gridspine.apps.api import connection
from gridspine.apps.api.connection import Connection
from gridspine.apps.api.lane import SmallReadings
from gridspine.apps.api.readings import ARROW, AT_ONCE_BYTES
from gridspine.kernel.codecs.arrow import encode_arrow
from gridspine.kernel.errors import DiskFull

pytestmark = pytest.mark.asyncio(loop_scope="module")
LINE, KIND = "POST /readings HTTP/1.1", "Content-Type: application/senml+json"
POINT = "urn:example:m1/voltage"
_time = iter(range(1_700_000_000, 1_800_000_000))


def reading():
    return json.dumps([{"n": POINT, "v": 230 + next(_time) % 7 * 5, "t": next(_time)}]).encode()


def head(both, *lines, size):
    lines = (LINE, "Host: 127.0.0.1", token(both.world.op), KIND, f"Content-Length: {size}", *lines)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory):
    async with both_ways(tmp_path_factory.mktemp("lane") / "data") as made:
        await made.world.thing()
        yield made


@pytest.fixture
def let_in(monkeypatch):
    """Tell of each POST whether the connection itself took it."""
    return noted(monkeypatch, SmallReadings)


def at_work(both):
    return both.world.running._servers[0].state.tasks


async def opened(both):
    return await asyncio.open_connection("127.0.0.1", both.ports[0])


USUAL = {
    "small": ([], reading(), 200, True),
    "of-no-bytes": ([], b"", 400, True),
    "other-type": (["Content-Type: text/html"], reading(), 415, True),
    "other-channel": (["Channel: none"], reading(), 400, True),
    "of-nobody": (["Authorization: Bearer demo.x"], reading(), 401, True),
    "not-json": ([], b"[", 400, True),
    "half-a-letter": ([], rb'[{"n":"\ud800","v":1,"t":1700000000}]', 400, True),
    "too-deep": ([], b"[" * 50_000, 400, True),
    "by-cookie": (["Cookie: gridspine=x"], reading(), 401, False),
    "large": ([], b" " * AT_ONCE_BYTES + b"[]", 200, False),
    "encoded": (["Content-Encoding: gzip"], b"abc", 400, False),
    "traced": (["Traceparent: 00-" + "1" * 32 + "-" + "2" * 16 + "-01"], reading(), 200, False),
    "waiting": (["Expect: 100-continue"], b"", 100, False),
}


@pytest.mark.parametrize("case", USUAL)
async def test_small_posts_are_answered_as_by_the_framework(both, let_in, case):
    more, body, status, own = USUAL[case]
    lines = [] if {"Authorization", "Cookie"} & {more[0].partition(":")[0] if more else ""} else [token(both.world.op)]
    lines += [] if more and more[0].startswith("Content-Type") else [KIND]
    answers = [await both.ask(LINE, *lines, *more, f"Content-Length: {len(body)}", body=body) for _ in range(2)]
    ours, theirs = (re.sub(rb"traceparent: [^\r]*\r\n", b"", one) for one in answers[1])  # both knew what was new
    assert ours == theirs
    assert ours.startswith(f"HTTP/1.1 {status} ".encode()), ours
    assert let_in[-1:] == [own]


async def test_streams_like_one_before_bring_their_own_numbers(both, let_in):
    stamps = [next(_time) * 1_000_000 for _ in range(3)]
    for number, stamp in enumerate(stamps):
        body = encode_arrow([POINT], np.zeros(1, np.int32), [stamp], [100.0 + 50 * number], np.zeros(1, np.uint16))
        answer = await both.world.op.post("/readings", content=body, headers={"Content-Type": ARROW})
        assert answer.json()["accepted"] == 1
        answer = await both.world.op.get("/things/urn:example:m1/properties/voltage/value")
        assert answer.json() == 100.0 + 50 * number
    assert let_in == [True] * 3


async def test_a_body_in_pieces_is_taken_when_it_is_whole(both, let_in):
    reader, writer = await opened(both)
    for _ in range(2):
        body = reading()
        writer.write(head(both, size=len(body)))
        for at in range(len(body)):
            writer.write(body[at : at + 1])
            await writer.drain()
        answer = await whole(reader)
        assert b'"accepted":1' in answer, answer
    writer.close()
    assert let_in == [True, True]


async def test_posts_and_reads_behind_each_other_are_answered_in_order(both):
    reader, writer = await opened(both)
    bodies = [reading() for _ in range(5)]
    read = f"GET /things/{POINT.replace('/', '/properties/')}/value HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    read += token(both.world.op).encode() + b"\r\n\r\n"
    writer.write(b"".join(head(both, size=len(body)) + body + read for body in bodies))
    for body in bodies:
        assert b'"accepted":1' in await whole(reader)
        assert (await whole(reader)).endswith(str(json.loads(body)[0]["v"]).encode() + b".0")
    writer.close()
    await until(lambda: not at_work(both))


async def test_a_refusal_comes_before_the_body(both, let_in):
    """Who asks, and whether it may, is found out by the head; the connection serves the next request all the same."""
    reader, writer = await opened(both)
    body = reading()
    refused = head(both, size=len(body)).replace(token(both.world.op).encode(), b"Authorization: Bearer demo.x")
    writer.write(refused)
    assert (await whole(reader)).startswith(b"HTTP/1.1 401")
    assert not at_work(both)
    writer.write(body + head(both, size=len(body)) + body)
    assert b'"accepted":1' in await whole(reader)
    writer.close()
    assert let_in == [True, True]


async def test_who_leaves_within_a_body_is_not_at_work_any_more(both):
    before = both.world.node.intake.books.totals.received
    _, writer = await opened(both)
    writer.write(head(both, size=100) + b"[")
    await until(lambda: len(at_work(both)) == 1)
    writer.transport.abort()
    await until(lambda: not at_work(both))
    assert both.world.node.intake.books.totals.received == before


@pytest.mark.parametrize(
    ("error", "status"), [(DiskFull("full"), 507), (asyncio.CancelledError(), 503), (OSError(), 500)]
)
async def test_what_goes_wrong_on_the_way_to_the_log_is_answered(both, monkeypatch, error, status):
    def broken(*_, **__):
        done = asyncio.get_running_loop().create_future()
        done.cancel() if isinstance(error, asyncio.CancelledError) else done.set_exception(error)
        return done

    monkeypatch.setattr(both.world.node.intake, "hand_in", broken)
    reader, writer = await opened(both)
    body = reading()
    writer.write(head(both, size=len(body)) + body)
    assert (await whole(reader)).startswith(f"HTTP/1.1 {status} ".encode())
    writer.close()
    await until(lambda: not at_work(both))


async def test_a_slow_body_is_ended_with_a_word(both, monkeypatch):
    monkeypatch.setattr(connection, "BODY_S", 0.2)
    reader, writer = await opened(both)
    writer.write(head(both, size=100) + b"[")
    assert (await whole(reader)).startswith(b"HTTP/1.1 408")
    assert await asyncio.wait_for(reader.read(), 40) == b""
    writer.close()
    await until(lambda: not at_work(both))


async def test_posts_that_wait_for_their_bodies_count_as_at_work(both, let_in, monkeypatch):
    original = Connection.__init__

    def few(self, *given, **named):
        original(self, *given, **named)
        self._max_tasks = 2

    monkeypatch.setattr(Connection, "__init__", few)
    body = reading()
    waiting = [await opened(both) for _ in range(2)]
    for _, writer in waiting:
        writer.write(head(both, size=len(body)))
    await until(lambda: len(at_work(both)) == 2)
    reader, writer = await opened(both)
    writer.write(head(both, size=len(body)) + body)
    assert (await whole(reader)).startswith(b"HTTP/1.1 503")
    for waited, its in waiting:
        its.write(body)
        assert (await whole(waited)).startswith(b"HTTP/1.1 200")
        its.close()
    await until(lambda: not at_work(both))
    writer.close()
    assert let_in == [True, True]


async def test_the_last_post_of_a_connection_ends_it(both, let_in):
    """`Connection: close` is the framework's; a server that stops ends a connection with its answer."""
    reader, writer = await opened(both)
    body = reading()
    writer.write(head(both, size=len(body)) + body[:5])
    await until(lambda: let_in == [True] and len(at_work(both)) == 1)
    for one in both.world.running._servers[0].state.connections:
        if getattr(one, "cycle", None) is not None and one.cycle.more_body:
            one.shutdown()
    writer.write(body[5:])
    answer = await whole(reader)
    assert b'"accepted":1' in answer and b"connection: close" in answer
    assert await asyncio.wait_for(reader.read(), 40) == b""
    writer.close()


async def test_a_request_behind_a_post_that_is_answered_at_once_is_not_cut_off_as_idle(both):
    """The clock of an idle connection stands still while something is at work on it."""
    reader, writer = await opened(both)
    stream = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n{token(both.world.op)}\r\n\r\n".encode()
    writer.write(head(both, size=2) + b"{]" + stream)
    assert (await whole(reader)).startswith(b"HTTP/1.1 400")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    connections = both.world.running._servers[0].state.connections
    (served,) = [one for one in connections if one.cycle is not None and not one.cycle.response_complete]
    assert served.timeout_keep_alive_task is None
    writer.close()
    await until(lambda: not at_work(both))
