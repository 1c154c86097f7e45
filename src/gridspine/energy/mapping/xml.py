"""XML as the emitters write it: elements as nested tuples, text escaped; no names from outside."""

import html
from collections.abc import Iterable

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def element(tag: str, content: str | Iterable[str] = "", **attributes: str) -> str:
    """Return an element. ``content`` is text, escaped here, or elements already written; ``_`` in names is ``:``."""
    named = "".join(f' {key.replace("_", ":")}="{_escaped(value)}"' for key, value in attributes.items())
    inner = _escaped(content) if isinstance(content, str) else "".join(content)
    return f"<{tag}{named}>{inner}</{tag}>" if inner else f"<{tag}{named}/>"


def _escaped(words: str) -> str:
    return html.escape(_printable(words))


def _printable(words: str) -> str:
    """XML 1.0, §2.2: no place for most control characters, for half of a surrogate pair, and for two that are none."""
    return "".join(c if c in "\t\n" or _is_character(c) else "\ufffd" for c in words)


def _is_character(c: str) -> bool:
    return c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff"
