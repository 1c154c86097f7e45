"""OpenADR 3: how long an event takes to be published while many are subscribed, and what VENs that poll cost.

``uv run python benchmarks/openadr3.py [--short]``. The node is started as anybody starts it; clients, and where the
notifications go, share its machine. An event counts when it is answered: it is durable then; the next one is published
when all have been told of the last.
"""

import argparse
import asyncio
import contextlib
import socket
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import httpx
from rig import SETTINGS, Rig, report

from gridspine.apps.cli.connect import check

VTN = """[adapters]
allow = ["openadr3", "mqtt"]
[adapters.settings.openadr3]
plain_callbacks = true
allow = ["127.0.0.0/8"]
[adapters.settings.openadr3.http]
port = {port}
[adapters.settings.mqtt]
max_connections_per_principal = 1000
"""
POLLED_EVERY_S = 10.0
PRICE = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "PRICE", "units": "KWH", "currency": "EUR"}


def client(rig: Rig, base: str, *roles: str) -> httpx.Client:
    """Return a client of the VTN with a token."""
    asked = {"kind": "application", "name": "client", "roles": list(roles)}
    id_ = check(rig.operator.post("/principals", json=asked)).json()["id"]
    secret = check(rig.operator.post(f"/principals/{id_}/device-password")).json()["password"]
    http = httpx.Client(base_url=base, timeout=60)
    form = {"grant_type": "client_credentials", "client_id": id_, "client_secret": secret}
    http.headers["authorization"] = f"Bearer {check(http.post('/auth/token', data=form)).json()['access_token']}"
    return http


class Sink:
    """Where notifications go: counts them."""

    def __init__(self) -> None:
        self.taken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take posts of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                self.taken += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()


def event(program: str) -> dict[str, object]:
    """Return an event of 24 hours to come."""
    start = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    intervals = [{"id": at, "payloads": [{"type": "PRICE", "values": [0.1 + at / 100]}]} for at in range(24)]
    return {"programID": program, "intervalPeriod": {"start": start, "duration": "PT1H"}, "intervals": intervals}


class Timed(NamedTuple):
    """How long publishing took, how many were told a second, and the node's processor time for each."""

    median_ms: float
    worst_ms: float
    told_s: float
    cpu_us: float


async def timed(rig: Rig, bl: httpx.Client, program: str, events: int, each: int, taken: Callable[[], int]) -> Timed:
    """Publish events, one when all of the last was ``taken`` by ``each``."""
    took_ms, told_s, before_s = [], 0.0, rig.cpu_s()
    for number in range(events):
        began_s = time.perf_counter()
        check(await asyncio.to_thread(bl.post, "/events", json=event(program)))
        took_ms.append(1000 * (time.perf_counter() - began_s))
        while taken() < (number + 1) * each:
            await asyncio.sleep(0.002)
        told_s += time.perf_counter() - began_s
    cpu_us = 1e6 * (rig.cpu_s() - before_s) / (events * each)
    return Timed(statistics.median(took_ms), max(took_ms), events * each / told_s, cpu_us)


async def published(rig: Rig, base: str, subscriptions: int, events: int) -> None:
    """Measure how long an event takes to be published."""
    sink = Sink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    callback = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    bl, ven = client(rig, base, "operator"), client(rig, base, "owner")
    made = {"programName": "benchmark", "payloadDescriptors": [PRICE]}
    program = check(await asyncio.to_thread(bl.post, "/programs", json=made)).json()["id"]
    operations = [{"objects": ["EVENT"], "operations": ["CREATE"], "callbackUrl": callback, "bearerToken": "t"}]
    wanted = {"clientName": "c", "programID": program, "objectOperations": operations}
    for _ in range(subscriptions):
        check(await asyncio.to_thread(ven.post, "/subscriptions", json=wanted))
    found = await timed(rig, bl, program, events, subscriptions, lambda: sink.taken)
    server.close()
    words = (
        f"{subscriptions:,} subscriptions that match, {events} events of 24 intervals; worst {found.worst_ms:.0f} ms"
    )
    report("OpenADR 3, an event is published, median", "≤20", round(found.median_ms, 1), "ms", words)
    words = f"of {subscriptions:,} by one client, 8 at once; {found.cpu_us:.0f} µs of the node's processor time each"
    report("OpenADR 3, notifications", "", round(found.told_s), "posts/s", words)
    bl.close()
    ven.close()


class Readers:
    """Clients of the node's broker, written down byte by byte: they count what they are told."""

    def __init__(self) -> None:
        self.taken = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def add(self, place: tuple[str, int], number: int, http: httpx.Client, topic: str) -> None:
        """Connect and subscribe at QoS 0 (MQTT 3.1.1 §3.1, §3.8)."""
        user, token = topic.split("/")[1], http.headers["authorization"].removeprefix("Bearer ")
        reader, writer = await asyncio.open_connection(*place)
        said = _text("MQTT") + bytes((4, 0xC2, 0, 0)) + b"".join(map(_text, (f"reader-{number}", user, token)))
        writer.write(_packet(0x10, said))
        assert (await reader.readexactly(4))[3] == 0, "the broker lets nobody in"
        writer.write(_packet(0x82, b"\0\1" + _text(topic) + b"\0"))
        assert (await reader.readexactly(5))[4] == 0, "the subscription is refused"
        self._tasks.append(asyncio.create_task(self._read(reader, writer)))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readexactly(1):
                length, shift, byte = 0, 0, 128
                while byte > 127:
                    byte = (await reader.readexactly(1))[0]
                    length, shift = length | (byte & 127) << shift, shift + 7
                await reader.readexactly(length)
                self.taken += 1
        finally:
            writer.close()

    async def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def _packet(first: int, body: bytes) -> bytes:
    length, size = len(body), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes((first, *size, length)) + body


