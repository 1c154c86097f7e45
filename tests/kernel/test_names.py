"""Packed names read like a list of texts."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.codecs.arrow import decode_arrow
from gridspine.kernel.names import PADDING, PackedNames

NAMES = st.lists(st.text(max_size=12), max_size=12)


@given(NAMES)
def test_packed_names_read_like_the_list_they_came_from(names: list[str]) -> None:
    packed = PackedNames.of(names)
    assert list(packed) == names
    assert [packed[at] for at in range(len(packed))] == names
    assert [packed[at - len(names)] for at in range(len(packed))] == names
    assert packed[1:-1] == names[1:-1]
    assert not packed.data[-PADDING:].any()
    for outside in (len(names), -len(names) - 1):
        with pytest.raises(IndexError):
            packed[outside]


def test_text_that_is_no_unicode_is_kept() -> None:
    assert list(PackedNames.of(["\ud800", "ü/ß"])) == ["\ud800", "ü/ß"]


@given(NAMES, st.sampled_from([pa.string(), pa.large_string()]), st.booleans(), st.booleans())
def test_names_of_an_arrow_stream_are_taken_over_as_they_lie(
    names: list[str], kind: pa.DataType, dictionary: bool, units: bool
) -> None:
    points: pa.Array = pa.array(names, kind)
    columns = [points.dictionary_encode() if dictionary else points]
    columns += [pa.array(range(len(names)), pa.int64()), pa.array([1.0] * len(names), pa.float64())]
    labels = ["point", "observed", "value"]
    if units:
        columns, labels = [*columns, pa.array(["W", "kW"] * len(names), pa.string())[: len(names)]], [*labels, "unit"]
    table, sink = pa.table(columns, labels), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    got = decode_arrow(sink.getvalue().to_pybytes(), max_items=100)
    assert [got.names[at] for at in got.name_index] == names
    if units:
        assert [got.units[at] for at in got.name_index] == (["W", "kW"] * len(names))[: len(names)]
