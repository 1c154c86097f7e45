"""Batches, and bytes that went wrong, for the tests of all codecs."""

import numpy as np
from hypothesis import strategies as st

from gridspine.kernel.quality import ALL_BITS
from gridspine.kernel.readings import Channel, NamedReadings, Readings, named_readings
from gridspine.kernel.time import MAX_US, US

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
VALUES = st.floats(allow_nan=False, allow_infinity=False)
QUALITIES = st.integers(0, ALL_BITS)
TIMES_US = st.integers(0, MAX_US)
# SenML takes smaller times as relative to now, and its seconds as a double tell µs apart until 2106.
SENML_TIMES_US = st.integers((1 << 28) * US, (1 << 32) * US - 1)


def rows(times: st.SearchStrategy[int] = TIMES_US, names: st.SearchStrategy[str] = NAMES) -> st.SearchStrategy:
    return st.lists(st.tuples(names, st.just(""), times, VALUES, QUALITIES), max_size=30)


@st.composite
def readings(draw: st.DrawFn) -> Readings:
    count = draw(st.integers(0, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    sources = draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=4))
    return Readings(
        rng.integers(0, 2**31, count, dtype=np.int32),
        rng.integers(-(2**63), 2**63 - 1, count, dtype=np.int64),
        rng.integers(0, 2**63, count, dtype=np.int64).view(np.float64),
        rng.integers(0, 2**16, count, dtype=np.uint16),
        tuple(sources),
        draw(st.sampled_from(Channel)),
        draw(st.integers(0, MAX_US)),
        draw(st.booleans()),
        None if len(sources) == 1 else rng.integers(0, len(sources), count, dtype=np.uint16),
    )


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of a good message, some of them changed, cut off or repeated."""
    body = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        what = draw(st.sampled_from(("set", "cut", "insert", "repeat")))
        if what == "set" and body:
            body[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del body[at : at + draw(st.integers(1, 9))]
        elif what == "insert":
            body[at:at] = draw(st.binary(max_size=9))
        else:
            body[at:at] = body[at : at + 20]
    return bytes(body)


def as_rows(batch: NamedReadings) -> list[tuple[str, str, int, float, int]]:
    return [
        (batch.names[k], batch.units[k], int(t), float(v), int(q))
        for k, t, v, q in zip(batch.name_index, batch.observed_us, batch.value, batch.quality, strict=True)
    ]


def check_whole(batch: NamedReadings, sent: int | None = None) -> None:
    """What every decoder promises of its result."""
    n = len(batch)
    assert {len(c) for c in (batch.name_index, batch.item, batch.observed_us, batch.value, batch.quality)} == {n}
    dtypes = (batch.name_index.dtype, batch.item.dtype, batch.observed_us.dtype, batch.value.dtype, batch.quality.dtype)
    assert dtypes == (np.int32, np.int64, np.int64, np.float64, np.uint16)
    assert not n or (batch.name_index.min() >= 0 and batch.name_index.max() < len(batch.names) == len(batch.units))
    assert all(isinstance(name, str) for name in (*batch.names, *batch.units))
    items = [*batch.item.tolist(), *(problem.index for problem in batch.problems)]
    assert len(set(items)) == len(items) == batch.received
    assert not n or batch.quality.max() <= ALL_BITS
    if sent is not None:
        assert batch.received == sent


__all__ = [
    "NAMES",
    "QUALITIES",
    "SENML_TIMES_US",
    "as_rows",
    "check_whole",
    "mutated",
    "named_readings",
    "readings",
    "rows",
]
