"""Frames and schemas: any bytes are a frame or malformed, and every negative case has its code."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.ocpp.schema import schemas
from gridspine.adapters.ocpp.wire import (
    VERSIONS,
    Call,
    Code,
    Malformed,
    Refusal,
    Result,
    decode,
    encode_call,
    encode_refusal,
    encode_result,
    spelled,
)

ids = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=36)
payloads = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
)
versions = st.sampled_from(VERSIONS)


@given(ids, st.text(max_size=50), payloads, versions)
def test_frames_come_back_as_they_were(id_, action, payload, version):
    assert decode(encode_call(Call(id_, action, payload)), version) == Call(id_, action, payload)
    assert decode(encode_result(Result(id_, payload)), version) == Result(id_, payload)
    refusal = Refusal(id_, "GenericError", "words", payload)
    assert decode(encode_refusal(refusal), version) == refusal


@given(st.binary(max_size=200), versions)
def test_any_bytes_are_a_frame_or_malformed(data, version):
    try:
        frame = decode(data, version)
    except Malformed as fault:
        assert fault.id in {"", "-1"} or len(fault.id) <= 36
    else:
        assert isinstance(frame, Call | Result | Refusal)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=6), st.integers(0, 7), versions)
def test_any_json_is_a_frame_or_malformed(items, type_, version):
    for said in (items, [type_, *items], {"a": items}):
        try:
            frame = decode(json.dumps(said).encode(), version)
        except Malformed:
            continue
        assert isinstance(frame, Call | Result | Refusal)


@given(st.sampled_from(["TransactionEvent", "StatusNotification", "MeterValues"]), json_values)
def test_any_payload_is_allowed_or_has_a_code(action, payload):
    try:
        schemas("2.0.1").check(action, "request", payload)
    except Malformed as fault:
        assert fault.code in Code
        assert len(fault.description) < 255


@pytest.mark.parametrize(
    ("frame", "version", "code", "id_"),
    [
        (b"{", "2.0.1", "RpcFrameworkError", "-1"),
        (b"{", "1.6", None, ""),
        (b'{"a": 1}', "2.0.1", "RpcFrameworkError", "-1"),
        (b"[2]", "2.1", "RpcFrameworkError", "-1"),
        (b'[2, 7, "Heartbeat", {}]', "2.0.1", "RpcFrameworkError", "-1"),
        (b'[2, "", "Heartbeat", {}]', "2.0.1", "RpcFrameworkError", "-1"),
        (b'[2, "' + b"x" * 37 + b'", "Heartbeat", {}]', "2.0.1", "RpcFrameworkError", "-1"),
        (b'[2, "' + b"x" * 37 + b'", "Heartbeat", {}]', "1.6", None, ""),
        (b'["2", "a", "Heartbeat", {}]', "2.0.1", "RpcFrameworkError", "a"),
        (b'[true, "a", "Heartbeat", {}]', "2.0.1", "RpcFrameworkError", "a"),
        (b'[7, "a", "Heartbeat", {}]', "2.0.1", "MessageTypeNotSupported", "a"),
        (b'[6, "a", "Heartbeat", {}]', "2.0.1", "MessageTypeNotSupported", "a"),
        (b'[7, "a", "Heartbeat", {}]', "1.6", None, ""),
        (b'[2, "a", "Heartbeat"]', "2.0.1", "FormatViolation", "a"),
        (b'[2, "a", "Heartbeat"]', "1.6", "FormationViolation", "a"),
        (b'[2, "a", "Heartbeat", {}, {}]', "1.6", "FormationViolation", "a"),
        (b'[2, "a", 7, {}]', "2.0.1", "FormatViolation", "a"),
        (b'[2, "a", "Heartbeat", []]', "2.1", "FormatViolation", "a"),
        (b'[3, "a", 7]', "2.1", None, ""),
        (b'[4, "a", 7, "", {}]', "2.1", None, ""),
        (b"[" * 5000, "2.0.1", "RpcFrameworkError", "-1"),
        (b'[2, "a", "x", "\xff"]', "2.0.1", "RpcFrameworkError", "-1"),
    ],
)
def test_each_malformed_frame_has_its_answer(frame, version, code, id_):
    with pytest.raises(Malformed) as fault:
        decode(frame, version)
    assert fault.value.id == id_
    if code is not None:
        assert spelled(fault.value.code, version) == code


@pytest.mark.parametrize(
    ("version", "change", "code"),
    [
        ("1.6", {"meterStart": None}, "TypeConstraintViolation"),
        ("1.6", {"meterStart": "12"}, "TypeConstraintViolation"),
        ("1.6", {"timestamp": ...}, "ProtocolError"),
        ("1.6", {"idTag": "x" * 21}, "PropertyConstraintViolation"),
        ("1.6", {"timestamp": "yesterday"}, "PropertyConstraintViolation"),
        ("1.6", {"colour": "red"}, "FormationViolation"),
        ("2.0.1", {"seqNo": "1"}, "TypeConstraintViolation"),
        ("2.0.1", {"seqNo": ...}, "OccurrenceConstraintViolation"),
        ("2.0.1", {"meterValue": []}, "OccurrenceConstraintViolation"),
        ("2.0.1", {"eventType": "Paused"}, "PropertyConstraintViolation"),
        ("2.0.1", {"colour": "red"}, "FormatViolation"),
        ("2.1", {"seqNo": "1"}, "TypeConstraintViolation"),
    ],
)
def test_each_broken_payload_has_its_code(version, change, code):
    if version == "1.6":
        action = "StartTransaction"
        whole = {"connectorId": 1, "idTag": "a", "meterStart": 1, "timestamp": "2026-01-01T00:00:00Z"}
    else:
        action = "TransactionEvent"
        whole = {
            "eventType": "Started", "timestamp": "2026-01-01T00:00:00Z", "triggerReason": "Authorized", "seqNo": 0,
            "transactionInfo": {"transactionId": "t"},
        }  # fmt: skip
    schemas(version).check(action, "request", whole)
    broken = {name: value for name, value in (whole | change).items() if value is not ...}
    with pytest.raises(Malformed) as fault:
        schemas(version).check(action, "request", broken, "7")
    assert spelled(fault.value.code, version) == code
    assert fault.value.id == "7"


def test_the_schemas_are_all_there_and_compile():
    counts = {}
    for version in VERSIONS:
        found = schemas(version)
        counts[version] = len(found.actions)
        for action in found.actions:
            for part in ("request", "response"):
                if (version, action, part) != ("2.1", "NotifyPeriodicEventStream", "response"):
                    found._validator(action, part)
    assert counts == {"1.6": 39, "2.0.1": 64, "2.1": 91}


def test_what_is_nested_too_deeply_is_malformed_and_no_crash():
    data = b'[2,"7","Heartbeat",{"a":' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"}]"
    frame = decode(data, "1.6")
    with pytest.raises(Malformed) as caught:
        schemas("1.6").check("Heartbeat", "request", frame.payload, frame.id)
    assert (caught.value.code, caught.value.id) == (Code.FORMAT, "7")
