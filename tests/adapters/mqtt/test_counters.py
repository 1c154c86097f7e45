"""Counting both ends: whatever order messages come in, what never came is what is lost."""

import itertools

from adapter_node import DictStore
from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.mqtt.counters import WINDOW, Counters, Sequence
from gridspine.adapters.mqtt.wire import Count
from gridspine.infra.runtime.clock import VirtualClock


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["a", "b"])), max_size=60),
    st.lists(st.integers(1, 20), min_size=1, max_size=10),
    st.booleans(),
)
def test_counts_taken_in_together_are_those_taken_in_one_by_one(
    counts: list[tuple[int, str]], cuts: list[int], sure: bool
) -> None:
    whole = [Count(*count) for count in counts] + [Count(100 + n) for n in range(50)]
    single, together = Sequence(5, "a", sure=sure), Sequence(5, "a", sure=sure)
    changed = sum(single.note(count) for count in whole)
    at, changed_together = 0, 0
    for size in itertools.cycle(cuts):
        if at >= len(whole):
            break
        changed_together += together.note_all(whole[at : at + size])
        at += size
    for name in Sequence.__slots__:
        assert getattr(single, name) == getattr(together, name), name
    assert changed == changed_together


@given(st.data(), st.integers(1, 200))
def test_what_never_came_is_lost(data: st.DataObject, sent: int) -> None:
    gone = data.draw(st.sets(st.integers(2, sent))) if sent > 1 else set()
    came = [seq for seq in range(1, sent + 1) if seq not in gone]
    repeated = data.draw(st.lists(st.sampled_from(came), max_size=20))
    first, *others = came
    order = [first, *data.draw(st.permutations(others + repeated))]
    sequence = Sequence()
    changes = [sequence.note(Count(seq)) for seq in order]
    assert sequence.lost == sum(changes) == max(came) - len(came)
    assert sequence.repeated == len(repeated)


def test_a_new_run_starts_again() -> None:
    sequence = Sequence()
    for seq, run in ((500, "a"), (501, "a"), (1, "b"), (2, "b")):
        assert sequence.note(Count(seq, run)) == 0
    assert sequence.note(Count(0, "b")) == 0  # zero is a start by itself
    assert sequence.note(Count(1, "b")) == 0
    assert sequence.lost == 0


def test_a_count_that_falls_far_is_a_new_run() -> None:
    sequence = Sequence()
    sequence.note(Count(WINDOW + 50))
    assert sequence.note(Count(3)) == 0
    assert sequence.note(Count(5)) == 1


async def test_an_unclean_stop_gives_an_upper_bound_only() -> None:
    store, clock = DictStore(), VirtualClock()
    for clean, lost, uncertain in ((True, 4, 0), (False, 0, 4)):
        counters = Counters(clock, store)
        counters.note("d", [Count(10)])
        await counters.save(clean=clean)
        after = Counters(clock, store)
        await after.load()
        after.note("d", [Count(15)])
        assert (after.of("d").lost, after.of("d").sequence.uncertain) == (lost, uncertain)
        after.note("d", [Count(17)])
        assert after.of("d").lost == lost + 1


async def test_a_damaged_checkpoint_is_no_checkpoint() -> None:
    for body in (b"", b"{", b"[]", b'{"clean": true, "clients": {"d": [1]}}'):
        counters = Counters(VirtualClock(), DictStore({"sequences": body}))
        await counters.load()
        counters.note("d", [Count(9)])
        assert counters.of("d").lost == 0


def test_totals_add_up() -> None:
    counters = Counters(VirtualClock(), DictStore())
    for client, seq in (("a", 1), ("a", 3), ("b", 1)):
        counters.of(client).received += 1
        counters.note(client, [Count(seq)])
    assert counters.totals()["sent"] == 4
    assert counters.totals()["lost"] == 1
