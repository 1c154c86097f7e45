"""A new adapter begun: a package that is installed, runs and is judged as it stands; its protocol is then replaced."""

import keyword
import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from gridspine import __version__
from gridspine.kernel.errors import Invalid
from gridspine.testing.rules import rules

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_EXEMPT = {
    "ack-after-durable": "a polled device waits for no word",
    "own-things-only": "a device is asked at the address of its Thing, and speaks for no other",
    "killed-while-busy": "what was polled and not kept is polled again; nobody was told that it was kept",
}
_TODO = {
    "reversion-in-device": "say how your devices fall back by themselves when a lease ends, and test it",
    "tested-with-real-peer": "the device of rig.py is its only peer so far",
    "fuzzed": "not done yet",
    "tested-with-strange-hardware": "not done yet",
}
_TESTS = {"codec-properties": "test_adapter.py::test_what_is_encoded_is_decoded"}


def begin(name: str, into: Path) -> list[Path]:
    """Write the package of adapter ``name`` into the folder ``into``, which must not hold anything; return its files.

    Raises `Invalid` for a name that is none, or a folder that is not empty.
    """
    if not _NAME.fullmatch(name) or len(name) > 40 or keyword.iskeyword(name):
        raise Invalid(
            f"name: {name[:60]!r} is not lower-case letters and digits with single underscores, such as my_meter"
        )
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise Invalid(f"{into} is there already: name an empty folder with --into")
    package = f"gridspine_{name}"
    words = {
        "name": name, "package": package, "Class": "".join(part.title() for part in name.split("_")),
        "gridspine": __version__, "rules": "\n".join(_rules()),
    }  # fmt: skip
    written = []
    for path, text in _templates(resources.files("gridspine.testing") / "template", ""):
        target = into / path.replace("package/", f"src/{package}/", 1).removesuffix(".in")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], text))
        written.append(target)
    return sorted(written)


def _templates(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _templates(one, f"{prefix}{one.name}/")
        elif one.name.endswith(".in"):
            yield prefix + one.name, one.read_text()


def _rules() -> Iterator[str]:
    """Yield what a new adapter says of each rule."""
    for name, rule in rules().items():
        yield f"[rules.{name}]"
        if name in _EXEMPT:
            yield f'status = "exempt"\nreason = "{_EXEMPT[name]}"'
        elif name in _TESTS:
            yield f'status = "done"\ntest = "{_TESTS[name]}"'
        elif rule.check:
            yield 'status = "done"'
        else:
            yield f'status = "todo"\nreason = "{_TODO[name]}"'
        yield ""
