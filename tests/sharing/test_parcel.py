"""Masks and parcels: only reported readings of the product's points, encoded once a form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.log.port import Position
from gridspine.kernel.codecs.arrow import decode_arrow
from gridspine.kernel.codecs.senml import decode_senml_cbor, decode_senml_json
from gridspine.kernel.readings import Channel, Readings
from gridspine.sharing import parcel as module
from gridspine.sharing.parcel import MEDIA_TYPES, Parcel, encode_parcels, make_mask

PLACE = Position("readings", 0, 3)
BASE_US = 1_700_000_000_000_000


def readings(points, channel=Channel.REPORTED, backfill=False):
    point = np.array(points, np.int32)
    n = len(point)
    return Readings(
        point, BASE_US + np.arange(n) * 1_000_000, np.arange(n, dtype=np.float64), np.zeros(n, np.uint16), ("s",),
        channel, BASE_US, backfill,
    )  # fmt: skip


def mask(numbers):
    names = [f"urn:x:t/{number}" for number in numbers]
    table = dict(zip(names, numbers, strict=True))
    return make_mask("p", 1, names, ["W"] * len(names), lambda name: table[name])


@given(
    st.lists(st.integers(0, 60), unique=True, max_size=20),
    st.lists(st.integers(0, 80), max_size=40),
    st.sampled_from(list(Channel)),
    st.booleans(),
)
def test_pick_against_a_slow_and_obvious_one(numbers, points, channel, backfill):
    made = mask(numbers)
    picked = made.pick(readings(points, channel, backfill))
    wanted = [
        (f"urn:x:t/{point}", at) for at, point in enumerate(points) if point in numbers and channel == Channel.REPORTED
    ]
    assert [(made.names[place], value) for place, value in zip(picked.point, picked.value, strict=True)] == wanted
    assert len(picked) == len(wanted)


@pytest.mark.parametrize("channel", [Channel.COMMANDED, Channel.PLANNED, Channel.EMULATED])
def test_other_channels_are_never_delivered(channel):
    assert len(mask([1, 2]).pick(readings([1, 2, 1], channel))) == 0


def test_points_without_a_number_are_left_out():
    made = make_mask("p", 1, ["urn:x:t/a", "urn:x:t/b"], ["W", ""], lambda name: 4 if name.endswith("a") else -1)
    assert made.pick(readings([4, 5, 0])).point.tolist() == [0]
    nothing = make_mask("p", 1, ["urn:x:t/a"], [""], lambda _: -1)
    assert len(nothing.pick(readings([0, 1]))) == 0
    assert len(make_mask("p", 1, [], [], lambda _: -1).pick(readings([0]))) == 0


def test_each_form_is_encoded_once(monkeypatch):
    calls = []
    original = module.encode_readings
    monkeypatch.setattr(module, "encode_readings", lambda *given: (calls.append(given[-1]), original(*given))[1])
    made = mask([1, 2])
    one = Parcel(made, PLACE, made.pick(readings([1, 2, 3])))
    for _ in range(3):
        for form in MEDIA_TYPES:
            assert one.encoded(form) is one.encoded(form)
    assert sorted(calls) == sorted(MEDIA_TYPES)


@pytest.mark.parametrize("form", MEDIA_TYPES)
@pytest.mark.parametrize("sizes", [[], [0], [3], [2, 0, 3]])
def test_forms_say_the_same(form, sizes):
    made = mask([1, 2])
    parcels = [Parcel(made, PLACE, made.pick(readings([1 + at % 2 for at in range(size)]))) for size in sizes]
    body = encode_parcels(made, parcels, form)
    batch = {
        "json": lambda: decode_senml_json(body, now_us=BASE_US),
        "cbor": lambda: decode_senml_cbor(body, now_us=BASE_US),
        "arrow": lambda: decode_arrow(body, max_items=100),
    }[form]()
    got = [
        (batch.names[at], us, value)
        for at, us, value in zip(batch.name_index, batch.observed_us, batch.value, strict=True)
    ]
    wanted = [(made.names[at % 2], BASE_US + at * 1_000_000, float(at)) for size in sizes for at in range(size)]
    assert got == wanted
