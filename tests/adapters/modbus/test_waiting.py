"""The orders of a device that wait for their moment."""

from hypothesis import given
from hypothesis import strategies as st

from gridspine.adapters.modbus.waiting import Waiting
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US
from gridspine.things.adapter import Order

NOW_US = 1_800_000_000 * US


def order(sequence: int, *, until_s: int = 60, point: str = "power") -> Order:
    return Order("command", "urn:x:1", point, 1.0, NOW_US + until_s * US, 0.0, sequence)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), max_size=12))
def test_the_newest_order_of_each_point_waits(given: list[tuple[str, int]]) -> None:
    waiting = Waiting(VirtualClock(NOW_US))
    for point, sequence in given:
        waiting.submit(order(sequence, point=point))
    highest = {point: max(number for name, number in given if name == point) for point, _ in given}
    assert {one.point: one.sequence for one in waiting} == highest


def test_what_is_settled_waits_for_its_end_until_the_device_comes_back() -> None:
    waiting, one = Waiting(VirtualClock(NOW_US)), order(1)
    waiting.submit(one)
    assert waiting.due_us(epoch=1) == 0 and waiting.is_due(one, epoch=1)
    waiting.settle(one, epoch=1)
    due_us = waiting.due_us(epoch=1)
    assert due_us is not None and due_us > one.until_us and not waiting.is_due(one, epoch=1)
    assert waiting.is_due(one, epoch=2)


def test_a_timer_too_short_for_its_lease_is_due_before_the_end() -> None:
    clock = VirtualClock(NOW_US)
    waiting, one = Waiting(clock), order(1)
    waiting.submit(one)
    waiting.settle(one, 1, NOW_US)
    assert waiting.is_due(one, epoch=1) and waiting.renews(one)
    waiting.settle(one, 1, NOW_US + 30 * US)
    assert waiting.due_us(epoch=1) == NOW_US + 30 * US and not waiting.renews(one)


def test_what_was_overtaken_settles_and_drops_nothing() -> None:
    waiting, old, new = Waiting(VirtualClock(NOW_US)), order(1), order(2)
    waiting.submit(old)
    waiting.submit(new)
    waiting.settle(old, epoch=1)
    waiting.drop(old)
    assert list(waiting) == [new] and waiting.is_due(new, epoch=1)
    waiting.drop(new)
    assert waiting.due_us(epoch=1) is None
