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
from datetime import UTC, datetime, timedelta

import httpx
from rig import SETTINGS, Rig, report

from gridspine.apps.cli.connect import check

VTN = """[adapters]
allow = ["openadr3"]
[adapters.settings.openadr3]
plain_callbacks = true
allow = ["127.0.0.0/8"]
[adapters.settings.openadr3.http]
port = {port}
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
    took_ms, told_s, before_s = [], 0.0, rig.cpu_s()
    for number in range(events):
        began_s = time.perf_counter()
        check(await asyncio.to_thread(bl.post, "/events", json=event(program)))
        took_ms.append(1000 * (time.perf_counter() - began_s))
        while sink.taken < (number + 1) * subscriptions:
            await asyncio.sleep(0.002)
        told_s += time.perf_counter() - began_s
    cpu_us = 1e6 * (rig.cpu_s() - before_s) / (events * subscriptions)
    server.close()
    words = f"{subscriptions:,} subscriptions that match, {events} events of 24 intervals; worst {max(took_ms):.0f} ms"
    report("OpenADR 3, an event is published, median", "≤20", round(statistics.median(took_ms), 1), "ms", words)
    words = f"of {subscriptions:,} by one client, 8 at once; {cpu_us:.0f} µs of the node's processor time each"
    report("OpenADR 3, notifications", "", round(events * subscriptions / told_s), "posts/s", words)
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
        await polled(rig, base, port, 10 if short else 90, 50 if short else 100)
        await many(rig, base, port, 5, 200 if short else 10_000, 5.0 if short else 20.0)


if __name__ == "__main__":
    main()
