"""Frames come out as they went in, and what is cut or too long is nothing."""

import asyncio
import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.runtime.child import plain_environment
from gridspine.infra.runtime.frame import frame, read_frame, receive_frame, write_frame


class Said(msgspec.Struct, frozen=True):
    words: str
    body: bytes


@given(st.lists(st.builds(Said, st.text(max_size=20), st.binary(max_size=50)), max_size=4))
def test_what_is_written_is_read(said: list[Said]) -> None:
    stream = io.BytesIO()
    for one in said:
        write_frame(stream, one)
    assert stream.getvalue() == b"".join(map(frame, said))
    stream.seek(0)
    read = [msgspec.msgpack.decode(read_frame(stream, 1_000) or b"", type=Said) for _ in said]
    assert (read, read_frame(stream, 1_000)) == (said, None)


@given(st.integers(0, 39))
def test_what_is_cut_is_nothing(length: int) -> None:
    whole = frame(Said("", bytes(25)))
    assert read_frame(io.BytesIO(whole[: min(length, len(whole) - 1)]), 1_000) is None


async def test_what_is_too_long_is_not_taken() -> None:
    whole = frame(Said("", bytes(100)))
    assert read_frame(io.BytesIO(whole), 100) is None
    for most, fits in ((1_000, True), (100, False)):
        reader = asyncio.StreamReader()
        reader.feed_data(whole)
        reader.feed_eof()
        if fits:
            assert msgspec.msgpack.decode(await receive_frame(reader, most), type=Said) == Said("", bytes(100))
        else:
            with pytest.raises(asyncio.IncompleteReadError):
                await receive_frame(reader, most)


def test_a_child_is_given_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDSPINE_SECRET_MQTT_PASSWORD", "word")
    given_ = plain_environment(MORE="1")
    assert (given_["MORE"], given_["TZ"]) == ("1", "UTC")
    assert not [name for name in given_ if "SECRET" in name]
