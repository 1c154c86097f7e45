"""Writes docs/reliability.md from what ran: ``python tests/faults/page.py``.

The counts are in docs/data: ``reliability.json`` by ``make reliability``, ``reliability-sim.json`` by the simulation,
``security-fuzz.json`` by the fuzzing of the decoders. What did not run has no count, and the page says so.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA, PAGE = ROOT / "docs" / "data", ROOT / "docs" / "reliability.md"
INVARIANTS = [
    ("What was acknowledged is there after any end of the process, once",
     [("kill -9", "node")], "tests/faults/test_kill_node.py"),
    ("Grants, commands and registrations that were answered are kept, and their receipts verify",
     [("kill -9", "node")], "tests/faults/test_kill_node.py"),
    ("History is whole and nothing in it is twice", [("kill -9", "archive process")],
     "tests/faults/test_kill_children.py"),
    ("An answer to a query is right, or says that there is none", [("kill -9", "query process")],
     "tests/faults/test_kill_children.py"),
    ("A subscriber that keeps its cursor has every reading, once and in order", [("kill -9", "subscriber")],
     "tests/faults/test_kill_subscriber.py"),
    (
        "The link to a broker that was killed comes back, and what is sent then arrives",
        [("kill -9", "broker beside the node")],
        "tests/faults/test_kill_wire.py",
    ),
    (
        "A device that was killed goes on where it was: no message counts twice, no register goes back",
        [("kill -9", "simulated device")],
        "tests/faults/test_kill_wire.py",
    ),
    ("A stop under load answers or refuses each request, tells streams why, and leaves nothing to replay",
     [("SIGTERM under load", "node")], "tests/faults/test_drain.py"),
    ("Without file descriptors the node serves whom it has, tells the others, and recovers",
     [("no file descriptors left", "node")], "tests/faults/test_exhaustion.py"),
    ("Readers that stop reading take bounded memory, and are cut", [("a subscriber stops reading", "streams")],
     "tests/faults/test_exhaustion.py"),
    ("A source that floods costs the others nothing", [("a source floods", "posts of others, all taken")],
     "tests/faults/test_exhaustion.py"),
    ("A clock that is set by an hour raises no false silence", [("clock set by an hour", "silence")],
     "tests/faults/test_clock.py"),
    ("A lease lasts as long as it was given for, however the clock is set", [("clock set by an hour", "leases")],
     "tests/faults/test_clock.py"),
    ("Readings are taken again once the clock is right", [("clock set by an hour", "readings")],
     "tests/faults/test_clock.py"),
]  # fmt: skip
ALSO = [
    ("A full disk refuses readings first; commands, grants and audit go on", "tests/apps/node/test_pressure.py"),
    ("Over the data's budget readings leave the log sooner, then are refused", "tests/apps/node/test_retention.py"),
    ("Topics are trimmed only behind two checkpoints; a lost one is never taken for empty",
     "tests/apps/node/test_retention.py"),
    ("What fails after a commit is made good: relay, twins, subscribers", "tests/apps/node/test_mend.py"),
    ("A data directory of the release before opens; a newer one is refused", "tests/apps/node/test_upgrade.py"),
    ("A backup under load restores to a whole", "tests/apps/node/test_backup.py"),
    ("A reader of the log that looks seldom misses nothing", "tests/infra/log/test_sqlite.py"),
    ("A broker that goes comes back, and what it lost is counted", "tests/adapters/mqtt/test_mosquitto.py"),
    ("Nothing a meter made is lost while the node is away", "tests/adapters/mqtt/test_meter_process.py"),
]  # fmt: skip
KEPT = """\
## What a restart keeps, and what not

Kept: readings, twins, held readings, commands, leases and orders in force, all-stop, alarms, who is quarantined,
grants, receipts, decisions. Found out anew: since when a point was only heard of without saying anything new. Begun
anew: the counts of `/status` and `/metrics`, the tally of offences that leads to a quarantine, how often a point
flapped, quotas, and how much of its share of the quarantine a source has used.
"""


def _read(name: str) -> dict[str, Any]:
    path = DATA / name
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _counted(ran: dict[str, Any]) -> Iterator[str]:
    yield "| what holds | test | times |"
    yield "|---|---|---:|"
    for words, counts, test in INVARIANTS:
        times = sum(ran.get(fault, {}).get(where, 0) for fault, where in counts)
        yield f"| {words} | [{Path(test).name}](../{test}) | {times or 'not counted yet'} |"
    for words, test in ALSO:
        yield f"| {words} | [{Path(test).name}](../{test}) | each run |"


def _beyond(simulated: dict[str, Any], fuzzed: dict[str, Any]) -> Iterator[str]:
    if simulated:
        facts = {name.replace("_", " "): value for name, value in simulated.items() if type(value) is int}
        words = [f"{name}: {value:,}" for name, value in facts.items()]
        yield f"* The simulation (`sim/`): {'; '.join(words)}."
    else:
        yield "* The simulation (`sim/`) has no counts yet."
    decoders = fuzzed.get("decoders", {})
    inputs, crashes = (sum(one.get(name, 0) for one in decoders.values()) for name in ("inputs", "crashes"))
    if inputs:
        yield f"* Fuzzed: {len(decoders)} decoders with {inputs:,} inputs, {crashes} crashes."


def page() -> str:
    """Return the page's text."""
    ran = _read("reliability.json")
    kills = sum(ran.get("kill -9", {}).values())
    lines = [
        "# Reliability",
        "",
        "Written by `tests/faults/page.py` from what ran; `make reliability` runs it all again.",
        "",
        "The faults below are real: processes are killed, sockets exhausted, clocks set.",
        f"{kills:,} times a process was ended by `kill -9` at a random moment, at its start or under load."
        if kills
        else "How often is not counted yet.",
        "",
        *_counted(ran),
        "",
        "And beyond real faults:",
        "",
        *_beyond(_read("reliability-sim.json"), _read("security-fuzz.json")),
        "* What a property says is drawn anew each run, by Hypothesis: some hundred cases each.",
        "",
        KEPT.rstrip(),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} is written\n")
