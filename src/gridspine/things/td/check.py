"""What is wrong with a Thing Description or Thing Model: by the W3C's JSON Schemas, and by what they cannot say."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec

from gridspine.things.td.document import MAX_FINDINGS, Finding, Path, finding
from gridspine.things.td.rule import placeholders_left, rules_broken
from gridspine.things.td.secret import may_hold_secrets, secrets_in

TD_11, TD_10 = "https://www.w3.org/2022/wot/td/v1.1", "https://www.w3.org/2019/wot/td/v1"
_TD_11_WITHOUT_YEAR = "https://www.w3.org/ns/wot-next/td"
_SHOWN = 300


def check_description(document: Mapping[str, Any]) -> list[Finding]:
    """Return what is wrong with a Thing Description, at most `MAX_FINDINGS`; an empty list when nothing is."""
    found = list(_context(document)) + _by_schema("td", document)
    if not found:
        found = list(rules_broken(document))
        # To walk through a whole document takes longer than all the rest: it is first looked over as a text.
        text = msgspec.json.encode(document)
        if b"{{" in text:
            found += placeholders_left(document)
        if may_hold_secrets(text):
            found += secrets_in(document)
    return found[:MAX_FINDINGS]


def check_model(document: Mapping[str, Any]) -> list[Finding]:
    """Return what is wrong with a Thing Model before it is filled in, at most `MAX_FINDINGS`."""
    found = _by_schema("tm", document)
    return (found or list(secrets_in(document)))[:MAX_FINDINGS]


def is_valid(name: Literal["td", "tm"], document: Mapping[str, Any]) -> bool:
    """Whether the W3C's schema finds nothing wrong with a document."""
    return bool(_validator(name).is_valid(document))


def is_model(document: Mapping[str, Any]) -> bool:
    """Whether a document says that it is a Thing Model (TD 1.1 §10)."""
    kinds = document.get("@type")
    return kinds == "tm:ThingModel" or (isinstance(kinds, list) and "tm:ThingModel" in kinds)


def _context(document: Mapping[str, Any]) -> Iterator[Finding]:
    given = document.get("@context")
    first = given[0] if isinstance(given, list) and given else given
    if first not in (TD_11, TD_10, _TD_11_WITHOUT_YEAR):  # it may be anything
        yield finding(("@context",), f"the first must be {TD_11} (or {TD_10}); none is ever fetched")
    if is_model(document):
        yield finding(("@type",), "this is a Thing Model: it has to be filled in before a Thing can be made of it")


def _by_schema(name: str, document: Mapping[str, Any]) -> list[Finding]:
    found = []
    for error in _validator(name).iter_errors(document):
        path: Path = tuple(error.instance_path)
        found.append(finding(path, _words(error.message)))
        if len(found) >= MAX_FINDINGS:
            break
    return found


def _words(message: str) -> str:
    """Return a schema's complaint without the whole of what it complains about."""
    if len(message) <= _SHOWN:
        return message
    return f"{message[: _SHOWN // 2]} … {message[-_SHOWN // 2 :]}"


@cache
def _validator(name: str) -> Any:
    import jsonschema_rs

    text = resources.files(__package__).joinpath(f"{name}.schema.json").read_bytes()
    return jsonschema_rs.validator_for(msgspec.json.decode(text))
