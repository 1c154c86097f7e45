"""Thing Descriptions registered a second, each durable when it is answered: in the node's core, and over HTTP.

``uv run python benchmarks/directory.py [--short]``; the descriptions have four properties and an action, and share one
derived model; 256 callers ask at once. The peers of the goal answer from memory.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
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


async def core(count: int) -> tuple[float, float]:
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
    await registrar.create(description(0), caller)

    async def ask() -> None:
        for number in numbers:
            await registrar.create(description(number), caller)

    began, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask() for _ in range(CALLERS)))
    rates = count / (time.perf_counter() - began), count / (time.process_time() - worked)
    registry.close()
    log.close()
    shutil.rmtree(folder)
    return rates


async def over_http(url: str, bearer: str, count: int) -> float:
    """Post ``count`` descriptions by `CONNECTIONS` connections; return how many a second."""
    place = urlsplit(url)
    numbers = iter(range(count))
    began = time.perf_counter()
    await asyncio.gather(
        *(_post_all(str(place.hostname), place.port or 80, bearer, numbers) for _ in range(CONNECTIONS))
    )
    return count / (time.perf_counter() - began)


async def _post_all(host: str, port: int, bearer: str, numbers: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for number in numbers:
        body = json.dumps(description(number)).encode()
        head = (
            f"POST /things HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {bearer}\r\n"
            f"Content-Type: application/td+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(answer.decode("latin-1"))
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
    writer.close()
    await writer.wait_closed()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    count = 3_000 if parser.parse_args().short else 20_000
    wall, worked = asyncio.run(core(count))
    words = f"{count:,} descriptions, {CALLERS} callers at once, validated, each durable when answered"
    report("Thing Descriptions registered", "≥ 3,000", round(wall), "TD/s", f"{words}; in the core")
    report("Thing Descriptions, by processor time", "", round(worked), "TD/s", "of one core, all threads")
    with Rig() as rig:
        rig.start()
        bearer = rig.principal("registrar", ["operator"])
        before_s = rig.cpu_s()
        rate = asyncio.run(over_http(rig.url, bearer, count))
        busy = count / (rig.cpu_s() - before_s)
        words = f"one a request, {CONNECTIONS} connections; {busy:.0f} a second of the node's processor time"
        report("Thing Descriptions over HTTP", "", round(rate), "TD/s", words)


if __name__ == "__main__":
    main()
