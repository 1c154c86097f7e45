"""The pages of ``docs/`` do what they say: their console blocks run, against a real node, and print what they show.

A block counts when the line ``<!-- run -->`` stands before it. All blocks of a page run in one shell, in an empty
folder, in their order. ``$`` begins a command and ``>`` goes on with it; the lines after it are what it prints, in
which ``…`` stands for anything; a command without such lines may print what it likes. A command must succeed, unless
it shows an HTTP error such as ``403 Forbidden``. Ports are replaced by free ones.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.ports import free_port

DOCS = Path(__file__).parents[2] / "docs"
PORTS = ("8600", "8643", "5022", "1883", "8883", "8699", "8887", "8443", "8610", "8890", "8891")
MARK = "<!-- run -->"
_BLOCK = re.compile(rf"^{MARK}\n+```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HTTP_ERROR = re.compile(r"^[45]\d\d [A-Z]", re.MULTILINE)
_DONE = "the-command-ended-with"


@dataclass
class Step:
    """A command and what it shows."""

    command: str
    shown: list[str] = field(default_factory=list)


def steps(page: str) -> list[Step]:
    """Return the commands of a page that run."""
    found: list[Step] = []
    for block in _BLOCK.findall(page):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line[2:]))
            elif line.startswith(">") and not found[-1].shown:
                found[-1].command += "\n" + line[2:]
            else:
                found[-1].shown.append(line)
    return found


def matches(shown: list[str], printed: str) -> bool:
    """Whether what was printed is what is shown; white space at the ends of lines apart."""
    wanted = "\n".join(line.rstrip() for line in shown).strip()
    pattern = ".*".join(re.escape(part) for part in wanted.split("…"))
    text = "\n".join(line.rstrip() for line in printed.splitlines()).strip()
    return re.fullmatch(pattern, text, re.DOTALL) is not None


class Shell:
    """A bash that runs one command after the other."""

    def __init__(self, folder: Path) -> None:
        self._ports = {port: str(free_port()) for port in PORTS}
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "HOME": str(folder),
            "GRIDSPINE_HTTP__PORT": self._ports["8600"],
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "TESTS_OF_THIS_RUN": os.environ.get("TESTS_OF_THIS_RUN", ""),  # so that what is left behind is known
        }
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str) -> tuple[str, int]:
        """Run a command; return what it printed, with the ports of the page, and its exit code."""
        assert self._process.stdin is not None and self._process.stdout is not None
        for port, free in self._ports.items():
            command = re.sub(rf"\b{port}\b", free, command)
        self._process.stdin.write(f"{command}\ncode=$?; echo; echo {_DONE} $code\n")
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            if line.startswith(_DONE):
                break
            printed += line
        else:
            raise AssertionError(f"the shell ended: {printed}")
        for port, free in self._ports.items():
            printed = re.sub(rf"\b{free}\b", port, printed)
        return printed, int(line.split()[-1])

    def close(self) -> None:
        """End the shell and all it started."""
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()


def play(page: str, folder: Path) -> str:
    """Run a page's commands; return what is not as it says, "" when all is."""
    shell = Shell(folder)
    try:
        for step in steps(page):
            printed, code = shell.run(step.command)
            if step.shown and not matches(step.shown, printed):
                return f"$ {step.command}\nshows:\n{chr(10).join(step.shown)}\nprinted:\n{printed}"
            if code and not _HTTP_ERROR.search("\n".join(step.shown)):
                return f"$ {step.command}\nended with {code}:\n{printed}"
    finally:
        shell.close()
    return ""


def _pages() -> Iterator[Path]:
    yield from (path for path in sorted(DOCS.rglob("*.md")) if MARK in path.read_text())


def test_there_are_pages_that_run() -> None:
    assert {"first-readings.md", "share-and-revoke.md", "replay-a-year.md"} <= {path.name for path in _pages()}


@pytest.mark.slow
@pytest.mark.parametrize("path", list(_pages()), ids=lambda path: path.stem)
def test_the_page_does_what_it_says(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    missing = [program for program in re.findall(r"<!-- needs (\S+) -->", text) if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    assert text.count(MARK) == len(_BLOCK.findall(text)), "a block to run must follow its mark"
    if complaint := play(text, tmp_path):
        pytest.fail(complaint, pytrace=False)


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("$ echo one\none\n", ""),
        ("$ echo one\ntwo\n", "$ echo one\nshows:\ntwo"),
        ("$ echo one two three\none … three\n", ""),
        ("$ echo one two\none …, three\n", "$ echo one two\nshows"),
        ("$ false\n", "$ false\nended with 1"),
        ("$ echo '403 Forbidden'; false\n403 Forbidden\n", ""),
        ("$ a=1\n$ echo $a\n1\n", ""),
        ("$ cat <<EOF\n> one\n> EOF\none\n", ""),
    ],
)
def test_what_is_planted_is_found(tmp_path: Path, block: str, complaint: str) -> None:
    found = play(f"# Page\n\n{MARK}\n```console\n{block}```\n", tmp_path)
    assert found.startswith(complaint) if complaint else found == ""


LINK = re.compile(
    r"(?<!!)\[[^\]]*\]\((?!https?://|#)([^)#]+)[^)]*\)|!\[[^\]]*\]\(([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\""
)


def broken_links(root: Path) -> list[str]:
    """Return the links of the pages of ``root`` that lead nowhere."""
    pages = [*sorted((root / "docs").rglob("*.md")), *sorted(root.glob("*.md"))]
    return [
        f"{page.relative_to(root)}: {target}"
        for page in pages
        for found in LINK.findall(page.read_text())
        for target in filter(None, found)
        if not target.startswith("http") and not (page.parent / target).exists()
    ]


def test_every_link_leads_somewhere() -> None:
    assert broken_links(DOCS.parent) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("[b](b.md) [c](../c.md#part) [d](https://example.org) ![e](e.svg)")
    (tmp_path / "c.md").write_text("")
    assert broken_links(tmp_path) == ["docs/a.md: b.md", "docs/a.md: e.svg"]
