"""Write docs/reference/conformance.md: what other parties' programs, schemas and vectors found of the node.

``python tools/judges_page.py`` writes it from tests/judges/*.toml, which say who judges what; from docs/data/judges,
which a run of those tests wrote (tests/judged.py); and from docs/data/cactus.json, CACTUS' procedures one by one. A
test of tidiness compares page and data. ``--tests`` prints the files that judges judge in.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
JUDGES = ROOT / "tests" / "judges"
DATA = ROOT / "docs" / "data" / "judges"
CACTUS = ROOT / "docs" / "data" / "cactus.json"
PAGE = ROOT / "docs" / "reference" / "conformance.md"
OUTCOMES = ("passed", "failed", "skipped")
_MORE = 300
_HEAD = """# Conformance, as other parties' programs see it

Written by `make conformance`, which runs the tests the judges judge in and counts; changes here are lost.

A judge is a program, a schema or a set of vectors that others made. Each version was read from the judge itself when
the tests ran. A skip is not a pass, and neither is what did not run. What is counted differs from judge to judge, so
the counts do not add up. It is no certificate. Beside it: [W3C WoT Discovery](wot-conformance.md) assertion by
assertion, [how good each adapter is](adapters.md), [what languages of data lose](lossiness.md).

| protocol | the node is | judge | version | counted | passed | failed | skipped | not run |
|---|---|---|---|---|--:|--:|--:|--:|"""
_SKIPS = """
"Not run" counts tests of the project that no run of this table ran, or that could not run where it was made."""


def judges(folder: Path = JUDGES) -> dict[str, dict[str, Any]]:
    """Return who judges, by name."""
    return {path.stem: tomllib.loads(path.read_text()) for path in sorted(folder.glob("*.toml"))}


def found(table: dict[str, dict[str, Any]], folder: Path = DATA) -> dict[str, dict[str, Any]]:
    """Return what runs of the tests wrote, by the judge's name; a judge without is not in it."""
    paths = {name: folder / f"{name}.json" for name in table}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def page(table: dict[str, dict[str, Any]], tallies: dict[str, dict[str, Any]], cactus: dict[str, Any]) -> str:
    """Return the whole page."""
    shown = sorted(table, key=lambda name: (table[name]["protocol"].casefold(), table[name]["role"], name))
    lines = [_HEAD, *(_row(table[name], tallies.get(name, {}), cactus) for name in shown), _SKIPS]
    lines += ["\n## What was judged\n", "| judge | what | in |", "|---|---|---|"]
    lines += [_judged(table[name], tallies.get(name, {})) for name in shown]
    return "\n".join([*lines, *_procedures(cactus)]) + "\n"


def _row(judge: dict[str, Any], tally: dict[str, Any], cactus: dict[str, Any]) -> str:
    if judge.get("data") == "docs/data/cactus.json":
        passed, of = sum(one["passed"] for one in cactus["procedures"]), len(cactus["procedures"])
        version, cells = f"{cactus['version']}, definitions {cactus['definitions']}", [passed, of - passed, 0]
        cells.append(len(cactus["notRun"]))
    else:
        ran = tally.get("tests", {})
        version = tally.get("version", "")
        cells = [sum(one[outcome] for one in ran.values()) for outcome in OUTCOMES]
        cells.append(sum(not _has_run(ran.get(test)) for test in judge["tests"]))
    if not cells[0] + cells[1]:
        version = "not run"
    words = [judge["protocol"], judge["role"], judge["title"], version, judge.get("counted", "tests")]
    return f"| {' | '.join(words)} | {' | '.join(map(str, cells))} |"


def _has_run(counts: dict[str, int] | None) -> bool:
    return bool(counts and counts["passed"] + counts["failed"])


def _judged(judge: dict[str, Any], tally: dict[str, Any]) -> str:
    ran = tally.get("tests", {})
    tests = [f"`{one}`{'' if 'data' in judge or _has_run(ran.get(one)) else ' (not run)'}" for one in judge["tests"]]
    return f"| {judge['title']}, {judge['protocol']} | {judge['judged']} | {'<br>'.join(tests)} |"


def _procedures(tally: dict[str, Any]) -> list[str]:
    lines = ["\n## CSIP-AUS: the procedures of CACTUS\n"]
    lines += [
        f"{tally['judge']} {tally['version']} with cactus-test-definitions {tally['definitions']} (CSIP-AUS 1.2), over "
        "mutual TLS, its administrator's part done by the node's HTTP API (`tests/strangers/cactus`). Documents are "
        "held to the schema of IEEE 2030.5 with CSIP-AUS by CACTUS itself.\n"
    ]
    lines += ["| procedure | result | steps | warnings, or why not |", "|---|---|---|---|"]
    lines += [_procedure(one) for one in tally["procedures"]]
    return lines + [f"| {name} | not run | | {why} |" for name, why in tally["notRun"].items()]


def _procedure(one: dict[str, Any]) -> str:
    words = "; ".join(one["why"] or one["warnings"])[:_MORE].replace("|", "/")
    return f"| {one['procedure']} | {'passed' if one['passed'] else '**failed**'} | {one.get('steps', '')} | {words} |"


def tests(table: dict[str, dict[str, Any]]) -> list[str]:
    """Return what to hand to pytest to have every judge judge, CACTUS' hour apart."""
    return sorted({one for judge in table.values() if "data" not in judge for one in judge["tests"]})


if __name__ == "__main__":
    everything = judges()
    if sys.argv[1:] == ["--tests"]:
        print(*tests(everything), sep="\n")
    else:
        PAGE.write_text(page(everything, found(everything), json.loads(CACTUS.read_text())))
