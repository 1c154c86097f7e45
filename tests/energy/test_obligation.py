"""Leases that controls come to: they say what is wanted at every moment, and are renewed in time."""

from hypothesis import given
from hypothesis import strategies as st

from gridspine.energy.allocation import Told
from gridspine.energy.obligation import Obligation, Source, fulfils, obligations
from gridspine.kernel.time import US
from gridspine.things.lease import Authority, Lease
from gridspine.things.schedule import MAX_STEPS, Step, step_at

SOURCE = Source("site:urn:x:s", Authority.OWNER, 0, "an envelope")
LONG = {("t", "p"): 1e6, ("t", "q"): 1e6}


def told(value, point="p"):
    return Told("t", point, "limit_max", value)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([None, 1.0, 2.0]), st.sampled_from([None, 1.0])), max_size=10)
)
def test_leases_say_what_is_wanted_at_every_moment_and_nothing_else(parts):
    at_us, stretches = 0, []
    for length, p, q in parts:
        words = [told(value, point) for point, value in (("p", p), ("q", q)) if value is not None]
        stretches.append((at_us, at_us + length, words))
        at_us += length
    found = list(obligations(SOURCE, stretches, LONG))
    for moment in range(at_us):
        words = next(words for begin, end, words in stretches if begin <= moment < end)
        for point in ("p", "q"):
            running = [one for one in found if one.point == point and one.from_us <= moment < one.until_us]
            assert [step_at(one.steps, moment).value for one in running] == [w.value for w in words if w.point == point]


def test_what_lasts_longer_than_a_lease_is_cut():
    (one,) = obligations(SOURCE, [(0, 100 * US, [told(1.0)])], {("t", "p"): 30.0})
    assert (one.until_us, one.whole_us) == (30 * US, 100 * US)
    steps = [(at, at + 1, [told(float(at))]) for at in range(MAX_STEPS + 5)]
    (one,) = obligations(SOURCE, steps, LONG)
    assert (len(one.steps), one.until_us, one.whole_us) == (MAX_STEPS, MAX_STEPS, MAX_STEPS + 5)
    assert list(obligations(SOURCE, [(0, 9, [told(1.0)])], {})) == [], "what takes no lease is told nothing"


def lease(from_us, until_us, *steps, **more):
    fields = {"authority": SOURCE.authority, "priority": 0, "value": steps[0].value, "steps": steps, **more}
    return Lease(id="l", command="c", thing="t", point="p", role="limit_max", principal=SOURCE.principal,
                 from_us=from_us, until_us=until_us, issued_us=0, **fields)  # fmt: skip


def wanted(from_us, until_us, *steps, whole_us=None):
    return Obligation(SOURCE, "t", "p", "limit_max", steps, from_us, until_us, whole_us or until_us)


def test_a_lease_that_says_the_same_is_kept_until_half_of_it_is_over():
    day = wanted(0, 100, Step(0, 1.0), whole_us=400)
    assert fulfils(lease(0, 100, Step(0, 1.0)), day, 0)
    later = wanted(40, 140, Step(40, 1.0), whole_us=440)
    assert fulfils(lease(0, 100, Step(0, 1.0)), later, 40)
    assert not fulfils(lease(0, 100, Step(0, 1.0)), wanted(60, 160, Step(60, 1.0), whole_us=460), 60)


def test_a_lease_that_says_something_else_is_not():
    both = wanted(10, 100, Step(10, 1.0), Step(50, 2.0))
    assert fulfils(lease(10, 100, Step(10, 1.0), Step(50, 2.0)), both, 0)
    for other in (
        lease(10, 100, Step(10, 1.0)), lease(10, 100, Step(10, 1.0), Step(60, 2.0)), lease(11, 100, *both.steps),
        lease(10, 120, *both.steps), lease(10, 100, *both.steps, priority=1),
        lease(10, 100, *both.steps, authority=Authority.NETWORK),
    ):  # fmt: skip
        assert not fulfils(other, both, 0)
    assert fulfils(
        lease(10, 100, Step(10, 7.0), Step(20, 1.0), Step(50, 2.0)), wanted(30, 100, Step(30, 1.0), Step(50, 2.0)), 30
    )


def test_a_lease_that_may_last_for_ever_is_as_long_as_it_is_wanted():
    (one,) = obligations(SOURCE, [(0, 100 * US, [told(1.0)])], {("t", "p"): 1e308})
    assert (one.until_us, one.whole_us) == (100 * US, 100 * US)


def test_what_will_be_refused_takes_nothing_else_with_it():
    words = [told(10.0), told(3.0)._replace(beyond=True), told(10.0), told(8.0)._replace(bounding=True)]
    stretches = [(at * US, (at + 1) * US, [one]) for at, one in enumerate(words)]
    found = list(obligations(SOURCE, stretches, LONG))
    assert [(one.steps[0].value, one.from_us // US, one.bounding) for one in found] == [
        (10.0, 0, False), (3.0, 1, False), (10.0, 2, False), (8.0, 3, True),
    ]  # fmt: skip
    assert not fulfils(lease(3 * US, 4 * US, Step(3 * US, 8.0)), found[3], 0), "one that would loosen is no answer"
