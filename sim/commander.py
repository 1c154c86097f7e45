"""Whoever commands: leases asked for, cancelled, stopped; and what the node may order after that."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import Order
from sim import http
from sim.actors import Clients
from sim.cast import BATTERIES
from sim.machine import LARGE_W

POINT = "activePowerSetpoint"
_LATE_US = 500_000
"""How late a step of the wall clock may be noticed [µs]."""
_OVER = frozenset({"refused", "rejected", "failed", "expired", "superseded", "ended", "cancelled"})


@dataclass(eq=False)
class Wanted:
    """A command that was asked for; ``id`` and ``states`` once the node has answered."""

    thing: str
    value: float
    key: str
    asked_us: int
    lasts_s: float
    wall_us: int
    """How far the wall clock was off when it was asked for [µs]."""
    unknown_us: int = 0
    """What the machine had of `unknown_us`."""
    who: str = ""
    steps: tuple[tuple[float, float], ...] = ()
    """After how long [s] it asks for what other value [W]."""
    id: str = ""
    states: list[str] = field(default_factory=list)

    @property
    def large(self) -> bool:
        """Whether it takes two persons, whatever else was asked for."""
        return abs(self.value) > LARGE_W

    def asks_for(self, thing: str, value: float) -> bool:
        """Whether it asks for ``value`` [W] of ``thing``, now or later."""
        return thing == self.thing and value in (self.value, *(step for _, step in self.steps))


class Commander:
    """Asks for leases, and remembers every answer."""

    def __init__(self, clients: Clients, dice: random.Random) -> None:
        self.clients, self.dice = clients, dice
        self.wanted: list[Wanted] = []
        self.over: set[str] = set()
        """Commands answered as over."""
        self.agreed: set[str] = set()
        """Commands that a second person was about to agree to."""
        self.stopped = False
        clients.machine.field.on_order = self.ordered
        self.checks: list[Callable[[Order], None]] = [self._check]
        """What is looked at when an order goes out."""

    def ask(self) -> str:
        """Ask for a set-point, or ask again."""
        clock, dice = self.clients.machine.clock, self.dice
        if clock is None:
            return "nobody to command"
        if self.wanted and dice.random() < 0.2:
            self._post(again := dice.choice(self.wanted))
            return f"asks again for {again.value:g} W"
        lasts_s = dice.choice((1.0, 5.0, 30.0, 120.0))
        count, large = len(self.wanted), dice.random() < 0.2
        value = (LARGE_W + count + 1 if large else float(count * 7 % 2000 + 1)) * dice.choice((1, -1))
        steps = tuple((lasts_s * part, value + part) for part in (0.25, 0.5)) if dice.random() < 0.3 else ()
        who = self.clients.cast.second if large else self.clients.cast.operator
        wanted = Wanted(
            dice.choice(BATTERIES), value, f"key-{count}", clock.now_us(), lasts_s, clock.wall_us,
            self.clients.machine.unknown_us, who, steps,
        )  # fmt: skip
        self.wanted.append(wanted)
        self._post(wanted)
        return f"asks {wanted.thing} for {value:g} W, {lasts_s:g} s, then {[step for _, step in steps]}"

    def cancel(self) -> str:
        """Cancel a command, or all of them."""
        if self.dice.random() < 0.15:
            return self._all_stop()
        known = [one for one in self.wanted[-6:] if one.id]
        if not known:
            return "has nothing to cancel"
        wanted = self.dice.choice(known)
        self._send("POST", f"/commands/{wanted.id}/cancel", {"reason": "by the dice"}, wanted)
        return f"cancels {wanted.value:g} W"

    def steps_at(self, thing: str, now_us: int) -> bool:
        """Whether a schedule of ``thing`` takes a step about ``now_us`` [µs since 1970]."""
        moments = (one.asked_us + round(after_s * US) for one in self.wanted if one.thing == thing
                   for after_s, _ in one.steps)  # fmt: skip
        return any(abs(moment - now_us) < 8 * US for moment in moments)

    def look(self) -> None:
        """Ask after every command that was answered: it is there, and its story goes on from what was told."""
        node = self.clients.machine.node
        assert node is not None
        for wanted in self.wanted:
            if wanted.id:
                known = node.commands.commander.command(wanted.id)
                states = [change.state for change in known.changes]
                self.clients.story.check(
                    "commands answered are kept", states[: len(wanted.states)] == wanted.states,
                    f"{wanted.id} was {wanted.states}, is {states}",
                )  # fmt: skip

    def _all_stop(self) -> str:
        release = self.stopped
        target = f"/all-stop?release={str(release).lower()}"

        def answered(answer: http.Answer) -> None:
            if answer.status == 200:
                self.stopped = answer.json()["stopped"]
            self.clients.story.tell(self.clients.machine.time(), f"all-stop: {answer.status} {self.stopped}")

        what = {"reason": "by the dice"}
        self.clients.ask(self.clients.cast.operator, "POST", target, what, answered=answered)
        return "releases all" if release else "stops all"

    def _post(self, wanted: Wanted) -> None:
        body = {"thing": wanted.thing, "point": POINT, "value": wanted.value, "durationS": wanted.lasts_s}
        steps = [{"afterS": after_s, "value": value} for after_s, value in wanted.steps]
        body |= {"key": wanted.key, "from": format_rfc3339(wanted.asked_us), "steps": steps}
        self._send("POST", "/commands", body, wanted, who=wanted.who)

    def _send(self, method: str, target: str, what: Any, wanted: Wanted, *, who: str = "") -> None:
        def answered(answer: http.Answer) -> None:
            story, now_s = self.clients.story, self.clients.machine.time()
            if answer.status not in (200, 201):
                story.tell(now_s, f"command {wanted.value:g} W: {answer.status}")
                return
            view = answer.json()
            if wanted.id:
                story.check("one command for one key", view["id"] == wanted.id, f"{wanted.key}: {view['id']}")
            wanted.id = view["id"]
            states = [change["state"] for change in view["changes"]]
            wanted.states = max(wanted.states, states, key=len)
            if states[-1] in _OVER:
                self.over.add(wanted.id)
            story.tell(now_s, f"command {wanted.value:g} W: {states[-1]} {view['reason'][:40]}")

        self.clients.ask(who or self.clients.cast.operator, method, target, what, answered=answered)

    def ordered(self, order: Order) -> None:
        """Check an order as it goes out: somebody asked for it, it ends with what was asked, and it is not over."""
        try:
            for check in self.checks:
                check(order)
        except Exception as error:
            self.clients.machine.fail(error)

    def _check(self, order: Order) -> None:
        if order.value is None:
            return
        story = self.clients.story
        asked = [one for one in self.wanted if one.asks_for(order.thing, order.value)]
        story.check("nothing is ordered that nobody asked", bool(asked), f"{order}")
        # A lease may be kept by the wall clock, or by the time that really passes when that clock is put wrong.
        machine = self.clients.machine
        ends_us = max(
            one.asked_us + max(0, machine.wall_us - one.wall_us) + round(one.lasts_s * US)
            + machine.unknown_us - one.unknown_us
            for one in asked
        )  # fmt: skip
        lasts = order.until_us <= ends_us + _LATE_US
        story.check("no order outlasts its lease", lasts, f"{order}: asked until {ends_us}")
        story.check("no order after its end was answered", order.command not in self.over, f"{order} is over")
        large = [one.id for one in asked if one.large]
        story.check("nothing large before two agreed", not large or self.agreed.issuperset(large), f"{order}")
