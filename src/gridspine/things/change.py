"""What a registration, a change and a retirement put into registry and log.

Each version of a Thing is bound in topic ``points``, mostly to the numbers it had; with another model or organisation
it gets others, for numbers are never reused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

import msgspec

from gridspine.infra.log.topics import EVENTS, POINTS
from gridspine.infra.registry.port import Event, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.codecs.binding import PointBinding
from gridspine.kernel.errors import Conflict, GridspineError, Invalid, NotFound, PreconditionFailed
from gridspine.things.model import ThingModel
from gridspine.things.models import Models
from gridspine.things.thing import MAX_FORMER, Former, Location, Thing

Also = Callable[[Transaction, Thing], None]
"""What else is kept in the transaction that keeps a Thing; it may raise nothing."""
NOTHING: Mapping[str, Any] = {}


class Lives(Protocol):
    """Who keeps the lives of Things: told of each beginning and end in the transaction that keeps it."""

    def born(self, tx: Transaction, things: Sequence[Thing], actor: str) -> None:
        """Keep that Things were registered."""
        ...

    def gone(self, tx: Transaction, thing: Thing, actor: str, reason: str) -> None:
        """Keep that a Thing was retired."""
        ...

    def taken_up(self, things: Sequence[Thing]) -> None:
        """Let what was kept of Things be in force; on the event loop, after the commit."""
        ...


class Changes(TypedDict, total=False):
    """What of a Thing may change."""

    title: str
    model: str
    organisation: str
    adapter: str
    connection: dict[str, Any]
    devices: tuple[str, ...]
    location: Location | None
    described: bool


class New(NamedTuple):
    """A Thing to register, prepared; by ``actor``. ``beside`` are documents kept under its id."""

    thing: Thing
    actor: str
    beside: Sequence[msgspec.Struct] = ()
    note: Mapping[str, Any] = NOTHING


class Changer:
    """Makes versions of Things and keeps them, one transaction at a time."""

    def __init__(self, models: Models, clock: Clock) -> None:
        self._models = models
        self._clock = clock
        self.lives: Lives | None = None

    def prepared(self, thing: Thing) -> Thing:
        """Return a new Thing with its id and its points' names; raise `Invalid`."""
        model = self._model(thing)
        thing.check()
        names = tuple(point.name for point in model.points)
        id_, now_us = thing.id or new_urn(self._clock), self._clock.now_us()
        return msgspec.structs.replace(thing, id=id_, points=names, created_us=now_us, version=1, former=())

    def keep(self, tx: Transaction, asked: Sequence[New | GridspineError]) -> list[Thing | GridspineError]:
        """Keep new Things; return each one, or why it was refused.

        One that is retired comes again; its points of then go on where they are the same.
        """
        taken = tx.existing(Thing, [one.thing.id for one in asked if isinstance(one, New)])
        outcomes: list[Thing | GridspineError] = []
        for one in asked:
            if isinstance(one, New):
                outcomes.append(_again(tx, one.thing) if one.thing.id in taken else one.thing)
                taken.add(one.thing.id)
            else:
                outcomes.append(one)
        outcomes = self._numbered(tx, outcomes)
        kept = [
            (thing, new)
            for thing, new in zip(outcomes, asked, strict=True)
            if isinstance(thing, Thing) and isinstance(new, New)
        ]
        self._put_registered(tx, kept)
        tx.emit_all(
            event for thing, new in kept for event in self._events(thing, "thing.registered", new.actor, new.note)
        )
        if self.lives is not None:
            for actor in dict.fromkeys(new.actor for _, new in kept):
                self.lives.born(tx, [thing for thing, new in kept if new.actor == actor], actor)
        return outcomes

    def _put_registered(self, tx: Transaction, kept: Sequence[tuple[Thing, New]]) -> None:
        fresh = [(thing, new) for thing, new in kept if thing.version == 1]
        tx.put_new((one, thing.id, thing.organisation) for thing, new in fresh for one in (thing, *new.beside))
        for thing, new in kept:
            if thing.version > 1:
                for one in (thing, *new.beside):
                    tx.put(one, id=thing.id, owner=thing.organisation)

    def change(
        self, tx: Transaction, id: str, fields: Changes, actor: str, expected: int | None = None,
        also: Also | None = None, note: Mapping[str, Any] = NOTHING,
    ) -> Thing:  # fmt: skip
        """Keep a Thing with other ``fields``; raise `NotFound`, `Invalid`, or `Conflict` when it is not ``expected``.

        What changes nothing makes no version, unless there is something to keep ``also``.
        """
        before = _present(tx, id, expected)
        after = msgspec.structs.replace(before, **fields)
        if after == before and also is None:
            return before
        after.check()
        if (after.model, after.organisation) != (before.model, before.organisation):
            after = self._renumbered(tx, before, after)
        patch = {name: value for name, value in fields.items() if getattr(before, name) != value}
        return self._put(tx, after, "thing.changed", actor, {"patch": patch, **note}, also)

    def retire(
        self, tx: Transaction, id: str, actor: str, reason: str, expected: int | None, also: Also | None = None
    ) -> Thing:
        """Keep that a Thing left the directory."""
        before = _present(tx, id, expected)
        after = msgspec.structs.replace(before, retired_us=self._clock.now_us())
        if self.lives is not None:
            self.lives.gone(tx, after, actor, reason)
        return self._put(tx, after, "thing.retired", actor, {"reason": reason}, also)

    def _numbered(self, tx: Transaction, things: Sequence[Thing | GridspineError]) -> list[Thing | GridspineError]:
        """Give numbers to those that have none."""
        first = tx.next_number("points", sum(_size(one) for one in things if _numberless(one)))
        numbered: list[Thing | GridspineError] = []
        for one in things:
            if isinstance(one, Thing) and _numberless(one):
                numbered.append(msgspec.structs.replace(one, first=first))
                first += _size(one)
            else:
                numbered.append(one)
        return numbered

    def _renumbered(self, tx: Transaction, before: Thing, after: Thing) -> Thing:
        names = tuple(point.name for point in self._model(after).points)
        after = _moved(before, msgspec.structs.replace(after, points=names), self._clock.now_us())
        return msgspec.structs.replace(after, first=tx.next_number("points", _size(after)))

    def _put(
        self, tx: Transaction, thing: Thing, type_: str, actor: str, data: Mapping[str, Any], also: Also | None
    ) -> Thing:
        thing = msgspec.structs.replace(thing, version=thing.version + 1, modified_us=self._clock.now_us())
        tx.put(thing, id=thing.id, owner=thing.organisation)
        tx.emit_all(self._events(thing, type_, actor, data))
        if also is not None:
            also(tx, thing)
        return thing

    def _events(
        self, thing: Thing, type_: str, actor: str, more: Mapping[str, Any]
    ) -> Iterable[tuple[str, str, msgspec.Struct]]:
        units = tuple(point.reading_type.unit for point in self._model(thing).points)
        now_us = max(thing.created_us, thing.modified_us)
        yield (
            POINTS,
            thing.id,
            PointBinding(
                thing.first, thing.id, thing.organisation, thing.model, thing.points, units, now_us, thing.version
            ),
        )
        data: dict[str, Any] = {"title": thing.title, "model": thing.model, "organisation": thing.organisation}
        data |= {"version": thing.version, **more}
        yield EVENTS, thing.id, Event(new_id(self._clock), type_, now_us, thing.id, actor, data)

    def _model(self, thing: Thing) -> ThingModel:
        model = self._models.get(thing.model, thing.organisation)
        if model is None:
            known = ", ".join(model.id for model in self._models.list(thing.organisation))
            raise Invalid(f"model: {thing.model[:100]!r} is not known; known are: {known[:2_000]}")
        return model


