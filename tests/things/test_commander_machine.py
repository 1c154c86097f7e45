"""The commander at random: after every step two devices hold what the leases come to, restarts included."""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from things_commanding import NUMBERS, RULES, keep, lease, make, reading

from gridspine.kernel.time import US
from gridspine.things.adapter import Order
from gridspine.things.command import CommandEvent, decode_event, encode_event
from gridspine.things.lease import Authority, resolve


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
                    not command.final
                    or (command.state == "failed" and command.lease.role != "setpoint")
                    or (command.state == "rejected" and command.lease.role != rule_.role == "setpoint")
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
