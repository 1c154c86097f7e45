"""The index of names against a plain dictionary, with good hashes and with hashes that collide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.names import PackedNames
from gridspine.things.name_index import MAX_BYTES, NOBODY, Hash, KeyedHash, NameIndex, Spans, UInt64Array

LONG = "x" * (MAX_BYTES - 2)
NAME = st.one_of(
    st.text("ab/:", max_size=20),
    st.text(max_size=9),
    st.sampled_from(["urn:x:a", "urn:x:a\0", "urn:x:", "", "\0", "1234567", "12345678", LONG, LONG + "y"]),
)
NAMES = st.lists(NAME, max_size=40)


class Weak:
    """A hash with few values: everything collides, in the slot and in the half that is kept there."""

    def __init__(self, mask: int) -> None:
        self._mask = mask
        self._good = KeyedHash(b"")

    def many(self, spans: Spans) -> UInt64Array:
        return self._good.many(spans) & np.uint64(self._mask)

    def one(self, name: bytes) -> int:
        return self._good.one(name) & self._mask


HASHES = st.sampled_from([KeyedHash(b"k"), Weak(0), Weak(1 << 32), Weak(3), Weak(0xFFFF_FFFF << 32)])


@given(HASHES, st.lists(NAMES, max_size=4), NAMES)
def test_the_index_agrees_with_a_dictionary(hash_: Hash, lots: list[list[str]], asked: list[str]) -> None:
    index, slow = NameIndex(hash_), {}
    for lot in lots:
        new = [name for name in dict.fromkeys(lot) if name not in slow]
        assert index.add_all(PackedNames.of(new)) == len(slow)
        for name in new:
            slow[name] = len(slow)
    asked = [*asked, *slow, *(name + "x" for name in slow), "y" * 1000]
    assert index.find(Spans.of(PackedNames.of(asked))).tolist() == [slow.get(name, NOBODY) for name in asked]
    assert [index.get(name) for name in asked] == [slow.get(name, NOBODY) for name in asked]
    assert [index[number] for number in range(len(index))] == list(slow) == list(index.names())


@given(NAMES, st.binary(max_size=8))
def test_one_by_one_and_at_once_hash_alike(names: list[str], key: bytes) -> None:
    hash_ = KeyedHash(key)
    spans = Spans.of(PackedNames.of(names))
    assert hash_.many(spans).tolist() == [hash_.one(name.encode()) for name in names]


def test_many_names_keep_their_numbers_while_the_table_grows() -> None:
    index = NameIndex()
    for start in range(0, 5000, 617):
        index.add_all(PackedNames.of(f"urn:x:{number}" for number in range(start, start + 617)))
    assert index.find(Spans.of(index.names())).tolist() == list(range(len(index)))
    assert index.get("urn:x:4999") == 4999
    assert index.nbytes < 100 * len(index)


def test_another_key_gives_other_hashes() -> None:
    spans = Spans.of(PackedNames.of(["urn:x:a", "urn:x:b"]))
    first, second = KeyedHash(b"one").many(spans), KeyedHash(b"two").many(spans)
    assert (first != second).all()


def test_a_name_too_long_for_the_index_is_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        NameIndex().add_all(PackedNames.of(["x" * (MAX_BYTES + 1)]))
