"""Builds the site from the pages as they are: what lies outside of ``docs/`` and is linked comes along.

Pages of the repository (architecture, changelog …) become pages of the site; a link to another file outside shows its
path instead; a link to a folder leads to a list of its pages.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ALONG = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "README.md": "about.md",
    "src/gridspine/adapters/mqtt/README.md": "adapters/mqtt.md",
    "src/gridspine/adapters/modbus/README.md": "adapters/modbus.md",
}
"""Pages outside of ``docs/``, and where they are on the site."""
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside, and a list for each folder that has none."""
    for source, place in ALONG.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, place, content=(ROOT / source).read_text()))
    for folder in sorted({posixpath.dirname(one.src_uri) for one in files.documentation_pages()} - {""}):
        if not any(one.src_uri in {f"{folder}/index.md", f"{folder}/README.md"} for one in files):
            files.append(File.generated(config, f"{folder}/index.md", content=_list(folder, files)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to where its targets are on the site; code is left alone."""
    place = page.file.src_uri
    origin = next((source for source, along in ALONG.items() if along == place), f"docs/{place}")
    kept: list[str] = []

    def hide(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    text = _FENCE.sub(hide, markdown)
    text = _LINK.sub(lambda found: _led(found, origin, place, files), text)
    return re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], text)


def _led(found: re.Match[str], origin: str, place: str, files: Files) -> str:
    words, target, anchor = found[1], found[2], found[3] or ""
    if ":" in target:
        return found[0]
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    if not (ROOT / wanted).exists() and not wanted.startswith("docs/"):
        raise ValueError(f"{origin}: {target} leads nowhere")
    there: str | None = ALONG.get(wanted)
    if there is None and wanted.startswith("docs"):
        there = wanted.removeprefix("docs").lstrip("/")
        if (ROOT / wanted).is_dir():
            there = posixpath.join(there, "README.md" if (ROOT / wanted / "README.md").exists() else "index.md")
        if files.get_file_from_path(there) is None:
            there = None
    if there is None:
        return f"{words.strip('![]')} (`{wanted}`)"
    return f"{words}({os.path.relpath(there, posixpath.dirname(place) or '.')}{anchor})"


def _list(folder: str, files: Files) -> str:
    lines = [f"# {folder.rpartition('/')[2].replace('-', ' ').capitalize()}\n"]
    for one in files.documentation_pages():
        if posixpath.dirname(one.src_uri) == folder:
            title: Any = re.search(r"^# (.+)$", one.content_string, re.MULTILINE)
            lines.append(f"* [{title[1] if title else one.name}]({posixpath.basename(one.src_uri)})")
    return "\n".join(lines) + "\n"
