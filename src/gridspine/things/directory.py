"""The directory of Things: standing data in the registry, points bound by a log event before their first use."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from gridspine.infra.log.port import EventLog
from gridspine.infra.log.scan import scan
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.codecs.binding import PointBinding, decode_binding
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, NotFound
from gridspine.things.model import ThingModel
from gridspine.things.point import PointTable
from gridspine.things.roll import Ordered, Roll
from gridspine.things.roll_file import read_roll, save_roll, take_up
from gridspine.things.thing import Thing

__all__ = ["EVENTS", "MAX_AT_ONCE", "POINTS", "Directory", "Thing"]

POINTS, EVENTS = "points", "events"
MAX_AT_ONCE = 10_000
"""Things registered in one transaction at most."""
Registered = Thing | GridspineError
"""What became of a Thing to register."""
_TURN = 1_000
_MARK = "things"
_IN_FLIGHT = 2 * MAX_AT_ONCE
"""Bindings before a snapshot that are looked at again: their Things may have been on their way into it."""


class RollMark(msgspec.Struct, frozen=True):
    """What a registry knows of the snapshots taken of it: the stamps of the last two."""

    stamps: tuple[str, ...]


class Directory:
    """All Things of the node."""

    def __init__(self, registry: Registry, points: PointTable, clock: Clock) -> None:
        self._registry = registry
        self._points = points
        self._clock = clock
        self._roll = Roll(points)
        self._change = asyncio.Event()
        self._unsure: set[str] = set()
        self._bound = 0
        self._saved = -1
        self.changes = 0
        """Rises with every change: what was compiled from the Things before is out of date."""

    async def load(self, log: EventLog, snapshot: Path | None = None) -> None:
        """Read the Things and bind their points when the node starts; from a snapshot, where there is a good one.

        A restored registry may be behind the log: it goes on above the highest number the log ever bound, for no
        number is given twice.
        """
        await asyncio.to_thread(self._load, log, snapshot)
        self.changes += 1

    def save(self, log: EventLog, snapshot: Path) -> None:
        """Write a snapshot when Things were added since the last one. Blocks; call it on any thread."""
        changes = self.changes
        if changes == self._saved or not len(self._roll):
            return
        first, following = log.bounds(POINTS)[0]
        offset, stamp = max(first, following - _IN_FLIGHT), new_id(self._clock)

        def mark(tx: Transaction) -> None:
            known = tx.get(RollMark, _MARK)
            before = () if known is None else known.stamps[:1]
            tx.put(RollMark((stamp, *before)), id=_MARK)

        self._registry.transact(mark)
        save_roll(snapshot, self._roll, stamp, offset, max(self._bound, self._points.count))
        self._saved = changes

    def get(self, id: str) -> Thing:
        """Return a Thing; raise `NotFound`."""
        thing = self._roll.get(id)
        if thing is None:
            raise NotFound("there is no such Thing")
        return thing

    async def changed(self) -> None:
        """Return when a Thing was added or changed after this call, or `wake` was called."""
        await self._change.wait()

    def wake(self) -> None:
        """Let everyone who waits for a change look again; call it on the event loop."""
        self._change.set()
        self._change = asyncio.Event()

    def list(self, organisation: str | None = None) -> Ordered:
        """Return the Things (of one organisation), in the order of their ids; each is made when it is looked at."""
        return self._roll.ordered(organisation)

    def of_device(self, principal: str) -> Sequence[Thing]:
        """Return the Things that a device speaks for, of whatever organisation."""
        return self._roll.of_device(principal)

    def of_adapter(self, adapter: str) -> Sequence[Thing]:
        """Return the Things that an adapter serves."""
        return self._roll.of_adapter(adapter)

    def model(self, thing: Thing) -> ThingModel:
        """Return the model of a Thing."""
        model = self._points.model(thing.model)
        assert model is not None, f"{thing.id} was registered with a model"
        return model

    async def register(self, thing: Thing, *, actor: str) -> Thing:
        """Keep a new Thing and number its points; raise `Conflict` when its id is taken.

        An empty id gets a ``urn:uuid:``. When this returns, the binding is in the log and readings may come.
        """
        (outcome,) = await self.register_all([thing], actor=actor)
        if isinstance(outcome, GridspineError):
            raise outcome
        return outcome

    async def register_all(self, things: Sequence[Thing], *, actor: str) -> Sequence[Registered]:
        """Register many Things, at most `MAX_AT_ONCE`, in one transaction; return each one, or why it was refused.

        One that is refused does not stop the others.
        """
        assert len(things) <= MAX_AT_ONCE, f"{len(things)} Things at once"
        now_us = self._clock.now_us()
        outcomes: list[Registered] = []
        for start in range(0, len(things), _TURN):
            if start:
                await asyncio.sleep(0)  # others have their turn
            outcomes += [self._prepared(thing, now_us) for thing in things[start : start + _TURN]]
        wanted = {one.id for one in outcomes if isinstance(one, Thing)}

        def work(tx: Transaction) -> Sequence[Registered]:
            return self._keep(tx, outcomes, actor)

        try:
            kept = await self._registry.run(work)
        except BaseException:
            self._unsure |= wanted  # they may be committed, though their numbers are not bound in the log yet
            raise
        await self._take_up([one for one in kept if isinstance(one, Thing)])
        return kept

    async def settle(self) -> None:
        """Take up the Things whose registration ended in an error and that the registry has all the same.

        Call it when what the registry emitted is in the log.
        """
        for id_ in list(self._unsure):
            kept = await self._registry.run(lambda tx, id_=id_: tx.get(Thing, id_), write=False)  # type: ignore[misc]
            if kept is not None:
                await self._take_up([kept])
            self._unsure.discard(id_)

    def _prepared(self, thing: Thing, now_us: int) -> Registered:
        """Return a Thing with its id and its points' names, or what is wrong with it."""
        model = self._points.model(thing.model)
        if model is None:
            known = ", ".join(sorted(m.id for m in self._points.models()))
            return Invalid(f"model: {thing.model[:100]!r} is not known; known are: {known}")
        try:
            thing.check()
        except Invalid as error:
            return error
        names = tuple(point.name for point in model.points)
        id_ = thing.id or new_urn(self._clock)
        return msgspec.structs.replace(thing, id=id_, points=names, created_us=now_us)

    def _keep(self, tx: Transaction, things: Sequence[Registered], actor: str) -> Sequence[Registered]:
        """Put the Things that can be into the registry, and what they mean into the log."""
        taken = tx.existing(Thing, [one.id for one in things if isinstance(one, Thing)])
        outcomes: list[Registered] = []
        kept: list[Thing] = []
        following = start = tx.next_number("points", 0)
        for one in things:
            if isinstance(one, Thing):
                if one.id in taken:
                    outcomes.append(Conflict(f"there is a Thing {one.id} already"))
                    continue
                taken.add(one.id)
                one = msgspec.structs.replace(one, first=following)
                following += len(one.points)
                kept.append(one)
            outcomes.append(one)
        tx.next_number("points", following - start)
        tx.put_new((thing, thing.id, thing.organisation) for thing in kept)
        tx.emit_all(event for thing in kept for event in self._events(thing, actor))
        return outcomes

    def _events(self, thing: Thing, actor: str) -> Iterable[tuple[str, str, msgspec.Struct]]:
        units = tuple(point.reading_type.unit for point in self.model(thing).points)
        now_us = thing.created_us
        yield (
            POINTS,
            thing.id,
            PointBinding(thing.first, thing.id, thing.organisation, thing.model, thing.points, units, now_us),
        )
        data = {"title": thing.title, "model": thing.model, "organisation": thing.organisation}
        yield EVENTS, thing.id, Event(new_id(self._clock), "thing.registered", now_us, thing.id, actor, data)

    async def _take_up(self, things: Sequence[Thing]) -> None:
        for start in range(0, len(things), _TURN):
            if start:
                await asyncio.sleep(0)  # others have their turn
            self._roll.add(things[start : start + _TURN])
            self.changes += 1
        self.wake()

    def _load(self, log: EventLog, path: Path | None) -> None:
        snapshot = None if path is None else read_roll(path)
        mark = self._registry.read(lambda tx: tx.get(RollMark, _MARK))
        first, following = log.bounds(POINTS)[0]
        known = (
            snapshot is not None
            and mark is not None
            and snapshot.head.stamp in mark.stamps
            and first <= snapshot.head.offset <= following
            and take_up(snapshot, self._roll)
        )
        start, bound = first, 0
        if known and snapshot is not None:
            start, bound = snapshot.head.offset, snapshot.head.bound
        missing = []
        for record in scan(log, POINTS, 0, start, following, max_records=5_000):
            binding = decode_binding(record.body)
            bound = max(bound, binding.first + len(binding.names))
            if known and self._roll.get(binding.thing) is None:
                missing.append(binding.thing)
        self._registry.transact(lambda tx: _skip(tx, bound))
        self._bound = bound
        found = self._registry.read(lambda tx: [tx.get(Thing, id_) for id_ in dict.fromkeys(missing)])
        self._roll.add([thing for thing in found if thing is not None])
        if not known or self._registry.read(lambda tx: tx.count(Thing)) != len(self._roll):
            self._read_all()
        elif not missing:
            self._saved = 1  # what is loaded is what was saved

    def _read_all(self) -> None:
        after = ""
        while things := self._registry.read(lambda tx, at=after: tx.list(Thing, after=at, limit=MAX_AT_ONCE)):  # type: ignore[misc]
            self._roll.add(things)
            after = things[-1].id


def _skip(tx: Transaction, bound: int) -> None:
    """Give no number below ``bound``."""
    following = tx.next_number("points", 0)
    if following < bound:
        tx.next_number("points", bound - following)
