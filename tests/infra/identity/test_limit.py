"""How much one may ask, and how long who fails has to wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.identity import limit
from gridspine.infra.identity.limit import Backoff, Rate, network
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Overloaded

US = 1_000_000


class Now:
    """A monotonic clock moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = 10**12
        monkeypatch.setattr(limit.time, "monotonic_ns", lambda: self.ns)


def taken(rate: Rate, subject: str, tries: int) -> int:
    done = 0
    for _ in range(tries):
        try:
            rate.take(subject)
            done += 1
        except Overloaded as error:
            assert error.retry_after_s >= 1
    return done


def test_a_burst_then_the_rate_each_for_oneself(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rate = Now(monkeypatch), Rate(10, 5)
    assert taken(rate, "a", 20) == 5
    assert taken(rate, "b", 20) == 5, "another's bucket is another's"
    assert rate.refused == 30
    now.ns += 200_000_000
    assert taken(rate, "a", 20) == 2
    now.ns += 100 * 10**9
    assert taken(rate, "a", 20) == 5, "it holds no more than a burst"


def test_no_rate_is_no_limit() -> None:
    assert taken(Rate(0, 0), "a", 1000) == 1000


def test_the_buckets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rate = Now(monkeypatch), Rate(1, 1)
    monkeypatch.setattr(limit, "MAX_SUBJECTS", 50)
    for number in range(50):
        rate.take(f"old{number}")
    now.ns += 2 * 10**9
    for number in range(45):
        rate.take(f"new{number}")
    assert len(rate._full_at) <= 50
    assert taken(rate, "new7", 1) == 0, "who still waits is not forgotten"


def test_the_wait_doubles_up_to_a_cap_and_ends() -> None:
    clock = VirtualClock()
    backoff = Backoff(clock, free=3, base_s=1, cap_s=10)
    waits = []
    for _ in range(9):
        try:
            backoff.check("a")
        except Overloaded as error:
            waits.append(error.retry_after_s)
            clock._move_to(clock.monotonic_us() + error.retry_after_s * US)
            backoff.check("a")
        backoff.failed("a")
    assert waits == [1, 2, 4, 8, 10]
    clock._move_to(clock.monotonic_us() + 21 * US)
    backoff.failed("a")
    backoff.check("a")
    assert backoff.refused == 5


def test_success_forgives_one_failure_and_not_all() -> None:
    backoff = Backoff(VirtualClock(), free=3, base_s=1)
    for _ in range(3):
        backoff.failed("a")
    backoff.succeeded("a")
    backoff.failed("a")
    backoff.check("a")
    backoff.failed("a")
    with pytest.raises(Overloaded):
        backoff.check("a")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100)), max_size=60))
def test_a_wait_is_never_longer_than_the_cap(steps: list[tuple[str, int]]) -> None:
    clock = VirtualClock()
    backoff = Backoff(clock, free=1, base_s=1, cap_s=30, slots=2)
    for subject, seconds in steps:
        clock._move_to(clock.monotonic_us() + seconds * US)
        try:
            backoff.check(subject)
        except Overloaded as error:
            assert 1 <= error.retry_after_s <= 30
        backoff.failed(subject)


@pytest.mark.parametrize(
    ("address", "counted"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::/64"), ("", ""), ("a host", "a host")],
)
def test_what_counts_as_one_place(address: str, counted: str) -> None:
    assert network(address) == counted
