"""Posts: proofs and readings, without a wire."""

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.webhook.wire import Hook, Point, Told, is_proven, made_us, mark_of, read_hook, read_post
from gridspine.kernel.codecs.pick import Pick
from gridspine.kernel.errors import Invalid

SECRET = "a secret of some length"
BODY = b'{"kw": 1.5}'
NOW_US = 1_800_000_000_000_000
HOOK = Hook("s", {"activePower": Point(Pick(("/kw",), scale=-1.0), "kW")})


def signed(algorithm: str, body: bytes = BODY) -> bytes:
    return hmac.new(SECRET.encode(), body, algorithm).digest()


def proves(hook: Hook, secret: str, said: str, body: bytes) -> bool:
    return is_proven(hook, secret, Told("POST", "/urn:x:1", said, "1800000000"), body)


def test_the_proof_of_a_request_fits_no_other() -> None:
    hook = Hook("s", {})
    said = signed("sha256", b"POST\n/urn:x:1\n1800000000\n" + BODY).hex()
    told = Told("POST", "/urn:x:1", said, "1800000000")
    assert is_proven(hook, SECRET, told, BODY)
    others = [told._replace(method="PUT"), told._replace(path="/urn:x:2"), told._replace(timestamp="1800000001")]
    for other in others:
        assert not is_proven(hook, SECRET, other, BODY)
        assert mark_of(other, BODY) != mark_of(told, BODY)
    assert not is_proven(hook, SECRET, told, BODY + b" ")
    assert mark_of(told._replace(said=said.upper()), BODY) == mark_of(told, BODY), "known whatever its proof looks like"


@pytest.mark.parametrize("said", ["", "soon", "-1", "1.5", "12345678901", "\u0661\u0662", " 1", "1e9"])
def test_what_is_no_number_of_seconds_is_no_time(said) -> None:
    assert made_us(said) is None
    assert made_us("1800000000") == NOW_US


@pytest.mark.parametrize("more", [{"proof": "token"}, {"covers": "body"}])
def test_what_can_be_posted_again_is_served_to_who_says_so(more) -> None:
    connection = {"secret": "s", "points": {"a": {"pick": {"plus": ["/a"]}}}, **more}
    with pytest.raises(Invalid, match="replayable"):
        read_hook(connection)
    assert not read_hook(connection | {"replayable": True}).guarded


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, signed("sha256").hex()),
        ({}, signed("sha256").hex().upper()),
        ({"proof": "hmac-sha512"}, signed("sha512").hex()),
        ({"encoding": "base64"}, base64.b64encode(signed("sha256")).decode()),
        ({"prefix": "sha256="}, "sha256=" + signed("sha256").hex()),
        ({"proof": "token"}, SECRET),
        ({"proof": "token", "prefix": "Bearer "}, f"Bearer {SECRET}"),
    ],
)
def test_each_proof_is_taken_and_no_other(more, said) -> None:
    hook = Hook("s", {}, covers="body", **more)
    assert proves(hook, SECRET, said, BODY)
    for wrong in ("", said[:-1], said + "0", said[1:], hashlib.sha256(BODY).hexdigest(), "ü"):
        assert not proves(hook, SECRET, wrong, BODY)
    assert not proves(hook, "another secret, as long", said, BODY)
    if hook.proof != "token":
        assert not proves(hook, SECRET, said, BODY + b" ")


@pytest.mark.parametrize(
    ("form", "said", "observed_us"),
    [
        ("rfc3339", "2026-01-31T12:00:00Z", 1_769_860_800_000_000), ("s", 1_769_860_800, 1_769_860_800_000_000),
        ("ms", 1_769_860_800_500, 1_769_860_800_500_000),
    ],
)  # fmt: skip
def test_values_have_the_time_that_is_said(form, said, observed_us) -> None:
    hook = Hook("s", HOOK.points, time="/at", time_form=form)
    found = read_post(hook, "urn:x:1", json.dumps({"kw": 2, "at": said}).encode(), NOW_US)
    assert list(found.observed_us) == [observed_us]
    assert (found.names, found.units, list(found.value)) == (["urn:x:1/activePower"], ["kW"], [-2.0])


@pytest.mark.parametrize("said", [None, True, "soon", 1e30, -1, {}, "2026-13-01T00:00:00Z"])
@pytest.mark.parametrize("form", ["rfc3339", "s"])
def test_what_is_no_time_is_said_and_gives_no_reading(form, said) -> None:
    hook = Hook("s", HOOK.points, time="/at", time_form=form)
    found = read_post(hook, "urn:x:1", json.dumps({"kw": 2, "at": said}).encode(), NOW_US)
    assert len(found) == 0
    assert [one.reason for one in found.problems] == ["unreadable"]


def test_one_bad_value_does_not_lose_the_others() -> None:
    points = HOOK.points | {"voltage": Point(Pick(("/v",)), "V")}
    found = read_post(Hook("s", points), "urn:x:1", BODY, NOW_US)
    assert found.names == ["urn:x:1/activePower"]
    assert [(one.index, one.reason, one.name) for one in found.problems] == [(1, "not-a-number", "urn:x:1/voltage")]
    assert found.received == 2


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists
).map(lambda value: json.dumps({"kw": value, "at": value}).encode()))  # fmt: skip
def test_any_body_is_read_or_said_to_be_none(body) -> None:
    found = read_post(Hook("s", HOOK.points, time="/at"), "urn:x:1", body, NOW_US)
    assert len(found) + len(found.problems) == found.received == 1


@pytest.mark.parametrize(
    "connection",
    [
        {}, {"secret": "s", "points": {}}, {"secret": "s", "points": {"a": {"pick": {"plus": ["x"]}}}},
        {"secret": "s", "points": {"a": {"pick": {}, "unit": "parsec"}}},
        {"secret": "s", "points": {"a b": {"pick": {}}}},
        {"secret": "s", "points": {"a": {"pick": {}}}, "header": "X: Y"},
        {"secret": "s", "points": {"a": {"pick": {}}}, "time": "at"},
        {"secret": "s", "points": {"a": {"pick": {}}}, "proof": "md5"},
        {"secret": "s", "points": {"a": {"pick": {}}}, "maxAgeS": 0},
        {"secret": "s", "points": {"a": {"pick": {}}}, "timestampHeader": "X:"},
    ],
)  # fmt: skip
def test_a_connection_that_cannot_be_is_refused(connection) -> None:
    with pytest.raises(Invalid):
        read_hook(connection)
