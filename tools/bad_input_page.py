"""Write docs/reference/bad-input.md: what each adapter makes of bad input, and the test that shows it.

``python tools/bad_input_page.py`` writes it from docs/data/bad-input.toml and from the counts of fuzz/; a test of
tidiness compares the two, and looks for the tests that are named.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data" / "bad-input.toml"
FUZZ = ROOT / "docs" / "data" / "security-fuzz.json"
PAGE = ROOT / "docs" / "reference" / "bad-input.md"
LEAST = 100_000
_HEAD = """# What adapters make of bad input

Written by `make docs` from docs/data/bad-input.toml; changes here are lost.

Each row is shown by the test beside it, in `tests/adapters` where no other folder is named. "All": it happens behind
the adapters, where every reading passes. What strangers send to the API is on [the page on security](../security.md).
"""


def read(path: Path = DATA) -> dict[str, Any]:
    """Return the table."""
    return tomllib.loads(path.read_text())


def fuzzed(path: Path = FUZZ) -> dict[str, Any]:
    """Return what came of each decoder."""
    found: dict[str, Any] = json.loads(path.read_text())["decoders"]
    return found


def test_of(named: str) -> str:
    """Return a test's name from the root."""
    return named if named.startswith("tests/") else f"tests/adapters/{named}"


def page(table: dict[str, Any], counts: dict[str, Any], adapters: list[str]) -> str:
    """Return the whole page; ``adapters`` are all there are."""
    lines = [_HEAD, "## Fuzzed, and counted\n", "| adapter | decoder | inputs | crashes | hangs | other faults |"]
    lines.append("|---|---|--:|--:|--:|--:|")
    for name in adapters:
        for decoder in table["decoders"].get(name, ()):
            lines.append(f"| `{name}` | {decoder} | {_counts(counts.get(decoder))} |")
        if name not in table["decoders"]:
            lines.append(f"| `{name}` | nothing said yet | | | | |")
    for words, rows in table["inputs"].items():
        lines += [
            f"\n## {words[0].upper()}{words[1:]}\n",
            "| adapter | what becomes of it | shown by |",
            "|---|---|---|",
        ]
        lines += [_row(name, rows[name]) for name in ("*", *adapters) if name in rows]
        if missing := [f"`{name}`" for name in adapters if name not in rows and "*" not in rows]:
            lines.append(f"\nNothing said yet of {', '.join(missing)}.")
    return "\n".join(lines) + "\n"


def _counts(one: dict[str, Any] | None) -> str:
    if one is None:
        return "not run at length | | | "
    return f"{one['inputs']:,} | {one['crashes']} | {one['hangs']} | {len(one['faults'])}"


def _row(name: str, row: list[str]) -> str:
    shown = "<br>".join(f"`{one.removeprefix('tests/adapters/')}`" for one in row[1:]) or "there is no such input"
    return f"| {'all' if name == '*' else f'`{name}`'} | {row[0]} | {shown} |"


def adapters() -> list[str]:
    """Return the names of our adapters."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted(project["entry-points"]["gridspine.adapters"])


if __name__ == "__main__":
    PAGE.write_text(page(read(), fuzzed(), adapters()))
