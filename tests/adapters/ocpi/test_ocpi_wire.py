"""The envelope, times, tokens, pages and objects of OCPI, by themselves."""

import base64
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.adapters.ocpi import charging, command, location, tariff, token
from gridspine.adapters.ocpi.credentials import Credentials
from gridspine.adapters.ocpi.settings import read_settings
from gridspine.adapters.ocpi.wire import (
    OcpiError,
    Page,
    next_link,
    plain,
    read,
    read_envelope,
    read_page,
    read_query,
    read_time,
    read_tokens,
    write_envelope,
    write_time,
    write_token,
)
from gridspine.kernel.errors import Invalid

KINDS = [
    charging.Cdr[charging.Price], charging.Cdr[charging.OldPrice], charging.Session[charging.Price],
    charging.Session[charging.OldPrice], location.Location, tariff.Tariff, tariff.OldTariff, token.Token, Credentials,
    token.AuthorizationInfo, command.StartSession, command.SetChargingProfile, command.ActiveChargingProfile,
]  # fmt: skip
AT = "2026-01-31T12:00:00Z"
TEXTS = ["", "x", "NL", "CPO", "EUR", AT, "https://a/b?c=d", "52.1", "-4.35", "12:30", "WORD_1", "a b*c", "é", "N" * 36]


def test_times_are_utc_with_or_without_their_z() -> None:
    assert read_time("2026-01-31T12:00:00") == read_time(AT) == 1_769_860_800_000_000
    assert read_time("2026-01-31T12:00:00.5Z") == 1_769_860_800_500_000
    assert write_time(1_769_860_800_500_999) == "2026-01-31T12:00:00.500Z"
    for wrong in (
        "2026-02-30T00:00:00Z",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00+01:00",
        "",
        "1969-12-31T00:00:00Z",
    ):
        with pytest.raises(Invalid):
            read_time(wrong)


@given(st.integers(0, 253_402_300_799 * 1000))
def test_a_time_comes_back(ms: int) -> None:
    assert read_time(write_time(ms * 1000)) == ms * 1000


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64))
def test_a_token_is_found_encoded_and_as_it_stands(text: str) -> None:
    assert text in read_tokens([write_token(text)])
    assert text in read_tokens([f"token {text}"])


def test_what_is_no_token_is_none() -> None:
    assert (
        read_tokens([])
        == read_tokens(["Token a", "Token b"])
        == read_tokens(["Bearer a"])
        == read_tokens(["Token "])
        == ()
    )
    assert read_tokens([f"Token {base64.b64encode(bytes(300)).decode()}"]) == ()
    assert read_tokens([f"Token {base64.b64encode(b'example-token').decode()}"])[0] == "example-token"
    assert "example-token" in read_tokens(["Token ZXhhbXBsZS10b2tlbgo="]), "the specification's own has a line's end"


def test_answers_are_wrapped_and_unwrapped() -> None:
    body = write_envelope([1], 0)
    assert msgspec.json.decode(body) == {"status_code": 1000, "timestamp": "1970-01-01T00:00:00Z", "data": [1]}
    assert "data" not in msgspec.json.decode(write_envelope(msgspec.UNSET, 0, 2001, "why"))
    assert read_envelope(body).data == [1]
    with pytest.raises(Invalid):
        read_envelope(b"<html>")


def test_null_is_as_good_as_absent_and_no_json_is_an_error_of_http() -> None:
    assert plain(b'{"a":null,"b":[null,{"c":null}]}') == {"b": [{}]}
    with pytest.raises(OcpiError) as caught:
        plain(b"{")
    assert (caught.value.http, caught.value.status_code) == (400, 2001)
    with pytest.raises(OcpiError) as caught:
        read({}, token.Token)
    assert (caught.value.http, caught.value.status_code) == (200, 2001)


