"""Writes ``docs/mutation.md`` from ``docs/data/mutation.json``."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA, PAGE = ROOT / "docs" / "data" / "mutation.json", ROOT / "docs" / "mutation.md"
HEAD = """# Planted faults

Written by `make mutants`. Where a mistake would hurt most, small faults are planted one at a time (a bound moved by
one, `and` for `or`, a condition turned round, a statement left out), and the tests of the part must notice each.
*Killed* were noticed; *excused* change nothing that anyone could see, and `tests/mutation/excused.toml` says why.

| module | planted | killed | survived | excused | score |
|---|---|---|---|---|---|
"""


def page(measured: dict[str, Any]) -> str:
    """Return the page for what was measured."""
    lines = []
    for module, found in sorted(measured.items()):
        planted = found["killed"] + found["survived"] + found["excused"]
        lines.append(
            f"| `{module}` | {planted} | {found['killed']} | {found['survived']} | {found['excused']} "
            f"| {found['score']:.1%} |"
        )
    text = HEAD + "\n".join(lines) + "\n"
    alive = [(module, one) for module, found in sorted(measured.items()) for one in found["survivors"]]
    if alive:
        text += "\n## What survived\n\n"
        text += "".join(f"* `{module}` line {one.replace('`', '')}\n" for module, one in alive)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(DATA.read_text())))
