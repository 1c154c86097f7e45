"""A small fleet at random, half a second at a time: what must hold whatever is asked, stopped, blocked or restarted."""

import itertools
import random
from collections import deque
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from things_fleet import BATTERY, CHARGER, INVERTER, PLAIN, RULES, approvals, lease, make, steps

from gridspine.kernel.errors import Conflict, Overloaded
from gridspine.kernel.time import US
from gridspine.things.blocking_tag import BlockingTag
from gridspine.things.command import CommandEvent, OrderIssued, decode_event, encode_event
from gridspine.things.lease import Authority, intersect
from gridspine.things.scatter import scatter

CAP_W, ABOVE_W = 9000.0, 6000.0
PEOPLE = ("ann", "bob")
TICK_US = US // 2
DUST = 1e-6


class Device:
    """Holds the last order until its end, then its fallback; remembers what it held."""

    def __init__(self, fallback: float) -> None:
        self.fallback = fallback
        self.order: Any = None
        self.path: deque[tuple[int, float]] = deque([(0, fallback)], 400)
        self.excused_us = -(1 << 60)
        """When something last happened that waits for no ramp and no least time."""

    def value(self, now_us: int) -> float:
        held = self.order is not None and self.order.value is not None and now_us < self.order.until_us
        return self.order.value if held else self.fallback

    def look(self, now_us: int) -> None:
        value = self.value(now_us)
        if value != self.path[-1][1]:
            self.path.append((now_us, value))


