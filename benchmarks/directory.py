"""Thing Descriptions registered a second, each durable when it is answered: in the node's core, and over HTTP.

``uv run python benchmarks/directory.py [--short]``; the descriptions have four properties and an action, and share one
derived model, as those of one maker's devices do: title and base are each device's own. In the core 256 callers ask at
once; also with descriptions of which no two are alike, each looked at whole. Over HTTP one a request by 64 connections,
and 1,000 a request by two. The peers of the goal answer from memory.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rig import Rig, report

from gridspine.infra.log.port import Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.registry.sql import SqlRegistry, sqlite_url
from gridspine.infra.runtime.clock import SystemClock
from gridspine.things.directory import Directory
from gridspine.things.point import PointTable
from gridspine.things.registrar import Caller, Registrar
from gridspine.things.td.consume import Reachable

CALLERS, CONNECTIONS = 256, 64
SENDERS, AT_ONCE = 2, 1_000
UNITS = {"power": "kW", "voltage": "V", "temperature": "celsius", "share": "%"}


def description(number: int) -> dict[str, Any]:
    """Return a Thing Description of some 1,200 bytes."""
    base = f"http://192.0.2.{number % 250}/"
    properties = {
        name: {"type": "number", "unit": unit, "minimum": 0, "maximum": 9, "readOnly": True, "forms": [{"href": name}]}
        for name, unit in UNITS.items()
    }
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1"], "title": f"Heat pump {number}", "base": base,
        "securityDefinitions": {"none": {"scheme": "nosec"}}, "security": "none", "properties": properties,
        "actions": {"defrost": {"forms": [{"href": "defrost"}]}},
    }  # fmt: skip


def unlike(number: int) -> dict[str, Any]:
    """Return a Thing Description whose properties are like those of no other."""
    made = description(number)
    # Its points are those of the others all the same: an organisation may bring so many models, and no more.
    made["properties"]["power"] |= {"description": f"Power of {number}", "forms": [{"href": f"power/{number}"}]}
    return made


async def core(count: int, make: Callable[[int], dict[str, Any]] = description) -> tuple[float, float]:
    """Register ``count`` descriptions in this process; return how many a second, of wall and of processor time."""
    folder = Path(tempfile.mkdtemp(prefix="gridspine-bench-"))
    clock = SystemClock()
    log = SqliteEventLog(folder / "log", (Topic("points", control=True), Topic("events", control=True)))
    registry = SqlRegistry(sqlite_url(folder / "registry.db"), clock, log)
    directory = Directory(registry, PointTable(), clock)
    await directory.load(log)

    async def keep(thing: object) -> None:
        raise AssertionError(f"{thing} expires")

    registrar = Registrar(directory, registry, clock, Reachable(("wot_http",)), keep)
    caller, numbers = Caller("org", "bench", lambda: True), iter(range(count))
    await registrar.create(make(0), caller)

    async def ask() -> None:
        for number in numbers:
            await registrar.create(make(number), caller)

    began, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask() for _ in range(CALLERS)))
    rates = count / (time.perf_counter() - began), count / (time.process_time() - worked)
    registry.close()
    log.close()
    shutil.rmtree(folder)
    return rates


async def over_http(url: str, bearer: str, count: int) -> float:
    """Post ``count`` descriptions, one a request, by `CONNECTIONS` connections; return how many a second."""
    numbers = iter(range(count))
    heads = {"path": "/things", "media": "application/td+json", "bearer": bearer}
    bodies = (json.dumps(description(number)).encode() for number in numbers)
    began = time.perf_counter()
    await asyncio.gather(*(_post_all(url, heads, bodies, b" 201 ") for _ in range(CONNECTIONS)))
    return count / (time.perf_counter() - began)


async def in_batches(url: str, bearer: str, count: int) -> float:
    """Post ``count`` descriptions, `AT_ONCE` a request, by `SENDERS` connections; return how many a second."""
    heads = {"path": "/things/batch", "media": "application/x-ndjson", "bearer": bearer}
    lots = [range(at, min(count, at + AT_ONCE)) for at in range(0, count, AT_ONCE)]
    made = [b"\n".join(json.dumps(description(number)).encode() for number in lot) for lot in lots]
    bodies = iter(made)
    began = time.perf_counter()
    answers = await asyncio.gather(*(_post_all(url, heads, bodies, b" 200 ") for _ in range(SENDERS)))
    rate = count / (time.perf_counter() - began)
    registered = sum(json.loads(answer)["registered"] for some in answers for answer in some)
    if registered != count:
        raise RuntimeError(f"{registered} of {count} were registered")
    return rate


async def _post_all(url: str, heads: dict[str, str], bodies: Iterator[bytes], good: bytes) -> list[bytes]:
    """Post ``bodies`` by one connection, each when the one before is answered; return the answers."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port or 80)
    answers = []
    for body in bodies:
        head = (
            f"POST {heads['path']} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {heads['bearer']}\r\n"
            f"Content-Type: {heads['media']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if good not in answer.partition(b"\r\n")[0]:
            raise RuntimeError(answer.decode("latin-1"))
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        answers.append(await reader.readexactly(int(length.partition(b":")[2])))
    writer.close()
    await writer.wait_closed()
    return answers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    count = 3_000 if parser.parse_args().short else 20_000
    wall, worked = asyncio.run(core(count))
    words = f"{count:,} descriptions, {CALLERS} callers at once, validated, each durable when answered"
    report("Thing Descriptions registered", "≥ 3,000", round(wall), "TD/s", f"{words}; in the core")
    report("Thing Descriptions, by processor time", "", round(worked), "TD/s", "of one core, all threads")
    wall, worked = asyncio.run(core(count // 4, unlike))
    words = f"no two alike, each looked at whole; {worked:.0f} a second of processor time"
    report("Thing Descriptions of as many kinds", "", round(wall), "TD/s", words)
    with Rig() as rig:
        rig.start()
        bearer = rig.principal("registrar", ["operator"])
        for name, post, words in (
            ("Thing Descriptions over HTTP", over_http, f"one a request, {CONNECTIONS} connections"),
            ("Thing Descriptions over HTTP, in batches", in_batches, f"{AT_ONCE:,} a request, {SENDERS} connections"),
        ):
            before_s = rig.cpu_s()
            rate = asyncio.run(post(rig.url, bearer, count))
            busy = count / (rig.cpu_s() - before_s)
            goal = "≥ 3,000" if post is in_batches else ""
            report(name, goal, round(rate), "TD/s", f"{words}; {busy:.0f} a second of the node's processor time")


if __name__ == "__main__":
    main()
