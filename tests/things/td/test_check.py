"""Thing Descriptions that are good, and those that are bad, each where it is bad."""

import copy
import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.things.td import MAX_TD_BYTES, check_description, check_model, read_document
from gridspine.things.td.document import MAX_DEPTH
from gridspine.things.td.merge_patch import difference, patched
from gridspine.things.td.secret import may_hold_secrets, secrets_in

GOOD: dict[str, Any] = {
    "@context": "https://www.w3.org/2022/wot/td/v1.1",
    "id": "urn:x:1",
    "title": "Größe %",
    "base": "https://device.example/a%20b/ü/",
    "securityDefinitions": {
        "none": {"scheme": "nosec"},
        "oauth": {"scheme": "oauth2", "flow": "client", "token": "https://as.example/token"},
        "either": {"scheme": "combo", "oneOf": ["none", "oauth"]},
    },
    "security": ["either"],
    "uriVariables": {"unit": {"type": "string"}},
    "properties": {
        "token": {"type": "number", "unit": "%", "forms": [{"href": "t{?unit}", "op": ["readproperty"]}]},
        "on off": {"type": "boolean", "readOnly": True, "forms": [{"href": "/x", "op": "readproperty"}]},
    },
    "actions": {"go": {"forms": [{"href": "go", "op": "invokeaction"}]}},
    "events": {"hot": {"forms": [{"href": "hot", "op": ["subscribeevent", "unsubscribeevent"]}]}},
    "forms": [{"href": "all", "op": "readallproperties"}],
    "vendor:unknown": {"deep": [1, {"kept": None}]},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    place: Any = document
    for name in parents:
        place = place[int(name)] if name.isdigit() else place[name]
    place[last] = value
    return document


def test_a_good_description_is_good_in_both_versions() -> None:
    assert check_description(GOOD) == []
    assert check_description(GOOD | {"@context": "https://www.w3.org/2019/wot/td/v1"}) == []


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("security", ["nobody"], "security"),
        ("properties/token/forms/0/security", "nobody", "properties.token.forms.0.security"),
        ("properties/token/forms/0/op", "invokeaction", "properties.token.forms.0.op"),
        ("properties/on off/forms/0/op", "writeproperty", "properties.on off.forms.0.op"),
        ("properties/on off/writeOnly", True, "properties.on off"),
        ("actions/go/forms/0/op", "readproperty", "actions.go.forms.0.op"),
        ("events/hot/forms/0/op", "readproperty", "events.hot.forms.0.op"),
        ("properties/token/forms/0/href", "t{?nobody}", "properties.token.forms.0.href"),
        ("properties/token/forms/0/href", "a b", "properties.token.forms.0.href"),
        ("properties/token/forms/0/href", "100%", "properties.token.forms.0.href"),
        ("properties/token/forms/0/href", "http://[::1", "properties.token.forms.0.href"),
        ("base", "", "properties.token.forms.0.href"),
        ("base", "relative/", "base"),
        ("title", "{{TITLE}}", "title"),
        ("properties/token/minimum", "low", "properties.token.minimum"),
        ("properties/token/type", "float", "properties.token.type"),
        ("securityDefinitions/either/oneOf", ["none", "nobody"], "securityDefinitions.either.oneOf"),
        ("securityDefinitions/either/oneOf", ["none", "either"], "securityDefinitions.either"),
        ("links", [{"rel": "type", "href": "a:b"}, {"rel": "type", "href": "a:c"}], "links"),
        ("@context", ["http://evil.example/", "https://www.w3.org/2022/wot/td/v1.1"], "@context"),
    ],
)  # fmt: skip
def test_a_bad_one_is_bad_where_it_is_bad(path: str, value: Any, field: str) -> None:
    assert field in [one.field for one in check_description(changed(path, value))]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("securityDefinitions/oauth/client_secret", "s3", "securityDefinitions.oauth.client_secret"),
        ("securityDefinitions/none/password", "s3", "securityDefinitions.none.password"),
        ("vendor:unknown/apiKey", "s3", "vendor:unknown.apiKey"),
        ("vendor:accessToken", "s3", "vendor:accessToken"),
        ("base", "https://user:s3@device.example/", "base"),
        ("properties/token/forms/0/href", "https://d.example/?token=s3", "properties.token.forms.0.href"),
        ("support", "https://d.example/?a=1&password=s3", "support"),
    ],
)  # fmt: skip
def test_secrets_are_found_and_not_repeated(path: str, value: str, field: str) -> None:
    found = check_description(changed(path, value))
    assert [one.field for one in found] == [field]
    assert "s3" not in found[0].description