class Fleet(RuleBasedStateMachine):
    """Four devices behind a node with a cap and a rule of two persons."""

    def __init__(self) -> None:
        super().__init__()
        self.commander = self._make()
        self.log: list[bytes] = []
        self.now_us = 1000 * US
        self.count = 0
        self.devices = {key: Device(rule_.fallback) for key, rule_ in RULES.items()}
        self.moves: deque[tuple[int, float]] = deque()

    def _make(self) -> Any:
        return make(cap_w=CAP_W, approval=approvals(ABOVE_W, window_s=20, expires_s=6))

    # -- how it runs ----------------------------------------------------------------------------------------------

    def keep(self, events: Any) -> None:
        for event in events:
            self.log.append(encode_event(event))
            if isinstance(event, OrderIssued):
                self._check_order(event)
            self.commander.apply(event)
            if isinstance(event, OrderIssued):
                device = self.devices[(event.order.thing, event.order.point)]
                assert device.order is None or event.order.sequence > device.order.sequence
                device.order = event.order

    def settle(self) -> None:
        for _ in range(100):
            events: tuple[CommandEvent, ...] = self.commander.tick(self.now_us)
            if not events:
                break
            self.keep(events)
        else:
            raise AssertionError("a tick that never ends")
        for key, device in self.devices.items():
            if self._excused(key):
                device.excused_us = self.now_us
            device.look(self.now_us)

    def _excused(self, key: Any) -> bool:
        """Whether anything shapes the point now that waits for no ramp and no least time."""
        thing, point = key
        live = [
            one.lease
            for one in self.commander.commands(thing)
            if one.lease.point == point and (not one.final or one.state in {"rejected", "failed"})
        ]
        hurried = any(
            one.in_force(self.now_us) and (one.role != "setpoint" or one.authority is Authority.SAFETY) for one in live
        )
        blocked = any(tag.blocks(point, self.now_us) for tag in self.commander.tags(thing, self.now_us))
        return hurried or blocked or bool(self.commander.stopped) or self.commander.local(thing) is not None

    def _check_order(self, event: OrderIssued) -> None:
        """What must be so of every order as it goes out."""
        carried = [self.commander.command(one) for one in event.carries]
        for command in carried:
            assert not command.final or (command.lease.role != "setpoint" and command.state in {"rejected", "failed"})
            states = [change.state for change in command.changes]
            assert "accepted" in states
            if "awaiting-approval" in states:
                assert command.approved_by not in {"", command.lease.principal}, "sent before two persons agreed"
            assert event.order.until_us <= command.lease.until_us or len(carried) > 1, "no order outlasts its lease"
        self.moves.append((event.at_us, event.moved_w))
        while self.moves[0][0] <= event.at_us - 60 * US:
            self.moves.popleft()
        key = (event.order.thing, event.order.point)
        if event.moved_w and carried and event.order.value is not None and not self._excused(key):
            assert sum(w for _, w in self.moves) <= CAP_W + DUST, "more was moved in a minute than the cap"

    # -- what may happen ------------------------------------------------------------------------------------------

    @rule(
        thing=st.sampled_from([BATTERY, CHARGER, PLAIN]), value=st.sampled_from([0, 1, 2, 3, 5, -4]),
        length=st.integers(5, 40), principal=st.sampled_from(PEOPLE), chance=st.integers(0, 3),
    )  # fmt: skip
    def ask(self, thing: str, value: int, length: int, principal: str, chance: int) -> None:
        """What is asked for mostly: a set-point from now on."""
        self._ask(thing, value, 0, length, (), chance, principal=principal)

    @rule(
        thing=st.sampled_from([BATTERY, CHARGER, INVERTER, PLAIN]), value=st.integers(-5, 6), start=st.integers(-2, 4),
        length=st.integers(1, 30), role=st.sampled_from(["setpoint", "setpoint", "limit_max", "limit_min"]),
        authority=st.sampled_from(Authority), principal=st.sampled_from(PEOPLE),
        inner=st.lists(st.tuples(st.integers(1, 10), st.integers(-5, 6)), max_size=3), chance=st.integers(0, 3),
    )  # fmt: skip
    def ask_anything(
        self, thing: str, value: int, start: int, length: int, inner: Any, chance: int, **given: Any
    ) -> None:
        if thing == INVERTER:
            given["role"] = "limit_max"
        self._ask(thing, value, start, length, inner, chance, **given)

    def _ask(self, thing: str, value: int, start: int, length: int, inner: Any, chance: int, **given: Any) -> None:
        self.count += 1
        begin = self.now_us + start * US
        asked = lease(f"c{self.count}", value * 1000.0, thing=thing, issued_us=self.now_us, **given)
        at = begin / US
        profile = steps((at, asked.value), *((at := at + more, float(one * 1000)) for more, one in inner))
        end = max(begin + length * US, profile[-1].from_us + US)
        asked = msgspec.structs.replace(asked, from_us=begin, until_us=end, steps=profile if inner else ())
        if chance and (end - begin) > 4 * US:
            asked = scatter(asked, 1.5, 1.5, random.Random(chance).randbytes)
        try:
            _, events = self.commander.request(asked, "", self.now_us)
        except Overloaded:
            return
        self.keep(events)
        self.settle()

    @rule(half_seconds=st.integers(1, 40))
    def wait(self, half_seconds: int) -> None:
        for _ in range(half_seconds):
            self.now_us += TICK_US
            self.settle()
            self.limits_are_kept()

    @rule(pick=st.integers(0, 99), principal=st.sampled_from(PEOPLE))
    def approve(self, pick: int, principal: str) -> None:
        waiting = self.commander.awaiting()
        if waiting:
            try:
                self.keep(self.commander.approve(waiting[pick % len(waiting)].id, principal, self.now_us))
            except Conflict:
                return
            self.settle()

    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        live = [command for command in self.commander.commands() if not command.final]
        if live:
            self.keep(self.commander.cancel(live[pick % len(live)].id, self.now_us, "so"))
            self.settle()

    @rule(pick=st.integers(0, 99), state=st.sampled_from(["sent", "acknowledged", "rejected", "failed"]))
    def progress(self, pick: int, state: Any) -> None:
        commands = self.commander.commands()
        if commands:
            self.keep(self.commander.on_progress(commands[pick % len(commands)].id, state, self.now_us, "so"))
            self.settle()

    @rule(
        what=st.sampled_from(["stop", "local", "tag"]),
        thing=st.sampled_from([BATTERY, CHARGER, PLAIN]),
        on=st.sampled_from([True, False, False, False]),
    )
    def trouble(self, what: str, thing: str, on: bool) -> None:
        getattr(self, f"_{what}")(thing, on)
        self.settle()

    def _stop(self, _thing: str, on: bool) -> None:
        if on:
            self.keep(self.commander.all_stop("op", "so", self.now_us))
        elif self.commander.stopped:
            self.keep(self.commander.release("op", "so", self.now_us))

    def _local(self, thing: str, on: bool) -> None:
        if on is (self.commander.local(thing) is None):
            change = self.commander.take_local if on else self.commander.give_remote
            self.keep(change(thing, "joe", "so", self.now_us))

    def _tag(self, thing: str, on: bool) -> None:
        hung = self.commander.tags(thing, self.now_us)
        if not on and hung:
            self.keep(self.commander.take_down(thing, hung[0].id, "joe", "so", self.now_us))
        elif on and not hung:
            self.count += 1
            tag = BlockingTag(f"t{self.count}", thing, "", "joe", "so", self.now_us, self.now_us + 10 * US)
            self.keep(self.commander.hang(tag))

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        bodies = [encode_event(event) for event in self.commander.snapshot()] if snapshot else self.log
        before, self.commander = self.commander, self._make()
        for body in bodies:
            self.commander.apply(decode_event(body))
        assert {one.id: one for one in self.commander.commands()} == {one.id: one for one in before.commands()}
        assert self.commander.stopped == before.stopped
        for thing, point in RULES:
            assert self.commander.tags(thing, self.now_us) == before.tags(thing, self.now_us)
            assert self.commander.local(thing) == before.local(thing)
            assert self.commander.effective(thing, point, self.now_us) == before.effective(thing, point, self.now_us)
        for person in PEOPLE:
            counted = [one._approvals.asked_w(person, self.now_us) for one in (self.commander, before)]
            assert abs(counted[0] - counted[1]) < DUST
        budgets = [one._ordering.budget.moved_w(self.now_us) for one in (self.commander, before)]
        assert abs(budgets[0] - budgets[1]) < before._ordering.budget.pending_w + DUST
        self.settle()

    # -- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def limits_are_kept(self) -> None:
        for (thing, point), device in self.devices.items():
            held = {"rejected", "failed"} if RULES[(thing, point)].role == "setpoint" else {"failed"}
            limits = [
                one.lease
                for one in self.commander.commands(thing)
                if one.lease.point == point and one.lease.role != "setpoint"
                and (not one.final or one.state in held) and one.state != "awaiting-approval"
            ]  # fmt: skip
            bounds = intersect(limits, RULES[(thing, point)], self.now_us)
            assert bounds.low <= device.value(self.now_us) <= bounds.high, "beyond a limit in force"

    @invariant()
    def ramps_are_kept(self) -> None:
        rule_ = RULES[(BATTERY, "power")]
        device = self.devices[(BATTERY, "power")]
        for (before_us, before), (after_us, after) in itertools.pairwise(device.path):
            if before_us > device.excused_us + 2 * US:
                steps_ = (after_us - before_us) / US + rule_.ramp_step_s
                assert abs(after - before) <= rule_.ramp_per_s * steps_ + DUST, "faster than the ramp"

    @invariant()
    def least_times_are_kept(self) -> None:
        rule_ = RULES[(CHARGER, "power")]
        device = self.devices[(CHARGER, "power")]
        runs: list[tuple[int, bool]] = []
        for at_us, value in device.path:
            if not runs or runs[-1][1] != (value != 0):
                runs.append((at_us, value != 0))
        for (begin_us, on), (end_us, _) in itertools.pairwise(runs[1:]):
            if begin_us > device.excused_us:
                least_s = rule_.min_on_s if on else rule_.min_off_s
                assert end_us - begin_us >= least_s * US, "switched too soon"

    @invariant()
    def leases_end(self) -> None:
        for command in self.commander.commands():
            assert command.final or command.lease.until_us > self.now_us
        if self.commander.stopped:
            assert all(c.final or c.lease.role != "setpoint" for c in self.commander.commands())

    def teardown(self) -> None:
        for _ in range(3):
            self.now_us += 1000 * US
            self.settle()
        assert all(command.final for command in self.commander.commands())
        for device in self.devices.values():
            assert device.value(self.now_us) == device.fallback


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_way_down_is_begun_in_time_where_another_lease_goes_on_for_a_moment_only() -> None:
    """Half a second of the first lease is left when the second ends: too little to go down by the ramp."""
    fleet = Fleet()
    fleet._ask(BATTERY, 0, 0, 5, (), 0, principal="ann")
    fleet._ask(BATTERY, 2, 0, 5, (), 1, principal="ann")
    for _ in range(10):
        fleet.wait(1)
        fleet.ramps_are_kept()
    assert max(value for _, value in fleet.devices[(BATTERY, "power")].path) >= 1000.0
    assert fleet.devices[(BATTERY, "power")].path[-1][1] == 0.0