async def read(rig: Rig, base: str, subscriptions: int, events: int) -> None:
    """Measure how long an event takes to be published while many read of it by MQTT, each on a topic of its own."""
    bl, ven = client(rig, base, "operator"), client(rig, base, "owner")
    made = {"programName": "read", "payloadDescriptors": [PRICE]}
    program = check(await asyncio.to_thread(bl.post, "/programs", json=made)).json()["id"]
    where = check(bl.get("/notifiers")).json()["MQTT"]["URIS"][0].removeprefix("mqtt://").rpartition(":")
    topic = check(ven.get(f"/notifiers/mqtt/topics/programs/{program}/events")).json()["topics"]["CREATE"]
    readers = Readers()
    for number in range(subscriptions):
        await readers.add((where[0], int(where[2])), number, ven, topic)
    found = await timed(rig, bl, program, events, subscriptions, lambda: readers.taken)
    await readers.close()
    words = f"{subscriptions:,} MQTT clients read of it, {events} events of 24 intervals; worst {found.worst_ms:.0f} ms"
    report("OpenADR 3, an event is published, read by MQTT", "≤20", round(found.median_ms, 1), "ms", words)
    words = f"to {subscriptions:,} connections of one client; {found.cpu_us:.0f} µs of the node's processor time each"
    report("OpenADR 3, notifications by MQTT", "", round(found.told_s), "messages/s", words)
    bl.close()
    ven.close()


async def polled(rig: Rig, base: str, port: int, vens: int, polls: int) -> None:
    """Measure what a poll costs that finds nothing new."""
    clients = [client(rig, base, "owner") for _ in range(vens)]
    first = check(clients[0].get("/events"))
    tag, host = first.headers["etag"], f"127.0.0.1:{port}"

    async def one(http: httpx.Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        token = http.headers["authorization"]
        head = f"GET /openadr3/3.1.0/events HTTP/1.1\r\nhost: {host}\r\n"
        lines = f"{head}authorization: {token}\r\nif-none-match: {tag}\r\n\r\n"
        for _ in range(polls):
            writer.write(lines.encode())
            said = await reader.readuntil(b"\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 304"), said
        writer.close()

    await asyncio.gather(*(one(http) for http in clients))  # tokens are known then
    before_s, began_s = rig.cpu_s(), time.perf_counter()
    await asyncio.gather(*(one(http) for http in clients))
    cpu_s, took_s = rig.cpu_s() - before_s, time.perf_counter() - began_s
    words = (
        f"GET /events with If-None-Match, 304; {vens} VENs, {polls} polls each; {len(first.content):,} bytes when "
        f"something is new; {vens * polls / took_s:.0f} a second beside their clients"
    )
    report("OpenADR 3, polls by one core", "≥1,000", round(vens * polls / cpu_s), "polls/s", words)
    for http in clients:
        http.close()


async def many(rig: Rig, base: str, port: int, clients: int, vens: int, seconds: float) -> None:
    """Measure what VENs cost that poll every 10 s, each by a new connection; they share few tokens."""
    https = [await asyncio.to_thread(client, rig, base, "owner") for _ in range(clients)]
    tag = check(https[0].get("/events")).headers["etag"]
    heads = [
        f"GET /openadr3/3.1.0/events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: "
        f"{http.headers['authorization']}\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n".encode()
        for http in https
    ]
    polls, refused, late_s = 0, 0, []

    async def poll(number: int, begin_s: float, end_s: float) -> None:
        nonlocal polls, refused
        due_s = begin_s + POLLED_EVERY_S * number / vens
        while due_s < end_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            source = (f"127.0.{number % 20}.{2 + number % 100}", 0)  # one address has too few ports for all of them
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
            writer.write(heads[number % clients])
            said = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            assert said.startswith((b"HTTP/1.1 304", b"HTTP/1.1 503")), said
            refused += said.startswith(b"HTTP/1.1 503")  # told to come again: too many at once, as on a busy machine
            late_s.append(time.perf_counter() - due_s)
            polls += 1
            due_s += POLLED_EVERY_S

    before_s, begin_s = rig.cpu_s(), time.perf_counter()
    await asyncio.gather(*(poll(number, begin_s, begin_s + seconds) for number in range(vens)))
    took_s = time.perf_counter() - begin_s
    cores = (rig.cpu_s() - before_s) / took_s
    words = (
        f"{vens:,} VENs of {clients:,} clients: {polls / took_s:.0f} polls/s, each by a new connection, 304 "
        f"({refused:,} of {polls:,} were 503); answered {1000 * statistics.median(late_s):.0f} ms after they were due, "
        "median, beside their clients"
    )
    report(f"OpenADR 3, {vens:,} VENs that poll every 10 s", "≤1", round(cores, 2), "cores", words)
    for http in https:
        http.close()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    asyncio.run(_run(short))


async def _run(short: bool) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    with Rig(SETTINGS + VTN.format(port=port)) as rig:
        rig.start()
        base = f"http://127.0.0.1:{port}/openadr3/3.1.0"
        for _ in range(100):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{base}/auth/server")
                break
            await asyncio.sleep(0.1)
        await published(rig, base, 100 if short else 1_000, 5 if short else 20)
        await read(rig, base, 100 if short else 1_000, 5 if short else 20)
        await polled(rig, base, port, 10 if short else 90, 50 if short else 100)
        await many(rig, base, port, 5, 200 if short else 10_000, 5.0 if short else 20.0)


if __name__ == "__main__":
    main()
