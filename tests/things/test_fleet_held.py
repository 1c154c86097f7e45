"""Who holds a fleet back: local control, tags, the cap, two persons; and late words on older orders."""

from typing import Any

import pytest
from things_fleet import (
    BATTERY,
    CHARGER,
    INVERTER,
    PLAIN,
    again,
    approvals,
    ask,
    keep,
    lease,
    make,
    run,
    tag,
    tick,
)

from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.kernel.time import US
from gridspine.things.asking import Ask
from gridspine.things.blocking_tag import MAX_TAGS
from gridspine.things.lease import Authority

# -- local control, tags, the lifecycle's gate --------------------------------------------------------------------


def test_local_control_takes_no_setpoint_from_here() -> None:
    commander = make()
    ask(commander, lease("a", 1000))
    tick(commander, 0)
    keep(commander, commander.take_local(PLAIN, "joe", "at the device", 1 * US))
    assert commander.command("a").state == "cancelled"
    assert [order.value for order in tick(commander, 1)] == [None]
    for restarted in (commander, again(commander)):
        refused = ask(restarted, lease("b", 1, authority=Authority.SAFETY), 2)
        assert refused.reason == "in local control since joe took it: at the device"
        assert ask(restarted, lease("lim", 1, role="limit_max"), 2).state == "accepted", "limits only ever allow less"
        assert restarted.local(PLAIN).principal == "joe"
        keep(restarted, restarted.give_remote(PLAIN, "joe", "done", 3 * US))
        assert ask(restarted, lease("c", 1), 3).state == "accepted"
        with pytest.raises(Conflict):
            restarted.give_remote(PLAIN, "joe", "done", 3 * US)


def test_a_tag_blocks_all_but_safety_until_it_is_taken_down_or_over() -> None:
    commander = make()
    ask(commander, lease("a", 1000))
    ask(commander, lease("other", 1000, thing=BATTERY))
    tick(commander, 0)
    keep(commander, commander.hang(tag("power", until_s=50, at_s=1)))
    assert commander.command("a").reason == "blocked by a tag of joe: line work"
    assert commander.command("other").state == "accepted"
    for blocked in (commander, again(commander)):
        for role in ("setpoint", "limit_max"):
            assert "blocked by a tag of joe" in ask(blocked, lease(f"b{role}", 1, role=role), 2).reason
        assert ask(blocked, lease("s", 1, authority=Authority.SAFETY), 2).state == "accepted"
        assert [one.reason for one in blocked.tags(PLAIN, 2)] == ["line work"]
        assert ask(blocked, lease("late", 1, 50, 60), 50).state == "accepted"
        with pytest.raises(NotFound):
            blocked.take_down(PLAIN, "t", "joe", "over", 50 * US)
    keep(commander, commander.hang(tag(at_s=51, id="u")))
    keep(commander, commander.take_down(PLAIN, "u", "joe", "done", 52 * US))
    assert ask(commander, lease("c", 1), 52).state == "accepted"
    for at in range(MAX_TAGS):
        keep(commander, commander.hang(tag(at_s=53, id=str(at))))
    with pytest.raises(Conflict, match="take one down"):
        commander.hang(tag(at_s=53, id="one too many"))


def test_a_thing_out_of_service_takes_no_commands() -> None:
    out: set[str] = set()
    commander = make(gate=lambda thing, safety: "it is retired" if thing in out and not safety else "")
    ask(commander, lease("a", 1000))
    tick(commander, 0)
    out.add(PLAIN)
    keep(commander, commander.withdraw(PLAIN, "it is retired", 1 * US))
    assert [order.value for order in tick(commander, 1)] == [None]
    assert ask(commander, lease("b", 1), 2).reason == "it is retired"
    assert ask(commander, lease("s", 1, authority=Authority.SAFETY), 2).state == "accepted"


# -- the cap ------------------------------------------------------------------------------------------------------


