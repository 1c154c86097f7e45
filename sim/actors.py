"""Clients: what senders, owners, consumers and commanders do, and what they check of the answers.

All go through the same network. What the node answers is checked as it is given; whether it arrives is the client's
affair.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from gridspine.kernel.time import US
from gridspine.things.adapter import Outcome
from sim import http
from sim.books import Asked, Books, Row
from sim.cast import METERS, Cast
from sim.machine import Machine
from sim.network import Network
from sim.story import Story

SENML = "application/senml+json"
BACKFILL = "application/senml+json; backfill"


class Clients:
    """The way of all clients to the node."""

    def __init__(self, machine: Machine, network: Network, story: Story, cast: Cast) -> None:
        self.machine, self.network, self.story, self.cast = machine, network, story, cast
        self.tokens: dict[str, str] = {}

    def sign_in(self) -> None:
        """Get tokens of a node that has just started."""
        assert self.machine.node is not None
        demo = self.machine.node.identity.demo
        assert demo is not None
        cast = self.cast
        everyone = (cast.operator, cast.second, *cast.consumers.values())
        self.tokens = {one: demo.issue(one) for one in everyone}

    def ask(
        self, who: str, method: str, target: str, what: Any = None, *, kind: str = "application/json",
        answered: Callable[[http.Answer], None] = lambda _: None, arrives: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Send a request on its way; ``arrives`` is told each time it does, ``answered`` each answer the node gives."""
        loop, app = self.machine.loop, self.machine.app
        if loop is None or app is None:
            return
        fate, token = self.network.fate(), self.tokens[who]
        body = b"" if what is None else msgspec.json.encode(what)
        if fate.lost:
            self.story.fault(loop.time(), "request lost", f"{method} {target[:60]}")
            return

        def arrive() -> None:
            if self.machine.app is app:
                arrives()
                asyncio.ensure_future(self._serve(app, method, target, token, body, kind, answered))  # noqa: RUF006

        loop.call_later(fate.there_s, arrive)
        if fate.doubled_after_s >= 0:
            self.story.fault(loop.time(), "request doubled", f"{method} {target[:60]}")
            loop.call_later(fate.there_s + fate.doubled_after_s, arrive)

    async def _serve(
        self, app: Any, method: str, target: str, token: str, body: bytes, kind: str,
        answered: Callable[[http.Answer], None],
    ) -> None:  # fmt: skip
        def given(answer: http.Answer) -> None:
            if self.machine.app is not app:
                return
            try:
                self.story.check("no answer is a fault of the node's own", answer.status != 500, f"{method} {target}")
                answered(answer)
            except Exception as error:  # the application must not take it for its own
                self.machine.fail(error)

        await http.request(app, method, target, token=token, body=body, kind=kind, answered=given)


class Sender:
    """Sends readings of the meters: good ones, refused ones, late ones, repeated ones."""

    def __init__(self, clients: Clients, books: Books, dice: random.Random) -> None:
        self.clients, self.books, self.dice = clients, books, dice
        self._register: dict[str, int] = {}
        self._asked: list[Asked] = []

    def send(self) -> str:
        """Send a new batch."""
        dice, clock = self.dice, self.clients.machine.clock
        if clock is None:
            return "nobody to send to"
        backfill = dice.random() < 0.15
        age_s = dice.choice((3600, 86400)) if backfill else dice.choice((0, 0, 0, 1, 30))
        asked = Asked([self._row(clock.now_us() - age_s * US + place) for place in range(self._size())], backfill)
        self._asked = [*self._asked[-20:], asked]
        self._post(asked)
        return f"sends {len(asked.rows)}{' of long ago' if backfill else ''}"

    def again(self) -> str:
        """Send an older batch again, as one does who got no answer."""
        if not self._asked:
            return "has nothing to send again"
        asked = self.dice.choice(self._asked)
        self._post(asked)
        return f"sends {len(asked.rows)} again"

    def _size(self) -> int:
        return self.dice.choice((0, 1, 1, 3, 10, 40, 400))

    def _row(self, at_us: int) -> Row:
        dice = self.dice
        meter = dice.choice(METERS)
        fault = dice.random()
        if fault < 0.02:
            return "urn:sim:unknown/activePower", 1.0, at_us
        if fault < 0.04:
            return f"{meter}/activeEnergyImport", -5.0, at_us
        if fault < 0.05:
            return f"{meter}/activeEnergyImport", 5.0, at_us + 86400 * US
        if fault < 0.3:
            return f"{meter}/activePower", float(dice.randint(-5000, 5000)), at_us
        self._register[meter] = self._register.get(meter, 1000) + dice.randint(1, 9)
        return f"{meter}/activeEnergyImport", float(self._register[meter]), at_us

    def _post(self, asked: Asked) -> None:
        pack = [{"n": name, "v": value, "t": at_us / US} for name, value, at_us in asked.rows]

        def answered(answer: http.Answer) -> None:
            loop_s = self.clients.machine.time()
            if answer.status != 200:
                self.clients.story.tell(loop_s, f"{len(asked.rows)} readings answered {answer.status}")
                self.books.turned_away(asked, answer.status)
                return
            outcome = msgspec.json.decode(answer.body, type=Outcome)
            self.clients.story.tell(
                loop_s,
                f"readings answered: {outcome.received} = {outcome.accepted} + {outcome.suppressed} + "
                f"{outcome.duplicate} + {outcome.refused}",
            )
            self.books.answered(asked, outcome)

        kind = BACKFILL if asked.backfill else SENML
        who = self.clients.cast.operator
        self.clients.ask(
            who, "POST", "/readings", pack, kind=kind, answered=answered, arrives=lambda: self.books.arrived(asked)
        )
