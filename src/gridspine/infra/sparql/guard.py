"""What a stranger's SPARQL may say: nothing that leads out of the dataset. The first fence; the process is the second.

Source: SPARQL 1.1 Query Language (Recommendation of 21 March 2013), §19.2 codepoint escapes, §19.8 grammar; SPARQL 1.1
Federated Query (SERVICE). Updates have a grammar of their own, which the engine does not read as a query.
"""

import re

from gridspine.kernel.errors import Invalid

MAX_QUERY_CHARS = 20_000
MAX_NESTING = 100
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"""|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*\'\'\''
    r'|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|<[^<>"{}|^`\\\s]*>|#[^\n]*|[?$]\w+|@[\w-]+'
    r"|[\w.-]*:[\w.:%\\-]*|(?P<word>\w+)|(?P<open>[({\[])|(?P<close>[)}\]])",
    re.DOTALL,
)
_REFUSED = {
    "SERVICE": "other services are not asked from here",
    "FROM": "there is one dataset: your Things; leave FROM out",
}


def check(query: str) -> None:
    """Raise `Invalid` for a query that is too long or names other datasets or services."""
    if not 0 < len(query) <= MAX_QUERY_CHARS:
        raise Invalid(f"query: 1 to {MAX_QUERY_CHARS} characters of SPARQL 1.1")
    plain = _ESCAPE.sub(_unescaped, query)
    depth = 0
    for token in _TOKEN.finditer(plain):
        word = (token["word"] or "").upper()
        if word in _REFUSED:
            raise Invalid(f"query: {word}: {_REFUSED[word]}")
        depth += bool(token["open"]) - bool(token["close"])
        if depth > MAX_NESTING:
            raise Invalid(f"query: it nests more than {MAX_NESTING} deep")


def _unescaped(found: re.Match[str]) -> str:
    code = int(found[1] or found[2], 16)
    return chr(code) if code < 0x110000 else ""
