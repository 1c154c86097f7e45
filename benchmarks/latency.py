"""How old a reading is when a granted subscriber elsewhere has it: idle, and at half of the load the node can take.

``uv run python benchmarks/latency.py [--short]``

From the device's time stamp (made just before its post) to the subscriber's hands, decoded; device, node and
subscriber are processes of their own on one clock. The subscriber follows every point, not the probe's only.
"""

import argparse
import asyncio
import json
import threading
import time
from typing import Any

from load import connect, request_head
from rig import Rig, answer, child, report, seed, thing_id
from shapes import SENML, SHAPES, names_of

from gridspine.energy.models import load_models

SHAPE = SHAPES["large"]
THINGS = SHAPE.gateways * SHAPE.things
PROBE = thing_id(THINGS)
EVERY_S = 0.05


class Probe:
    """A device that sends one reading every `EVERY_S` until it is stopped."""

    def __init__(self, address: str, token: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send(address, token)))
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for the last answer."""
        self._stop.set()
        self._thread.join()

    async def _send(self, address: str, token: str) -> None:
        http = await connect(address)
        number = 0
        while not self._stop.is_set():
            number += 1
            reading = {"n": f"{PROBE}/activePower", "t": time.time_ns() // 1000 / 1e6, "v": 1000.0 + 50 * (number % 2)}
            body = json.dumps([reading]).encode()
            status, said = await http.send(request_head("POST", "/readings", address, token, len(body), SENML), body)
            assert status == 200 and json.loads(said)["accepted"] == 1, said
            await asyncio.sleep(EVERY_S)


def sent(address: str, token: str, seconds: float, rate: float = 0.0) -> dict[str, Any]:
    """Load the node; return what became of it."""
    with child("load.py", address, "large", str(seconds), "--rate", str(rate), secret=token) as load:
        answer(load)
        return answer(load)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    seconds = 4.0 if parser.parse_args().short else 15.0
    with Rig() as rig:
        seed(rig.data, load_models()["meter"], THINGS + 1)
        rig.start()
        token = rig.principal("gateway", ["operator"])
        product, consumer = rig.share(names_of(0, THINGS + 1))
        address = rig.url.removeprefix("http://")
        with child("listen.py", f"ws://{address}", product, "--probe", PROBE, secret=consumer) as listener:
            answer(listener)
            probe = Probe(address, token)
            try:
                time.sleep(1.0)
                answer(listener, ask=True)
                time.sleep(seconds)
                _report("idle", answer(listener, ask=True), "nothing else to do")
                full = sent(address, token, 3.0)
                rate = full["accepted"] / full["seconds"] / 2
                time.sleep(2.0)
                answer(listener, ask=True)
                half = sent(address, token, seconds, rate)
                got = answer(listener, ask=True)
                words = f"{half['accepted'] / half['seconds']:,.0f} readings/s in posts of 10,000, half of a full run"
                _report("half load", got, words)
            finally:
                probe.stop()


def _report(when: str, got: dict[str, Any], words: str) -> None:
    said = f"{got['probes']} readings, one every {EVERY_S * 1000:.0f} ms and its answer; {words}"
    report(f"device to subscriber, {when}, p50", "", got["p50_ms"], "ms", said)
    report(f"device to subscriber, {when}, p99", "", got["p99_ms"], "ms", said)


if __name__ == "__main__":
    main()
