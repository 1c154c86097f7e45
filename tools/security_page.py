"""Write the counted parts of docs/security.md from what ran: docs/data/security-*.json.

``python tools/security_page.py`` writes them between their marks; a test of tidiness compares page and data.
"""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
DATA = ROOT / "docs" / "data"
MARK = re.compile(r"(<!-- (\w+): written by make security -->\n).*?(<!-- end -->)", re.DOTALL)


def parts(folder: Path = DATA) -> dict[str, str]:
    """Return the counted parts by name."""
    return {
        "matrix": matrix(_read(folder, "matrix")),
        "description": description(_read(folder, "description")),
        "fuzz": fuzz(_read(folder, "fuzz")),
        "supply": supply(_read(folder, "supply")),
    }


def matrix(found: dict[str, Any]) -> str:
    """Say what the authorisation matrix counted."""
    sent = found["requests"]
    lines = [
        f"{found['endpoints']} endpoints (and {found['public']} public ones) x {found['roles']} roles x "
        f"{found['organisations']} organisations x {found['states']} states of the token; "
        f"{sum(sent.values()):,} requests sent in the last run, {found['leaks']} leaks.\n",
        "| state of the token | requests |",
        "|---|--:|",
    ]
    return "\n".join([*lines, *(f"| {state} | {count:,} |" for state, count in sent.items())]) + "\n"


def description(found: dict[str, Any]) -> str:
    """Say what the description of the API was held against."""
    said = f"{found['requests']:,} generated requests to {found['operations']} operations"
    left = f"{found['left out']} left out, with the reason in the test"
    return f"{said} ({left}): {found['wrong']} answers that the description does not name.\n"


def fuzz(found: dict[str, Any]) -> str:
    """Say what each decoder was given."""
    lines = [
        f"On {found['python']}; each in a child process of 4 GiB, seeded.\n",
        "| decoder | what it decodes | inputs | accepted | refused as documented | faults | slowest | memory grown |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, one in found["decoders"].items():
        accepted, faults = one["outcomes"].get("accepted", 0), len(one["faults"])
        refused = one["inputs"] - accepted - one["outcomes"].get("fault", 0)
        lines.append(
            f"| {name} | {one['decodes']} | {one['inputs']:,} | {accepted:,} | {refused:,} | {faults} | "
            f"{one['slowest_ms']:.1f} ms | {one['grown_mib']:.0f} MiB |"
        )
    lacking = sorted(targets() - set(found["decoders"]))
    if lacking:
        lines.append(f"\n**Not yet run at length** (only the short form, in `make test`): {', '.join(lacking)}.")
    return "\n".join(lines) + "\n"


def targets() -> set[str]:
    """Return the names of all targets of `fuzz/`."""
    found = set()
    for file in (ROOT / "fuzz" / "decoders").glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", ())]
            if isinstance(node, ast.FunctionDef) and "target" in marks:
                found.add(node.name.replace("_", "-"))
    return found


def supply(found: dict[str, Any]) -> str:
    """Say what is known against what we are made of."""
    said = {
        "clean": f"{found['audited']} locked packages were looked up: nothing was known against them",
        "found": "known: " + ", ".join(f"{one['package']} {one['version']}" for one in found["found"]),
        "unreachable": "**the advisory database could not be reached: nothing is known either way**",
    }[found["verdict"]]
    return (
        f"On {found['day']}, by {found['by']}: {said}. The bill of materials lists {found['components']} components.\n"
    )


def page(text: str, made: dict[str, str]) -> str:
    """Return the page with its counted parts put in."""
    return MARK.sub(lambda at: f"{at[1]}{made[at[2]]}{at[3]}", text)


def _read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"security-{name}.json").read_text())
    return found


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), parts()))
    sys.exit(0)
