"""The commander: requests to orders to confirmation, limits, all-stop, restarts."""

from typing import Any

import pytest
from things_commanding import BATTERY, INVERTER, RULES, ask, keep, lease, make, reading, tick

from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.kernel.readings import Channel
from gridspine.kernel.time import US
from gridspine.things.adapter import Order
from gridspine.things.asking import Ask, Pending
from gridspine.things.command import decode_event, encode_event
from gridspine.things.commander import Commander
from gridspine.things.lease import MAX_LEASES_PER_POINT, Authority


def test_from_request_to_confirmation_to_the_end() -> None:
    commander = make()
    assert ask(commander, lease("a", 3000)).state == "accepted"
    (order,) = tick(commander, 0)
    assert order == Order("a", BATTERY, "power", 3000, 60 * US, 0, 1, principals=("by-a",))
    assert tick(commander, 1) == [], "only a change makes an order"
    keep(commander, commander.on_readings(reading(3000, 0.5)))
    assert commander.command("a").state == "accepted", "nothing was sent yet"
    keep(commander, commander.on_progress("a", "sent", 1 * US))
    keep(commander, commander.on_progress("a", "acknowledged", 2 * US))
    assert commander.command("a").state == "acknowledged", "an acknowledgement never makes it applied"
    keep(commander, commander.on_readings(reading(3000, 0.5)))
    assert commander.command("a").state == "acknowledged", "a reading from before it was sent shows nothing"
    keep(commander, commander.on_readings(reading(2950, 3)))
    assert commander.command("a").state == "applied"
    (back,) = tick(commander, 60)
    assert (back.value, back.fallback, back.sequence, back.until_us) == (None, 0, 2, 60 * US)
    assert commander.command("a").state == "ended"
    assert tick(commander, 61) == []


def test_a_decision_is_nothing_until_it_is_applied() -> None:
    commander = make()
    _, events = commander.request(lease("a", 3000), "k", 0)
    assert commander.commands() == [] and commander.find("by-a", "k") is None
    keep(commander, events)
    assert commander.tick(0) == commander.tick(0), "an append that failed is tried again"
    assert len(tick(commander, 0)) == 1


@pytest.mark.parametrize(
    "given", [{"channel": Channel.EMULATED}, {"channel": Channel.PLANNED}, {"backfill": True}], ids=str
)
def test_only_live_reported_readings_confirm(given: dict[str, Any]) -> None:
    commander = make()
    ask(commander, lease("a", 3000))
    tick(commander, 0)
    keep(commander, commander.on_progress("a", "sent", 1 * US))
    assert commander.on_readings(reading(3000, 3, **given)) == ()
    assert commander.on_readings(reading(3000, 3, number=4)) == ()
    assert len(commander.on_readings(reading(3000, 3))) == 1


def test_a_limit_reclamps_a_running_setpoint_and_lets_go() -> None:
    commander = make()
    ask(commander, lease("a", 4000))
    tick(commander, 0)
    ask(commander, lease("net", 1000, 10, 20, role="limit_max", authority=Authority.NETWORK), 5)
    assert tick(commander, 5)[0].until_us == 10 * US, "unattended, it must not outlast the limit to come"
    (order,) = tick(commander, 10)
    assert (order.command, order.value, order.until_us) == ("a", 1000, 60 * US)
    keep(commander, commander.on_progress("a", "sent", 11 * US))
    assert {one.id: one.state for one in commander.commands()} == {"a": "sent", "net": "sent"}
    keep(commander, commander.on_readings(reading(1000, 12)))
    assert {one.id: one.state for one in commander.commands()} == {"a": "applied", "net": "applied"}
    assert tick(commander, 20)[0].value == 4000
    assert commander.command("net").state == "ended"


def test_a_limit_that_could_not_be_delivered_still_limits() -> None:
    commander = make()
    ask(commander, lease("net", 1000, role="limit_max", authority=Authority.NETWORK))
    keep(commander, commander.on_progress("net", "failed", 1, "no route"))
    ask(commander, lease("a", 4000))
    assert tick(commander, 1)[0].value == 1000
    again = make()
    for event in commander.snapshot():
        again.apply(event)
    assert again.effective(BATTERY, "power", 1).value == 1000
    tick(commander, 60)
    assert commander.effective(BATTERY, "power", 59 * US).at_fallback, "and is forgotten at its end"


