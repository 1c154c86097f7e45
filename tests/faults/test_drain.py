"""SIGTERM under load: posts are answered or refused cleanly, streams told why, and a start has little to do."""

import asyncio
import itertools
import signal

import httpx
import msgspec
from killing import Forked, Moments, left_over, read_said
from running_node import BEGIN_S, SENML, Sse, running, settings_for

from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.kernel.codecs.batch import decode_batch
from gridspine.things.twin import TwinState

STOPS = 6


class Drained:
    """A node process with a subscriber and posters; what was acknowledged."""

    def __init__(self, nursery, data, principals):
        self.nursery, self.data, self.principals = nursery, data, principals
        self.acknowledged: set[float] = set()
        self.refused = 0
        self.numbers = itertools.count()

    async def up(self):
        ready = self.data.parent / "ready"
        settings = msgspec.to_builtins(settings_for())
        self.process: Forked = self.nursery.fork(
            "node", data=str(self.data), ready=str(ready), principals=self.principals, settings=settings
        )
        said = await asyncio.to_thread(read_said, ready, self.process)
        assert said is not None, self.nursery.said("node")
        url = f"http://127.0.0.1:{said['port']}"
        return [
            httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, verify=False, timeout=30)
            for token in said["tokens"]
        ]

    async def post(self, http, point):
        """Post until the node takes no more; every answer is 200 or says that it stops."""
        while True:
            values = [float(next(self.numbers)) for _ in range(20)]
            body = msgspec.json.encode([{"n": point, "v": value, "t": BEGIN_S + value} for value in values])
            try:
                answer = await http.post("/readings", content=body, headers=SENML)
            except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                return
            if answer.status_code != 200:
                assert answer.status_code == 503, answer.text
                self.refused += 1
                return
            assert answer.json()["accepted"] == 20
            self.acknowledged.update(values)

    def stored(self):
        log = SqliteEventLog(self.data / "log", [Topic("readings")], read_only=True)
        try:
            records = log.read("readings", 0, 0, max_records=1 << 30, max_bytes=1 << 30)
            return [value for r in records for value in decode_batch(r.body).value.tolist()], len(records)
        finally:
            log.close()


async def test_a_stop_under_load_answers_or_refuses_and_loses_nothing(nursery, tmp_path, tally):
    data, moments = tmp_path / "data", Moments()
    async with running(data, settings_for()) as world:
        point, product, _ = await world.shared()
        drained = Drained(nursery, data, [world.op_id, world.co_id])
    for _ in range(STOPS):
        op, co = await drained.up()
        stream = Sse()
        following = asyncio.ensure_future(stream.follow(co, product))
        posting = [asyncio.ensure_future(drained.post(op, point)) for _ in range(4)]
        await stream.opened.wait()
        await asyncio.sleep(moments.within(0.3))
        drained.process.send(signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(*posting, following), 60)
        await asyncio.to_thread(drained.process.wait)
        assert stream.ended["reason"] == "node-stopping"
        await op.aclose()
        await co.aclose()
        values, batches = drained.stored()
        assert len(values) == len(set(values))
        assert drained.acknowledged <= set(values)
        twins = TwinState()
        assert twins.load(data / "twins.npz") == {0: batches}  # nothing is left to replay
        assert left_over(data) == []
        assert not (data / "address").exists()
    assert "Traceback" not in nursery.said("node")
    tally("SIGTERM under load", "node", STOPS)


async def test_a_second_signal_cuts_who_keeps_the_node_waiting(nursery, tmp_path):
    """A client that sends half a request and then nothing: it gets no answer, and costs nobody else theirs."""
    data = tmp_path / "data"
    async with running(data, settings_for()) as world:
        point, _, _ = await world.shared()
        drained = Drained(nursery, data, [world.op_id, world.co_id])
    op, co = await drained.up()
    answer = await op.post("/readings", json=[{"n": point, "v": 1, "t": BEGIN_S}], headers=SENML)
    assert answer.json()["accepted"] == 1
    reader, writer = await asyncio.open_connection("127.0.0.1", op.base_url.port)
    writer.write(
        f"POST /readings HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {op.headers['authorization']}\r\n"
        "Content-Type: application/senml+json\r\nContent-Length: 1000\r\n\r\n[".encode()
    )
    await writer.drain()
    await asyncio.sleep(0.2)
    drained.process.send(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert drained.process.alive
    drained.process.send(signal.SIGTERM)
    await asyncio.to_thread(drained.process.wait)
    assert "asked for again" in nursery.said("node")
    with_nothing = await asyncio.wait_for(_rest(reader), 60)
    assert b"200 OK" not in with_nothing
    writer.close()
    await op.aclose()
    await co.aclose()
    assert drained.stored()[0] == [1.0]


async def _rest(reader):
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
