"""Consumers, and the owner who decides on their grants: streams followed, stalled, cut; nothing out of turn."""

import random
from dataclasses import dataclass

import msgspec

from gridspine.apps.node.node import Node
from gridspine.kernel.time import US, format_rfc3339, parse_rfc3339
from sim import http
from sim.actors import Clients
from sim.books import Books, Row
from sim.cast import CONSUMERS, POINTS
from sim.story import Story

LIVING = frozenset({"requested", "active", "suspended"})


@dataclass(eq=False)
class Right:
    """A grant as the node last answered it: to whom, for what, until when; ``cuts`` counts answered cuts."""

    id: str
    product: str
    consumer: str
    until_us: int
    state: str
    epoch: int


class Grants:
    """What is known of every grant by the node's answers."""

    def __init__(self) -> None:
        self.rights: dict[str, Right] = {}
        self.cuts: dict[tuple[str, str], int] = {}
        """(product, consumer) → how many cuts were answered."""
        self.opening: set[str] = set()
        """Grants that may hold before an answer says so."""

    def survey(self, node: Node, story: Story) -> None:
        """Look at every grant of a node that has just started: it stands as it was answered, or has gone on since."""
        for right in self.rights.values():
            kept = node.gate.grant(right.id)
            held = kept is not None and (
                kept.epoch > right.epoch or (kept.epoch, kept.state) == (right.epoch, right.state)
            )
            story.check("grants answered are kept", held, f"{right} was answered, there is {kept}")
            assert kept is not None
            right.state, right.epoch = kept.state, kept.epoch

    def heard(self, answer: http.Answer, product: str, consumer: str) -> str:
        """Take up an answer about a grant."""
        if answer.status not in (200, 201):
            return f"{answer.status}"
        view = answer.json()
        known = self.rights.get(view["id"])
        if known is None or view["epoch"] > known.epoch:
            until_us = parse_rfc3339(view["until"])
            self.rights[view["id"]] = Right(view["id"], product, consumer, until_us, view["state"], view["epoch"])
            if view["state"] in ("revoked", "suspended"):
                self.opening.discard(view["id"])
                self.cuts[product, consumer] = self.cuts.get((product, consumer), 0) + 1
        return f"{view['state']} {view['epoch']}"

    def living(self, product: str, consumer: str) -> list[Right]:
        """Return the grants that are not over for good, as far as is known."""
        mine = (one for one in self.rights.values() if (one.product, one.consumer) == (product, consumer))
        return [one for one in mine if one.state in LIVING]


@dataclass(eq=False)
class Stream:
    """One stream that a consumer follows: ``cursor`` stands after what it was handed."""

    listener: http.Listener
    product: str
    consumer: str
    cuts: int
    cursor: str = ""
    ended: str = ""