def many(monkeypatch: Any, count: int) -> None:
    from things_fleet import RULES

    for at in range(count):
        monkeypatch.setitem(RULES, (f"urn:x:{at}", "power"), RULES[(PLAIN, "power")])


def test_no_more_is_moved_in_a_minute_than_the_cap(monkeypatch: Any) -> None:
    many(monkeypatch, 10)
    commander = make(cap_w=3000)
    for at in range(10):
        ask(commander, lease(f"a{at}", 1000, 0, 600, f"urn:x:{at}", priority=at))
    assert [order.command for order in tick(commander, 0)] == ["a9", "a8", "a7"], "the higher priority first"
    assert tick(commander, 30) == []
    assert "at most 3 kW are moved a minute" in commander.waiting("urn:x:0", "power", 30 * US)
    keep(commander, commander.all_stop("op", "smoke", 31 * US))
    assert len(tick(commander, 31)) == 3, "a stop waits for no cap"


def test_a_restart_remembers_what_was_moved(monkeypatch: Any) -> None:
    many(monkeypatch, 2)
    commander = make(cap_w=3000)
    ask(commander, lease("a", 3000, 0, 600, "urn:x:0"))
    tick(commander, 0)
    ask(commander, lease("b", 2000, 1, 600, "urn:x:1"), 1)
    for one in (commander, again(commander, cap_w=3000)):
        assert tick(one, 59) == []
        assert [order.command for order in tick(one, 60)] == ["b"]


def test_what_is_larger_than_the_cap_goes_part_by_part() -> None:
    commander = make(cap_w=2000)
    ask(commander, lease("a", 5000, 0, 600))
    assert run(commander, 0, 200, 1) == [(0, 2000), (60, 4000), (120, 5000)]


def test_limits_and_safety_do_not_wait_and_count(monkeypatch: Any) -> None:
    many(monkeypatch, 1)
    commander = make(cap_w=2000)
    ask(commander, lease("cap", 0, 0, 600, INVERTER))
    assert len(tick(commander, 0)) == 1, "a limit is never held back"
    ask(commander, lease("s", 3000, 0, 600, authority=Authority.SAFETY), 1)
    assert len(tick(commander, 1)) == 1
    ask(commander, lease("a", 100, 0, 600, "urn:x:0"), 2)
    assert run(commander, 2, 62, 1) == [(61, 100)]


def test_whose_time_would_pass_before_its_turn_is_told_when_to_come_again(monkeypatch: Any) -> None:
    many(monkeypatch, 4)
    commander = make(cap_w=1000)
    for at in range(3):
        ask(commander, lease(f"a{at}", 1000, 0, 600, f"urn:x:{at}"))
    tick(commander, 0)
    with pytest.raises(Overloaded, match="before its turn") as told:
        ask(commander, lease("late", 1000, 1, 100, "urn:x:3"), 1)
    assert told.value.retry_after_s == 120


# -- two persons --------------------------------------------------------------------------------------------------


def test_a_large_order_waits_for_a_second_person() -> None:
    commander = make(approval=approvals(4000, window_s=100, expires_s=50))
    asked = ask(commander, lease("a", 4500))
    assert asked.state == "awaiting-approval" and "second person" in asked.reason
    assert tick(commander, 1) == []
    assert [one.id for one in commander.awaiting()] == ["a"]
    with pytest.raises(Conflict, match="whoever asked"):
        commander.approve("a", "ann", 2 * US)
    for one in (again(commander, approval=approvals(4000)), commander):
        keep(one, one.approve("a", "bob", 2 * US))
        assert [order.value for order in tick(one, 2)] == [4500]
        assert one.command("a").approved_by == "bob"
        with pytest.raises(Conflict, match="nobody's approval"):
            one.approve("a", "bob", 3 * US)


