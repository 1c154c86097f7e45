"""What the others keep while one source floods: ``uv run python benchmarks/flood.py [--short]``.

Steady sources post at a fixed rate, first alone, then beside a source of another session that sends whatever the node
answers. Both runs are of one node, one after the other; the figure is the ratio of what was accepted.
"""

import argparse
from typing import Any

from rig import Rig, answer, child, report, seed
from shapes import SHAPES

from gridspine.energy.models import load_models

STEADY, FLOOD = SHAPES["small"], SHAPES["large"]
RATE = 20_000


def steady(address: str, seconds: float, token: str) -> dict[str, Any]:
    """Return what became of the steady sources' readings."""
    arguments = (address, "small", str(seconds), "--rate", str(RATE))
    with child("load.py", *arguments, secret=token) as load:
        answer(load)
        return answer(load)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    seconds = 5.0 if parser.parse_args().short else 30.0
    with Rig() as rig:
        seed(rig.data, load_models()["meter"], max(s.gateways * s.things for s in (STEADY, FLOOD)))
        rig.start()
        token, flooder = rig.principal("steady", ["operator"]), rig.principal("flooder", ["operator"])
        address = rig.url.removeprefix("http://")
        alone = steady(address, seconds, token)
        with child("load.py", address, "large", str(3 * seconds + 30), secret=flooder) as flood:
            answer(flood)
            beside = steady(address, seconds, token)
    kept = 100.0 * (beside["received"] / beside["seconds"]) / (alone["received"] / alone["seconds"])
    refused = sum(count for status, count in beside["statuses"].items() if status != "200")
    words = f"{RATE:,} readings/s in posts of {STEADY.readings} beside {FLOOD.gateways} connections that send posts of "
    words += f"{FLOOD.readings:,} as fast as they are answered; of the steady posts {refused} were refused"
    report("rate the others keep beside a flood", "≥ 95", round(kept, 1), "%", words)
    words = f"alone {alone['post_p99_ms']} ms; same run"
    report("the others' posts beside a flood, p99", "", beside["post_p99_ms"], "ms", words)


if __name__ == "__main__":
    main()
