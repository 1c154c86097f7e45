"""Batches of the log: bit for bit back, and damage is `Corrupt`, whatever it claims."""

import dataclasses
import struct

import msgspec
import numpy as np
import pytest
import zstandard
from codec_strategies import mutated, readings
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.log.port import MAX_RECORD_BYTES
from gridspine.kernel.codecs.batch import decode_batch, encode_batch
from gridspine.kernel.errors import Corrupt
from gridspine.kernel.readings import MAX_BATCH, Channel, Readings


@given(readings())
def test_a_batch_comes_back_bit_for_bit(batch: Readings) -> None:
    back = decode_batch(encode_batch(batch))
    for column in ("point", "observed_us", "quality"):
        assert getattr(back, column).tolist() == getattr(batch, column).tolist()
        assert getattr(back, column).dtype == getattr(batch, column).dtype
    assert back.value.view(np.uint64).tolist() == batch.value.view(np.uint64).tolist()
    assert (back.origin is None) == (batch.origin is None)
    if batch.origin is not None:
        assert back.origin.tolist() == batch.origin.tolist()
    assert (back.sources, back.channel, back.received_us, back.backfill) == (
        batch.sources, batch.channel, batch.received_us, batch.backfill,
    )  # fmt: skip


@given(mutated(readings().map(encode_batch)) | st.binary(max_size=200))
def test_damage_is_corrupt_and_nothing_else(body: bytes) -> None:
    try:
        batch = decode_batch(body)
    except Corrupt:
        return
    assert len({len(batch.point), len(batch.observed_us), len(batch.value), len(batch.quality)}) == 1


def random_batch(count: int, sources: int = 1) -> Readings:
    rng = np.random.default_rng(3)
    return Readings(
        rng.integers(0, 2**31, count, dtype=np.int32),
        rng.integers(0, 2**60, count, dtype=np.int64),
        rng.random(count),
        rng.integers(0, 2**15, count, dtype=np.uint16),
        tuple("s" * 20 for _ in range(sources)),
        Channel.REPORTED,
        1,
        origin=None if sources == 1 else rng.integers(0, sources, count, dtype=np.uint16),
    )


@pytest.mark.parametrize("sources", [1, 2000])
def test_the_largest_incompressible_batch_fits_a_record(sources: int) -> None:
    assert len(encode_batch(random_batch(MAX_BATCH, sources))) < MAX_RECORD_BYTES


def test_a_batch_of_the_first_format_is_read() -> None:
    batch = random_batch(100)
    body = encode_batch(batch)
    (size,) = struct.unpack_from("<I", body, 1)
    header = msgspec.msgpack.encode(("old", 0, 1, False, 100))
    back = decode_batch(struct.pack("<BI", 1, len(header)) + header + body[5 + size :])
    assert (back.sources, back.origin) == (("old",), None)
    assert back.value.tolist() == batch.value.tolist()


def test_a_source_that_is_not_listed_is_corrupt() -> None:
    batch = random_batch(100, 3)
    with pytest.raises(Corrupt, match="does not list"):
        decode_batch(encode_batch(dataclasses.replace(batch, sources=("a", "b"))))


def test_a_frame_that_claims_a_terabyte_is_corrupt() -> None:
    body = encode_batch(random_batch(1000))
    (header,) = struct.unpack_from("<I", body, 1)
    frame = body[5 + header :]
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.content_size == 22_000
    width = {1: 5, 2: 5, 4: 5}  # magic number and frame header descriptor
    bomb = frame[:4] + bytes([(frame[4] & 0x3F) | 0xC0]) + struct.pack("<Q", 1 << 40) + frame[width[2] + 2 :]
    assert zstandard.get_frame_parameters(bomb).content_size == 1 << 40
    with pytest.raises(Corrupt):
        decode_batch(body[: 5 + header] + bomb)
