"""The commander: requests to orders to confirmation, all-stop, restarts; then a machine doing all of it at random."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded
from gridspine.kernel.readings import Channel, Readings
from gridspine.kernel.time import US
from gridspine.things.adapter import Order
from gridspine.things.command import Command, CommandEvent, decode_event, encode_event
from gridspine.things.commander import Commander, orders_of
from gridspine.things.lease import MAX_LEASES_PER_POINT, Authority, Lease, resolve
from gridspine.things.model import LeaseRule

BATTERY, INVERTER = "urn:x:battery", "urn:x:inverter"
RULES = {
    (BATTERY, "power"): LeaseRule(
        role="setpoint",
        minimum=-5000,
        maximum=5000,
        reversion="device",
        confirm_point="activePower",
        tolerance=100,
    ),
    (INVERTER, "limit"): LeaseRule(
        role="limit_max",
        minimum=0,
        maximum=6000,
        reversion="safe-to-persist",
        fallback=6000,
        confirm_point="activeLimit",
        tolerance=1,
    ),
}
NUMBERS = {(BATTERY, "activePower"): 3, (INVERTER, "activeLimit"): 8}


def make(**given: Any) -> Commander:
    return Commander(
        lambda thing, point: RULES.get((thing, point)), lambda thing, name: NUMBERS.get((thing, name)), **given
    )


def lease(id: str, value: float, start_s: float = 0, end_s: float = 60, **given: Any) -> Lease:
    fields: dict[str, Any] = {
        "thing": BATTERY,
        "point": "power",
        "role": "setpoint",
        "authority": Authority.AGGREGATOR,
        "principal": f"by-{id}",
        "issued_us": 0,
        **given,
    }
    return Lease(id=id, command=id, value=value, from_us=round(start_s * US), until_us=round(end_s * US), **fields)


def keep(commander: Commander, events: tuple[CommandEvent, ...]) -> list[Order]:
    for event in events:
        commander.apply(event)
    return orders_of(events)


def ask(commander: Commander, asked: Lease, now_s: float = 0, key: str = "") -> Command:
    command, events = commander.request(asked, key, round(now_s * US))
    keep(commander, events)
    return command


def tick(commander: Commander, now_s: float) -> list[Order]:
    return keep(commander, commander.tick(round(now_s * US)))


def reading(value: float, observed_s: float, number: int = 3, **given: Any) -> Readings:
    fields: dict[str, Any] = {"channel": Channel.REPORTED, "received_us": round((observed_s + 0.1) * US), **given}
    return Readings(
        np.array([1, number], np.int32),
        np.array([round(observed_s * US)] * 2, np.int64),
        np.array([value, value], np.float64),
        np.array([0, 0], np.uint16),
        source="s",
        **fields,
    )


def test_from_request_to_confirmation_to_the_end() -> None:
    commander = make()
    assert ask(commander, lease("a", 3000)).state == "accepted"
    (order,) = tick(commander, 0)
    assert order == Order("a", BATTERY, "power", 3000, 60 * US, 0, 1)
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
    assert len(commander._due) <= 4 * 257


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


class Device:
    """What a device does with orders: the highest sequence holds until its time is over, then the fallback."""

    def __init__(self, fallback: float) -> None:
        self.last: Order | None = None
        self.fallback = fallback

    def take(self, order: Order) -> None:
        assert self.last is None or order.sequence > self.last.sequence
        self.last = order

    def value(self, now_us: int) -> float:
        if self.last is None or self.last.value is None or self.last.until_us <= now_us:
            return self.fallback
        return self.last.value


class Machine(RuleBasedStateMachine):
    """A node with two devices; at every step the devices hold what the leases come to."""

    def __init__(self) -> None:
        super().__init__()
        self.commander = make()
        self.log: list[bytes] = []
        self.now_us = 0
        self.count = 0
        self.devices = {key: Device(rule_.fallback) for key, rule_ in RULES.items()}
        self.shown: set[str] = set()

    def keep(self, events: tuple[CommandEvent, ...]) -> None:
        self.log += [encode_event(event) for event in events]
        for order in keep(self.commander, events):
            self.devices[(order.thing, order.point)].take(order)

    def settle(self) -> None:
        for _ in range(10):
            events = self.commander.tick(self.now_us)
            if not events:
                return
            self.keep(events)
        raise AssertionError("a tick that never ends")

    @rule(
        key=st.sampled_from(sorted(RULES)),
        value=st.integers(-6, 7),
        start=st.integers(-2, 5),
        length=st.integers(1, 8),
        role=st.sampled_from(["setpoint", "limit_max", "limit_min"]),
        authority=st.sampled_from(Authority),
        principal=st.sampled_from(["ann", "bob"]),
    )
    def ask(self, key: Any, value: int, start: int, length: int, **given: Any) -> None:
        self.count += 1
        asked = lease(f"c{self.count}", value * 1000.0, thing=key[0], point=key[1], issued_us=self.now_us, **given)
        begin = self.now_us + start * US
        asked = msgspec.structs.replace(asked, from_us=begin, until_us=begin + length * US)
        _, events = self.commander.request(asked, "", self.now_us)
        self.keep(events)
        self.settle()

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now_us += seconds * US
        self.settle()

    @rule(
        pick=st.integers(0, 99),
        state=st.sampled_from(["sent", "sent", "acknowledged", "acknowledged", "rejected", "failed"]),
    )
    def progress(self, pick: int, state: Any) -> None:
        commands = self.commander.commands()
        if commands:
            self.keep(self.commander.on_progress(commands[pick % len(commands)].id, state, self.now_us, "so"))
            self.settle()

    @rule(number=st.sampled_from(sorted(NUMBERS.values())), offset=st.sampled_from([0.0, 50.0, 500.0]))
    def read(self, number: int, offset: float) -> None:
        self.now_us += US
        self.settle()
        (key,) = [k for k, r in RULES.items() if NUMBERS[(k[0], r.confirm_point)] == number]
        events = self.commander.on_readings(
            reading(self.devices[key].value(self.now_us) + offset, self.now_us / US, number)
        )
        self.shown |= {event.command.id for event in events}  # type: ignore[union-attr]
        self.keep(events)

    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        live = [command for command in self.commander.commands() if not command.final]
        if live:
            self.keep(self.commander.cancel(live[pick % len(live)].id, self.now_us, "so"))
            self.settle()

    @rule(pull=st.booleans())
    def stop(self, pull: bool) -> None:
        if pull:
            self.keep(self.commander.all_stop("op", "so", self.now_us))
        elif self.commander.stopped:
            self.keep(self.commander.release("op", "so", self.now_us))
        self.settle()

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        bodies = [encode_event(event) for event in self.commander.snapshot()] if snapshot else self.log
        before = {command.id: command for command in self.commander.commands()}
        self.commander = make()
        for body in bodies:
            self.commander.apply(decode_event(body))
        assert {command.id: command for command in self.commander.commands()} == before
        self.settle()

    @invariant()
    def devices_hold_what_the_leases_come_to(self) -> None:
        for (thing, point), rule_ in RULES.items():
            effective = self.commander.effective(thing, point, self.now_us)
            assert self.devices[(thing, point)].value(self.now_us) == effective.value
            live = [
                command.lease
                for command in self.commander.commands(thing)
                if command.lease.point == point
                and (
                    not command.final or (command.state in {"rejected", "failed"} and command.lease.role != "setpoint")
                )
            ]
            assert effective == resolve(live, rule_, self.now_us), "the table has no other leases than the commands"

    @invariant()
    def commands_keep_their_promises(self) -> None:
        for command in self.commander.commands():
            states = [change.state for change in command.changes]
            assert len(set(states)) == len(states)
            assert ("applied" in states) == (command.id in self.shown), "applied by a reading, and only so"
            if not command.final:
                assert command.lease.until_us > self.now_us, "a lease always ends"
        if self.commander.stopped:
            assert all(c.final or c.lease.role != "setpoint" for c in self.commander.commands())

    def teardown(self) -> None:
        self.now_us += 1000 * US
        self.settle()
        assert all(command.final for command in self.commander.commands())
        for key, device in self.devices.items():
            assert device.last is None or device.last.value is None, key


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
