"""Reads a second of a twin's points over HTTP: one point, and all points of a Thing.

``uv run python benchmarks/properties.py [--short]``
"""

import argparse
import asyncio
import time

import uvloop
from load import connect, request_head
from rig import Rig, report, seed, thing_id

from gridspine.energy.models import load_models

THINGS, CONNECTIONS = 200, 16


async def reads(address: str, token: str, path: str, seconds: float) -> int:
    """Read ``path`` of Thing after Thing over kept connections; return how many answers came."""
    until = time.monotonic() + seconds

    async def one(start: int) -> int:
        http, count = await connect(address), 0
        while time.monotonic() < until:
            thing = thing_id((start + count) % THINGS)
            status, _ = await http.send(request_head("GET", f"/things/{thing}{path}", address, token))
            assert status == 200, status
            count += 1
        return count

    return sum(await asyncio.gather(*(one(n * 7) for n in range(CONNECTIONS))))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--profile", default="", help="write a sampled profile of the node to this file")
    options = parser.parse_args()
    seconds = 3.0 if options.short else 10.0
    with Rig(profile=options.profile) as rig:
        seed(rig.data, load_models()["meter"], THINGS)
        rig.start()
        token = rig.principal("reader", ["operator"])
        address = rig.url.removeprefix("http://")
        words = f"{CONNECTIONS} kept connections, {THINGS} Things, policy decisions remembered for 5 s"
        for name, path in (("one point", "/properties/voltage"), ("all five points of a Thing", "/properties")):
            count = uvloop.run(reads(address, token, path, seconds))
            report(f"reads of {name}", "", round(count / seconds), "requests/s", words)


if __name__ == "__main__":
    main()
