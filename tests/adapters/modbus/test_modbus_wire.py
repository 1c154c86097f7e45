"""SunSpec numbers survive the wire; what is not implemented is absent, never zero."""

import json
import math
import struct
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.adapters.modbus.layout import HEADER_REGISTERS, load_layout
from gridspine.adapters.modbus.sunspec import Chain, Instance
from gridspine.adapters.modbus.view import View
from gridspine.adapters.modbus.wire import (
    NUMBER_TYPES,
    decode_number,
    decode_scale,
    decode_text,
    encode_number,
    quality_of,
    scaled,
    unscaled,
)
from gridspine.kernel.errors import Invalid
from gridspine.kernel.quality import Quality

MODELS = (1, 101, 102, 103, 111, 112, 113, 120, 121, 122, 123, 124, 160, 701, 702, 703, 704, 713, 802)
# The test's own coder: struct codes and unimplemented values, from the standard and not from the adapter.
CODES = {
    "int16": ("h", -0x8000),
    "int32": ("i", -0x80000000),
    "uint16": ("H", 0xFFFF),
    "uint32": ("I", 0xFFFFFFFF),
    "uint64": ("Q", 0xFFFFFFFFFFFFFFFF),
    "acc32": ("I", 0),
    "acc64": ("Q", 0),
    "enum16": ("H", 0xFFFF),
    "bitfield16": ("H", 0xFFFF),
    "bitfield32": ("I", 0xFFFFFFFF),
    "count": ("H", 0xFFFF),
    "float32": ("f", math.nan),
    "sunssf": ("h", -0x8000),
}
FOLDER = Path(str(resources.files("sunspec2"))) / "models" / "json"


def definition(model: int) -> dict[str, Any]:
    return json.loads((FOLDER / f"model_{model}.json").read_text())


def walk(group: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(prefix + point["name"], point) for point in group["points"]]
    for inner in group.get("groups", []):
        if inner.get("count", 1) != 1:
            break
        found += walk(inner, f"{prefix}{inner['name']}.")
    return found


def number(kind: str) -> st.SearchStrategy[float]:
    if kind == "float32":
        return st.floats(width=32, allow_nan=False, allow_infinity=False)
    bits = struct.calcsize(">" + CODES[kind][0]) * 8
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if CODES[kind][0].islower() else (0, (1 << bits) - 1)
    if kind == "sunssf":
        low, high = -10, 10
    return st.integers(low, high)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_point_of_every_model_comes_back_as_it_was_put(model: int, data: st.DataObject):
    layout = load_layout(model)
    assert layout is not None
    points = walk(definition(model)["group"])
    words: list[int] = []
    put: dict[str, Any] = {}
    for name, point in points:
        assert layout.points[name].offset == len(words)
        kind = point["type"]
        if kind not in CODES:
            words += [0] * point["size"]
            continue
        put[name] = data.draw(st.one_of(number(kind), st.just(CODES[kind][1])), label=name)
        raw = struct.pack(">" + CODES[kind][0], put[name])
        assert len(raw) == 2 * point["size"]
        words += struct.unpack(f">{len(raw) // 2}H", raw)
    assert layout.length == len(words) - HEADER_REGISTERS
    chain = Chain(40000, (Instance(model, 40002, layout.length),))
    view = View(chain, dict(enumerate(words, 40002)), 7)
    for name, point in points:
        if name not in put:
            continue
        absent = put[name] == CODES[point["type"]][1] or put[name] != put[name]
        assert view.raw(model, name) == (None if absent else put[name]), name
        expected = None if absent else expected_value(put[name], point.get("sf"), put)
        found = view.value(model, name)
        assert (found is None) == (expected is None), name
        if found is not None:
            assert found.value == pytest.approx(expected, rel=1e-15)


def expected_value(raw: float, factor: str | int | None, put: dict[str, Any]) -> float | None:
    power = 0 if factor is None else factor if isinstance(factor, int) else put.get(factor)
    return None if power is None or power == -0x8000 else float(raw) * 10.0**power


@given(st.sampled_from(sorted(NUMBER_TYPES)), st.data())
def test_what_is_encoded_decodes_and_the_rest_is_refused(kind: str, data: st.DataObject):
    low, high = NUMBER_TYPES[kind].bounds
    raw = data.draw(st.integers(low, high))
    assert decode_number(kind, encode_number(kind, raw)) == raw
    for beyond in (low - 1, high + 1):
        with pytest.raises(Invalid):
            encode_number(kind, beyond)
    with pytest.raises(Invalid):
        encode_number(kind, 0.5)


@pytest.mark.parametrize(("words", "meant"), [((0x8000,), None), ((11,), None), ((0xFFF5,), None), ((0xFFFE,), -2)])
def test_scale_factor_not_implemented_or_impossible_is_none(words: tuple[int, ...], meant: int | None):
    assert decode_scale(words) == meant


def test_a_value_without_its_scale_factor_is_absent():
    layout = load_layout(701)
    assert layout is not None
    words = dict.fromkeys(range(40002, 40002 + 155), 0x8000)
    words[40002 + layout.points["W"].offset] = 1234
    view = View(Chain(40000, (Instance(701, 40002, 153),)), words, 0)
    assert view.raw(701, "W") == 1234
    assert view.value(701, "W") is None


def test_points_beyond_the_length_of_an_older_device_are_absent():
    words = dict.fromkeys(range(40002, 40300), 0)
    view = View(Chain(40000, (Instance(701, 40002, 30),)), words, 0)
    assert view.raw(701, "W") == 0
    assert view.value(701, "W") is None, "its scale factor is not there"
    assert view.raw(701, "ThrotPct") is None


@given(st.integers(-32767, 32767), st.integers(-10, 10))
def test_scaling_is_undone_exactly(raw: int, scale: int):
    assert unscaled(scaled(raw, scale), scale) == raw


def test_scaled_values_read_as_written():
    assert scaled(1234, -2) == 12.34
    assert scaled(23, 2) == 2300.0


def test_a_measured_value_at_the_end_of_its_range_has_overflowed():
    assert quality_of("int16", 32767) & Quality.OVERFLOW
    assert quality_of("int16", -32767) & Quality.OVERFLOW
    assert quality_of("uint16", 65534) & Quality.OVERFLOW
    assert quality_of("uint16", 0) == Quality.GOOD
    assert quality_of("acc32", 0xFFFFFFFF) == Quality.GOOD
    assert quality_of("uint64", (1 << 53) + 2) & Quality.INACCURATE


@given(st.binary(max_size=64).filter(lambda data: len(data) % 2 == 0))
def test_any_bytes_are_some_text_or_none(data: bytes):
    text = decode_text(struct.unpack(f">{len(data) // 2}H", data))
    assert text is None or (text and "\0" not in text)


@given(st.floats())
def test_floats_that_are_no_numbers_are_absent(value: float):
    words = struct.unpack(">4H", struct.pack(">d", value))
    assert (decode_number("float64", words) is None) == (not math.isfinite(value))
