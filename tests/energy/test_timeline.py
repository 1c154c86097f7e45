"""Which control holds when: against a plain look at every moment, and by the examples of the page."""

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.control import LIMITS, MODES, Control, tightest
from gridspine.energy.timeline import Claim, Limited, Stretch, intersect, limits_of, resolve

END = 20
controls = st.builds(Control, **{mode: st.one_of(st.none(), st.integers(0, 3).map(float)) for mode in MODES})
times = st.tuples(st.integers(-2, END + 2), st.integers(-2, END + 2))


@st.composite
def claims(draw):
    found = []
    for number in range(draw(st.integers(0, 8))):
        begin, end = draw(times)
        by = draw(st.sampled_from(["", f"e{number}"]))
        ranks = draw(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)))
        found.append(Claim(draw(st.sampled_from(["p", "q"])), by, *ranks, begin, end, draw(controls)))
    return found


def holding(given_claims, mode, at):
    """Return who holds a mode at one moment, looked at alone."""
    there = [one for one in given_claims if one.from_us <= at < one.until_us and getattr(one.control, mode) is not None]
    return min(there, key=lambda one: one.rank, default=None)


def at(stretches, moment):
    (found,) = [one for one in stretches if one.from_us <= moment < one.until_us]
    return found


@given(claims(), st.randoms())
def test_at_every_moment_the_best_claim_holds_each_mode(given_claims, random):
    found = resolve(given_claims, 0, END)
    assert (found[0].from_us, found[-1].until_us) == (0, END)
    assert all(one.until_us == two.from_us and one.held != two.held for one, two in pairwise(found))
    for moment in range(END):
        held = at(found, moment).held
        for mode in MODES:
            best = holding(given_claims, mode, moment)
            assert (None if mode not in held else held[mode].rank) == (None if best is None else best.rank)
    mixed = list(given_claims)
    random.shuffle(mixed)
    if len({one.rank for one in mixed}) == len(mixed):
        assert resolve(mixed, 0, END) == found


def test_many_claims_at_once_are_no_more_work_than_few_after_each_other():
    limit, n = Control(import_limit_w=1.0), 20_000
    given_claims = [Claim("p", f"e{k}", 0, k, 0, k, k + n, limit) for k in range(n)]
    began_s = time.process_time()
    found = resolve(given_claims, 0, 2 * n)
    assert time.process_time() - began_s < 10, "each moment sorted all that were active: minutes"
    assert [one.held["import_limit_w"].by for one in found[:2]] == ["e0", "e1"]


@given(st.lists(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), controls), max_size=4), max_size=4))
def test_limits_are_the_tightest_of_all_layers_at_every_moment(given_layers):
    layers = []
    for parts in given_layers:
        at_us, layer = 0, []
        for gap, length, control in parts:
            layer.append(Limited(at_us + gap, at_us + gap + length, control))
            at_us += gap + length
        layers.append(layer)
    found = intersect(layers, 0, END)
    for moment in range(END):
        present = [one.control for layer in layers for one in layer if one.from_us <= moment < one.until_us]
        assert at(found, moment).control == tightest(present)
        for mode in LIMITS:
            values = [getattr(one, mode) for one in present if getattr(one, mode) is not None]
            assert getattr(at(found, moment).control, mode) == min(values, default=None)


def claim(by, primacy, from_us, until_us, priority=0, since_us=0, source="p", **control):
    return Claim(source, by, primacy, priority, since_us, from_us, until_us, Control(**control))


def held(stretches, mode="export_limit_w"):
    return [(one.from_us, one.until_us, one.held[mode].by) for one in stretches if mode in one.held]


def test_an_event_is_superseded_for_the_overlap_and_holds_again():
    found = resolve([
        claim("", 5, 0, 20, export_limit_w=9.0), claim("a", 5, 2, 12, export_limit_w=1.0),
        claim("b", 1, 5, 8, source="q", export_limit_w=4.0),
    ], 0, 20)  # fmt: skip
    assert held(found) == [(0, 2, ""), (2, 5, "a"), (5, 8, "b"), (8, 12, "a"), (12, 20, "")]
    assert [limits_of(one).export_limit_w for one in found] == [9, 1, 4, 1, 9], "the better primacy, not the tighter"


def test_an_event_of_a_worse_programme_goes_before_the_default_of_a_better_one():
    found = resolve([claim("", 0, 0, 9, export_limit_w=1.0), claim("a", 9, 3, 6, export_limit_w=2.0)], 0, 9)
    assert held(found) == [(0, 3, ""), (3, 6, "a"), (6, 9, "")]


def test_priority_then_the_newer_one():
    older, newer = claim("old", 1, 0, 9, since_us=1, target_w=1.0), claim("new", 1, 3, 6, since_us=2, target_w=2.0)
    assert held(resolve([older, newer], 0, 9), "target_w") == [(0, 3, "old"), (3, 6, "new"), (6, 9, "old")]
    first = claim("first", 1, 0, 9, priority=1, since_us=5, target_w=1.0)
    assert held(resolve([first, older], 0, 9), "target_w") == [(0, 9, "old")]


def test_modes_are_told_apart_and_so_are_sources():
    found = resolve([
        claim("a", 1, 0, 9, import_limit_w=1.0), claim("b", 2, 0, 9, source="q", import_limit_w=2.0, load_limit_w=3.0)
    ], 0, 9)  # fmt: skip
    assert found == [Stretch(0, 9, found[0].held)]
    assert found[0].of("p") == Control(import_limit_w=1.0)
    assert found[0].of("q") == Control(load_limit_w=3.0), "its import limit is superseded, its load limit is not"


def test_nothing_comes_of_no_time():
    assert resolve([claim("a", 1, 0, 9, load_limit_w=1.0)], 5, 5) == []
    assert intersect([[Limited(0, 9, Control(load_limit_w=1.0))]], 5, 5) == []
