"""Thing Models filled in: extended, referred to, without recursion, placeholders in their places."""

from typing import Any

import pytest

from gridspine.kernel.errors import Invalid
from gridspine.things.td import check_description, check_model
from gridspine.things.td.thing_model import filled, holes

CONTEXT = "https://www.w3.org/2022/wot/td/v1.1"
BASE: dict[str, Any] = {
    "@context": CONTEXT,
    "@type": "tm:ThingModel",
    "id": "urn:model:base",
    "title": "Base",
    "version": {"model": "1.2.0"},
    "securityDefinitions": {"none": {"scheme": "nosec"}},
    "security": "none",
    "tm:optional": ["/properties/extra"],
    "properties": {
        "power": {"type": "number", "unit": "W", "forms": [{"href": "http://{{HOST}}:{{PORT}}/p"}]},
        "extra": {"type": "number", "unit": "V", "forms": [{"href": "http://{{HOST}}/e"}]},
    },
}


def known(*models: dict[str, Any]) -> Any:
    return {model["id"]: model for model in models}.get


def test_placeholders_keep_the_type_of_what_stands_alone() -> None:
    model = {**BASE, "properties": {"p": {**BASE["properties"]["power"], "maximum": "{{MAX}}"}}}
    found = filled(model, {"HOST": "h", "PORT": 81, "MAX": 7.5})
    assert check_model(model) == []
    assert (found["properties"]["p"]["maximum"], found["properties"]["p"]["forms"][0]["href"]) == (7.5, "http://h:81/p")
    assert found["links"] == [{"rel": "type", "href": "urn:model:base", "type": "application/tm+json"}]
    assert found["version"] == {"instance": "1", "model": "1.2.0"}
    assert "@type" not in found
    assert "id" not in found
    assert check_description(found) == []
    assert sorted(holes(model)) == ["HOST", "MAX", "PORT"]
    with pytest.raises(Invalid) as refusal:
        filled(model, {"HOST": "h"})
    fields = {one["field"]: one["description"] for one in refusal.value.extra["validationErrors"]}
    assert set(fields) == {"properties.p.forms.0.href", "properties.p.maximum"}
    assert "PORT" in fields["properties.p.forms.0.href"]


def test_a_value_is_not_read_as_a_placeholder_again() -> None:
    found = filled({**BASE, "title": "{{A}}"}, {"A": "{{B}}", "B": "x", "HOST": "h", "PORT": 1})
    assert found["title"] == "{{B}}"


def test_what_is_optional_may_be_left_out_and_nothing_else() -> None:
    found = filled(BASE, {"HOST": "h", "PORT": 1}, without=["/properties/extra"])
    assert list(found["properties"]) == ["power"]
    assert "tm:optional" not in found
    with pytest.raises(Invalid):
        filled(BASE, {"HOST": "h", "PORT": 1}, without=["/properties/power"])


def test_a_model_extends_another_and_refers_to_pieces() -> None:
    child = {
        "@context": CONTEXT, "@type": ["tm:ThingModel", "x:Pump"], "id": "urn:model:child", "title": "Child",
        "links": [{"rel": "tm:extends", "href": "urn:model:base"}, {"rel": "icon", "href": "http://x/i"}],
        "properties": {
            "power": {"maximum": 9},
            "copy": {"tm:ref": "urn:model:base#/properties/power", "title": "Copied", "unit": "kW"},
            "own": {"tm:ref": "#/properties/copy", "title": None},
        },
    }  # fmt: skip
    found = filled(child, {"HOST": "h", "PORT": 1}, known(BASE))
    assert found["@type"] == ["x:Pump"]
    assert found["properties"]["power"] == {**found["properties"]["power"], "maximum": 9, "unit": "W"}
    assert (found["properties"]["copy"]["unit"], found["properties"]["copy"]["title"]) == ("kW", "Copied")
    assert "title" not in found["properties"]["own"]
    assert found["properties"]["own"]["unit"] == "kW"
    assert [link["rel"] for link in found["links"]] == ["icon", "type"]
    assert check_description(found) == []


@pytest.mark.parametrize(
    "model",
    [
        {"id": "urn:a", "properties": {"p": {"tm:ref": "#/properties/p"}}},
        {"id": "urn:a", "properties": {"p": {"tm:ref": "#/properties/q"}, "q": {"tm:ref": "#/properties/p"}}},
        {"id": "urn:a", "properties": {"p": {"tm:ref": "#/properties"}}},
        {"id": "urn:a", "properties": {"p": {"tm:ref": "urn:a#/properties/p"}}},
        {"id": "urn:a", "links": [{"rel": "tm:extends", "href": "urn:a"}]},
        {"id": "urn:a", "links": [{"rel": "tm:extends", "href": "http://169.254.169.254/"}]},
        {"id": "urn:a", "properties": {"p": {"tm:ref": "http://169.254.169.254/#/a"}}},
        {"id": "urn:a", "properties": {"p": {"tm:ref": "#/properties/none"}}},
        {"id": "urn:a", "properties": {"p": {"tm:ref": "no pointer"}}},
        {"id": "urn:a", "many": [{"tm:ref": "#/x"}] * 2_000, "x": {"a": 1}},
        {"id": "urn:a", "x0": {"a": [1] * 40_000}, "x": [{"tm:ref": "#/x0"}] * 9},
    ],
)
def test_recursion_and_what_leads_outside_is_refused(model: dict[str, Any]) -> None:
    whole = {"@context": CONTEXT, "@type": "tm:ThingModel", "title": "t", **model}
    with pytest.raises(Invalid) as refusal:
        filled(whole, {}, known(whole))
    assert refusal.value.extra["validationErrors"]


def test_an_extension_without_an_address_is_named() -> None:
    with pytest.raises(Invalid, match=r"tm:extends needs an href"):
        filled({**BASE, "links": [{"rel": "tm:extends"}]}, {"HOST": "h", "PORT": 1})
