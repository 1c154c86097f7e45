"""The directory of Things: standing data in the registry, points bound by a log event before their first use."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.kernel.ids import check_urn
from gridspine.things.model import ThingModel
from gridspine.things.point import PointTable

POINTS, EVENTS = "points", "events"
_MAX_TITLE = 200
_MAX_CONNECTION_BYTES = 16_384
_MAX_DEVICES = 100


class Thing(msgspec.Struct, frozen=True, rename="camel"):
    """A device, plant or site: what it is (``model``), whose it is, how it is reached.

    ``adapter`` and ``connection`` say which adapter serves it and where; a Thing without an adapter is reached by
    the API only. ``devices`` are the principals that speak for it. ``first`` is the number of its first point,
    ``points`` are the names of all, in the order of their numbers. No secret is ever in
    ``connection``.
    """

    id: str
    organisation: str
    title: str
    model: str
    first: int = -1
    adapter: str = ""
    connection: dict[str, Any] = {}
    devices: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    created_us: int = 0


class Directory:
    """All Things of the node."""

    def __init__(self, registry: Registry, points: PointTable, clock: Clock) -> None:
        self._registry = registry
        self._points = points
        self._clock = clock
        self._things: dict[str, Thing] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._change = asyncio.Event()
        self._unsure: set[str] = set()
        self.changes = 0
        """Rises with every change: what was compiled from the Things before is out of date."""

    async def load(self, bound: int) -> None:
        """Read the Things and bind their points when the node starts.

        ``bound`` is one above the highest number the log ever bound: a restored registry may be behind the log, and
        no number is given twice.
        """

        def skip(tx: Transaction) -> None:
            following = tx.next_number("points", 0)
            if following < bound:
                tx.next_number("points", bound - following)

        await self._registry.run(skip)
        for thing in await self._registry.run(lambda tx: tx.list(Thing), write=False):
            self._take_up(thing)

    def get(self, id: str) -> Thing:
        """Return a Thing; raise `NotFound`."""
        thing = self._things.get(id)
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

    def list(self, organisation: str | None = None) -> Sequence[Thing]:
        """Return the Things (of one organisation), in the order of their ids."""
        things = self._things.values()
        return sorted((t for t in things if organisation in {None, t.organisation}), key=lambda thing: thing.id)

    def model(self, thing: Thing) -> ThingModel:
        """Return the model of a Thing."""
        model = self._points.model(thing.model)
        assert model is not None, f"{thing.id} was registered with a model"
        return model

    async def register(self, thing: Thing, *, actor: str) -> Thing:
        """Keep a new Thing and number its points; raise `Conflict` when its id is taken.

        An empty id gets a ``urn:uuid:``. When this returns, the binding is in the log and readings may come.
        """
        model = self._points.model(thing.model)
        if model is None:
            known = ", ".join(sorted(m.id for m in self._points.models()))
            raise Invalid(f"model: {thing.model[:100]!r} is not known; known are: {known}")
        if not 0 < len(thing.title.strip()) <= _MAX_TITLE:
            raise Invalid(f"title: 1 to {_MAX_TITLE} characters are needed")
        if len(msgspec.json.encode(thing.connection)) > _MAX_CONNECTION_BYTES:
            raise Invalid("connection: too large")
        if len(thing.devices) > _MAX_DEVICES or len(thing.adapter) > _MAX_TITLE:
            raise Invalid(f"devices: at most {_MAX_DEVICES}; adapter: at most {_MAX_TITLE} characters")
        for device in thing.devices:
            check_urn(device)
        wanted = check_urn(thing.id) if thing.id else new_urn(self._clock)
        now_us = self._clock.now_us()
        names = tuple(point.name for point in model.points)
        units = tuple(point.reading_type.unit for point in model.points)

        def work(tx: Transaction) -> Thing:
            if tx.get(Thing, wanted) is not None:
                raise Conflict(f"there is a Thing {wanted} already")
            first = tx.next_number("points", len(names))
            kept = msgspec.structs.replace(thing, id=wanted, first=first, points=names, created_us=now_us)
            tx.put(kept, id=wanted, owner=kept.organisation)
            binding = PointBinding(first, wanted, kept.organisation, kept.model, names, units, now_us)
            tx.emit(POINTS, wanted, binding)
            data = {"title": kept.title, "model": kept.model, "organisation": kept.organisation}
            tx.emit(EVENTS, wanted, Event(new_id(self._clock), "thing.registered", now_us, wanted, actor, data))
            return kept

        try:
            kept = await self._registry.run(work)
        except BaseException:
            self._unsure.add(wanted)  # it may be committed, though its numbers are not bound in the log yet
            raise
        self._take_up(kept)
        return kept

    async def settle(self) -> None:
        """Take up the Things whose registration ended in an error and that the registry has all the same.

        Call it when what the registry emitted is in the log.
        """
        for id_ in list(self._unsure):
            kept = await self._registry.run(lambda tx, id_=id_: tx.get(Thing, id_), write=False)  # type: ignore[misc]
            if kept is not None and id_ not in self._things:
                self._take_up(kept)
            self._unsure.discard(id_)

    def _take_up(self, thing: Thing) -> None:
        model = self._points.model(thing.model)
        if model is None:
            raise Invalid(f"{thing.id} has model {thing.model}, which this release does not know")
        names = self._names.setdefault(model.id, tuple(point.name for point in model.points))
        if thing.points != names:
            # Numbers follow the order of names: another order would give old readings new meanings.
            raise Conflict(
                f"model {thing.model} has changed since {thing.id} was registered: give a new model a new id"
            )
        units = tuple(point.reading_type.unit for point in model.points)
        binding = PointBinding(thing.first, thing.id, thing.organisation, thing.model, names, units, thing.created_us)
        self._points.bind(binding)
        # A million Things share the words they have in common.
        self._things[thing.id] = msgspec.structs.replace(
            thing, points=names, model=model.id, organisation=sys.intern(thing.organisation)
        )
        self.changes += 1
        self.wake()
