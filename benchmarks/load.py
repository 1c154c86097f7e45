"""The load generator, a process of its own: ``python load.py HOST:PORT SHAPE SECONDS [--rate READINGS/S]``.

It posts over one kept connection a gateway, the next body when the last is answered (with ``--rate`` not earlier than
due), by a bare HTTP/1.1 client, so that the machine is the node's. Says what became of the readings as JSON.
"""

import argparse
import asyncio
import json
import os
import time
from collections import Counter

import msgspec
import numpy as np
import uvloop
from shapes import SHAPES, Gateway, Shape


class Http(asyncio.Protocol):
    """A kept HTTP/1.1 connection that sends one request at a time and reads answers with a Content-Length."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the node closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, _ = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        low = bytes(head).lower()
        at = low.index(b"content-length:") + 15
        size = int(low[at:].split(b"\r\n", 1)[0])
        start = len(head) + 4
        if len(self._buffer) >= start + size and self._answer is not None:
            body = bytes(self._buffer[start : start + size])
            del self._buffer[: start + size]
            self._answer.set_result((int(low[9:12]), body))

    async def send(self, head: bytes, body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return status and body of its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines([head, body])
        return await self._answer


async def connect(address: str) -> Http:
    """Return a connection to ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    _, http = await asyncio.get_running_loop().create_connection(Http, host, int(port))
    return http


def request_head(method: str, path: str, address: str, token: str, size: int = 0, media: str = "") -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", f"Authorization: Bearer {token}"]
    lines += [f"Content-Type: {media}", f"Content-Length: {size}"] if media else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Sum:
    """What became of everything sent."""

    def __init__(self) -> None:
        self.outcome: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.post_ms: list[float] = []


async def gateway(address: str, shape: Shape, number: int, until: float, rate: float, total: Sum) -> None:
    """Post as one gateway until ``until`` [monotonic s]."""
    http = await connect(address)
    token = os.environ["BENCH_TOKEN"]
    own = Gateway(shape, number, time.time_ns() // 1000 - 60_000_000)
    every_s = shape.readings * shape.gateways / rate if rate else 0.0
    due = time.monotonic() + every_s * number / shape.gateways
    for body in own.bodies():
        if rate:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += every_s
        began = time.monotonic()
        if began >= until:
            return
        head = request_head("POST", "/readings", address, token, len(body), shape.media)
        status, said = await http.send(head, body)
        total.statuses[status] += 1
        if status == 200:
            outcome = msgspec.json.decode(said)
            outcome.pop("problems", None)
            total.outcome.update(outcome)
            total.post_ms.append((time.monotonic() - began) * 1000.0)
        else:
            await asyncio.sleep(0.05)
        if rate:
            own.spend_until(time.time_ns() // 1000 - 1_000_000)


async def main(address: str, shape: Shape, seconds: float, rate: float) -> None:
    """Send for ``seconds`` [s] and say what became of it."""
    total = Sum()
    print(json.dumps({"sending": True}), flush=True)
    began, cpu_s = time.monotonic(), time.process_time()
    until = began + seconds
    await asyncio.gather(*(gateway(address, shape, n, until, rate, total) for n in range(shape.gateways)))
    took_s = time.monotonic() - began
    p50, p99 = (np.percentile(total.post_ms, p) for p in (50, 99)) if total.post_ms else (0.0, 0.0)
    said = {"seconds": took_s, **total.outcome, "statuses": total.statuses, "posts": len(total.post_ms)}
    said |= {"post_p50_ms": round(p50, 1), "post_p99_ms": round(p99, 1), "cpu_s": time.process_time() - cpu_s}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--rate", type=float, default=0.0)
    given = parser.parse_args()
    uvloop.run(main(given.address, SHAPES[given.shape], given.seconds, given.rate))