def test_pages_are_cut_counted_and_linked() -> None:
    found = [(at, at) for at in range(250)]
    page = read_page(read_query("offset=100&limit=2000&date_from=1970-01-01T00:00:00"))
    assert page.of(found) == (list(range(100, 200)), 250)
    link = page.next("https://h/ocpi/locations", 250)
    assert link == '<https://h/ocpi/locations?offset=200&limit=100>; rel="next"'
    assert next_link([link]) == "https://h/ocpi/locations?offset=200&limit=100"
    assert Page(offset=200).next("https://h", 250) == ""
    later = Page(from_us=1_769_860_800_000_000)
    assert read_page(read_query(next_link([later.next("https://h", 101)]).partition("?")[2])).from_us == later.from_us
    for wrong in ("offset=-1", "limit=x", "date_to=yesterday", "offset=1&offset=2"):
        with pytest.raises(OcpiError):
            read_page(read_query(wrong))


@st.composite
def objects(draw):
    """Any object of any kind, by its own type: optional members present and absent."""
    kind = draw(st.sampled_from(KINDS))
    return kind, draw(_of(kind))


def _of(kind):
    return _built(msgspec.inspect.type_info(kind))


def _built(type_):
    return MAKERS[type(type_).__name__](type_)


def _struct(type_):
    fields = {}
    for field in type_.fields:
        value = _built(field.type)
        fields[field.encode_name] = value if field.required else st.one_of(st.just(None), value)
    return st.fixed_dictionaries(fields).map(lambda made: {k: v for k, v in made.items() if v is not None})


def _union(type_):
    return st.one_of([_built(one) for one in type_.types if not isinstance(one, msgspec.inspect.NoneType)])


MAKERS = {
    "StructType": _struct,
    "StrType": lambda type_: st.sampled_from([one for one in TEXTS if _fits(type_, one)]),
    "IntType": lambda type_: st.integers(type_.ge or 0, type_.le or 1 << 53),
    "FloatType": lambda _: st.floats(allow_nan=False, allow_infinity=False),
    "BoolType": lambda _: st.booleans(),
    "LiteralType": lambda type_: st.sampled_from(type_.values),
    "UnionType": _union,
    "VarTupleType": lambda type_: st.lists(_built(type_.item_type), min_size=type_.min_length or 0, max_size=2),
    "DictType": lambda _: st.just({"id": "x"}),
    "AnyType": lambda _: st.nothing(),
}


def _fits(type_, text):
    sized = (type_.min_length or 0) <= len(text) <= (type_.max_length or 1000)
    return sized and (not type_.pattern or re.search(type_.pattern, text) is not None)


@settings(deadline=None, max_examples=60)
@given(objects())
def test_any_object_comes_back(made) -> None:
    kind, said = made
    value = read(plain(msgspec.json.encode(said)), kind)
    again = read(plain(msgspec.json.encode(value)), kind)
    assert again == value
    for name, one in said.items():
        if one not in ([], None) and not isinstance(one, list | dict | float):
            assert msgspec.to_builtins(value).get(name, one) == one


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_order(data: bytes) -> None:
    for kind in KINDS:
        try:
            read(plain(data), kind)
        except OcpiError as error:
            assert error.status_code == 2001


GOOD = {"country_code": "NL", "party_id": "GSP", "name": "x"}
EVSE = {"thing": "urn:a"}
PLACE = {
    "id": "L", "address": "a", "city": "c", "country": "NLD", "latitude": "52.1", "longitude": "4.3",
    "time_zone": "Europe/Amsterdam", "evses": [EVSE],
}  # fmt: skip
RESTRICTED = {"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}], "restrictions": {"min_kwh": 1}}


@pytest.mark.parametrize(("wrong", "words"), [
    ({"party_id": "TOOLONG"}, "party_id"), ({"roles": []}, "roles"), ({"colour": "red"}, "colour"),
    ({"locations": [PLACE, PLACE]}, "location is named twice"),
    ({"locations": [{**PLACE, "evses": [EVSE, EVSE]}]}, "thing is named twice"),
    ({"locations": [{**PLACE, "evses": [{**EVSE, "tariff_ids": ["t"]}]}]}, "tariff"),
    ({"tariffs": [{"id": "t", "currency": "EUR", "elements": [RESTRICTED]}]}, "restrictions"),
])  # fmt: skip
def test_settings_that_are_wrong_say_so(wrong, words) -> None:
    assert read_settings(GOOD | {"locations": [PLACE]}).party.key == ("NL", "GSP")
    with pytest.raises(Invalid, match=words):
        read_settings(GOOD | wrong)
