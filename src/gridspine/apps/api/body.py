"""Request bodies, read with a bound: before and after decompression."""

import zlib
from collections.abc import Callable
from typing import Any

import zstandard
from litestar import Request

from gridspine.kernel.errors import Invalid, TooLarge, UnsupportedMedia


async def read_body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """Return the body, decompressed (gzip, zstd); raise `TooLarge` beyond ``limit`` bytes either way."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit():
        raise Invalid("Content-Length is not a number")
    if int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in _DECODERS:
        raise UnsupportedMedia(f"content encoding {encoding[:40]!r} is not taken; send identity, gzip or zstd")
    return _DECODERS[encoding](body, limit)


def _gunzip(body: bytes, limit: int) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise Invalid(f"the gzip body is damaged: {error}") from error
    if len(plain) > limit:
        raise _too_large(limit)
    if not decoder.eof:
        raise Invalid("the gzip body ends too early")
    return plain


def _unzstd(body: bytes, limit: int) -> bytes:
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 23).stream_reader(body) as reader:
            plain = reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise Invalid(f"the zstd body is damaged: {error}") from error
    if len(plain) > limit:
        raise _too_large(limit)
    return plain


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"a request body has at most {limit} bytes, decompressed too: send several smaller ones")


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gunzip, "zstd": _unzstd}
