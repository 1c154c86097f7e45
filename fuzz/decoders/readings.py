"""Readings as they come by HTTP: SenML, rows, Arrow, and compressed bodies."""

import gzip

import cbor2
import numpy as np
import pyarrow as pa
import zstandard
from target import Target, target

from gridspine.apps.api.body import decompress
from gridspine.kernel.codecs.arrow import decode_arrow, encode_arrow
from gridspine.kernel.codecs.arrow_frame import Frames
from gridspine.kernel.codecs.rows import decode_csv, decode_ndjson
from gridspine.kernel.codecs.senml import decode_senml_cbor, decode_senml_json
from gridspine.kernel.errors import Invalid, TooLarge, UnsupportedMedia
from gridspine.kernel.readings import NamedReadings

NOW_US = 1_767_225_600_000_000
MOST = 1000
_REFUSED = (Invalid, TooLarge)
_SENML = [
    b'[{"n":"urn:x:a/p","u":"W","v":1.5,"t":1767225600}]',
    b'[{"bn":"urn:x:a/","bt":1.7e9,"bu":"W","bv":2,"bver":10,"n":"p","v":1},{"n":"q","v":-3.25,"t":-60},{"n":"s","vs":"x"}]',
    b'[{"n":"a/b","vb":true,"quality":3},{"n":"a/c","s":4,"ut":5},{"n":"a/d","vd":"aGk"}]',
    b'[{"bn":"x","bs":1},{"n":"y","v":9007199254740993,"q_":1}]',
    b"[]",
]
_WORDS = [
    b'"n":',
    b'"bn":"',
    b'"v":',
    b'"t":',
    b'"bt":',
    b'"bu":',
    b'"u":"',
    b'"vb":true',
    b'"quality":',
    b"},{",
    b"null",
    b"1e308",
]


def _shape(batch: object) -> tuple[int, int, frozenset[str]]:
    problems = batch.problems  # type: ignore[attr-defined]
    return min(batch.received, 9), min(len(problems), 9), frozenset(p.reason for p in problems)  # type: ignore[attr-defined]


@target
def senml_json() -> Target:
    """SenML JSON (RFC 8428)."""
    return Target(
        "senml-json", "SenML JSON", lambda body: decode_senml_json(body, now_us=NOW_US, max_items=MOST),
        _REFUSED, _SENML, _WORDS, shape=_shape,
    )  # fmt: skip


@target
def senml_cbor() -> Target:
    """SenML CBOR (RFC 8428 §6)."""
    seeds = [
        cbor2.dumps([{0: "urn:x:a/p", 1: "W", 2: 1.5, 6: 1767225600}]),
        cbor2.dumps([{-2: "urn:x:a/", -3: 1.7e9, -4: "W", 0: "p", 2: 1}, {0: "q", 2: 3, 6: -60}, {0: "s", 3: "x"}]),
        cbor2.dumps([{0: "a", 4: True}, {0: "b", 8: b"x"}, {0: "c", 2: 2**70}]),
        cbor2.dumps([{0: "a", 2: cbor2.CBORTag(1, 5)}]),
        b"\x9f\xbf\x00\x61a\x02\xf9\x3c\x00\xff\xff",
    ]
    words = [
        b"\x9f",
        b"\xbf",
        b"\xff",
        b"\xfb",
        b"\xc2\x49",
        b"\xd8\x1c",
        b"\xd8\x1d\x00",
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\x7f" * 8,
        b"\x20",
        b"\x21",
    ]
    return Target(
        "senml-cbor", "SenML CBOR", lambda body: decode_senml_cbor(body, now_us=NOW_US, max_items=MOST),
        _REFUSED, seeds, words, shape=_shape,
    )  # fmt: skip


@target
def ndjson() -> Target:
    """Newline-delimited JSON."""
    row = b'{"point":"urn:x:a/p","observed":"2026-01-01T00:00:00Z","value":1.5,"unit":"W","quality":0}\n'
    return Target(
        "ndjson", "NDJSON", lambda body: decode_ndjson(body, max_items=MOST), _REFUSED,
        [row, row * 3, row + b"nonsense\n" + row, b'{"point":"p","observed":1767225600.25,"value":1e5}'],
        [b'"observed":', b'"value":', b"T24:00:00Z", b"+00:00", b"-23:59", b"9999-12-31T23:59:59.999999Z"], shape=_shape,
    )  # fmt: skip


