"""The directory of Things: standing data in the registry, points bound by a log event before their first use."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Unpack

import msgspec

from gridspine.infra.log.port import EventLog
from gridspine.infra.registry.group import Grouped
from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.turn import Turn
from gridspine.infra.runtime.waiting import Change
from gridspine.kernel.errors import Conflict, GridspineError, NotFound
from gridspine.things.change import NOTHING, Also, Changer, Changes, Lives, New
from gridspine.things.directory_file import Loaded, load_roll, save_snapshot
from gridspine.things.model import ThingModel
from gridspine.things.models import Models
from gridspine.things.point import PointTable
from gridspine.things.roll import Ordered, Roll
from gridspine.things.thing import Former, Thing

__all__ = ["MAX_AT_ONCE", "Directory", "Thing"]

MAX_AT_ONCE = 10_000
"""Things registered in one go at most."""
Registered = Thing | GridspineError
"""What became of a Thing to register."""
_AT_COMMIT, _TURN = 1_000, 100


_Change = Callable[[Transaction], Thing]


class Directory:
    """All Things of the node, and their models."""

    def __init__(self, registry: Registry, points: PointTable, clock: Clock) -> None:
        self.models = Models(registry, points, clock)
        self.roll = Roll(points)
        self._registry = registry
        self._points = points
        self._clock = clock
        self._changer = Changer(self.models, clock)
        self._grouped: Grouped[New | _Change, Thing] = Grouped(registry, self._work, self._add)
        self.bindings = Change()
        """What adapters serve, and the standing of sources, as it changes."""
        self._unsure: set[str] = set()
        self._loaded = Loaded(bound=0, fresh=False)
        self._saved = -1
        self._run = clock.randbytes(4).hex()
        self.changes = 0
        """Rises with every change: what was compiled from the Things before is out of date."""
        self.held: Callable[[str], str] = lambda _thing: ""
        """Why a Thing keeps its model for now, "" when it need not: what it was ordered follows from its model."""
        self.moved: list[Callable[[str], None]] = []
        """Called with the id of a Thing that got other point numbers, before anybody can use them."""

    async def load(self, log: EventLog, snapshot: Path | None = None) -> None:
        """Read the models and Things and bind their points when the node starts; from a snapshot, if it is good.

        A restored registry may be behind the log: it goes on above the highest number the log ever bound, for no
        number is given twice.
        """

        def work() -> Loaded:
            self.models.load()
            return load_roll(self._registry, self.roll, log, snapshot)

        self._loaded = await asyncio.to_thread(work)
        self.changes += 1
        if self._loaded.fresh:
            self._saved = self.changes

    def save(self, log: EventLog, snapshot: Path) -> None:
        """Write a snapshot when Things changed since the last one. Blocks; call it on any thread."""
        changes = self.changes
        if changes == self._saved or not len(self.roll):
            return
        save_snapshot(self._registry, self.roll, log, snapshot, self._clock, self._loaded.bound)
        self._saved = changes

    def get(self, id: str) -> Thing:
        """Return a Thing, a retired one too; raise `NotFound`."""
        thing = self.roll.get(id)
        if thing is None:
            raise NotFound("there is no such Thing")
        return thing

    def keep_lives(self, lives: Lives) -> None:
        """Tell ``lives`` of each registration and retirement from now on."""
        self._changer.lives = lives

    def wake(self) -> None:
        """Let everyone who waits for a change look again; call it on the event loop."""
        self.bindings.tell()

    def list(self, organisation: str | None = None) -> Ordered:
        """Return the Things (of one organisation) that are not retired, in the order of their ids.

        Each is made when it is looked at.
        """
        return self.roll.ordered(organisation)

    def order_tag(self, organisation: str) -> str:
        """Return a text that is another one when the list of an organisation's Things has changed."""
        return f"{self._run}-{self.roll.moves[organisation]}"

    def count(self, organisation: str) -> int:
        """Return how many Things an organisation has that are not retired."""
        return self._points.held(organisation)

    def of_device(self, principal: str) -> Sequence[Thing]:
        """Return the Things that a device speaks for, of whatever organisation."""
        return self.roll.of_device(principal)

    def of_adapter(self, adapter: str) -> Sequence[Thing]:
        """Return the Things that an adapter serves."""
        return self.roll.of_adapter(adapter)

    def model(self, thing: Thing) -> ThingModel:
        """Return the model of a Thing."""
        model = self._points.model(thing.model)
        assert model is not None, f"{thing.id} was registered with a model"
        return model

    async def register(
        self, thing: Thing, *, actor: str, beside: Sequence[msgspec.Struct] = (), note: Mapping[str, Any] = NOTHING
    ) -> Thing:
        """Keep a new Thing and number its points; raise `Conflict` when its id is taken.

        An empty id gets a ``urn:uuid:``; that of a retired Thing of the same organisation brings it back. ``beside``
        are documents kept under its id in the same transaction; ``note`` is what the event says besides. When this
        returns, the binding is in the log and readings may come.
        """
        thing = self._changer.prepared(thing)
        return await self._do(New(thing, actor, beside, note), thing.id)

    async def register_all(
        self, things: Sequence[Thing], *, actor: str, beside: Sequence[Sequence[msgspec.Struct]] = ()
    ) -> Sequence[Registered]:
        """Register many Things, at most `MAX_AT_ONCE`; return each one, or why it was refused.

        One that is refused does not stop the others. ``beside`` has the documents kept under the id of each. They are
        kept `_AT_COMMIT` at a time: what keeps the first from being kept is raised, what stops later ones is their
        answer.
        """
        assert len(things) <= MAX_AT_ONCE, f"{len(things)} Things at once"
        outcomes: list[Registered] = []
        turn = Turn(self._clock)
        for start in range(0, len(things), _AT_COMMIT):
            asked: list[New | GridspineError] = []
            for at, thing in enumerate(things[start : start + _AT_COMMIT], start):
                asked.append(self._prepared(thing, actor, beside[at] if beside else ()))
                await turn.piece_done()
            try:
                kept = await self._keep(asked)
            except GridspineError as error:
                if not start:
                    raise
                return outcomes + [error] * (len(things) - start)
            for at in range(0, len(kept), _TURN):
                self._add([one for one in kept[at : at + _TURN] if isinstance(one, Thing)])
                await asyncio.sleep(0)  # others have their turn
            outcomes += kept
        return outcomes

    async def change(
        self, id: str, *, actor: str, expected: int | None = None, also: Also | None = None,
        note: Mapping[str, Any] = NOTHING, **fields: Unpack[Changes],
    ) -> Thing:  # fmt: skip
        """Give a Thing other ``fields`` and return it; raise `NotFound`, `Invalid`, or `Conflict`.

        ``expected`` is the version it must be at. With another model or organisation it gets other point numbers: the
        names go on, and what was read stays with the numbers of then.
        """
        known = self.roll.get(id)
        other = known is not None and "organisation" not in fields and fields.get("model", known.model) != known.model
        if other and (why := self.held(id)):
            raise Conflict(why)
        return await self._do(lambda tx: self._changer.change(tx, id, fields, actor, expected, also, note), id)

    async def retire(
        self, id: str, *, actor: str, reason: str = "", expected: int | None = None, also: Also | None = None
    ) -> Thing:
        """Take a Thing out of the directory: it stays known for its history, and nobody sends readings of it."""
        return await self._do(lambda tx: self._changer.retire(tx, id, actor, reason, expected, also), id)

    async def settle(self) -> None:
        """Take up the Things whose change ended in an error and that the registry has all the same.

        Call it when what the registry emitted is in the log.
        """
        for id_ in list(self._unsure):
            kept = await self._registry.run(lambda tx, id_=id_: tx.get(Thing, id_), write=False)  # type: ignore[misc]
            if kept is not None:
                self._add([kept])
            self._unsure.discard(id_)

    def _prepared(self, thing: Thing, actor: str, beside: Sequence[msgspec.Struct]) -> New | GridspineError:
        try:
            return New(self._changer.prepared(thing), actor, beside)
        except GridspineError as error:
            return error

    def _work(self, tx: Transaction, asked: Sequence[New | _Change]) -> Sequence[Registered]:
        """Do what was asked, in its order; registrations that stand together are kept together."""
        outcomes: list[Registered] = []
        for new, some in groupby(asked, lambda one: isinstance(one, New)):
            if new:
                outcomes += self._changer.keep(tx, [one for one in some if isinstance(one, New)])
            else:
                outcomes += [_tried(tx, one) for one in some if not isinstance(one, New)]
        return outcomes

    async def _do(self, asked: New | _Change, id: str) -> Thing:
        try:
            outcome = await self._grouped.do(asked)
        except BaseException:
            self._unsure.add(id)  # it may be committed, though its numbers are not bound in the log yet
            raise
        if isinstance(outcome, GridspineError):
            raise outcome
        return outcome

    async def _keep(self, asked: Sequence[New | GridspineError]) -> Sequence[Registered]:
        try:
            return await self._registry.run(lambda tx: self._changer.keep(tx, asked))
        except BaseException:
            # They may be committed, though their numbers are not bound in the log yet.
            self._unsure |= {one.thing.id for one in asked if isinstance(one, New)}
            raise

    def _add(self, things: Sequence[Thing]) -> None:
        moved = [thing.id for thing in things if thing.former and len(thing.former) > len(self._former_of(thing.id))]
        self.roll.add(things)
        if self._changer.lives is not None:
            self._changer.lives.taken_up(things)
        for id_ in moved:
            for tell in self.moved:
                tell(id_)
        self.changes += 1
        self.wake()

    def _former_of(self, id: str) -> Sequence[Former]:
        known = self.roll.get(id)
        return () if known is None else known.former


def _tried(tx: Transaction, change: _Change) -> Registered:
    try:
        return change(tx)
    except GridspineError as error:
        return error
