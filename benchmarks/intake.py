"""Readings a second over HTTP into a node, all accepted, durable, archived, and followed by a granted subscriber.

``uv run python benchmarks/intake.py [--short] [--only large] [--profile FILE]``

Load generator, node and its archive, and subscriber are processes of their own. A figure is printed only when every
reading sent was accepted, and says how many of them the subscriber had when the load ended, and when it had all.
"""

import argparse
import time
from typing import Any

from rig import Rig, answer, report
from shapes import SHAPES
from under_load import under_load

GOALS = {
    "large": ("Arrow, 10,000 readings a post over 1,000 points", 2_000_000),
    "distinct": ("Arrow, 10,000 a post, each reading another of 100,000 points", 1_000_000),
    "small": ("Arrow, 100 readings a post", 250_000),
    "senml": ("SenML JSON, 10,000 readings a post over 1,000 points", 600_000),
}
_DRAIN_S = 60.0


def measure(name: str, seconds: float, profile: str = "") -> None:
    """Measure one shape and print it."""
    shape = SHAPES[name]
    with Rig(profile=profile) as rig:
        with under_load(rig, name, seconds) as load:
            sent = answer(load.sender)
            cpu_s = rig.cpu_s() - load.before_s
            delivered, behind_s = drained(load.listener, sent.get("accepted", 0))
        stored = rig.status()["stored"]
    if not sent.get("accepted") == sent["received"] == stored:
        raise RuntimeError(f"not everything was accepted and stored: {sent}, stored {stored}")
    text, goal = GOALS[name]
    report(
        text, f"≥ {goal:,}", round(sent["accepted"] / sent["seconds"], -2), "readings/s",
        f"{shape.gateways} gateways, {sent['seconds']:.0f} s, one answer awaited each; post p50 {sent['post_p50_ms']} "
        f"ms, p99 {sent['post_p99_ms']} ms; subscriber: {said(delivered, sent['accepted'], behind_s)}; processor: "
        f"node and archive {cpu_s / sent['seconds']:.2f}, load {sent['cpu_s'] / sent['seconds']:.2f} cores",
    )  # fmt: skip


def drained(listener: Any, accepted: int) -> tuple[int, float]:
    """Return what the subscriber had at the end of the load, and how long until it had all [s] (−1: never)."""
    began = time.monotonic()
    at_end = int(answer(listener, ask=True)["readings"])
    had = at_end
    while had < accepted:
        if time.monotonic() - began > _DRAIN_S:
            return at_end, -1.0
        time.sleep(0.1)
        had = int(answer(listener, ask=True)["readings"])
    return at_end, time.monotonic() - began


def said(at_end: int, accepted: int, behind_s: float) -> str:
    """Return in words how far the subscriber was."""
    if behind_s < 0:
        return f"{100 * at_end / accepted:.0f} % at the end, and not all {_DRAIN_S:.0f} s later"
    return f"{100 * at_end / accepted:.0f} % at the end, all {behind_s:.1f} s later"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", choices=GOALS)
    parser.add_argument("--profile", default="", help="write a sampled profile of the node to this file")
    options = parser.parse_args()
    for name in [options.only] if options.only else GOALS:
        measure(name, 4.0 if options.short else 60.0, options.profile)


if __name__ == "__main__":
    main()
