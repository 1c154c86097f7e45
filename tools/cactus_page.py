"""Write docs/reference/conformance.md: what CACTUS, the test system of CSIP-AUS, found of each of its procedures.

``python tools/cactus_page.py`` writes it from docs/data/cactus.json, which tests/strangers/test_cactus.py writes; a
test of tidiness compares the two.
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data" / "cactus.json"
PAGE = ROOT / "docs" / "reference" / "conformance.md"
_MORE = 300


def read(path: Path = DATA) -> dict[str, Any]:
    """Return the tally."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def page(tally: dict[str, Any]) -> str:
    """Return the whole page."""
    found = tally["procedures"]
    passed = sum(one["passed"] for one in found)
    lines = ["# Conformance to CSIP-AUS, as CACTUS sees it\n"]
    lines += ["Written by `make docs` from docs/data/cactus.json; changes here are lost.\n"]
    lines += [
        f"Judge: {tally['judge']} {tally['version']} with cactus-test-definitions {tally['definitions']} (CSIP-AUS "
        "1.2), over mutual TLS, its administrator's part done by the node's HTTP API (`tests/strangers/cactus`). "
        "Documents are held to the schema of IEEE 2030.5 with CSIP-AUS by CACTUS itself. It is no certificate.\n"
    ]
    lines += ["| passed | failed | not run |", "|--:|--:|--:|"]
    lines += [f"| {passed} | {len(found) - passed} | {len(tally['notRun'])} |\n"]
    lines += ["| procedure | result | steps | warnings, or why not |", "|---|---|---|---|"]
    lines += [_row(one) for one in found]
    lines += [f"| {name} | not run | | {why} |" for name, why in tally["notRun"].items()]
    return "\n".join(lines) + "\n"


def _row(one: dict[str, Any]) -> str:
    words = "; ".join(one["why"] or one["warnings"])[:_MORE].replace("|", "/")
    return f"| {one['procedure']} | {'passed' if one['passed'] else '**failed**'} | {one.get('steps', '')} | {words} |"


if __name__ == "__main__":
    PAGE.write_text(page(read()))