def _present(tx: Transaction, id: str, expected: int | None) -> Thing:
    thing = tx.get(Thing, id)
    if thing is None or thing.retired:
        raise NotFound("there is no such Thing")
    if expected is not None and thing.version != expected:
        raise PreconditionFailed(f"the Thing is at version {thing.version}, not {expected}: read it again")
    return thing


def _again(tx: Transaction, thing: Thing) -> Thing | GridspineError:
    """Return the next version of a Thing that is retired; else the reason why there is none."""
    before = tx.get(Thing, thing.id)
    if before is None or not before.retired or before.organisation != thing.organisation:
        return Conflict(f"there is a Thing {thing.id} already")
    after = msgspec.structs.replace(thing, first=before.first, version=before.version + 1, former=before.former)
    try:
        return after if before.model == thing.model else _moved(before, after, before.retired_us)
    except Conflict as error:
        return error


def _moved(before: Thing, after: Thing, now_us: int) -> Thing:
    """Return ``after`` without a number yet, those of ``before`` among its former ones."""
    if len(before.former) >= MAX_FORMER:
        raise Conflict(f"a Thing changes its model or organisation {MAX_FORMER} times at most: register a new one")
    former = Former(before.first, before.model, before.organisation, now_us)
    return msgspec.structs.replace(after, first=-1, former=(*before.former, former))


def _numberless(one: Thing | GridspineError) -> bool:
    return isinstance(one, Thing) and one.first < 0


def _size(thing: Thing | GridspineError) -> int:
    """Return how many numbers a Thing takes: one at least, so that no two begin at the same."""
    return max(1, len(thing.points)) if isinstance(thing, Thing) else 0
