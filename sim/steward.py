"""Whoever has the care of Things: lets twins be emulated, retires Things, and is the second person to agree."""

import random
from typing import Any

from gridspine.things.adapter import Order
from sim import http
from sim.actors import Clients
from sim.cast import BATTERIES, RETIRED
from sim.commander import Commander


class Steward:
    """Asks for changes, and remembers what was answered: ``emulated`` and ``retired`` Things."""

    def __init__(self, clients: Clients, commander: Commander, dice: random.Random, retired: set[str]) -> None:
        self.clients, self.commander, self.dice = clients, commander, dice
        self.emulated: set[str] = set()
        """Twins answered to be emulated, and not asked to be otherwise since."""
        self.retired = retired

    def change_form(self) -> str:
        """Let somebody outside emulate a battery, or its device stand for itself again."""
        thing = self.dice.choice(BATTERIES)
        form = "adapter" if thing in self.emulated else "emulator"
        self.emulated.discard(thing)  # from now on either may be
        leases = self.dice.choice(("end", "hand-over")) if form == "emulator" else "end"

        def answered(answer: http.Answer) -> None:
            self._tell(f"{thing}: {answer.status}")
            if answer.status == 200 and answer.json()["form"] == "emulator":
                self.emulated.add(thing)

        self._ask(f"/things/{thing}/form", {"form": form, "leases": leases, "external": True}, answered)
        return f"lets {thing} be in {form} form, leases {leases}"

    def retire(self) -> str:
        """Retire the meter that may be."""

        def answered(answer: http.Answer) -> None:
            self._tell(f"{RETIRED}: {answer.status}")
            if answer.status == 200:
                self.retired.add(RETIRED)

        self._ask(f"/things/{RETIRED}/lifecycle", {"to": "retired", "why": "by the dice"}, answered)
        return f"retires {RETIRED}"

    def approve(self) -> str:
        """Agree to a large command; or let the one who asked try."""
        waiting = [one for one in self.commander.wanted if one.large and one.id and one.id not in self.commander.over]
        if not waiting:
            return "has nothing to agree to"
        wanted = self.dice.choice(waiting[-4:])
        alone = self.dice.random() < 0.3
        if not alone:
            self.commander.agreed.add(wanted.id)

        def answered(answer: http.Answer) -> None:
            self._tell(f"{wanted.value:g} W agreed to: {answer.status}")
            self.clients.story.check("nobody agrees with themselves", not (alone and answer.status == 200), wanted.id)

        cast = self.clients.cast
        self._ask(f"/commands/{wanted.id}/approval", {}, answered, who=cast.second if alone else cast.operator)
        return f"{'the same person' if alone else 'a second person'} agrees to {wanted.value:g} W"

    def look(self) -> None:
        """Check that a node that has started knows what was answered."""
        node, story = self.clients.machine.node, self.clients.story
        assert node is not None
        for thing in sorted(self.emulated):
            story.check("forms answered are kept", node.forms.forms.of(thing) == "emulator", thing)
        for thing in sorted(self.retired):
            refused = bool(node.lives.lifecycles.gate(thing))
            story.check("who is retired stays so", refused, thing)

    def check_order(self, order: Order) -> None:
        """Check an order as it goes out to a device."""
        wire = order.value is None or order.thing not in self.emulated
        self.clients.story.check("nothing emulated reaches a wire", wire, f"{order}")

    def _ask(self, target: str, what: Any, answered: Any, *, who: str = "") -> None:
        self.clients.ask(who or self.clients.cast.operator, "POST", target, what, answered=answered)

    def _tell(self, line: str) -> None:
        self.clients.story.tell(self.clients.machine.time(), line)
