"""Modbus forms as registers: each term of the binding, what is left open, and what is refused."""

from typing import Any

import pytest

from gridspine.kernel.errors import Invalid
from gridspine.things.td.consume import Reachable, consume
from gridspine.things.td.derive import derive
from gridspine.things.td.forms import join
from gridspine.things.td.modbus import register

REACH = Reachable(("modbus",), None, ("urn:model:sunspec",))
LEASE = {"reversion": "safe-to-persist", "minimum": 0, "maximum": 5000}


def td(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    none = {"none": {"scheme": "nosec"}}
    base = "modbus+tcp://192.168.178.32:1502/7/"
    return {"base": base, "security": "none", "securityDefinitions": none, "properties": properties, **more}


def one(href: str = "11", entity: str = "HoldingRegister", **more: Any) -> dict[str, Any]:
    form = {name: value for name, value in more.items() if name[:5] in {"modv:", "gs:fa", "gs:ti"} or name == "op"}
    rest = {name: value for name, value in more.items() if name not in form}
    named = {"modv:entity": entity} if entity else {}
    return {"type": "integer", "unit": "W", **rest, "forms": [{"href": href, **named, **form}]}


def consumed(document: dict[str, Any], model: str = "") -> Any:
    return consume(document, derive(document).property_of, model, REACH)


def read(affordance: dict[str, Any]) -> dict[str, Any]:
    form = affordance["forms"][0]
    return register(form, f"modbus+tcp://h/1/{form['href']}", affordance)


@pytest.mark.parametrize(
    ("affordance", "expected"),
    [
        (one("11"), {"entity": "holding", "address": 10, "type": "int16"}),
        (one("11", minimum=0), {"entity": "holding", "address": 10, "type": "uint16"}),
        (one("0", **{"modv:zeroBasedAddressing": True}), {"entity": "holding", "address": 0, "type": "int16"}),
        (one("40001?quantity=2", "InputRegister"), {"entity": "input", "address": 40000, "type": "int32"}),
        (one("5?quantity=2", type="number"), {"entity": "holding", "address": 4, "type": "float32"}),
        (one("5", **{"modv:type": "xsd:double"}), {"entity": "holding", "address": 4, "type": "float64"}),
        (one("5?quantity=4", **{"modv:type": "xsd:unsignedLong"}),
         {"entity": "holding", "address": 4, "type": "uint64"}),
        (one("5?quantity=2", **{"modv:type": "xsd:decimal"}), {"entity": "holding", "address": 4, "type": "int32"}),
        (one("3", "Coil", type="boolean"), {"entity": "coil", "address": 2, "type": "bit"}),
        (one("3", "", type="boolean", **{"modv:function": "readDiscreteInput"}),
         {"entity": "discrete", "address": 2, "type": "bit"}),
        (one("3", "", **{"modv:function": 4}), {"entity": "input", "address": 2, "type": "int16"}),
        (one("5?quantity=2", **{"modv:type": "xsd:int", "modv:mostSignificantByte": False, "gs:factor": 0.1}),
         {"entity": "holding", "address": 4, "type": "int32", "byteSwap": True, "factor": 0.1}),
        (one("5", **{"modv:type": "xsd:float", "modv:mostSignificantWord": False}),
         {"entity": "holding", "address": 4, "type": "float32", "wordSwap": True}),
    ],
)  # fmt: skip
def test_a_form_is_a_register(affordance: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(affordance) == expected


@pytest.mark.parametrize(
    ("affordance", "words"),
    [
        (one("0"), "count from 1"),
        (one("65537"), "beyond"),
        (one("11", ""), "modv:entity"),
        (one("11/2"), "no address"),
        (one("x"), "no address"),
        (one("11", **{"modv:type": "xsd:string"}), "no number"),
        (one("11?quantity=3", **{"modv:type": "xsd:int"}), "takes 2"),
        (one("11?quantity=3"), "no number"),
        (one("11?quantity=many"), "quantity"),
        (one("11", type="number"), "modv:type"),
        (one("1?quantity=8", "Coil", type="boolean"), "several bits"),
        (one("11", **{"gs:factor": 0}), "gs:factor"),
    ],
)
def test_what_is_no_register_says_why(affordance: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read(affordance)


def test_a_stranger_s_description_becomes_one_device() -> None:
    found = consumed(td({
        "power": one("1", **{"modv:pollingTime": 2000}), "volt": one("3", unit="V", **{"modv:timeout": 500}),
        "door": one("10003", "", type="boolean", **{"modv:function": "readDiscreteInput", "modv:pollingTime": 100}),
        "far": one("modbus+tcp://192.168.178.33:1502/7/1"), "words": one("9", type="string", enum=["a", "b"]),
    }))  # fmt: skip
    assert found.adapter == "modbus"
    assert found.connection == {
        "transport": "tcp", "host": "192.168.178.32", "port": 1502, "unit": 7, "guarded": True,
        "intervalS": 1.0, "timeoutS": 0.5,
        "registers": {
            "power": {"read": {"entity": "holding", "address": 0, "type": "int16"}, "unit": "W"},
            "volt": {"read": {"entity": "holding", "address": 2, "type": "int16"}, "unit": "V"},
            "door": {"read": {"entity": "discrete", "address": 10002, "type": "bit"}},
        },
    }  # fmt: skip
    assert {left.affordance for left in found.left} == {"properties.far", "properties.words"}
    assert consumed(td({"p": one("1")}), "urn:model:sunspec").connection == {
        "transport": "tcp", "host": "192.168.178.32", "port": 1502, "unit": 7, "guarded": True,
    }  # fmt: skip


def test_security_is_nosec_or_nothing() -> None:
    found = consumed(td({"p": one()}, securityDefinitions={"none": {"scheme": "basic", "gs:secret": "s"}}))
    assert (found.adapter, found.reads) == ("", ())
    assert "no proof" in found.left[0].reason


def test_what_may_be_commanded_says_who_ends_it() -> None:
    timer = {"href": "41", "modv:entity": "HoldingRegister", "modv:type": "xsd:unsignedShort"}
    device = {**LEASE, "reversion": "device"}
    found = consumed(td({
        "kept": one(**{"gs:lease": LEASE}), "timed": one("13", **{"gs:lease": device, "gs:timer": timer}),
        "endless": one("15", **{"gs:lease": device}), "input": one("17", "InputRegister", **{"gs:lease": LEASE}),
        "shown": one("19", readOnly=True, **{"gs:lease": LEASE}), "free": one("21"),
        "far": one("23", **{"gs:lease": device, "gs:timer": {**timer, "href": "modbus+tcp://192.168.178.32:1502/8/41"}}),
    }))  # fmt: skip
    registers = found.connection["registers"]
    assert registers["kept"]["write"] == {"entity": "holding", "address": 10, "type": "int16", "single": True}
    assert registers["kept"]["held"] is True
    assert registers["timed"]["timer"] == {"entity": "holding", "address": 40, "type": "uint16", "single": True}
    assert "held" not in registers["timed"]
    for name in ("input", "shown", "free", "far"):
        assert registers[name].keys() == {"read", "unit"}, name
    assert not registers["endless"].get("held")
    reasons = {left.affordance: left.reason for left in found.left}
    assert set(reasons) == {"properties.endless", "properties.input", "properties.far"}
    assert "nobody would end a lease" in reasons["properties.endless"]
    assert "timer" in reasons["properties.far"]


def test_states_are_safe_to_keep_by_the_model_s_word_only() -> None:
    """A description cannot say it of a model that leaves the end of leases to the device."""
    found = consumed(td({"kept": one(**{"gs:lease": LEASE})}), "urn:model:somebody-s")
    assert "held" not in found.connection["registers"]["kept"]


@pytest.mark.parametrize(
    ("base", "href", "address"),
    [
        ("modbus+tcp://h:1/7/", "3?quantity=2", "modbus+tcp://h:1/7/3?quantity=2"),
        ("modbus+tcp://h:1/7/", "/8/3", "modbus+tcp://h:1/8/3"),
        ("https://h/d/", "p", "https://h/d/p"),
        ("https://h/d/", "coap://g/p", "coap://g/p"),
        ("", "p", "p"),
    ],
)
def test_addresses_are_joined_whatever_the_scheme(base: str, href: str, address: str) -> None:
    assert join(base, href) == address
