"""Request bodies, read with a bound: before and after decompression."""

import zlib
from collections.abc import Callable
from typing import Any, Protocol

import zstandard
from litestar.types import Receive

from gridspine.kernel.errors import Invalid, TooLarge, UnsupportedMedia

_SLICE_BYTES = 1024
"""What is decompressed in one step: so little that what comes of it is bounded too (zlib 1 MiB, zstd 32 MiB)."""
_MAX_WINDOW_BYTES = 1 << 23


class _Decoder(Protocol):
    """One gzip member or zstd frame being decompressed."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


async def read_body(declared: str, receive: Receive, limit: int) -> bytes:
    """Return the body as it was sent; raise `TooLarge` beyond ``limit`` bytes.

    ``declared`` is the Content-Length, empty without one.
    """
    if declared and not (declared.isascii() and declared.isdigit() and len(declared) < 20):
        raise Invalid("Content-Length is not a number")
    if declared and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message: Any = await receive()
        if message["type"] != "http.request":
            raise Invalid("the connection was lost before the body was complete")
        chunk, more = message["body"], message["more_body"]
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the body without its content encoding (gzip, zstd); raise `TooLarge` beyond ``limit`` bytes. Blocks.

    Several gzip members (RFC 1952 §2.2) or zstd frames (RFC 8878 §3) are one body; one cut short is damaged.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    new = _DECODERS.get(encoding)
    if new is None:
        raise UnsupportedMedia(f"content encoding {encoding[:40]!r} is not taken; send identity, gzip or zstd")
    plain = bytearray()
    at = 0
    while at < len(body):
        decoder = new()
        while at < len(body) and not decoder.eof:
            piece = body[at : at + _SLICE_BYTES]
            at += len(piece)
            try:
                plain += decoder.decompress(piece)
            except (zlib.error, zstandard.ZstdError) as error:
                raise Invalid(f"the {encoding} body is damaged: {error}") from error
            if len(plain) > limit:
                raise _too_large(limit)
        if not decoder.eof:
            raise Invalid(f"the {encoding} body ends too early")
        at -= len(decoder.unused_data)
    return bytes(plain)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"a request body has at most {limit} bytes, decompressed too: send several smaller ones")


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj(),
}
