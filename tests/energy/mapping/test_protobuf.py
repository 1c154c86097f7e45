"""The wire form, against the reference implementation."""

from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue
from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.mapping import protobuf as pb


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=300))
def test_scalars_are_those_of_the_reference(number: int, value: float, words: str) -> None:
    assert Int64Value.FromString(pb.integer(1, number)).value == number
    assert DoubleValue.FromString(pb.double(1, value)).value == value
    assert StringValue.FromString(pb.string(1, words)).value == words


@given(st.integers(0, 2**40), st.integers(0, 999_999_999))
def test_a_message_is_byte_for_byte_that_of_the_reference(seconds: int, nanos: int) -> None:
    written = pb.integer(1, seconds) + pb.integer(2, nanos)
    assert written == Timestamp(seconds=seconds, nanos=nanos).SerializeToString()


def test_what_is_grafted_below_one_message_is_in_one_message() -> None:
    tree: pb.Tree = {}
    pb.graft(tree, [3, 2], pb.integer(1, 7))
    pb.graft(tree, [3, 1], b"")
    pb.graft(tree, [3, 2], pb.integer(2, 8))
    assert pb.encode(tree) == pb.message(3, pb.message(1, b"") + pb.message(2, pb.integer(1, 7) + pb.integer(2, 8)))
