"""The reference page of adapters: the rules, and what each of ours says of itself in its ``quality.toml``."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from gridspine.testing.judge import level_of
from gridspine.testing.quality import FILE, Claim, Quality, read_quality
from gridspine.testing.rules import rules
from gridspine.things.adapter_package import packages

_MARKS = {"done": "yes", "todo": "not yet", "exempt": "exempt"}


def adapters_page(by_hand: str) -> str:
    """Return the page; a rule that is said to be done and has a check is seen by it whenever the tests run."""
    ours = our_qualities()
    lines = ["# Adapters, and how good they are\n", by_hand, _INTRODUCTION]
    lines += ["## The rules\n", "| rule | level | seen by a check | what it means |", "|---|---|---|---|"]
    for name, rule in rules().items():
        seen = "yes" if rule.check else "no: claimed, with its test or document"
        lines.append(f"| `{name}` | {rule.level} | {seen} | {rule.means} |")
    lines += ["\n## Ours\n", "| adapter | speaks | level | listens | connects to | secrets | keeps |", "|" + "---|" * 7]
    lines += [_row(name, quality) for name, quality in ours.items()]
    lines += ["", "| rule | " + " | ".join(f"`{name}`" for name in ours) + " |", "|---|" + "---|" * len(ours)]
    for name in rules():
        lines.append(f"| `{name}` | " + " | ".join(_said(quality.rules.get(name)) for quality in ours.values()) + " |")
    for name, quality in ours.items():
        lines += [f"\n## {name}\n", *_own(quality)]
    return "\n".join(lines) + "\n"


_INTRODUCTION = f"""An adapter says in its `{FILE}` what it asks of the node and which of these rules it keeps.
`gridspine adapter check NAME` looks at every rule that has a check: it runs the adapter against a device of its
protocol (its `rig.py`), on real sockets and in virtual time. An adapter is bronze, silver or gold when every rule of
that level, and of those beneath it, is kept, or exempt with a reason. How to write one:
[Write an adapter](../how-to/write-an-adapter.md). What each makes of an order: [What an order loses](lossiness.md).
"""


def our_qualities() -> dict[str, Quality]:
    """Return what each of our own adapters says of itself, by its name."""
    version = metadata.distribution("gridspine").name
    found = {name: one for name, one in packages().items() if one.distribution == version and one.folder}
    return {name: read_quality((Path(one.folder) / FILE).read_text()) for name, one in sorted(found.items())}


def _row(name: str, quality: Quality) -> str:
    asks = quality.permissions
    return (
        f"| `{name}` | {quality.protocol}: {', '.join(quality.versions)} | {level_of(quality)} | "
        f"{', '.join(asks.listen) or '-'} | {asks.connect or '-'} | {', '.join(asks.secrets) or '-'} | "
        f"{'yes' if asks.store else '-'} |"
    )


def _said(claim: Claim | None) -> str:
    return "nothing said" if claim is None else _MARKS[claim.status]


def _own(quality: Quality) -> Iterator[str]:
    for point, words in quality.signs.items():
        yield f"- sign of `{point}`: {words}"
    for name, claim in (quality.rules | quality.own).items():
        if claim.reason:
            yield f"- `{name}`, {_MARKS[claim.status]}: {claim.reason}"
        elif name in quality.own:
            yield f"- `{name}`: {claim.test or claim.document}"
