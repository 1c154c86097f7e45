"""How fast a revoked grant ends a running stream, under load, and whether anything comes after it.

``uv run python benchmarks/cut.py [--short]``

Each round: ask, approve, follow the stream, revoke. Measured from sending the revocation to the stream's last event
at the consumer, on one clock. Readings flow all the while.
"""

import argparse
import threading
import time

import httpx
import msgspec
import numpy as np
from rig import PURPOSE, READER, Rig, answer, child, report, seed
from shapes import SHAPES, names_of

from gridspine.apps.cli.connect import check
from gridspine.energy.models import load_models

SHAPE = SHAPES["large"]
THINGS = SHAPE.gateways * SHAPE.things
RATE = 100_000


class Follower(threading.Thread):
    """Follows a product by server-sent events until the stream ends."""

    def __init__(self, url: str, token: str, product: str) -> None:
        super().__init__(daemon=True)
        self._path = f"{url}/products/{product}/stream"
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.apache.arrow.stream"}
        self.flowing = threading.Event()
        self.ended_s = 0.0
        self.reason = ""
        self.start()

    def run(self) -> None:
        event = b""
        with httpx.stream("GET", self._path, headers=self._headers, timeout=30.0) as stream:
            buffer = b""
            for chunk in stream.iter_raw():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    if line.startswith(b"event: "):
                        event = line[7:]
                        assert not self.ended_s, "something came after the end"
                    elif line.startswith(b"data: ") and event == b"readings":
                        self.flowing.set()
                    elif line.startswith(b"data: ") and event == b"end":
                        self.ended_s = time.monotonic()
                        self.reason = msgspec.json.decode(line[6:])["reason"]


def one_round(rig: Rig, consumer: httpx.Client, token: str, product: str) -> tuple[float, float]:
    """Grant, follow, revoke; return the time to the stream's end and to the revocation's answer [ms]."""
    asked = {"product": product, "purpose": PURPOSE, "until": "2100-01-01T00:00:00Z"}
    grant = check(consumer.post("/grants", json=asked)).json()["id"]
    check(rig.operator.post(f"/grants/{grant}/approve", json={}))
    follower = Follower(rig.url, token, product)
    assert follower.flowing.wait(20), "no readings came"
    began = time.monotonic()
    check(rig.operator.post(f"/grants/{grant}/revoke", json={}))
    answered = time.monotonic()
    follower.join(20)
    assert follower.reason == "revoked", follower.reason
    return (follower.ended_s - began) * 1000.0, (answered - began) * 1000.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    rounds = 10 if parser.parse_args().short else 50
    with Rig() as rig:
        seed(rig.data, load_models()["meter"], THINGS)
        rig.start()
        producer, token = rig.principal("gateway", ["operator"]), rig.principal("subscriber", ["consumer"], READER)
        product = rig.publish(names_of(0, THINGS))
        address = rig.url.removeprefix("http://")
        consumer = httpx.Client(base_url=rig.url, headers={"Authorization": f"Bearer {token}"}, timeout=30.0)
        with consumer, child("load.py", address, "large", "600", "--rate", str(RATE), secret=producer) as load:
            answer(load)
            taken = np.array([one_round(rig, consumer, token, product) for _ in range(rounds)])
    p50, p99, most = np.percentile(taken[:, 0], 50), np.percentile(taken[:, 0], 99), taken[:, 0].max()
    words = f"{rounds} revocations, {RATE:,} readings/s flowing, server-sent events; longest {most:.0f} ms; the "
    words += f"revocation itself is answered in {np.percentile(taken[:, 1], 50):.0f} ms (p50)"
    report("revocation to the stream's end, p50", "≤ 1,000", round(p50, 1), "ms", words)
    report("revocation to the stream's end, p99", "≤ 1,000", round(p99, 1), "ms", words)


if __name__ == "__main__":
    main()
