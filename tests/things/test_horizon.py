"""The horizon of duplicates: exact, bounded, and able to forget what was not kept."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from things_plant import readings

from gridspine.kernel.readings import Channel, Readings
from gridspine.things.horizon import Horizon, keys_of

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, -0.0, 1.5, 2.0]), st.integers(0, 1)),
    max_size=8,
)
OPS = st.lists(
    st.tuples(st.sampled_from(["remember", "settle", "forget", "ask"]), ROWS, st.sampled_from(Channel)), max_size=25
)


def keys(batch: Readings) -> list[tuple]:
    rows = zip(batch.point.tolist(), batch.observed_us.tolist(), batch.value.tolist(), batch.quality, strict=True)
    return [(batch.channel, p, t, v + 0.0, int(q)) for p, t, v, q in rows]


@given(OPS)
@settings(deadline=None)
def test_it_knows_what_was_remembered_and_nothing_else(ops: list) -> None:
    horizon, settled, pending = Horizon(), set(), []
    for what, rows, channel in ops:
        batch = readings(rows, channel=channel)
        if what == "remember":
            horizon.remember(batch)
            pending.append(set(keys(batch)))
        elif what == "settle" and pending:
            horizon.settle()
            settled |= pending.pop(0)
        elif what == "forget" and pending:
            horizon.forget_last()
            pending.pop()
        known = settled.union(*pending)
        assert horizon.seen(keys_of(batch)).tolist() == [key in known for key in keys(batch)]


@given(st.integers(1, 50), st.lists(st.integers(1, 30), min_size=1, max_size=40), st.booleans())
@settings(deadline=None)
def test_it_keeps_the_newest_and_stays_bounded(capacity: int, sizes: list[int], ask: bool) -> None:
    horizon, batches = Horizon(capacity), []
    for number, size in enumerate(sizes):
        batch = readings([(number, t, 1.0, 0) for t in range(size)])
        batches.append(batch)
        horizon.remember(batch)
        horizon.settle()
        if ask:
            horizon.seen(keys_of(batch))
        assert len(horizon) < 2 * capacity + max(sizes)
    left = capacity
    for batch in reversed(batches):
        if len(batch) > left:
            break
        left -= len(batch)
        assert horizon.seen(keys_of(batch)).all()


def test_many_readings_and_odd_values_are_told_apart() -> None:
    rng, horizon = np.random.default_rng(2), Horizon()
    values = rng.integers(0, 2**63, 20_000, dtype=np.int64).view(np.float64)
    values = values[np.isfinite(values)]
    batch = readings([(int(k % 7), float(k % 50), float(v), int(k % 3)) for k, v in enumerate(values)])
    horizon.remember(batch)
    horizon.settle()
    assert horizon.seen(keys_of(batch)).all()
    other = readings([(p, 99.0, v, 0) for p, v in zip(batch.point.tolist(), batch.value.tolist(), strict=True)])
    assert not horizon.seen(keys_of(other)).any()
