"""The cap, where leases are handed out before they begin: what is moved counts in the minute in which it moves."""

from typing import Any

import pytest
from things_fleet import INVERTER, PLAIN, RULES, again, ask, keep, lease, make, steps, tag, tick

from gridspine.kernel.time import US
from gridspine.things.budget import AHEAD_SHARE, Budget
from gridspine.things.command import Command
from gridspine.things.commander import Commander
from gridspine.things.lease import Authority


@pytest.fixture(autouse=True)
def _many(monkeypatch: Any) -> None:
    for at in range(10):
        monkeypatch.setitem(RULES, (f"urn:x:{at}", "power"), RULES[(PLAIN, "power")])


def make_held(cap_w: float = 4000, **given: Any) -> Commander:
    """Return a commander all of whose Things hold their leases themselves."""
    return make(cap_w=cap_w, by_itself=lambda _thing: True, **given)


def held(commander: Commander, now_s: float) -> dict[str, Command]:
    """Return what is handed out by now, by id."""
    found = (commander.handed(one, round(now_s * US)) for one in commander.commands() if not one.final)
    return {one.id: one for one in found if one is not None}


def fill(commander: Commander, count: int, w: float, start_s: float, now_s: float = 0, **given: Any) -> None:
    for at in range(count):
        ask(commander, lease(f"a{at}", w, start_s, start_s + 600, f"urn:x:{at}", **given), now_s)
    tick(commander, now_s)


def test_what_begins_at_one_moment_is_handed_out_as_far_as_there_is_room() -> None:
    commander = make_held()
    fill(commander, 8, 1000, 3600)
    assert set(held(commander, 0)) == {"a0", "a1"}, "half of the cap may begin by itself"
    moved = [order.command for order in tick(commander, 3600)]
    assert moved == ["a0", "a1", "a2", "a3"], "the others wait in line, as for any other device"
    assert set(held(commander, 3600)) == {"a0", "a1", "a2", "a3"}
    assert tick(commander, 3659) == []
    assert len(tick(commander, 3660)) == 4
    assert len(held(commander, 3660)) == 8


def test_in_no_minute_more_than_the_cap_begins_wherever_starts_lie() -> None:
    commander = make_held()
    for at in range(10):
        ask(commander, lease(f"a{at}", 1000, 3600 + 10 * at, 7200, f"urn:x:{at}"))
    tick(commander, 0)
    assert set(held(commander, 0)) == {"a0", "a1", "a6", "a7"}, "two in any minute"


def test_now_leaves_room_for_what_begins_by_itself_soon() -> None:
    commander = make_held()
    fill(commander, 2, 1000, 100)
    for at in range(2, 6):
        ask(commander, lease(f"b{at}", 1000, 50, 700, f"urn:x:{at}"), 50)
    assert [one.command for one in tick(commander, 50)] == ["b2", "b3"]
    assert [one.command for one in tick(commander, 100)] == ["a0", "a1"]
    assert [one.command for one in tick(commander, 110)] == ["b4", "b5"]


def test_what_was_just_moved_leaves_no_room_for_a_start_that_is_near() -> None:
    commander = make_held()
    fill(commander, 4, 1000, 0)
    ask(commander, lease("near", 1000, 30, 700, "urn:x:5"), 1)
    ask(commander, lease("later", 1000, 90, 700, "urn:x:6"), 1)
    tick(commander, 1)
    assert {"near", "later"} & set(held(commander, 1)) == {"later"}


def test_every_step_of_a_schedule_has_room_or_goes_out_one_by_one() -> None:
    commander = make_held()
    plan = steps((0, 500), (600, 2000), (1200, -2000))
    ask(commander, lease("fits", 500, 0, 1100, "urn:x:0", steps=plan[:2]))
    ask(commander, lease("big", 500, 0, 1800, "urn:x:1", steps=plan))
    tick(commander, 0)
    given = held(commander, 0)
    assert given["fits"].lease.steps == plan[:2]
    lease_now = given["big"].lease
    assert (lease_now.value, lease_now.steps, lease_now.until_us) == (500, (), 630 * US), "no further than its order"
    tick(commander, 600)
    assert held(commander, 600)["big"].lease.value == 2000, "1500 W there, and 1500 W here: its turn has come"


