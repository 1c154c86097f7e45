"""Packages: what they may say, what they may do; and answers, whatever a program makes of them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.models import load_models
from gridspine.kernel.errors import Invalid
from gridspine.things.behaviour import Answer, Behaviour, Wanted, decode_behaviour, defined, read_answer

BATTERY = load_models()["battery"]
GOOD = Behaviour(
    name="acme.keep-half", version="1.2.0", model=BATTERY.id, text="def on_reading(t, s):\n    return None\n",
    listens=("stateOfCharge",), derives=("operatingState",), sets=("activePowerSetpoint",), alarms=True,
)  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["state", "derived", "set", "alarms", "wake_in_s", "operatingState", "value", "duration_s"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def changed(**fields: object) -> Behaviour:
    return msgspec.structs.replace(GOOD, **fields)


def test_a_package_goes_to_text_and_back() -> None:
    assert decode_behaviour(msgspec.json.encode(GOOD).decode()) == GOOD
    GOOD.check_model(BATTERY)
    GOOD.check_functions(frozenset({"on_reading"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "Upper"}, {"name": ""}, {"name": "a" * 65}, {"name": "a/b"}, {"version": "1.0"}, {"version": "01.0.0"},
        {"text": "x" * 70_000}, {"data": {"a": "x" * 20_000}}, {"listens": ("a",) * 65}, {"max_steps": 0},
        {"max_steps": 10**9}, {"min_interval_s": 0.0}, {"timer_s": 0.5}, {"timer_s": float("nan")},
        {"derives": ("stateOfCharge",)},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_with_a_package_is_said(fields: dict) -> None:
    with pytest.raises(Invalid):
        changed(**fields).check()


@given(st.one_of(st.text(max_size=40), JSON.map(lambda value: msgspec.json.encode(value, enc_hook=str).decode())))
def test_any_text_is_a_package_or_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        decode_behaviour(text)


def test_text_that_nests_without_end_is_refused() -> None:
    with pytest.raises(Invalid):
        decode_behaviour('{"name": "a", "data": ' + '{"a":' * 50_000 + "1" + "}" * 50_001)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"listens": ("nothing",)}, "listens: .* has no point"),
        ({"sets": ("activePower",)}, "takes no set-points"),
        ({"derives": ("activePowerSetpoint",)}, "is a setting"),
    ],
)
def test_a_package_asks_for_what_its_model_has(fields: dict, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        changed(**fields).check_model(BATTERY)


def test_what_wakes_it_has_a_function() -> None:
    with pytest.raises(Invalid, match="on_timer is missing"):
        changed(timer_s=5.0).check_functions(frozenset({"on_reading"}))
    with pytest.raises(Invalid, match="name one"):
        changed(listens=()).check_functions(frozenset({"on_reading"}))


def test_an_answer_is_read() -> None:
    answer = read_answer(
        GOOD,
        {
            "state": {"n": 1}, "derived": {"operatingState": 3}, "alarms": {"stateOfCharge": True}, "wake_in_s": 5,
            "set": {"activePowerSetpoint": {"value": 100, "duration_s": 60}},
        },
    )  # fmt: skip
    wanted = {"activePowerSetpoint": Wanted(100, 60)}
    assert answer == Answer({"n": 1}, {"operatingState": 3}, wanted, {"stateOfCharge": True}, 5)
    assert read_answer(GOOD, None) == Answer()


@pytest.mark.parametrize(
    "value",
    [
        5, [], {"other": 1}, {"derived": {"activePower": 1}}, {"set": {"activePower": {"value": 1, "duration_s": 1}}},
        {"set": {"activePowerSetpoint": {"value": 1}}}, {"set": {"activePowerSetpoint": {"value": 1, "duration_s": 0}}},
        {"alarms": {"activePower": True}}, {"wake_in_s": 0}, {"wake_in_s": 1e9}, {"state": {"a": "x" * 5_000}},
        {"state": 3}, {"derived": {"operatingState": None}}, {"alarms": {"stateOfCharge": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_beyond_its_rights_or_no_answer_is_a_fault(value: object) -> None:
    with pytest.raises(Invalid):
        read_answer(GOOD, value)


@given(JSON)
def test_any_answer_is_read_or_refused_and_stays_within_the_rights(value: object) -> None:
    try:
        answer = read_answer(GOOD, value)
    except Invalid:
        return
    assert set(answer.derived) <= set(GOOD.derives)
    assert set(answer.set) <= set(GOOD.sets)
    assert set(answer.alarms) <= {*GOOD.listens, *GOOD.derives}


def test_the_functions_a_text_defines_are_those_of_its_lines():
    text = """# def on_timer(
def on_reading(twin, state):
    def inner(): pass
    return None

def  helper (a): pass
"""
    assert defined(text) == {"on_reading", "helper"}
