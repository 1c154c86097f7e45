"""Write docs/reference/wot-conformance.md: each assertion of W3C WoT Discovery, and the tests that hold the node to it.

``python tools/conformance_page.py`` writes it from docs/data/wot-discovery.toml; a test of tidiness compares the two,
and looks for the tests that are named.
"""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data" / "wot-discovery.toml"
PAGE = ROOT / "docs" / "reference" / "wot-conformance.md"
LEVELS = ("MUST", "SHOULD", "SHOULD NOT", "RECOMMENDED", "MAY", "OPTIONAL")
_OTHERS = """
Of W3C WoT Thing Description 1.1 every description that comes in or goes out is held to the W3C's JSON Schema and to
what a schema cannot say (`gridspine.things.td.check`); its assertions are not listed one by one. The WoT Profile is an
editor's draft: its action states and event streams are used, and conformance to it is not claimed.
"""


def read(path: Path = DATA) -> dict[str, Any]:
    """Return the table of assertions."""
    return tomllib.loads(path.read_text())


def page(table: dict[str, Any]) -> str:
    """Return the whole page."""
    assertions = [one for section in table["sections"].values() for one in section.values()]
    lines = ["# Conformance to W3C Web of Things Discovery\n"]
    lines += ["Written by `make docs` from docs/data/wot-discovery.toml; changes here are lost.\n"]
    lines += [
        f"[{table['document']}]({table['url']}). Each assertion by its identifier there, which leads to its text."
    ]
    lines += ["A test is named by its file under `tests/`; what has none says why it is not had.\n"]
    lines += ["| level | assertions | proved by a test | not had, or nothing for a directory |", "|---|--:|--:|--:|"]
    everything, proved = Counter(one["level"] for one in assertions), Counter()
    proved.update(one["level"] for one in assertions if "tests" in one)
    for level in LEVELS:
        if everything[level]:
            lines.append(f"| {level} | {everything[level]} | {proved[level]} | {everything[level] - proved[level]} |")
    lines.append(_OTHERS)
    for name, section in table["sections"].items():
        lines += [f"## {name}\n", "| assertion | level | held by |", "|---|---|---|"]
        lines += [_row(table["url"], id_, one) for id_, one in section.items()]
        lines.append("")
    return "\n".join(lines)


def _row(url: str, id_: str, one: dict[str, Any]) -> str:
    held = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in one.get("tests", ()))
    return f"| [{id_}]({url}#{id_}) | {one['level']} | {held or 'not had: ' + one['not']} |"


if __name__ == "__main__":
    PAGE.write_text(page(read()))
