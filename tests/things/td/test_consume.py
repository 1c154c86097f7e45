"""What the node can do with a description: points with a meaning, and the adapter that reads them."""

from typing import Any

import msgspec
import pytest

from gridspine.kernel.errors import Invalid
from gridspine.things.td.consume import Reachable, consume
from gridspine.things.td.derive import derive, known_unit

ALL = Reachable(("wot_http", "mqtt", "modbus"), ("broker.example", 1883), ("urn:model:pv",), "http://node.example")


_OF_FORMS = {"op", "contentType", "security", "gs:pointer", "gs:factor"}


def td(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    none = {"none": {"scheme": "nosec"}}
    return {"title": "t", "security": "none", "securityDefinitions": none, "properties": properties, **more}


def one(href: str = "http://h/p", **more: Any) -> dict[str, Any]:
    form = {name: value for name, value in more.items() if name[:4] in {"htv:", "mqv:"} or name in _OF_FORMS}
    rest = {name: value for name, value in more.items() if name not in form}
    return {"type": "number", "unit": "W", **rest, "forms": [{"href": href, **form}]}


def consumed(document: dict[str, Any], model: str = "", reach: Reachable = ALL) -> Any:
    return consume(document, derive(document).property_of, model, reach)


@pytest.mark.parametrize(
    ("spelled", "symbol"),
    [("W", "W"), ("%", "%"), ("percent", "%"), ("degree celsius", "degC"), ("°C", "degC"), ("om2:kilowatt", "kW"),
     ("http://qudt.org/vocab/unit/Volt", "V"), ("kilowatt-hour", "kWh"), ("m³", "m3"), ("Cel", "degC")],
)  # fmt: skip
def test_units_are_known_by_many_names(spelled: str, symbol: str) -> None:
    assert known_unit(spelled) == symbol
    with pytest.raises(Invalid):
        known_unit(f"{spelled} of nothing")


def test_properties_with_a_meaning_become_points() -> None:
    derived = derive(
        td({
            "power": one(minimum=-5, maximum=5), "on": one(type="boolean"), "mode": one(type="string", enum=["a", "b"]),
            "no unit": one(unit="furlong"), "text": one(type="string"), "out": one(writeOnly=True), "a-b": one(),
            "a.b": one(), "7": one(),
            "energy": one(**{"gs:readingType": {"unit": "Wh", "kind": "register", "flow": "import"}}),
            "odd": one(**{"gs:readingType": {"unit": "Wh", "kind": "nonsense"}}),
        })
    )  # fmt: skip
    points = {point.name: point for point in derived.points}
    assert list(points) == ["a_b", "energy", "mode", "on", "p7", "power"]
    assert (points["power"].screen.possible_min, points["power"].screen.possible_max) == (-5, 5)
    assert (points["on"].reading_type.kind, points["mode"].reading_type.codes) == ("state", {"0": "a", "1": "b"})
    assert points["energy"].reading_type.kind == "register"
    assert derived.property_of["p7"] == "7"
    left = {left.affordance for left in derived.left}
    assert left == {f"properties.{name}" for name in ("no unit", "text", "out", "odd", "a.b")} or left == {
        f"properties.{name}" for name in ("no unit", "text", "out", "odd", "a-b")
    }


def test_http_forms_are_polled() -> None:
    basic = {"none": {"scheme": "nosec"}, "b": {"scheme": "basic", "gs:secret": "boiler"}}
    document = td(
        {"power": one("power"), "on": one("/on", type="boolean", contentType="text/plain")},
        base="https://h.example/d/", securityDefinitions=basic, security="b",
    )  # fmt: skip
    found = consumed(document)
    assert found.adapter == "wot_http"
    assert found.connection == {
        "security": {"scheme": "basic", "secret": "boiler"},
        "forms": {
            "power": {"href": "https://h.example/d/power", "unit": "W"},
            "on": {"href": "https://h.example/on", "codes": {"false": 0.0, "true": 1.0}},
        },
        "intervalS": 60.0,
    }
    assert (found.reads, found.left) == (("on", "power"), ())


def test_a_value_inside_an_answer_or_a_message_is_found_by_its_pointer() -> None:
    found = consumed(
        td({
            "power": one(**{"gs:pointer": "/em:0/w", "gs:factor": -1}), "plain": one(**{"gs:factor": 0.1}),
            "on": one(type="boolean", **{"gs:pointer": "/on"}), "as it is": one(),
        })
    )  # fmt: skip
    forms = found.connection["forms"]
    assert forms["power"] == {"href": "http://h/p", "unit": "W", "pick": {"plus": ["/em:0/w"], "scale": -1.0}}
    assert forms["plain"]["pick"] == {"plus": [""], "scale": 0.1}
    assert forms["on"]["pick"] == {"plus": ["/on"], "scale": 1.0, "codes": {"false": 0.0, "true": 1.0}}
    assert "unit" not in forms["on"]
    assert "pick" not in forms["as_it_is"]
    topic = one("mqtt://broker.example/a", **{"mqv:topic": "tele/x", "gs:pointer": "/ENERGY/Power", "gs:factor": -1})
    assert consumed(td({"power": topic})).connection["topics"] == {
        "power": {"topic": "tele/x", "path": "/ENERGY/Power", "scale": -1.0, "unit": "W"}
    }
    for wrong in ({"gs:pointer": "w"}, {"gs:pointer": 7}, {"gs:factor": 0}, {"gs:factor": True}):
        assert consumed(td({"power": one(**wrong)})).adapter == ""


@pytest.mark.parametrize(
    ("property_", "more", "words"),
    [
        (one("coap://h/p"), {}, "no adapter speaks coap"),
        (one("http://node.example/things/x"), {}, "this node's own"),
        (one(contentType="image/png"), {}, "image/png"),
        (one(op="writeproperty"), {}, ""),
        (one("http://h/{a}"), {"uriVariables": {"a": {}}}, "variables"),
        (one(**{"htv:methodName": "POST"}), {}, "GET"),
        (one(), {"securityDefinitions": {"none": {"scheme": "psk", "gs:secret": "s"}}}, "psk"),
        (one(), {"securityDefinitions": {"none": {"scheme": "basic"}}}, "gs:secret"),
        (one(), {"securityDefinitions": {"none": {"scheme": "oauth2", "flow": "code", "gs:secret": "s"}}}, "client"),
        (one(), {"securityDefinitions": {"none": {"scheme": "apikey", "in": "body", "gs:secret": "s"}}}, "apikey"),
        (one(), {"securityDefinitions": {"none": {"scheme": "apikey", "gs:secret": "s"}}}, "name"),
        (
            one(),
            {"securityDefinitions": {"none": {"scheme": "apikey", "in": "header", "name": "Host", "gs:secret": "s"}}},
            "header",
        ),
        (one("mqtt://other.example/", **{"mqv:topic": "t"}), {}, "client of broker.example:1883"),
        (one("mqtt://broker.example/"), {}, "topic"),
        (one("modbus+tcp://h:502/1/40001"), {}, "modv:entity"),
    ],
)
def test_what_cannot_be_read_says_why(property_: Any, more: dict[str, Any], words: str) -> None:
    found = consumed(td({"p": property_}, **more))
    assert (found.adapter, found.connection, found.reads) == ("", {}, ())
    assert words in " ".join(left.reason for left in found.left)
    nothing = consumed(td({"p": one()}), reach=Reachable())
    assert "adapters.allow" in nothing.left[0].reason


def test_a_combination_takes_the_first_scheme_the_adapter_has() -> None:
    schemes = {
        "none": {"scheme": "combo", "oneOf": ["p", "t"]}, "p": {"scheme": "apikey", "in": "body"},
        "t": {"scheme": "oauth2", "flow": "client", "token": "https://as/t", "scopes": ["a", "b"], "gs:secret": "s"},
    }  # fmt: skip
    found = consumed(td({"p": one()}, securityDefinitions=schemes))
    assert found.connection["security"] == {"scheme": "oauth2", "secret": "s", "token": "https://as/t", "scopes": "a b"}


def test_mqtt_and_modbus_forms_become_the_connections_of_their_adapters() -> None:
    found = consumed(td({
        "power": one("mqtt://broker.example", op="observeproperty", **{"mqv:topic": "a/power"}),
        "volt": one("mqtt://broker.example:1883/a/volt", op=["observeproperty"], unit="kilovolt"),
    }))  # fmt: skip
    assert (found.adapter, found.connection) == (
        "mqtt", {"topics": {"power": {"topic": "a/power", "unit": "W"}, "volt": {"topic": "a/volt", "unit": "kV"}}},
    )  # fmt: skip
    found = consumed(td({"p": one("modbus+tcp://10.0.0.9/17/40072?quantity=2")}), model="urn:model:pv")
    assert found.connection == {"transport": "tcp", "host": "10.0.0.9", "port": 502, "unit": 17, "guarded": True}


def test_the_adapter_that_reads_most_is_chosen_and_the_rest_is_named() -> None:
    found = consumed(td({
        "a": one(), "b": one("http://h/b"),
        "c": one("mqtt://broker.example", op="observeproperty", **{"mqv:topic": "c"}),
    }))  # fmt: skip
    assert (found.adapter, found.reads) == ("wot_http", ("a", "b"))
    assert [left.affordance for left in found.left] == ["properties.c"]


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ({"scheme": "digest"}, {"scheme": "digest", "secret": "s"}),
        ({"scheme": "apikey", "name": "key"}, {"scheme": "apikey", "secret": "s", "in": "query", "name": "key"}),
        ({"scheme": "apikey", "name": "X-Key", "in": "header"},
         {"scheme": "apikey", "secret": "s", "in": "header", "name": "X-Key"}),
        ({"scheme": "apikey", "name": "k", "in": "cookie"},
         {"scheme": "apikey", "secret": "s", "in": "cookie", "name": "k"}),
        ({"scheme": "psk", "identity": "meter-7"}, {"scheme": "psk", "secret": "s"}),
    ],
)  # fmt: skip
def test_schemes_are_told_to_the_adapter_in_its_terms(scheme: dict[str, Any], expected: dict[str, Any]) -> None:
    schemes = {"none": {**scheme, "gs:secret": "s"}}
    found = consumed(td({"p": one("https://h/p")}, securityDefinitions=schemes))
    assert found.connection["security"] == expected
    if scheme["scheme"] == "psk":
        without = msgspec.structs.replace(ALL, psk="psk needs Python 3.13")
        found = consumed(td({"p": one("https://h/p")}, securityDefinitions=schemes), reach=without)
        assert (found.adapter, found.left[0].reason) == ("", "psk needs Python 3.13")
