"""Nobody who uses the API is broken by a release: today's OpenAPI document against that of the last one.

What counts is in ``docs/reference/api-changes.md``. ``python tests/tidy/test_api_changes.py`` freezes today's document
as a release's; that is done when one is made, and never to silence this test.
"""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
TODAY, RELEASED = REFERENCE / "openapi.json", REFERENCE / "openapi-released.json"
Json = dict[str, Any]


def breaking(old: Json, new: Json) -> list[str]:
    """Return what of ``old`` a client may rely on and ``new`` takes away, or asks for besides."""
    found: list[str] = []
    for path, methods in old["paths"].items():
        for method, before in methods.items():
            after = new["paths"].get(path, {}).get(method)
            where = f"{method.upper()} {path}"
            if after is None:
                found.append(f"{where}: gone")
                continue
            found += [f"{where}: {words}" for words in _parameters(before, after)]
            found += [f"{where}: body: {words}" for words in _bodies(before, after, old, new)]
            found += [f"{where}: {words}" for words in _answers(before, after, old, new)]
    return found


def _parameters(before: Json, after: Json) -> Iterator[str]:
    old = {(one["in"], one["name"]): one for one in before.get("parameters", [])}
    new = {(one["in"], one["name"]): one for one in after.get("parameters", [])}
    for place, name in sorted(set(old) - set(new)):
        yield f"parameter {name} in {place} is gone"
    for key, one in sorted(new.items()):
        if one.get("required") and not old.get(key, {}).get("required"):
            yield f"parameter {key[1]} in {key[0]} is needed now"


def _bodies(before: Json, after: Json, old: Json, new: Json) -> Iterator[str]:
    taken, takes = (one.get("requestBody", {}).get("content", {}) for one in (before, after))
    for media in sorted(set(taken) - set(takes)):
        yield f"{media} is not taken any more"
    for media in sorted(set(taken) & set(takes)):
        was, now = _schema(taken[media], old), _schema(takes[media], new)
        for name in sorted(set(now.get("required", [])) - set(was.get("required", []))):
            yield f"{name} is needed now"
        for name in sorted(set(was.get("properties", {})) - set(now.get("properties", {}))):
            yield f"{name} is not taken any more"
        yield from _kinds(was, now)


def _answers(before: Json, after: Json, old: Json, new: Json) -> Iterator[str]:
    for code, was_ in sorted(before.get("responses", {}).items()):
        if not code.startswith("2"):
            continue
        now_ = after.get("responses", {}).get(code)
        if now_ is None:
            yield f"it does not answer {code} any more"
            continue
        for media, content in was_.get("content", {}).items():
            if media not in now_.get("content", {}):
                yield f"{code} is not answered as {media} any more"
                continue
            was, now = _schema(content, old), _schema(now_["content"][media], new)
            for name in sorted(set(was.get("properties", {})) - set(now.get("properties", {}))):
                yield f"{code}: {name} is gone"
            yield from (f"{code}: {words}" for words in _kinds(was, now))


def _kinds(was: Json, now: Json) -> Iterator[str]:
    for name, kind in sorted(was.get("properties", {}).items()):
        other = now.get("properties", {}).get(name)
        if other is not None and (kind.get("type"), kind.get("enum")) != (other.get("type"), other.get("enum")):
            yield f"{name} is of another kind"


def _schema(content: Json, document: Json) -> Json:
    """Return the object that a body is (the items of a list), its reference followed."""
    found = content.get("schema", {})
    for _ in range(5):
        if found.get("type") == "array":
            found = found.get("items", {})
        elif "$ref" in found:
            found = document["components"]["schemas"][found["$ref"].rpartition("/")[2]]
    return dict(found)


def test_nothing_is_broken() -> None:
    assert breaking(json.loads(RELEASED.read_text()), json.loads(TODAY.read_text())) == []


def _removed(document: Json) -> None:
    del document["paths"]["/things"]


def _needed(document: Json) -> None:
    document["paths"]["/things"]["get"].setdefault("parameters", []).append(
        {"in": "query", "name": "x", "required": True}
    )


def _gone(document: Json) -> None:
    del document["components"]["schemas"]["CommandView"]["properties"]["state"]


def _asked(document: Json) -> None:
    document["components"]["schemas"]["NewCommand"]["required"].append("priority")


def _other(document: Json) -> None:
    document["components"]["schemas"]["CommandView"]["properties"]["value"]["type"] = "string"


def _media(document: Json) -> None:
    content = document["paths"]["/commands"]["post"]["requestBody"]["content"]
    content["text/plain"] = content.pop("application/json")


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (_removed, "GET /things: gone"),
        (_needed, "GET /things: parameter x in query is needed now"),
        (_gone, "GET /commands: 200: state is gone"),
        (_asked, "POST /commands: body: priority is needed now"),
        (_other, "GET /commands: 200: value is of another kind"),
        (_media, "POST /commands: body: application/json is not taken any more"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_planted_is_found(plant: Any, words: str) -> None:
    today = json.loads(TODAY.read_text())
    changed = copy.deepcopy(today)
    plant(changed)
    assert words in breaking(today, changed)


def test_what_is_added_breaks_nobody() -> None:
    today = json.loads(TODAY.read_text())
    changed = copy.deepcopy(today)
    changed["paths"]["/new"] = {"get": {"responses": {}}}
    changed["components"]["schemas"]["CommandView"]["properties"]["more"] = {"type": "string"}
    changed["paths"]["/things"]["get"].setdefault("parameters", []).append({"in": "query", "name": "x"})
    assert breaking(today, changed) == []


if __name__ == "__main__":
    shutil.copy(TODAY, RELEASED)
