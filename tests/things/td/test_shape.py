"""What is remembered of a description's kind says of each device what a look at its whole document would have said."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gridspine.kernel.errors import GridspineError, Invalid
from gridspine.things.td import MAX_TD_BYTES, check_description, read_document
from gridspine.things.td.consume import Consumed, Reachable, consume
from gridspine.things.td.derive import derive
from gridspine.things.td.document import MAX_DEPTH, refuse
from gridspine.things.td.quick import quickly
from gridspine.things.td.shape import MAX_KEPT_BYTES, Shapes

TD = "https://www.w3.org/2022/wot/td/v1.1"
REACH = Reachable(("wot_http", "mqtt", "modbus"), ("broker.example", 1883), ("urn:m",), "http://127.0.0.1:8080")
MODEL = "urn:m"

TEXTS = st.sampled_from(
    ["Pump", "Größe", "{{X}}", "http://u:p@h/", "", 'a "b"', "key=secret", "shape.gridspine.invalid"]
)
SCALARS = TEXTS | st.sampled_from([None, 1, 2.5, True, [], {}, 10**30])
BASES = st.sampled_from([
    "http://192.0.2.7/", "http://192.0.2.7", "https://h.example:8443/a/b/", "http://h.example/a/b",
    "http://127.0.0.1:8080/",
    "http://127.0.0.1:8080", "http://127.0.0.1:80800/", "http://[::1]/", "http://user:pw@h/", "http://h/a b/",
    "HTTP://h/",
    "http://h/../x/",
    "http://h/x/?q=1", "mqtt://broker.example/", "mqtt://h/", "modbus+tcp://h/1/", "urn:x", "rel/", "",
    "http://h:99999/", "http://h/%zz/", "http://h/./a/", 7, None,
])  # fmt: skip
HREFS = st.sampled_from([
    "power", "/power", "a/b", "./power", "../power", "", "//other/x", "http://h/x", "http:x", "mqtt://broker.example/t",
    "modbus+tcp://h:502/1", "p{?v}", "a b", "power?x=1", "power#x", "power;x", "HTTP://h/x", "urn:x:y", "a:b", ".",
    "a/../b", "http://shape.gridspine.invalid/x",
])  # fmt: skip
FORMS = st.fixed_dictionaries(
    {"href": HREFS},
    optional={
        "op": st.sampled_from(["readproperty", ["readproperty", "writeproperty"], "observeproperty", "nonsense"]),
        "contentType": st.sampled_from(["application/json", "text/plain", "image/png"]),
        "security": st.sampled_from(["none", "basic", ["nobody"]]),
    },
)
PROPERTIES = st.dictionaries(
    st.sampled_from(["power", "on", "password", "x y"]),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["number", "boolean", "nothing"]), "forms": st.lists(FORMS, min_size=1, max_size=2)},
        optional={"unit": st.sampled_from(["W", "celsius", "parsec"]), "minimum": st.sampled_from([0, 9]),
                  "maximum": st.just(5), "readOnly": st.booleans(), "const": st.none()},
    ),
    max_size=3,
)  # fmt: skip
RESTS = st.fixed_dictionaries(
    {
        "@context": st.sampled_from([TD, [TD, {"gs": "https://gridspine.org/terms#"}], "https://example.org/"]),
        "securityDefinitions": st.sampled_from([
            {"none": {"scheme": "nosec"}},
            {"none": {"scheme": "nosec"}, "basic": {"scheme": "basic", "gs:secret": "boiler"}}, {},
        ]),
        "security": st.sampled_from(["none", ["none"], "basic", "nobody"]),
        "properties": PROPERTIES,
    },
    optional={"links": st.just([{"href": "http://h/m", "rel": "type"}]), "vendor:deep": st.just([1, {"kept": None}])},
)  # fmt: skip
OWNS = st.fixed_dictionaries(
    {},
    optional={
        "title": SCALARS, "id": st.sampled_from(["urn:x:1", "no id", 3]), "base": BASES, "vendor:serial": SCALARS,
        "password": TEXTS, "description": SCALARS, "created": st.sampled_from(["2026-01-01T00:00:00Z", "yesterday"]),
        "version": st.just("1"), "@type": st.sampled_from(["saref:Meter", "tm:ThingModel"]), "geo:lat": st.just(52.1),
    },
)  # fmt: skip


def looked_at(document: dict[str, Any], reach: Reachable = REACH) -> Any:
    """Return what a look at a whole document makes of it."""
    try:
        if findings := check_description(document):
            refuse(findings)
        derived = derive(document)
        return derived, consume(document, derived.property_of, MODEL, reach)
    except GridspineError as error:
        return error.problem()


def remembered(shapes: Shapes, document: dict[str, Any], reach: Reachable = REACH) -> Any:
    try:
        shape = shapes.of(document)
        return shape.derived, shapes.consumed(shape, document, shape.derived.property_of, MODEL, reach)
    except GridspineError as error:
        return error.problem()


GOOD = {
    "@context": TD, "securityDefinitions": {"none": {"scheme": "nosec"}}, "security": "none",
    "properties": {"power": {"type": "number", "unit": "W", "forms": [{"href": "power"}]}},
}  # fmt: skip

BASED = {**GOOD, "title": "Pump", "base": "http://192.0.2.1/"}


@settings(max_examples=400)
@given(RESTS | st.just(GOOD), st.lists(OWNS | OWNS.map(lambda own: {**own, "title": "Pump"}), min_size=2, max_size=4))
@example(GOOD, [{"title": "a", "base": "http://h/"}, {"base": "http://h/"}, {"title": "a"}])
@example(GOOD, [{"title": "a", "base": "http://h/"}, {"title": "a", "base": "http://127.0.0.1:8080/"}])
def test_what_is_remembered_says_the_same(rest: dict[str, Any], owns: list[dict[str, Any]]) -> None:
    shapes = Shapes()
    for own in owns:
        document = {**own, **rest}
        assert remembered(shapes, document) == looked_at(document)


def test_devices_of_one_kind_are_one_shape_and_read_each_at_its_own_address() -> None:
    shapes = Shapes()
    for number in range(5):
        document = {**GOOD, "title": f"Pump {number}", "base": f"http://192.0.2.{number}/"}
        _, found = remembered(shapes, document)
        assert found == looked_at(document)[1]
        assert isinstance(found, Consumed)
        assert found.connection["forms"]["power"]["href"] == f"http://192.0.2.{number}/power"
    assert len(shapes) == 1


def test_the_host_that_stands_in_is_nobodys_address() -> None:
    power = {"type": "number", "unit": "W", "forms": [{"href": "http://shape.gridspine.invalid/power"}]}
    document = {**BASED, "properties": {"power": power}}
    _, found = remembered(Shapes(), document)
    assert found == looked_at(document)[1]
    assert found.connection["forms"]["power"]["href"] == "http://shape.gridspine.invalid/power"


def test_other_adapters_are_another_way_to_be_read() -> None:
    shapes, document = Shapes(), {**GOOD, "title": "Pump", "base": "http://192.0.2.1/"}
    none = Reachable(())
    assert remembered(shapes, document)[1].adapter == "wot_http"
    assert remembered(shapes, document, none) == looked_at(document, none)
    assert remembered(shapes, document)[1].adapter == "wot_http"


def test_what_is_remembered_is_bounded() -> None:
    shapes = Shapes()
    for number in range(MAX_KEPT_BYTES // 40_000 + 20):
        shapes.of({**BASED, "vendor:list": [number, "x" * 40_000]})
    assert 0 < len(shapes) <= MAX_KEPT_BYTES // 40_000
    shapes.of({**BASED, "vendor:list": ["x" * 100_000]})
    assert 0 < len(shapes) <= MAX_KEPT_BYTES // 40_000


def test_a_document_is_no_larger_for_being_of_a_known_kind() -> None:
    shapes = Shapes()
    room = MAX_TD_BYTES - len(msgspec.json.encode({**BASED, "description": ""}))
    shapes.of(BASED)
    shapes.of({**BASED, "description": "x" * room})
    with pytest.raises(Invalid, match="at most"):
        shapes.of({**BASED, "description": "x" * (room + 1)})


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(JSONS, st.booleans(), st.booleans())
def test_what_is_read_quickly_is_what_is_read_slowly(value: Any, ascii_: bool, spaced: bool) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    body = json.dumps({"a": value}, ensure_ascii=ascii_, separators=separators).encode(errors="surrogatepass")
    quick = quickly(body, MAX_DEPTH)
    assert quick is None or quick == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [b'{"a":1,"a":2}', b'{"a":{"b":"","b":""}}', b'{"a":1,"\\u0061":2}', b'{"\\u0022":1,"a":"\\u0022","a":""}', b"[1]",
     b"",
     b'{"a":"\\ud800"}', b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\xff"}', b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
     b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH + b"}", b'{"\\"":1,"\\"":2}'],
)  # fmt: skip
def test_what_is_doubtful_is_not_read_quickly(body: bytes) -> None:
    assert quickly(body, MAX_DEPTH) is None
    with pytest.raises(GridspineError):
        read_document(body)


def test_how_deep_it_nests_is_counted_without_the_texts() -> None:
    deep = b'{"a":' * (MAX_DEPTH - 1) + b'["[[{{", "\\\\", "\\"{"]' + b"}" * (MAX_DEPTH - 1)
    assert quickly(deep, MAX_DEPTH) == json.loads(deep)
    assert quickly(b'{"a":' + deep + b"}", MAX_DEPTH) is None
