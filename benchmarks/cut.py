"""How fast a revoked grant ends a running stream under full intake, and how much can still be read after it.

``uv run python benchmarks/cut.py [--short]``

200 followers in a process of their own, each under a grant of its own. Each round revokes one of them at random, then
grants and follows anew, so that there are always as many. Measured from sending the revocation to the stream's end at
the consumer, and the bytes that it read after the revocation was answered; all processes share one clock.
"""

import argparse
import json
import random
import subprocess
import time
from typing import Any

import httpx
import numpy as np
from rig import READER, Rig, answer, child, report, seed
from shapes import SHAPES, names_of

from gridspine.apps.cli.connect import check
from gridspine.energy.models import load_models

SHAPE = SHAPES["large"]
THINGS = SHAPE.gateways * SHAPE.things
PURPOSES = 50
FOLLOWED = 1
"""Things whose points the followed product has: each of the followers gets all of them."""


class Followers:
    """The followers' process, and the grants they follow under."""

    def __init__(
        self, rig: Rig, consumer: httpx.Client, products: dict[str, str], process: "subprocess.Popen[str]"
    ) -> None:
        self._rig, self._consumer, self._products, self._process = rig, consumer, products, process
        self.grants: dict[str, str] = {}

    def open(self, purpose: str) -> None:
        """Grant ``purpose`` and follow."""
        product = self._products[purpose]
        asked = {"product": product, "purpose": purpose, "until": "2100-01-01T00:00:00Z"}
        self.grants[purpose] = check(self._consumer.post("/grants", json=asked)).json()["id"]
        check(self._rig.operator.post(f"/grants/{self.grants[purpose]}/approve", json={}))
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"product": product, "purpose": purpose}) + "\n")
        self._process.stdin.flush()

    def flowing(self, count: int) -> None:
        """Wait until ``count`` streams opened since have got readings."""
        for _ in range(count):
            assert "flowing" in answer(self._process)

    def revoke(self, purpose: str) -> tuple[float, float, int, str]:
        """Revoke; return the time to the stream's end and to the answer [ms], bytes read after it, and the reason."""
        began_s = time.monotonic()
        check(self._rig.operator.post(f"/grants/{self.grants.pop(purpose)}/revoke", json={}))
        answered_s = time.monotonic()
        said: dict[str, Any] = answer(self._process)
        assert said["purpose"] == purpose, said
        after = sum(size for at_s, size in said["reads"] if at_s > answered_s)
        return (said["ended_s"] - began_s) * 1e3, (answered_s - began_s) * 1e3, after, said["reason"]


def publish(rig: Rig, purposes: list[str]) -> dict[str, str]:
    """Publish the points of `FOLLOWED` Things; return the product of each purpose: a contract names 50 at most."""
    products: dict[str, str] = {}
    for first in range(0, len(purposes), PURPOSES):
        some = purposes[first : first + PURPOSES]
        contract = {"licence": "CC-BY-4.0", "purposes": some}
        asked = {"title": f"Followed, from {first} on", "points": names_of(0, FOLLOWED), "contract": contract}
        id_ = str(check(rig.operator.post("/products", json=asked)).json()["id"])
        products |= dict.fromkeys(some, id_)
    return products


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--profile", default="", help="write a sampled profile of the node to this file")
    options = parser.parse_args()
    count, rounds = (20, 10) if options.short else (200, 100)
    purposes = [f"purpose {number}" for number in range(count)]
    with Rig(profile=options.profile) as rig:
        seed(rig.data, load_models()["meter"], THINGS)
        rig.start()
        producer, token = rig.principal("gateway", ["operator"]), rig.principal("follower", ["consumer"], READER)
        products = publish(rig, purposes)
        address = rig.url.removeprefix("http://")
        headers = {"Authorization": f"Bearer {token}"}
        with (
            httpx.Client(base_url=rig.url, headers=headers, timeout=60.0) as consumer,
            child("followers.py", address, secret=token) as process,
        ):
            followers = Followers(rig, consumer, products, process)
            for purpose in purposes:
                followers.open(purpose)
            with child("load.py", address, "large", "600", secret=producer) as load:
                answer(load)
                followers.flowing(count)
                taken, rate = revoke_at_random(rig, followers, purposes, rounds)
    tell(taken, count, rate)


def revoke_at_random(rig: Rig, followers: Followers, purposes: list[str], rounds: int) -> tuple[list[Any], float]:
    """Revoke one after the other; return what became of each, and the readings taken in a second meanwhile."""
    stored, since_s = rig.status()["stored"], time.monotonic()
    taken = []
    for _ in range(rounds):
        taken.append(followers.revoke(purpose := random.choice(purposes)))
        followers.open(purpose)
        followers.flowing(1)
    return taken, (rig.status()["stored"] - stored) / (time.monotonic() - since_s)


def tell(taken: list[tuple[float, float, int, str]], count: int, rate: float) -> None:
    """Print the figures of all rounds."""
    ended, answered, after = (np.array([one[at] for one in taken]) for at in range(3))
    resets = sum(not one[3] for one in taken)
    words = (
        f"{len(taken)} revocations at random among {count} live followers, {rate:,.0f} readings/s taken in meanwhile, "
    )
    words += (
        f"5 points followed by server-sent events; longest {ended.max():.0f} ms; the revocation itself is answered "
    )
    words += (
        f"in {np.percentile(answered, 50):.0f} ms (p50); {resets} were too far behind for a last word and were reset"
    )
    report("revocation to the stream's end, p50", "", round(float(np.percentile(ended, 50)), 1), "ms", words)
    report("revocation to the stream's end, p99", "≤ 100", round(float(np.percentile(ended, 99)), 1), "ms", words)
    most = "the most of all rounds, the end event included; what the consumer's own kernel held counts too"
    report("read after the revocation's answer", "≤ 256", round(float(after.max()) / 1024, 1), "KB", most)


if __name__ == "__main__":
    main()