@pytest.mark.parametrize(
    "value",
    ["http://u:pw@host/", "http://u@host", 'http://a"b:pw@host', "http://a\\b:pw@host/x", 'http://"@host',
     "http://a b:p@h", 'http://a\\"b:pw@host', "http://a\tb\n:pw@host", "http:/\t/u:p@h?x=://", "//ü:p@h/?x=http://h"],
)  # fmt: skip
def test_a_user_in_an_address_is_seen_however_it_is_spelled(value: str) -> None:
    """The quick look at a document's text passes nothing over that a look at each value finds."""
    assert next(secrets_in({"base": value}), None)
    assert may_hold_secrets(msgspec.json.encode({"base": value}))
    assert may_hold_secrets(json.dumps({"base": value}).encode())


@given(st.text('ab:/@\\"\t\n ?#[', max_size=12))
def test_the_quick_look_sees_at_least_as_much(rest: str) -> None:
    document = {"base": f"{rest}://{rest}"}
    assert may_hold_secrets(msgspec.json.encode(document)) or not list(secrets_in(document))


def test_an_address_without_a_user_is_looked_at_quickly_only() -> None:
    assert not may_hold_secrets(b'{"@context":"http://a.example/x","base":"http://h/@x","@type":"http://y","z":"@"}')


def test_what_only_sounds_like_a_secret_is_none() -> None:
    """The good one has a property called token, and the address of a token endpoint."""
    assert check_description(changed("properties/password", GOOD["properties"]["token"])) == []
    assert check_description(changed("description", "The password is on the label")) == []


def test_bodies_are_bounded_before_they_are_read() -> None:
    with pytest.raises(TooLarge):
        read_document(b" " * (MAX_TD_BYTES + 1))
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b'{"x":' + opening * (MAX_DEPTH - 1) + b"1" + closing * (MAX_DEPTH - 1) + b"}"
        assert read_document(body)
        with pytest.raises(Invalid):
            read_document(b'{"x":' + opening * 30_000 + b"1" + closing * 30_000 + b"}")
    assert read_document(json.dumps({"a": "[" * 500 + '\\"{' * 90}).encode())
    for wrong in (
        b'{"a": 1, "b": {"c": 1, "c": 2}}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"\xff",
        b"",
        b"7",
        b'{"a": 1} x',
    ):
        with pytest.raises(Invalid):
            read_document(wrong)


@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_nonsense_is_refused_and_nothing_worse(body: bytes) -> None:
    try:
        document = read_document(body)
    except Invalid:
        return
    check_description(document)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "links", "registration", "version"]), _JSON, max_size=4))
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_a_description_it_is_judged(broken: dict[str, Any]) -> None:
    check_description({**GOOD, **broken})
    check_model({**GOOD, **broken, "@type": "tm:ThingModel"})


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(one) for name, one in value.items() if one is not None}
    return value


_OBJECT = st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3).map(_without_null)


@given(_OBJECT, _OBJECT)
def test_a_difference_leads_from_one_document_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = difference(before, after)
    assert patched(before, patch) == after
    assert (patch == {}) == (json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True))


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}), ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}), ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}), (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]), ({"a": "foo"}, None, None), ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}), ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)  # fmt: skip
def test_merge_patches_of_the_standard(target: Any, patch: Any, result: Any) -> None:
    """RFC 7396, appendix A."""
    assert patched(target, patch) == result


def test_names_that_are_there_twice_are_found_among_many():
    many = ",".join(f'"{at:05x}":0' for at in range(20_000))
    with pytest.raises(Invalid, match="00000: the name is there twice"):
        read_document(f'{{{many},"00000":0}}'.encode())


def test_security_definitions_are_bounded():
    defined = {f"c{at}": {"scheme": "combo", "oneOf": [f"c{at + 1}", f"c{at + 2}"]} for at in range(200)}
    document = {**GOOD, "securityDefinitions": {**defined, **GOOD["securityDefinitions"]}}
    assert [(one.field, "at most" in one.description) for one in check_description(document)] == [
        ("securityDefinitions", True)
    ]