def test_a_limit_that_the_device_rejected_is_not_in_force_there() -> None:
    commander = make()
    for id_, value in (("wide", 4000), ("tight", 1000)):
        ask(commander, lease(id_, value, thing=INVERTER, point="limit", role="limit_max", authority=Authority.NETWORK))
    assert [order.value for order in tick(commander, 0)] == [1000]
    keep(commander, commander.on_progress("tight", "rejected", 1, "out of range"))
    assert [(order.command, order.value) for order in tick(commander, 1)] == [("wide", 4000)], "the next one is told"
    assert [one.command for one in commander.leases(INVERTER, "limit")] == ["wide"]
    keep(commander, commander.on_progress("wide", "rejected", 2, "no"))
    assert [order.value for order in tick(commander, 2)] == [None]
    again = make()
    for event in commander.snapshot():
        again.apply(event)
    for one in (commander, again):
        assert one.effective(INVERTER, "limit", 2).at_fallback
        assert one.leases(INVERTER, "limit") == []
        assert not one.counts(one.command("tight"))


def test_a_rejected_bound_of_set_points_still_bounds_what_is_ordered() -> None:
    commander = make()
    ask(commander, lease("net", -1000, role="limit_max", authority=Authority.NETWORK))
    assert [order.command for order in tick(commander, 0)] == ["net"]
    keep(commander, commander.on_progress("net", "rejected", 1, "empty"))
    ask(commander, lease("a", 4000))
    assert tick(commander, 1)[0].value == -1000


def test_rejected_makes_room_for_the_next() -> None:
    commander = make()
    ask(commander, lease("weak", 1000))
    ask(commander, lease("strong", 2000, authority=Authority.OWNER))
    assert tick(commander, 0)[0].value == 2000
    keep(commander, commander.on_progress("strong", "rejected", 1, "interlock"))
    assert [(o.command, o.value) for o in tick(commander, 1)] == [("weak", 1000)]
    assert commander.command("strong").reason == "interlock"
    assert commander.on_progress("strong", "acknowledged", 2) == ()
    assert commander.on_progress("nobody", "acknowledged", 2) == ()
    assert commander.late_progress == 2


def test_idempotency() -> None:
    commander = make()
    first = ask(commander, lease("a", 1000, principal="me"), key="k")
    again, events = commander.request(lease("b", 1000, principal="me", issued_us=5), "k", 5)
    assert again == first and events == ()
    with pytest.raises(Conflict, match="another command"):
        commander.request(lease("c", 2000, principal="me"), "k", 5)
    assert ask(commander, lease("d", 2000, principal="you"), key="k").id == "d"
    with pytest.raises(Conflict, match="exists"):
        commander.request(lease("a", 2000), "", 5)


def test_refused_is_recorded_and_commands_nothing() -> None:
    commander = make()
    refused = ask(commander, lease("a", 9000), key="k")
    assert refused.state == "refused" and "beyond" in refused.reason
    assert ask(commander, lease("x", 1, point="other")).state == "refused"
    assert tick(commander, 0) == []
    assert commander.command("a") == refused
    with pytest.raises(Invalid):
        commander.request(lease("n", float("nan")), "", 0)


def test_a_whole_order_of_which_one_is_refused_leaves_nothing_behind() -> None:
    commander, pending = make(), Pending()
    good, bad = Ask(lease("a", 1000)), Ask(lease("x", 1, point="other"))
    with pytest.raises(Conflict, match="other: ") as caught:
        commander.request_all([good, bad], 0, pending, whole=True)
    assert [one["field"] for one in caught.value.extra["errors"]] == ["other"]
    assert (pending.commands, pending.asked_w) == (0, {}), "others of the same turn have the room"
    assert [one.state for one, _ in commander.request_all([good, bad], 0, pending)] == ["accepted", "refused"]
    assert [one.state for one, _ in commander.request_all([good], 0, whole=True)] == ["accepted"]


