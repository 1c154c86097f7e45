"""Whether memory stays flat: all processes of a node under full intake for ten minutes.

``uv run python benchmarks/flat.py [--short]``

The load of `intake`'s first row, its subscriber and the archive included; the proportional set size is read every two
seconds. The figure is by how much the highest of the last fifth is above the highest of the second fifth: the first
fifth fills caches, the horizon of duplicates and the queues.
"""

import argparse
import json
import threading

from rig import Rig, answer, report
from under_load import under_load

EVERY_S = 2.0
SHAPE = "large"


class Watch(threading.Thread):
    """Reads a node's memory until it is told to stop."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(daemon=True)
        self.seen_bytes: list[int] = []
        self._rig = rig
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(EVERY_S):
            self.seen_bytes.append(self._rig.pss_bytes())

    def stop(self) -> None:
        """End it and wait for its end."""
        self._over.set()
        self.join()

    def highest_mb(self, fifth: int) -> float:
        """Return the highest of a fifth (0 to 4) of what was seen [MB]."""
        count = len(self.seen_bytes)
        return max(self.seen_bytes[fifth * count // 5 : (fifth + 1) * count // 5]) / 1e6


def measure(seconds: float) -> None:
    """Measure and print."""
    with Rig() as rig:
        with under_load(rig, SHAPE, seconds) as load:
            watch = Watch(rig)
            watch.start()
            sent = answer(load.sender)
            watch.stop()
        stored = rig.status()["stored"]
    if not sent.get("accepted") == sent["received"] == stored:
        raise RuntimeError(f"not everything was accepted and stored: {json.dumps(sent)}, stored {stored}")
    early, late = watch.highest_mb(1), watch.highest_mb(4)
    report(
        "memory under full intake, growth", "flat", round(late - early), "MB PSS",
        f"{sent['seconds']:.0f} s, {sent['accepted'] / sent['seconds']:,.0f} readings/s, "
        f"{sent['accepted']:,} in all, node and archive with a subscriber; highest of each fifth: "
        + ", ".join(f"{watch.highest_mb(fifth):.0f}" for fifth in range(5)),
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    measure(20.0 if parser.parse_args().short else 600.0)


if __name__ == "__main__":
    main()