def test_a_lease_beneath_another_does_not_take_over_without_its_turn() -> None:
    commander = make_held()
    for at in range(4):
        ask(commander, lease(f"low{at}", -1000, 0, 900, f"urn:x:{at}", authority=Authority.SERVICE), 0)
        ask(commander, lease(f"top{at}", 1000, 0, 900, f"urn:x:{at}", principal="ben"), 0)
    tick(commander, 0)
    assert {f"top{at}" for at in range(4)} <= set(held(commander, 0))
    for at in range(4):
        keep(commander, commander.cancel(f"top{at}", 120 * US, "enough"))
    moved = tick(commander, 120)
    assert len(moved) == 2, "2 kW each"
    assert set(held(commander, 120)) == {order.command for order in moved}


def test_limits_and_safety_are_handed_out_at_once() -> None:
    commander = make_held(cap_w=1)
    ask(commander, lease("limit", 0, 60, 600, INVERTER))
    ask(commander, lease("safe", 5000, 60, 600, authority=Authority.SAFETY))
    ask(commander, lease("not", 5000, 60, 600, "urn:x:0"))
    tick(commander, 0)
    assert set(held(commander, 0)) == {"limit", "safe"}


def test_what_was_cancelled_gives_its_room_back() -> None:
    commander = make_held()
    fill(commander, 3, 1000, 3600)
    assert "a2" not in held(commander, 0)
    keep(commander, commander.cancel("a0", US, "enough"))
    tick(commander, 1)
    ask(commander, lease("new", 1000, 3600, 4000, "urn:x:5"), 2)
    tick(commander, 2)
    assert set(held(commander, 2)) == {"a1", "new"}


def test_a_restart_hands_out_the_same() -> None:
    commander = make_held()
    fill(commander, 4, 1000, 3600)
    for id_ in ("a0", "a1"):
        keep(commander, commander.on_progress(id_, "sent", 1 * US))
    other = again(commander, cap_w=4000, by_itself=lambda _thing: True)
    tick(other, 10)
    assert set(held(other, 10)) == set(held(commander, 10)) == {"a0", "a1"}
    late = again(commander, cap_w=4000, by_itself=lambda _thing: True)
    assert {"a0", "a1"} <= {order.command for order in tick(late, 3605)}, "they began while no node ran"


def test_who_holds_nothing_ahead_waits_in_line_as_before() -> None:
    commander = make(cap_w=4000)
    for at in range(8):
        ask(commander, lease(f"a{at}", 1000, 3600, 7200, f"urn:x:{at}"))
    tick(commander, 0)
    assert len(tick(commander, 3600)) == 4


def test_with_a_cap_no_device_is_given_what_follows() -> None:
    for cap_w, follows in ((0.0, 2), (4000.0, 0)):
        commander = make(cap_w=cap_w)
        ask(commander, lease("a", 500, 0, 900, steps=steps((0, 500), (600, 2000))))
        (order,) = tick(commander, 0)
        assert len(commander.planned(order, 0).plan) == follows


def test_a_stop_and_a_tag_take_what_was_to_come_out_of_hand() -> None:
    commander = make_held()
    fill(commander, 2, 1000, 3600)
    keep(commander, commander.hang(tag(thing="urn:x:0")))
    assert set(held(commander, 1)) == {"a1"}
    keep(commander, commander.all_stop("op", "smoke", 2 * US))
    assert not held(commander, 2)


def test_the_share_of_what_is_to_come_is_counted_by_the_minute() -> None:
    budget = Budget(1000)
    most = AHEAD_SHARE * 1000
    assert budget.take([(100 * US, most), (160 * US, most)], 0), "a minute apart"
    assert not budget.take([(220 * US, 1), (159 * US, 1)], 0)
    assert budget.take([(220 * US, most)], 0), "what had no room left nothing behind"
    budget.aside_w = 500
    assert not budget.take([(400 * US, most)], 0)
    assert budget.take([(400 * US, most / 2)], 0)
