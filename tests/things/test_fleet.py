"""Commands to fleets: schedules, chance, least times and ramps."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from things_fleet import (
    BATTERY,
    CHARGER,
    again,
    ask,
    keep,
    lease,
    make,
    run,
    steps,
    tag,
    tick,
)

from gridspine.kernel.errors import Conflict, Invalid, Overloaded
from gridspine.kernel.time import US
from gridspine.things.adapter import Planned
from gridspine.things.asking import Ask
from gridspine.things.lease import GRACE_US, MAX_STEPS_PER_POINT, Authority
from gridspine.things.scatter import scatter
from gridspine.things.schedule import MAX_STEPS

# -- schedules ----------------------------------------------------------------------------------------------------


def test_a_schedule_is_one_command_and_goes_out_step_by_step() -> None:
    commander = make()
    ask(commander, lease("a", 1000, 0, 300, steps=steps((0, 1000), (100, 2000), (200, -500))))
    assert run(commander, 0, 301, 1) == [(0, 1000), (100, 2000), (200, -500), (300, None)]
    assert commander.command("a").state == "expired", "nobody sent it"
    assert len(commander.commands()) == 1


def test_the_whole_schedule_goes_along_for_devices_that_hold_it() -> None:
    commander = make()
    ask(commander, lease("a", 1000, 0, 300, steps=steps((0, 1000), (100, 2000), (200, 2000))))
    ask(commander, lease("cap", 1500, 150, 180, role="limit_max", authority=Authority.NETWORK))
    (order,) = tick(commander, 0)
    assert order.plan == (), "an order's record does not repeat it"
    assert commander.planned(order, 0).plan == (
        Planned(100 * US, 2000), Planned(150 * US, 1500), Planned(180 * US, 2000), Planned(300 * US, None),
    )  # fmt: skip
    assert commander.in_force(1)[0].plan == commander.planned(order, 0).plan
    plain = make()
    ask(plain, lease("a", 1000))
    (order,) = tick(plain, 0)
    assert plain.planned(order, 0).plan == (), "nothing but its end is to come"


def test_between_two_steps_a_device_does_not_fall_back_at_once() -> None:
    commander = make()
    ask(commander, lease("a", 1000, 0, 300, steps=steps((0, 1000), (100, 2000))))
    (order,) = tick(commander, 0)
    assert order.until_us == 100 * US + GRACE_US
    ask(commander, lease("cap", 500, 110, 130, role="limit_max"))
    (order,) = tick(commander, 1)
    assert order.until_us == 110 * US, "but never into a limit that is known"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (steps((0, 1), (10, float("nan"))), r"steps\[1\].value"),
        (steps((0, 1), (20, 2), (10, 3)), r"steps\[1\]"),
        (steps((0, 1), (60, 2)), r"steps\[1\]"),
        (steps(*((at / 10, 1.0) for at in range(MAX_STEPS + 1))), "at most 300"),
    ],
    ids=["not a number", "out of order", "after the end", "too many"],
)
def test_schedules_without_meaning(given: Any, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        ask(make(), lease("a", 1, steps=given))


def test_every_step_is_within_the_device() -> None:
    assert "9000 is beyond" in ask(make(), lease("a", 1, steps=steps((0, 1), (10, 9000)))).reason


def test_steps_of_a_point_are_bounded() -> None:
    commander = make()
    many = steps(*((at / 10, 1.0) for at in range(MAX_STEPS)))
    for at in range(MAX_STEPS_PER_POINT // MAX_STEPS):
        ask(commander, lease(f"a{at}", 1, principal=f"p{at}", steps=many))
    with pytest.raises(Overloaded, match="steps together"):
        ask(commander, lease("more", 1, principal="p", steps=many))


# -- chance -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.floats(0, 20), st.floats(0, 20))
def test_what_chance_leaves_lies_within_what_was_asked(seed: int, start_s: float, end_s: float) -> None:
    asked = lease("a", 1, 10, 60)
    drawn = scatter(asked, start_s, end_s, random.Random(seed).randbytes)
    assert asked.from_us <= drawn.from_us <= asked.from_us + start_s * US
    assert asked.until_us - end_s * US <= drawn.until_us <= asked.until_us
    assert drawn.from_us < drawn.until_us
    assert msgspec.json.decode(msgspec.json.encode(drawn), type=type(drawn)) == drawn, "a replay draws nothing"


def test_a_fleet_that_is_told_the_same_does_not_expire_together() -> None:
    dice = random.Random(1)
    ends = {scatter(lease("a", 1, 0, 600), 60, 60, dice.randbytes).until_us for _ in range(1000)}
    assert len(ends) > 990
    assert max(ends) - min(ends) > 55 * US


def test_chance_does_not_make_another_question_of_it() -> None:
    commander, dice = make(), random.Random(1)
    first = ask(commander, scatter(lease("a", 1), 20, 20, dice.randbytes), key="k")
    assert ask(commander, scatter(lease("b", 1), 20, 20, dice.randbytes), 1, key="k") == first
    with pytest.raises(Invalid, match="shorter than the lease"):
        scatter(lease("a", 1), 30, 30, dice.randbytes)
    with pytest.raises(Invalid, match="seconds"):
        scatter(lease("a", 1), -1, 0, dice.randbytes)


def test_a_question_is_known_by_its_digest() -> None:
    commander = make()
    (first,) = commander.request_all([Ask(lease("a", 1, 0, 60), "k", question="q")], 0)
    keep(commander, first[1])
    (same,) = commander.request_all([Ask(lease("b", 1, 5, 65), "k", question="q")], 5 * US)
    assert same == (first[0], ()), "the times it came to differ, what was asked does not"
    with pytest.raises(Conflict):
        commander.request_all([Ask(lease("c", 1, 0, 60), "k", question="other")], 0)


# -- least times and ramps ----------------------------------------------------------------------------------------


def test_what_was_switched_on_stays_on_for_its_least_time() -> None:
    commander = make()
    ask(commander, lease("a", 2000, 0, 60, CHARGER))
    assert run(commander, 0, 1) == [(0, 2000)]
    keep(commander, commander.cancel("a", 1 * US, "no"))
    assert run(commander, 1, 4.5) == []
    assert "must stay on for another" in commander.waiting(CHARGER, "power", 4 * US)
    assert run(commander, 4.5, 8) == [(5, None)]
    ask(commander, lease("b", 1000, 6, 60, CHARGER), 6)
    assert run(commander, 6, 9) == [(8, 1000)], "and off for its own"


def test_a_limit_a_stop_and_safety_do_not_wait_for_it() -> None:
    for stop in (
        lambda c: ask(c, lease("cap", 0, 1, 60, CHARGER, role="limit_max"), 1),
        lambda c: keep(c, c.all_stop("op", "smoke", 1 * US)),
        lambda c: keep(c, c.hang(tag(thing=CHARGER, at_s=1))),
        lambda c: keep(c, c.take_local(CHARGER, "joe", "at work", 1 * US)),
        lambda c: ask(c, lease("s", 0, 1, 60, CHARGER, authority=Authority.SAFETY), 1),
    ):
        commander = make()
        ask(commander, lease("a", 2000, 0, 60, CHARGER))
        tick(commander, 0)
        stop(commander)
        (order,) = tick(commander, 1)
        assert order.value in {None, 0}


def test_an_adapter_hears_after_a_start_of_what_a_device_must_stay_at_and_no_longer() -> None:
    commander = make()
    ask(commander, lease("a", 2000, 0, 60, CHARGER))
    tick(commander, 0)
    keep(commander, commander.cancel("a", 1 * US, "no"))
    assert [order.value for order in again(commander).in_force(4 * US)] == [2000], "it must stay on until 5"
    assert again(commander).in_force(5 * US) == []
    keep(commander, commander.all_stop("ann", "now", 2 * US))
    assert again(commander).in_force(3 * US) == [], "a stop waits for no least time"


def test_a_lease_too_short_for_the_device_is_refused() -> None:
    assert "must stay on" in ask(make(), lease("a", 2000, 0, 4, CHARGER)).reason
    assert ask(make(), lease("a", 2000, 0, 5, CHARGER)).state == "accepted"
    assert ask(make(), lease("a", 0, 0, 1, CHARGER)).state == "accepted", "it is off anyway"


def test_what_waits_too_long_is_not_begun() -> None:
    commander = make()
    ask(commander, lease("a", 2000, 0, 6, CHARGER))
    assert run(commander, 0, 6) == [(0, 2000), (6, None)]
    ask(commander, lease("b", 2000, 7, 12.5, CHARGER), 7)
    assert run(commander, 7, 13) == [], "off until 9, and then too little is left to be on"
    assert commander.command("b").state == "expired"


def test_a_ramp_goes_up_in_steps_and_down_again_before_the_end() -> None:
    commander = make()
    ask(commander, lease("a", 2000, 0, 20, BATTERY))
    orders = run(commander, 0, 21)
    assert orders == [
        (0, 500), (1, 1000), (2, 1500), (3, 2000), (17, 1500), (18, 1000), (19, 500), (20, None),
    ]  # fmt: skip


def test_a_cancelled_ramp_goes_down_within_the_time_it_had() -> None:
    commander = make()
    ask(commander, lease("a", 2000, 0, 60, BATTERY))
    run(commander, 0, 10)
    keep(commander, commander.cancel("a", 10 * US, "no"))
    assert run(commander, 10, 20) == [(10, 1500), (11, 1000), (12, 500), (13, None)]
    stopped = make()
    ask(stopped, lease("a", 2000, 0, 60, BATTERY))
    run(stopped, 0, 10)
    keep(stopped, stopped.all_stop("op", "smoke", 10 * US))
    assert run(stopped, 10, 20) == [(10, None)], "a stop does not"


def test_a_limit_is_kept_at_once_and_let_go_of_by_the_ramp() -> None:
    commander = make()
    ask(commander, lease("a", 2000, 0, 60, BATTERY))
    run(commander, 0, 10)
    ask(commander, lease("cap", 200, 10, 12, BATTERY, role="limit_max"), 10)
    assert run(commander, 10, 18) == [(10, 200), (12, 700), (13, 1200), (14, 1700), (15, 2000)]


def test_a_restart_goes_on_where_a_ramp_was() -> None:
    commander = make()
    ask(commander, lease("a", 2000, 0, 60, BATTERY))
    run(commander, 0, 1)
    assert run(again(commander), 1.5, 4) == [(2, 1500), (3, 2000)]