class Consumer:
    """One organisation that asks for, follows and loses access to one product."""

    def __init__(
        self, clients: Clients, books: Books, grants: Grants, dice: random.Random, consumer: str, title: str
    ) -> None:
        self.clients, self.books, self.grants, self.dice = clients, books, grants, dice
        self.consumer, self.title = consumer, title
        self.product = clients.cast.products[title]
        self.who = clients.cast.consumers[consumer]
        self.stream: Stream | None = None
        self.cursor = ""
        self.points = frozenset(POINTS[title])
        self.readings = 0

    @property
    def name(self) -> str:
        """Who it is, for the story."""
        return f"{self.consumer}/{self.title}"

    def ask(self) -> str:
        """Ask for a grant, unless there is one."""
        clock = self.clients.machine.clock
        if clock is None or self.grants.living(self.product, self.consumer):
            return f"{self.name} needs no grant"
        until = format_rfc3339(clock.now_us() + self.dice.choice((5, 60, 3600)) * US)
        what = {"product": self.product, "purpose": "a", "until": until}
        self.clients.ask(self.who, "POST", "/grants", what, answered=lambda answer: self._granted(answer, "asked"))
        return f"{self.name} asks until {until}"

    def decide(self) -> str:
        """Let the owner decide on the newest grant."""
        living = self.grants.living(self.product, self.consumer)
        if not living:
            return f"{self.name} has nothing to decide on"
        verbs = {
            "requested": ("approve", "approve", "refuse"),
            "active": ("revoke", "suspend"),
            "suspended": ("resume",),
        }
        right = living[-1]
        verb = self.dice.choice(verbs[right.state])
        if verb in ("approve", "resume"):
            self.grants.opening.add(right.id)
        self.clients.ask(
            self.clients.cast.operator, "POST", f"/grants/{right.id}/{verb}", {"reason": "by the dice"},
            answered=lambda answer: self._granted(answer, verb),
        )  # fmt: skip
        return f"{self.name}: owner will {verb}"

    def follow(self) -> str:
        """Open a stream from where the last one ended, or from now."""
        machine = self.clients.machine
        if self.stream is not None or machine.app is None:
            return f"{self.name} follows already, or nobody is there"
        cuts = self.grants.cuts.get((self.product, self.consumer), 0)
        stream = Stream(http.Listener(lambda *event: self._heard(stream, *event)), self.product, self.consumer, cuts)
        stream.cursor = self.cursor
        self.stream = stream
        query = f"?cursor={self.cursor}" if self.cursor else ""
        target, token = f"/products/{self.product}/stream{query}", self.clients.tokens[self.who]
        assert machine.loop is not None
        machine.loop.create_task(self._run(stream, target, token))
        return f"{self.name} follows from {self.cursor or 'now'}"

    def waver(self) -> str:
        """Stall, go on, or hang up."""
        if self.stream is None:
            return self.follow()
        if self.stream.listener.stalled:
            self.stream.listener.go_on()
            return f"{self.name} reads on"
        if self.dice.random() < 0.3:
            self.stream.listener.leave()
            return f"{self.name} hangs up"
        self.stream.listener.stall()
        self.clients.story.faults["subscriber stalled"] += 1
        return f"{self.name} stalls"

    def disconnected(self) -> None:
        """The node is gone, and the stream with it."""
        self.stream = None

    async def _run(self, stream: Stream, target: str, token: str) -> None:
        try:
            await stream.listener.follow(self.clients.machine.app, target, token)
        finally:
            if self.stream is stream:
                self.stream = None
        if stream.listener.status != 200:
            self.clients.story.tell(self.clients.machine.time(), f"{self.name}: stream {stream.listener.status}")
            if stream.listener.status in (400, 410):
                self.clients.machine.fail(AssertionError(f"cursor {stream.cursor}: {stream.listener.answer!r}"))

    def _granted(self, answer: http.Answer, verb: str) -> None:
        heard = self.grants.heard(answer, self.product, self.consumer)
        self.clients.story.tell(self.clients.machine.time(), f"{self.name} {verb}: {heard}")

    def _heard(self, stream: Stream, name: str, data: bytes, cursor: str) -> None:
        if self.stream is not stream:
            return
        try:
            self._take(stream, name, data, cursor)
        except Exception as error:  # the node must not take it for its own
            self.clients.machine.fail(error)

    def _take(self, stream: Stream, name: str, data: bytes, cursor: str) -> None:
        story, now_s = self.clients.story, self.clients.machine.time()
        if name == "open":
            # Asked for before a cut and opened after the owner had resumed is opened by a right that holds.
            stream.cuts = self.grants.cuts.get((self.product, self.consumer), 0)
            stream.cursor = self.cursor = cursor
        elif name == "readings":
            self._check_right(stream)
            rows = [(one["n"], float(one["v"]), round(one["t"] * US)) for one in msgspec.json.decode(data)]
            self._check_place(stream, rows, cursor)
            self.readings += len(rows)
            story.tell(now_s, f"{self.name} gets {len(rows)} to {cursor}")
            stream.cursor = self.cursor = cursor
        elif name == "end":
            stream.ended = msgspec.json.decode(data)["reason"]
            story.tell(now_s, f"{self.name}: stream ends, {stream.ended}")

    def _check_right(self, stream: Stream) -> None:
        story, clock = self.clients.story, self.clients.machine.clock
        assert clock is not None
        cuts = self.grants.cuts.get((self.product, self.consumer), 0)
        story.check("no reading after the cut was answered", cuts == stream.cuts, f"{self.name} got more after a cut")
        living = self.grants.living(self.product, self.consumer)
        now_us = clock.now_us()
        opening = self.grants.opening
        holds = any((one.state == "active" or one.id in opening) and now_us < one.until_us for one in living)
        story.check("no reading outside its grant", holds, f"{self.name} at {format_rfc3339(now_us)}: {living}")

    def _check_place(self, stream: Stream, rows: list[Row], cursor: str) -> None:
        story = self.clients.story
        first, end = _offset(stream.cursor), _offset(cursor)
        story.check("cursors go on", end > first, f"{self.name}: from {stream.cursor} to {cursor}")
        wanted = [
            row for offset in range(first, end) for row in self.books.batches.get(offset, ()) if row[0] in self.points
        ]
        story.check(
            "every reading once, without a gap", rows == wanted,
            f"{self.name} from {stream.cursor} to {cursor}: {len(rows)} readings, the log has {len(wanted)}",
        )  # fmt: skip
        self.books.delivered(rows)


def _offset(cursor: str) -> int:
    return int(cursor.rpartition(":")[2] or 0)


def consumers(clients: Clients, books: Books, grants: Grants, dice: random.Random) -> list[Consumer]:
    """Return every consumer of every product."""
    return [Consumer(clients, books, grants, dice, one, title) for one in CONSUMERS for title in POINTS]