def test_a_principal_asking_again_supersedes_itself() -> None:
    commander = make()
    limit: dict[str, Any] = {"thing": INVERTER, "point": "limit", "role": "limit_max", "principal": "dso"}
    ask(commander, lease("tight", 1000, **limit))
    tick(commander, 0)
    ask(commander, lease("loose", 3000, **limit), 1)
    assert commander.command("tight").state == "superseded"
    assert tick(commander, 1)[0].value == 3000


def test_cancel() -> None:
    commander = make()
    ask(commander, lease("a", 1000))
    tick(commander, 0)
    keep(commander, commander.cancel("a", 5, "changed my mind"))
    assert [o.value for o in tick(commander, 5)] == [None]
    with pytest.raises(Conflict):
        commander.cancel("a", 6, "again")
    with pytest.raises(NotFound):
        commander.cancel("b", 6, "what")


def test_all_stop_ends_setpoints_keeps_limits_and_outlives_a_restart() -> None:
    commander = make()
    ask(commander, lease("now", 1000))
    ask(commander, lease("later", 1000, 30, 60))
    ask(commander, lease("cap", 2000, thing=INVERTER, point="limit", role="limit_max"))
    tick(commander, 0)
    (stop,) = commander.all_stop("operator", "smoke", 5 * US)
    keep(commander, (stop,))
    assert [(o.thing, o.value) for o in tick(commander, 5)] == [(BATTERY, None)]
    assert {c.id: c.state for c in commander.commands()} == {
        "now": "cancelled",
        "later": "cancelled",
        "cap": "accepted",
    }
    restarted = make()
    for event in commander.snapshot():
        restarted.apply(decode_event(encode_event(event)))
    assert "smoke" in ask(restarted, lease("new", 1000), 6).reason
    assert ask(restarted, lease("lim", 500, role="limit_max"), 6).state == "accepted"
    keep(restarted, restarted.release("operator", "cleared", 7 * US))
    assert ask(restarted, lease("new2", 1000), 8).state == "accepted"
    with pytest.raises(Conflict):
        restarted.release("operator", "again", 9)


def test_what_an_adapter_hears_after_a_start() -> None:
    commander = make()
    ask(commander, lease("a", 1000))
    ask(commander, lease("cap", 2000, thing=INVERTER, point="limit", role="limit_max"))
    tick(commander, 0)
    assert {o.command for o in commander.in_force(1)} == {"a", "cap"}
    keep(commander, commander.cancel("a", 5 * US, "no"))
    tick(commander, 5)
    assert {(o.command, o.value) for o in commander.in_force(6 * US)} == {("a", None), ("cap", 2000)}
    tick(commander, 60)
    assert {(o.command, o.value) for o in commander.in_force(61 * US)} == {("cap", None)}, "the inverter would persist"


def test_no_adapter_hears_an_order_again_whose_command_was_cancelled_before_its_end_was_kept() -> None:
    commander = make()
    ask(commander, lease("weak", 500))
    ask(commander, lease("a", 1000, authority=Authority.OWNER))
    tick(commander, 0)
    keep(commander, commander.cancel("a", 5 * US, "no"))
    again = make()
    for event in commander.snapshot():
        again.apply(decode_event(encode_event(event)))
    for one in (commander, again):
        assert one.in_force(6 * US) == [], "what comes after it is durable first"
        tick(one, 6)
        assert [(o.command, o.value) for o in one.in_force(7 * US)] == [("weak", 500)]


def test_an_adapter_hears_of_a_limit_that_was_cancelled_only_while_another_is_in_force() -> None:
    commander = make()
    for name, most in (("tight", 1000), ("wide", 4000)):
        ask(commander, lease(name, most, thing=INVERTER, point="limit", role="limit_max"))
    tick(commander, 0)
    keep(commander, commander.cancel("tight", 5 * US, "no"))
    assert [o.value for o in commander.in_force(6 * US)] == [1000], "rather too little than no limit"
    keep(commander, commander.cancel("wide", 6 * US, "no"))
    assert commander.in_force(7 * US) == []


