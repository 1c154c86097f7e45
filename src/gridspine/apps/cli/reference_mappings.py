"""The reference page of mappings: names of each property, signs, bits of quality, and what is lost."""

from collections.abc import Iterator

from gridspine.energy.mapping.ieee2030_5 import reading_name
from gridspine.energy.mapping.quality import KNOWN
from gridspine.energy.mapping.reading_type_code import reading_type_code
from gridspine.energy.mapping.sign import model_class, sign_table
from gridspine.energy.mapping.table import LANGUAGES, load_table
from gridspine.energy.models import load_models
from gridspine.kernel.quality import Quality, describe
from gridspine.things.model import ThingModel

_BITS = (Quality.INVALID, Quality.QUESTIONABLE, *(Quality(1 << place) for place in range(2, 15)))
_INTRO = """Each property of the Thing Models that come with the node has a name in other languages, or a reason why
it has none. `gridspine.energy.mapping.emit(language, snapshot)` writes what a Thing's points say as documents of a
language; programs of other parties read value, unit, sign and quality back in the tests. What does not arrive is
returned beside the documents, point by point.
"""


def mappings_page(note: str) -> str:
    """Return the page of names in other languages; ``note`` says how it came to be."""
    lines = ["# Names in other languages\n", note, _INTRO]
    lines += ["## The languages, and what was read of them\n"]
    for language in LANGUAGES:
        table = load_table(language)
        lines.append(f"* **{table.title}** (`{language}`): {table.basis}")
    lines += ["", *_quality(), "", *_signs(), ""]
    for name, model in load_models().items():
        lines += _model(name, model)
    return "\n".join(lines).rstrip() + "\n"


def _quality() -> Iterator[str]:
    yield "## Quality\n"
    yield "Which bits of a reading's quality arrive. SAREF has no word for any: they ride along in a term of ours.\n"
    yield "| bit | " + " | ".join(load_table(language).title for language in LANGUAGES) + " |"
    yield "|---" * (len(LANGUAGES) + 1) + "|"
    for bit in _BITS:
        arrives = ("yes" if bit & KNOWN[language] == bit else "lost" for language in LANGUAGES)
        yield f"| {describe(bit)[-1]} | {' | '.join(arrives)} |"


def _signs() -> Iterator[str]:
    yield "## Signs\n"
    yield "The factor turns what a standard holds into import positive; *open* is what the documents read do not say.\n"
    yield "| standard | classes | quantities | factor | positive is | read in |"
    yield "|---|---|---|---|---|---|"
    for row in sign_table():
        factor = "open" if row.factor is None else f"{row.factor:+d}"
        classes = "all" if len(row.device_classes) == 5 else ", ".join(row.device_classes)
        turned = "; its quadrants 1, 2, 3, 4 are our 3, 4, 1, 2" if row.turns_quadrants else ""
        sense = row.sense + turned
        yield f"| {row.standard} | {classes} | {', '.join(row.quantities)} | {factor} | {sense} | {row.basis} |"


def _model(name: str, model: ThingModel) -> Iterator[str]:
    known = model_class(name)
    yield f"## {name}\n"
    yield f"{model.title}." + (f" Class: {known.device_class}; it {known.basis}." if known else "") + "\n"
    titles = [load_table(language).title for language in LANGUAGES]
    yield "| property | IEC 61968-9 | " + " | ".join(titles) + " |"
    yield "|---" * (len(titles) + 2) + "|"
    reasons: dict[str, list[str]] = {}
    for point in model.points:
        cells = [f"`{reading_type_code(point.reading_type) or '–'}`"]
        for language in LANGUAGES:
            word = load_table(language).word(name, point.name)
            cells.append(f"`{word.name}`" if word.name else "–")
            if word.name.startswith("MirrorMeterReading"):
                cells[-1] += f" {reading_name(point.reading_type, word.detail)}"
            if word.none or word.lost:
                reason = f"{load_table(language).title}: {word.none or 'lost is ' + word.lost}"
                reasons.setdefault(reason, []).append(f"`{point.name}`")
        yield f"| `{point.name}` | {' | '.join(cells)} |"
    yield ""
    for reason, points in reasons.items():
        yield f"* {reason} ({', '.join(points)})"
    yield ""
