"""Thing Models: what is wrong is named, whatever it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from things_plant import POINTS, model

from gridspine.kernel.errors import Invalid
from gridspine.kernel.reading_type import ReadingType
from gridspine.things.model import ScreenRule, parse_model

W, REGISTER, STATE = {"unit": "W"}, {"unit": "Wh", "kind": "register"}, {"unit": "code", "kind": "state"}


def document(kind: Any = W, rule: Any = None, **more: Any) -> dict[str, Any]:
    affordance = {"gs:readingType": kind, "gs:screen": {} if rule is None else rule}
    return {"@type": "tm:ThingModel", "id": "urn:x:m", "title": "M", "properties": {"p": affordance}} | more


def test_points_come_in_the_order_of_their_names_and_the_document_stays_whole() -> None:
    read = model()
    assert [point.name for point in read.points] == sorted(POINTS)
    assert set(read.document["properties"]) == set(POINTS)
    assert read.point("bDeadband").screen.deadband == 2
    with pytest.raises(Invalid, match="nothing"):
        read.point("nothing")


def test_a_relative_deadband_is_per_cent_of_span() -> None:
    assert ScreenRule(deadband_percent=2, span=250).effective_deadband == 5
    assert ScreenRule(deadband=7, deadband_percent=2, span=250).effective_deadband == 7


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (REGISTER, {"deadband": 1}), (REGISTER, {"minIntervalS": 1}), (STATE, {"deadbandPercent": 1, "span": 5}),
        (STATE, {"minIntervalS": 1}), ({"unit": "W", "kind": "setting"}, {"deadband": 1}),
        ({"unit": "Wh", "kind": "interval", "intervalS": 900}, {"minIntervalS": 1}),
        (W, {"deadband": 1, "settlement": True}), (W, {"minIntervalS": 1, "settlement": True}),
        (W, {"deadbandPercent": 1}), (W, {"deadband": -1}), (W, {"maxSilenceS": -1}), (W, {"maxFutureS": -1}),
        (W, {"possibleMin": 2, "possibleMax": 1}), (W, {"limitMin": 2, "limitMax": 1}),
        (W, {"flapChanges": 3, "flapWindowS": 5}), (STATE, {"flapChanges": 3}), (STATE, {"flapWindowS": 3}),
        (W, {"deadBand": 1}), (W, None), ({"unit": "furlong"}, {}), ({}, {}), (7, {}), (W, []),
        ({"unit": "code", "kind": "register"}, {"flapChanges": 3, "flapWindowS": 5}),
    ],
)  # fmt: skip
def test_a_rule_that_contradicts_itself_or_its_reading_type_is_named(kind: Any, rule: Any) -> None:
    if rule is None:
        body = document(kind)
        body["properties"]["p"]["gs:screen"] = None
    else:
        body = document(kind, rule)
    with pytest.raises(Invalid, match=r"properties\.p"):
        parse_model(body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"@type": "Thing"}, {"id": ""}, {"id": 5}, {"title": None}, {"properties": [1]}, {"properties": {"p": 5}},
        {"properties": {"1p": {"gs:readingType": W}}}, {"version": "1"}, {"properties": {"p": None}},
        {"properties": {"p": {"gs:readingType": W, "title": 5}}},
    ],
)  # fmt: skip
def test_a_document_of_another_shape_is_invalid(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        parse_model(document() | wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(["W", "code", "state"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["unit", "kind", "deadband", "p", "gs:readingType", "gs:screen"]), inner)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["properties", "version", "title", "id", "gs:readingType", "gs:screen", "gs:lease", "p"]))
def test_any_json_is_a_model_or_invalid(junk: Any, where: str) -> None:
    body = json.loads(json.dumps(document()))
    if where.startswith("gs:"):
        body["properties"]["p"][where] = junk
    elif where == "p":
        body["properties"]["p"] = junk
    else:
        body[where] = junk
    for candidate in (body, junk):
        try:
            read = parse_model(candidate)
        except Invalid:
            continue
        for point in read.points:
            assert isinstance(point.reading_type, ReadingType)
            assert isinstance(point.title, str)