def test_bounds() -> None:
    commander = make(max_live=3, keep_finished=2)
    for name in "abc":
        ask(commander, lease(name, 1000), key=name)
    with pytest.raises(Overloaded):
        commander.request(lease("d", 1000), "", 0)
    for at, name in enumerate("abc"):
        keep(commander, commander.cancel(name, at, ""))
    assert [c.id for c in commander.commands()] == ["b", "c"]
    assert commander.find("by-a", "a") is None
    roomy = make()
    for at in range(MAX_LEASES_PER_POINT):
        ask(roomy, lease(f"l{at}", 1, at, at + 1))
    with pytest.raises(Overloaded, match="holds 64"):
        roomy.request(lease("x", 1), "", 0)


def test_reminders_of_cancelled_leases_do_not_pile_up() -> None:
    commander = make(keep_finished=10)
    for at in range(3000):
        ask(commander, lease(f"l{at}", 1, 1000, 1001))
        keep(commander, commander.cancel(f"l{at}", 0, ""))
        tick(commander, 0)
    assert len(commander._table._due) <= 4 * 257


def test_a_tick_is_bounded_and_comes_to_an_end() -> None:
    rule_ = RULES[(BATTERY, "power")]
    commander = Commander(lambda _thing, _point: rule_, lambda _thing, _point: None)
    for at in range(50):
        ask(commander, lease(f"l{at}", 1000, thing=f"urn:x:{at}"))
    orders: list[Order] = []
    rounds = 0
    while events := commander.tick(0, limit=10):
        assert len(events) <= 11
        orders += keep(commander, events)
        rounds += 1
    assert len(orders) == 50 and rounds == 5


def test_a_lease_whose_time_has_passed_does_not_begin_anew_when_the_clock_is_put_back() -> None:
    commander = make()
    _, events = commander.request(lease("past", 100, 0, 60), "", 0)
    keep(commander, events)
    _, events = commander.request(lease("to-come", 200, 7200, 7260), "", 0)
    keep(commander, events)
    keep(commander, commander.tick(0))
    step_us = -3600 * US  # noticed a second after the lease was over: no tick had ended it
    keep(commander, commander.on_step(step_us, 61 * US))
    while events := commander.tick(61 * US + step_us):
        keep(commander, events)
    assert commander.command("past").state == "expired"
    assert commander.effective(BATTERY, "power", 30 * US).at_fallback
    assert commander.command("to-come").lease.from_us == 7200 * US


@pytest.mark.parametrize("step_s", [-7200, 90])
def test_a_node_that_starts_right_after_the_clock_was_set_tells_no_device_the_end_as_it_was(step_s: int) -> None:
    commander = make()
    ask(commander, lease("l", 100, 0, 60))
    keep(commander, commander.tick(0))
    keep(commander, commander.on_step(step_s * US, 10 * US))  # then the node is killed, before any order goes out
    anew = make()
    for event in commander.snapshot():
        anew.apply(event)
    (told,) = anew.in_force((11 + step_s) * US)
    assert told.until_us == anew.command(told.command).lease.until_us == (60 + step_s) * US
    assert not anew.tick((11 + step_s) * US), "that order stands: no other follows"


def test_no_organisation_takes_the_place_of_all_commands() -> None:
    commander = make(max_live=10, organisation_of=lambda thing: "a" if thing == BATTERY else "b")
    for at in range(8):
        ask(commander, lease(f"a{at}", 10, at * 60, at * 60 + 60))
    with pytest.raises(Overloaded, match="your organisation has its share"):
        ask(commander, lease("one-more", 10, 900, 960))
    limit = {"thing": INVERTER, "point": "limit", "role": "limit_max"}
    assert ask(commander, lease("b", 10, **limit)).state == "accepted", "another organisation is served all the same"
    keep(commander, commander.cancel("a7", 0, "enough"))
    keep(commander, commander.cancel("a6", 0, "enough"))
    assert ask(commander, lease("again", 10, 900, 960)).state == "accepted"
    assert again_live(commander) == 8


def again_live(commander: Any) -> int:
    """How many are live in another commander made from this one's snapshot."""
    other = make(max_live=10)
    for event in commander.snapshot():
        other.apply(event)
    assert other._table.live == commander._table.live
    return int(other._table.live)
