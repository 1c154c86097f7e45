"""The Thing Description of a Thing of ours: valid, complete, trimmed to what a caller may do."""

import copy
import json
import re

import msgspec
import pytest

from gridspine.energy.models import load_models
from gridspine.things.action import actions_of
from gridspine.things.exposed import EVENTS, Reach, describe, thing_url
from gridspine.things.model import parse_model
from gridspine.things.td.check import check_description
from gridspine.things.thing import Thing

MODELS = load_models()
BATTERY = MODELS["battery"]
ALL = Reach("http://node.example:8600", command=True, alarms=True)
LOOKING = Reach("http://node.example:8600")


def thing(model, id="urn:example:t"):
    return Thing(id, "acme", "A Thing", model.id, created_us=1_700_000_000_000_000)


def forms(td):
    for kind in ("properties", "actions", "events"):
        for affordance in td.get(kind, {}).values():
            yield from affordance["forms"]
    yield from td["forms"]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_point_of_every_model_can_be_read_and_observed(name):
    model = MODELS[name]
    td = describe(thing(model), model, ALL)
    assert td["@context"][0] == "https://www.w3.org/2022/wot/td/v1.1"
    assert {*td["properties"]} == {point.name for point in model.points}
    for point in model.points:
        found = td["properties"][point.name]
        assert found["gs:readingType"]["unit"] == point.reading_type.unit == found["unit"] or "unit" in found
        offered = {op for form in found["forms"] for op in form["op"]}
        assert offered >= {"readproperty", "observeproperty", "unobserveproperty"}
        assert ("writeproperty" in offered) is (point.lease is not None) is not found["readOnly"]
        assert {form["subprotocol"] for form in found["forms"] if "subprotocol" in form} == {"longpoll", "sse"}
    assert {*td["events"]} == {*EVENTS}


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("reach", [ALL, LOOKING], ids=["all", "looking"])
def test_the_w3c_s_schema_and_the_rules_beside_it_find_nothing(name, reach):
    one = msgspec.structs.replace(thing(MODELS[name]), location=(47.4, 8.5), version=3)
    td = describe(one, MODELS[name], reach)
    assert check_description(json.loads(msgspec.json.encode(td))) == []
    assert (td["geo:lat"], td["geo:long"], td["version"]["instance"]) == (47.4, 8.5, "3")


def test_what_a_caller_may_not_do_is_not_offered():
    td = describe(thing(BATTERY), BATTERY, LOOKING)
    assert "actions" not in td
    assert {*td["events"]} == {"command", "lifecycle"}
    assert all("writeproperty" not in form.get("op", ()) for form in forms(td))
    assert td["properties"]["activePowerSetpoint"]["readOnly"] is True
    full = describe(thing(BATTERY), BATTERY, ALL)
    assert {*full["actions"]} == {"hold", "stop"}
    assert full["actions"]["hold"]["input"]["properties"]["property"]["enum"] == ["activePowerSetpoint"]


def test_nothing_of_the_screen_or_of_the_adapter_is_told():
    one = msgspec.structs.replace(
        thing(BATTERY), adapter="modbus", connection={"host": "10.1.2.3"}, devices=("urn:a:b",)
    )
    text = json.dumps(describe(one, BATTERY, ALL))
    for secret in ("gs:screen", "10.1.2.3", "modbus", "urn:a:b", "tm:"):
        assert secret not in text


def test_hrefs_are_relative_to_the_thing():
    assert thing_url("http://h", "urn:x:a%b'(c)") == "http://h/things/urn:x:a%25b%27%28c%29"
    td = describe(thing(BATTERY, "urn:x:a%b"), BATTERY, ALL)
    assert td["base"] == "http://node.example:8600/things/urn:x:a%25b/"
    *relative, socket = forms(td)
    assert socket["href"] == "ws://node.example:8600/things/urn:x:a%25b/values/socket{?names,ticket}"
    for form in relative:
        assert re.fullmatch(r"(properties|actions|events|values)[A-Za-z0-9/]*(\{\??[a-zA-Z,]+\})?", form["href"]), form


def test_variables_of_forms_are_described():
    td = describe(thing(BATTERY), BATTERY, ALL)
    for kind in ("properties", "actions", "events"):
        for affordance in td[kind].values():
            for form in affordance["forms"]:
                used = {one for group in re.findall(r"\{\??([^}]+)\}", form["href"]) for one in group.split(",")}
                assert used <= {*affordance.get("uriVariables", ()), *td["uriVariables"]}, form


def test_a_setpoint_s_schema_holds_all_that_may_be_read():
    """Its lease goes to 5 kW, what may be reported to 6 kW: a consumer that checks what it reads must not refuse it."""
    td = describe(thing(BATTERY), BATTERY, ALL)
    found = td["properties"]["activePowerSetpoint"]
    assert (found["minimum"], found["maximum"]) == (-6000, 6000)
    assert td["actions"]["hold"]["output"]["type"] == "object"


def test_describing_one_thing_changes_nothing_of_another():
    first = describe(thing(BATTERY), BATTERY, ALL)
    before = copy.deepcopy(first)
    describe(thing(BATTERY, "urn:example:other"), BATTERY, LOOKING)
    assert describe(thing(BATTERY), BATTERY, ALL) == before == first


def test_an_action_of_a_model_is_offered_when_a_service_carries_it_out():
    document = copy.deepcopy(BATTERY.document)
    document["id"] = "urn:example:own-actions"
    document["actions"] = {
        "charge": {"title": "Charge", "gs:does": "hold", "gs:property": "activePowerSetpoint", "x:kept": 1},
        "explode": {"title": "Nobody does this"},
        "measure": {"gs:does": "hold", "gs:property": "activePower"},
        "a/b": {"gs:does": "stop"},
    }
    model = parse_model(document)
    found = {action.name: action for action in actions_of(model, frozenset({"hold", "stop"}))}
    assert {*found} == {"charge", "hold", "stop"}
    assert found["charge"].point == "activePowerSetpoint"
    assert found["charge"].input == {
        "type": "number", "unit": "W", "minimum": -5000, "maximum": 5000, "title": "Set-point of active power"
    }  # fmt: skip
    td = describe(thing(model), model, ALL)
    assert td["actions"]["charge"]["x:kept"] == 1
    assert "gs:does" in td["actions"]["charge"]
    assert td["actions"]["charge"]["synchronous"] is False
