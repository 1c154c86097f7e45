"""Whoever commands: leases asked for, cancelled, stopped; and what the node may order after that."""

import random
from dataclasses import dataclass, field
from typing import Any

from gridspine.kernel.time import US, format_rfc3339
from gridspine.things.adapter import Order
from sim import http
from sim.actors import Clients
from sim.cast import BATTERIES

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
    id: str = ""
    states: list[str] = field(default_factory=list)


class Commander:
    """Asks for leases, and remembers every answer."""

    def __init__(self, clients: Clients, dice: random.Random) -> None:
        self.clients, self.dice = clients, dice
        self.wanted: list[Wanted] = []
        self.over: set[str] = set()
        """Commands answered as over."""
        self.stopped = False
        clients.machine.field.on_order = self._ordered

    def ask(self) -> str:
        """Ask for a set-point, or ask again."""
        clock, dice = self.clients.machine.clock, self.dice
        if clock is None:
            return "nobody to command"
        if self.wanted and dice.random() < 0.2:
            self._post(again := dice.choice(self.wanted))
            return f"asks again for {again.value:g} W"
        lasts_s = dice.choice((1.0, 5.0, 30.0, 120.0))
        value = float(len(self.wanted) * 7 % 4999 + 1) * dice.choice((1, -1))
        wanted = Wanted(
            dice.choice(BATTERIES), value, f"key-{len(self.wanted)}", clock.now_us(), lasts_s, clock.wall_us
        )
        self.wanted.append(wanted)
        self._post(wanted)
        return f"asks {wanted.thing} for {value:g} W, {lasts_s:g} s"

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
        self._send("POST", "/commands", body | {"key": wanted.key, "from": format_rfc3339(wanted.asked_us)}, wanted)

    def _send(self, method: str, target: str, what: Any, wanted: Wanted) -> None:
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

        self.clients.ask(self.clients.cast.operator, method, target, what, answered=answered)

    def _ordered(self, order: Order) -> None:
        """Check an order as it goes out: somebody asked for it, it ends with what was asked, and it is not over."""
        try:
            self._check(order)
        except Exception as error:
            self.clients.machine.fail(error)

    def _check(self, order: Order) -> None:
        if order.value is None:
            return
        story = self.clients.story
        asked = [one for one in self.wanted if (one.thing, one.value) == (order.thing, order.value)]
        story.check("nothing is ordered that nobody asked", bool(asked), f"{order}")
        # A lease may be kept by the wall clock, or by the time that really passes when that clock is put wrong.
        wall_us = self.clients.machine.wall_us
        ends_us = max(one.asked_us + max(0, wall_us - one.wall_us) + round(one.lasts_s * US) for one in asked)
        lasts = order.until_us <= ends_us + _LATE_US
        story.check("no order outlasts its lease", lasts, f"{order}: asked until {ends_us}")
        story.check("no order after its end was answered", order.command not in self.over, f"{order} is over")