def test_small_pieces_are_one_order() -> None:
    commander = make(approval=approvals(4000, window_s=100))
    assert ask(commander, lease("a", 2500)).state == "accepted"
    assert ask(commander, lease("b", -2500, thing=BATTERY), 1).state == "awaiting-approval"
    assert ask(commander, lease("c", 2500, principal="bob", thing=BATTERY), 1).state == "accepted", "by principal"
    for one in (commander, again(commander, approval=approvals(4000, window_s=100))):
        assert ask(one, lease("d", 2500, 99, 160, thing=BATTERY), 99).state == "awaiting-approval"
    assert ask(commander, lease("e", 2500, 200, 260), 200).state == "accepted", "the window has passed"


def test_what_nobody_approves_expires_and_may_be_cancelled() -> None:
    commander = make(approval=approvals(1, expires_s=5))
    ask(commander, lease("a", 4000))
    ask(commander, lease("b", 3000))
    keep(commander, commander.cancel("b", 1 * US, "by its owner"))
    assert tick(commander, 5) == []
    assert commander.command("a").reason == "no second person approved it in time"
    assert commander.command("b").state == "cancelled"


def test_an_approval_asks_again_whether_it_may_be() -> None:
    commander = make(approval=approvals(1))
    ask(commander, lease("a", 4000))
    keep(commander, commander.hang(tag(at_s=1)))
    assert commander.command("a").state == "cancelled", "blocked like any other"
    ask(commander, lease("b", 4000, thing=BATTERY), 1)
    with pytest.raises(Conflict, match="end before now"):
        commander.approve("b", "bob", 61 * US)


def test_an_order_to_many_is_judged_as_one() -> None:
    commander = make(approval=approvals(4000))
    asks = [Ask(lease("a", 3000)), Ask(lease("b", 3000, thing=BATTERY)), Ask(lease("c", 9000, thing=CHARGER))]
    answers = commander.request_all(asks, 0)
    assert [command.state for command, _ in answers] == ["awaiting-approval", "awaiting-approval", "refused"]
    with pytest.raises(Invalid, match="twice"):
        commander.request_all([Ask(lease("d", 1)), Ask(lease("e", 2))], 0)
    with pytest.raises(Invalid, match="finite"):
        commander.request_all([Ask(lease("f", 1)), Ask(lease("g", float("nan"), thing=BATTERY))], 0)
    assert commander.commands() == []


# -- late words ---------------------------------------------------------------------------------------------------


def test_a_late_word_on_an_older_order_does_not_count_for_a_newer() -> None:
    commander = make()
    ask(commander, lease("a", 4000))
    (first,) = tick(commander, 0)
    ask(commander, lease("cap", 1000, 1, 30, role="limit_max", authority=Authority.NETWORK), 1)
    (second,) = tick(commander, 1)
    assert commander.on_progress("a", "acknowledged", 2 * US, sequence=first.sequence) == ()
    assert commander.on_progress("a", "rejected", 2 * US, sequence=first.sequence) == ()
    assert commander.late_progress == 2
    keep(commander, commander.on_progress("a", "acknowledged", 3 * US, sequence=second.sequence))
    assert {one.id: one.state for one in commander.commands()} == {"a": "acknowledged", "cap": "acknowledged"}
    assert [order.value for order in tick(commander, 30)] == [4000], "and let go of when the limit ends"
    keep(commander, commander.on_progress("a", "rejected", 31 * US, "no", sequence=3))
    assert commander.command("a").state == "rejected"


def test_all_behaviours_of_an_organisation_ask_as_one_and_apart_from_anothers() -> None:
    commander = make(approval=approvals())
    who = [f"behaviour:north/{name}@1.0.{at}" for at, name in enumerate("abc")]
    asked = [
        ask(commander, lease(f"a{at}", 3000, at * 60, at * 60 + 60, principal=one)).state for at, one in enumerate(who)
    ]
    assert asked == ["accepted", "accepted", "awaiting-approval"], "9 kW by three packages are 9 kW"
    other = lease("b", 3000, 300, 360, principal="behaviour:south/a@1.0.0")
    assert ask(commander, other).state == "accepted", "nobody else's sum"
