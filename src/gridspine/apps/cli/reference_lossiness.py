"""The reference page of what each language makes of an order, from the tables beside the adapters."""

from collections.abc import Iterator

from gridspine.apps.cli.reference_adapters import our_qualities
from gridspine.testing.facets import Fate, Language, facets
from gridspine.testing.quality import FILE

_WITHOUT_ADAPTER = ("OpenADR 3.1", "OpenADR 3.0.1", "OpenADR 2.0b", "IEEE 2030.5")
"""Languages of decision 13 that may have no adapter yet: the page says so, as long as it is so."""


def lossiness_page(by_hand: str) -> str:
    """Return the page: what an order is made of, a column for each language, and how each of them says it."""
    qualities = our_qualities()
    languages = {name: said for quality in qualities.values() for name, said in quality.order.items()}
    lines = ["# What an order loses on its way\n", by_hand, _INTRODUCTION]
    lines += ["| facet | what it means |", "|---|---|"]
    lines += [f"| {name} | {facet.means} |" for name, facet in facets().items()]
    lines += ["\n## In short\n", "| | " + " | ".join(languages) + " |", "|---|" + "---|" * len(languages)]
    for name in facets():
        lines.append(f"| {name} | " + " | ".join(said[name].state for said in languages.values()) + " |")
    for language, said in languages.items():
        lines += [f"\n## {language}\n", *_how(said)]
    lines += ["\n## No column\n", *_silent([name for name, one in qualities.items() if not one.order], languages)]
    return "\n".join(lines) + "\n"


_INTRODUCTION = f"""One lease is told to a battery, an inverter or a charger in the language that it speaks, and not
every language can say all of it. What each makes of a lease stands in the `{FILE}` of its adapter: *kept*, *part* (how
much of it, and within which bounds), or *lost*. Tests give the same lease to each through its adapter, on real sockets,
hear it at the device's side with code of their own, and compare: a claim that is not so fails, and so does one that is
too modest. In OpenADR and IEEE 2030.5 a control of a programme is told, to whoever reads it; 2030.5 tells leases too.

What is lost on the wire is not lost to the node: it keeps the whole lease, and does what the device cannot: it sends
each step when it is due, draws chance once, and forgets no end. What that cannot replace is the device's own timer: an
order that nobody would end is refused. Decision 13 says what the same nouns are called elsewhere:
[Sites, programmes and controls](../adr/0013-programmes-over-one-store.md).
"""


def _how(said: Language) -> Iterator[str]:
    yield "| facet | | how |"
    yield "|---|---|---|"
    for name, facet in facets().items():
        fate = said[name]
        yield f"| {name} | {fate.state} | {fate.how}{_bounds(fate, facet.unit.partition(':')[0])} |"


def _bounds(fate: Fate, unit: str) -> str:
    return f" ({' to '.join(f'{one:+g}' if one else '0' for one in fate.within)} {unit})" if fate.within else ""


def _silent(readers: list[str], languages: dict[str, Language]) -> Iterator[str]:
    names = ", ".join(f"`{name}`" for name in readers)
    yield f"Adapters that tell devices nothing, and reject what is ordered: {names}."
    missing = [name for name in _WITHOUT_ADAPTER if not any(one.startswith(name) for one in languages)]
    if missing:
        yield f"\nLanguages of decision 13 that no adapter has a column for yet: {', '.join(missing)}."