@target
def csv() -> Target:
    """CSV with a header line (RFC 4180)."""
    return Target(
        "csv", "CSV", lambda body: decode_csv(body, max_items=MOST), _REFUSED,
        [
            b"point,observed,value,unit,quality\nurn:x:a/p,2026-01-01T00:00:00Z,1.5,W,0\nurn:x:a/q,1767225600,2,,\n",
            b'value,point,observed\r\n1,"a ""b"" c",1767225600\r\n,,\r\n',
            b"\xef\xbb\xbfpoint,observed,value\np,1,1\n",
        ],
        [b'"', b'""', b",,", b"\r", b"\n", b"\x00", b"inf", b"nan", b"1_0"], shape=_shape,
    )  # fmt: skip


def _columns(batch: NamedReadings) -> list[object]:
    columns = (batch.name_index, batch.item, batch.observed_us, batch.value, batch.quality)
    return [list(batch.names), list(batch.units), batch.problems, *(column.tobytes() for column in columns)]


def _stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@target
def arrow() -> Target:
    """Arrow IPC streams."""
    names, times = ["urn:x:a/p", "urn:x:a/q"], np.arange(4, dtype=np.int64) + NOW_US
    plain = encode_arrow(names, np.array([0, 1, 0, 1], np.int32), times, np.arange(4.0), np.zeros(4, np.uint16))
    text = pa.table(
        {
            "point": ["a", "b", None],
            "observed": pa.array([1, 2, 3], pa.timestamp("ns")),
            "value": [1.0, None, 3.0],
            "unit": ["W", None, "V"],
        }
    )
    numbers = pa.table(
        {
            "point": pa.array(["a"] * 8).dictionary_encode(),
            "observed": list(range(8)),
            "value": pa.array([1] * 8, pa.int8()),
            "quality": pa.array([0] * 8, pa.int64()),
        }
    )
    view = pa.table(
        {
            "point": pa.array(["abcdefghijklmnop"] * 3, pa.large_string()),
            "observed": pa.array([1, 2, 3], pa.timestamp("s", "UTC")),
            "value": pa.array([1, 2, 3], pa.float16())
            if hasattr(pa, "nothing")
            else pa.array([1.0, 2.0, 3.0], pa.float32()),
        }
    )
    seeds = [plain, _stream(text), _stream(numbers), _stream(view), _stream(text, "zstd"), _stream(numbers, "lz4")]
    frames = Frames()

    def run(body: bytes) -> NamedReadings:
        found = decode_arrow(body, max_items=MOST, frames=frames)
        try:
            plain = decode_arrow(body, max_items=MOST)
        except _REFUSED as error:
            raise AssertionError("a frame reads what is refused") from error
        if _columns(found) != _columns(plain):
            raise AssertionError("a frame reads something else")
        return found

    return Target(
        "arrow", "Arrow IPC stream", run, _REFUSED, seeds,
        [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x08\x00\x00\x00", b"point", b"value", b"observed"], shape=_shape,
    )  # fmt: skip


@target
def compressed_body() -> Target:
    """Content encodings: gzip and zstd, bounded to 1 MiB."""
    plain = _SENML[1] * 4
    seeds = [b"g" + gzip.compress(plain, mtime=0), b"z" + zstandard.compress(plain), b"g" + gzip.compress(b"\0" * 900_000, mtime=0),
             b"z" + zstandard.compress(b"\0" * 900_000), b"g" + gzip.compress(b"a", mtime=0) * 3]  # fmt: skip

    def run(body: bytes) -> bytes:
        return decompress(body[1:], "zstd" if body[:1] == b"z" else "gzip", 1 << 20)

    return Target(
        "compressed-body", "gzip and zstd bodies", run, (*_REFUSED, UnsupportedMedia), seeds,
        [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"], shape=lambda plain: len(plain).bit_length(),
    )  # fmt: skip
