"""Agents asleep: woken once for all that happened, not sooner than agreed, and nothing is forgotten."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.things import agent
from gridspine.things.agent import COMMAND, NEVER_US, READING, TIMER, States, Wakes

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hear", "take", "rest"]), st.sets(st.integers(0, 5), min_size=1), st.integers(0, 20),
        st.sampled_from([READING, COMMAND, TIMER]),
    ),
    max_size=30,
)  # fmt: skip


@given(STEPS)
@settings(deadline=None)
def test_every_wake_comes_once_when_it_is_due_with_all_its_reasons(steps: list) -> None:
    wakes, due, why, again, now = Wakes(), {}, {}, {}, 100
    for what, things, delay, reason in steps:
        now += 3
        if what == "hear":
            wakes.hear(np.array(sorted(things)), reason, now, now + delay if delay > 9 else 0)
            for thing in things:
                at = max(again.get(thing, 0), now + delay if delay > 9 else now)
                due[thing] = min(due.get(thing, NEVER_US), at)
                why[thing] = why.get(thing, 0) | reason
        elif what == "rest" and all(thing in again or thing in due for thing in things):
            for thing in things:
                again[thing] = max(again.get(thing, 0), now + delay)
                wakes.rest(thing, now + delay)
        else:
            taken = dict(wakes.take(now, 100))
            assert taken == {thing: why[thing] for thing, at in due.items() if at <= now}
            for thing in taken:
                again.setdefault(thing, 0)
                del due[thing], why[thing]
    rest = dict(wakes.take(10**9, 100))
    assert rest == {thing: why[thing] for thing in due}


def test_too_many_at_once_wait_for_the_next_look(monkeypatch) -> None:
    monkeypatch.setattr(agent, "_MAX_READY", 10)
    wakes = Wakes()
    wakes.hear(np.arange(25), READING, 100)
    assert (len(wakes), wakes.deferred) == (10, 15)
    taken = [thing for _ in range(6) for thing, _ in wakes.take(101, 10)]
    assert sorted(taken) == list(range(25))


def test_states_are_kept_while_there_is_something_to_keep() -> None:
    for resident in (False, True):
        states = States(resident=resident)
        assert states.get(3) == {}
        states.put(3, {"n": 1, "since": 5.5})
        states.put(4, {})
        assert len(states) == 1
        again = States(resident=not resident)
        for thing, packed in states.items():
            again.load(thing, packed)
        assert again.get(3) == {"n": 1, "since": 5.5}
        states.put(3, {})
        assert len(states) == 0
