"""A permit is used again for Things that policies cannot tell apart: what they can look at is in its key."""

import re
from typing import Any

import msgspec
import pytest

from gridspine.apps.node.authority import _likeness, _thing_entity
from gridspine.apps.policies.entities import caller_entity, policy_schema, policy_texts
from gridspine.infra.identity.caller import Caller
from gridspine.things.thing import Thing

CALLER = Caller("urn:x:app", "acme", "device", "Name", frozenset({"operator"}), "key:k", "dpop")
THING = Thing("urn:x:meter", "acme", "Meter", "urn:m")
COVERED = {
    "Principal": {
        "organisation": {"organisation": "other"},
        "kind": {"kind": "user"},
        "roles": {"roles": frozenset({"owner"})},
    },
    "Thing": {"organisation": {"organisation": "other"}, "devices": {"devices": ("urn:x:app",)}},
}
"""Attributes that the key covers, by kind of entity, and a change of each."""
CONSTANT = {"Principal": {"active"}, "Thing": set[str]()}
"""Attributes that are the same in every question."""


def attributes(schema: str, kind: str) -> set[str]:
    """Return the attributes of an entity in a Cedar schema."""
    plain = re.sub(r"//.*", "", schema)
    found = re.search(rf"entity {kind}(?: in \[\w+\])? = \{{(.*?)\}};", plain, re.DOTALL)
    assert found, f"{kind} is spelled in another way, or has tags or other parents than this test knows"
    return set(re.findall(r"(\w+)\??\s*:", found[1]))


@pytest.mark.parametrize("kind", COVERED)
def test_every_attribute_in_the_schema_is_in_the_key(kind: str) -> None:
    """Whoever adds an attribute adds it to `_likeness` and here: else one's permit would be another's."""
    assert attributes(policy_schema(), kind) == set(COVERED[kind]) | CONSTANT[kind]


def test_a_new_attribute_would_be_seen() -> None:
    planted = policy_schema().replace("entity Thing = {", "entity Thing = {\n  zone?: String,")
    assert attributes(planted, "Thing") - attributes(policy_schema(), "Thing") == {"zone"}


def test_what_is_said_to_be_covered_changes_the_key() -> None:
    key = _likeness(CALLER, "thing.command", THING)
    assert _likeness(CALLER, "thing.read", THING) != key
    for change in COVERED["Principal"].values():
        assert _likeness(msgspec.structs.replace(CALLER, **change), "thing.command", THING) != key
    for change in COVERED["Thing"].values():
        assert _likeness(CALLER, "thing.command", msgspec.structs.replace(THING, **change)) != key
    assert _likeness(CALLER, "thing.command", msgspec.structs.replace(THING, id="urn:x:other")) == key


def test_what_is_asked_has_these_attributes_and_what_is_constant_is() -> None:
    who, what = caller_entity(CALLER).attributes, _thing_entity(THING).attributes
    assert who.keys() == COVERED["Principal"].keys() | CONSTANT["Principal"]
    assert what.keys() == COVERED["Thing"].keys()
    others: list[dict[str, Any]] = [dict(change) for change in COVERED["Principal"].values()]
    for change in others:
        again = caller_entity(msgspec.structs.replace(CALLER, **change)).attributes
        assert {name: again[name] for name in CONSTANT["Principal"]} == {
            name: who[name] for name in CONSTANT["Principal"]
        }


def test_policies_ask_no_more_of_things_than_the_key_has() -> None:
    """Devices only whether the caller is among them; no Thing by its own id; nothing of the moment."""
    things = re.findall(r"action ([^;]*?)appliesTo \{([^;]*)\};", re.sub(r"//.*", "", policy_schema()))
    at_things = [said for _, said in things if re.search(r"resource: (\[[^\]]*)?\bThing\b", said)]
    assert at_things
    assert all("context: {}" in said for said in at_things)
    text = re.sub(r"//.*", "", "\n".join(policy_texts().values()))
    assert "resource.devices" in text
    assert set(re.findall(r"resource\.devices(\S*)", text)) == {".contains(principal)"}
    assert not re.search(r'Thing::"', text)
