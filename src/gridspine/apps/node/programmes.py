"""Programmes and their events: documents, kept; who may see them."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

import msgspec

from gridspine.apps.node.book import Book, with_changer
from gridspine.energy.programme import Programme
from gridspine.energy.programme_event import ProgrammeEvent
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.infra.runtime.waiting import all_done
from gridspine.kernel.errors import Conflict, NotFound, Overloaded
from gridspine.kernel.time import US

MAX_PROGRAMMES, MAX_RETIRED, MAX_EVENTS, KEPT_EVENTS = 2_000, 8_000, 2_000, 500
"""Programmes of an organisation that stand, and those that are retired; events of a programme that are to come or
running; those that are over and kept."""
MAX_INTERVALS = 100_000
"""Intervals of all events of an organisation that are kept. One that is an event of its own takes some 1.7 kB of memory
and is read when the node starts: so many are 170 MB. They are 288 five-minute controls a day of 340 devices; those that
are over for long make room, so it is what is ahead that counts, and a day of what was."""
KEPT_OVER_US = 86_400 * US
"""How long what is over is kept at least [µs]: devices are told of it, and answer for it, a day."""
_SPARE, _FULL_US = 100, 60 * US
"""What part more of the intervals is let go than is needed just now, as looking for them takes long, and letting a
thousand go does, too (a second); when it is looked again where there was no room [µs]."""
_AT_ONCE = 500
"""Events that are let go in one transaction."""


class Programmes:
    """Keeps them. Lives on the event loop; ``sees(organisation, programme)``: whether it takes part, or asked to."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._clock = clock
        self.book = Book(Programme, "programme", registry, clock)
        self.event_book = Book(ProgrammeEvent, "event", registry, clock)
        self._of: dict[str, dict[str, None]] = {}
        self._standing: dict[str, list[ProgrammeEvent]] = {}
        self._intervals: Counter[str] = Counter()
        self._full_us: dict[str, int] = {}
        self.sees: Callable[[str, str], bool] = lambda _organisation, _programme: False
        self.make_room: Callable[[str], Awaitable[None]] = _none
        """Called with an organisation before a programme of it is kept: those that are long retired make room."""

    def load(self) -> None:
        """Read them when the node starts; blocks."""
        self.book.load()
        self.event_book.load()
        for one in sorted(self.event_book.kept.values(), key=lambda one: one.id):
            self._of.setdefault(one.programme, {})[one.id] = None
            self._intervals[one.organisation] += len(one.intervals)

    def seen_by(self, organisation: str) -> Sequence[Programme]:
        """Return the programmes that an organisation may see, by title."""
        seen = (one for one in self.book.kept.values() if self._visible(one, organisation))
        return sorted(seen, key=lambda one: (one.title, one.id))

    def get(self, id: str, organisation: str = "", *, own: bool = False) -> Programme:
        """Return one that an organisation may see, or (``own``) that is its own; raise `NotFound`."""
        found = self.book.get(id)
        seen = found.organisation == organisation if own else not organisation or self._visible(found, organisation)
        if not seen:
            raise NotFound("there is no such programme")
        return found

    def find(self, id: str) -> Programme | None:
        """Return one, or None."""
        return self.book.kept.get(id)

    async def register(self, programme: Programme, actor: str) -> Programme:
        """Keep a new programme; its id is given here. Raises `Invalid`, `Overloaded`."""
        programme.check()
        await self.make_room(programme.organisation)
        present = [one for one in self.book.kept.values() if one.organisation == programme.organisation]
        retired = sum(bool(one.retired_us) for one in present)
        if len(present) - retired >= MAX_PROGRAMMES:
            raise Overloaded(f"your organisation has {MAX_PROGRAMMES} programmes, and no more: retire one")
        if retired >= MAX_RETIRED:
            raise Overloaded(f"your organisation has {MAX_RETIRED} programmes that are retired, and no room for more")
        now_us = self._clock.now_us()
        made = msgspec.structs.replace(programme, id=new_urn(self._clock), created_us=now_us, by=actor)
        return await self.book.keep("programme.registered", made, actor)

    async def change(self, before: Programme, programme: Programme, actor: str) -> Programme:
        """Keep a programme as it is now; raise `Invalid`, and `Conflict` for one that is retired."""
        if before.retired_us:
            raise Conflict("the programme is retired")
        programme.check()
        fields = {"id": before.id, "organisation": before.organisation, "created_us": before.created_us}
        changed = msgspec.structs.replace(programme, **fields, by=before.by, changed_by=actor,
                                          changers=with_changer(before.changers, actor))  # fmt: skip
        return await self.book.keep("programme.changed", changed, actor)

    async def retire(self, programme: Programme, actor: str) -> Programme:
        """End a programme: its events are cancelled, its defaults hold no more; it stays known."""
        if programme.retired_us:
            raise Conflict("the programme is retired already")
        now_us = self._clock.now_us()
        ended = [one.cancel(now_us, actor, "its programme is retired") for one in self.live(programme.id, now_us)]
        try:
            for at in range(0, len(ended), 100):
                part = [("programme-event.cancelled", one) for one in ended[at : at + 100]]
                await self.event_book.keep_all(part, actor)
        finally:  # those of the parts that were kept are cancelled, whatever became of the others
            self._standing.pop(programme.id, None)
        retired = msgspec.structs.replace(programme, retired_us=now_us)
        return await self.book.keep("programme.retired", retired, actor)

    # -- events -------------------------------------------------------------------------------------------------

    def events(self, programme: str) -> list[ProgrammeEvent]:
        """Return the events of a programme that are kept, the newest first."""
        return [self.event_book.kept[one] for one in reversed(self._of.get(programme, {}))]

    def live(self, programme: str, now_us: int) -> list[ProgrammeEvent]:
        """Return its events that are running or to come."""
        return [one for one in self.events(programme) if one.status(now_us) in {"scheduled", "active"}]

    def standing(self, programme: str) -> list[ProgrammeEvent]:
        """Return its events that were running or to come when one of them changed at last."""
        found = self._standing.get(programme)
        if found is None:
            found = self._standing[programme] = self.live(programme, self._clock.now_us())
        return found

    def event(self, programme: str, id: str) -> ProgrammeEvent:
        """Return an event of a programme; raise `NotFound`."""
        found = self.event_book.get(id)
        if found.programme != programme:
            raise NotFound("there is no such event")
        return found

    async def publish(
        self, event: ProgrammeEvent, actor: str, beside: Callable[[ProgrammeEvent], Awaitable[None]] | None = None
    ) -> ProgrammeEvent:  # fmt: skip
        """Keep a new event; its id and seed are given here. What it supersedes is cancelled in the same moment.

        ``beside`` runs meanwhile; this returns when both are done, and raises where either fails.
        """
        now_us = self._clock.now_us()
        await self._make_interval_room(self.get(event.programme).organisation, len(event.intervals), now_us)
        programme = self.get(event.programme)
        if programme.retired_us:
            raise Conflict("the programme is retired")
        event.check(programme, now_us)
        if len(self.live(programme.id, now_us)) >= MAX_EVENTS:
            raise Overloaded(f"{MAX_EVENTS} events of this programme are running or to come, and no more")
        if self._intervals[programme.organisation] + len(event.intervals) > MAX_INTERVALS:
            raise Overloaded(f"your organisation's events have {MAX_INTERVALS} intervals together, and no more")
        made = msgspec.structs.replace(
            event, id=new_urn(self._clock), seed=self._clock.randbytes(16).hex(), created_us=now_us, by=actor
        )
        changes = [("programme-event.published", made)]
        if event.supersedes:
            older = self.event(programme.id, event.supersedes)
            changes.append(("programme-event.cancelled", older.cancel(now_us, actor, f"superseded by {made.id}")))
        try:
            keeping = self.event_book.keep_all(changes, actor)
            kept = (await keeping if beside is None else (await all_done(keeping, beside(made)))[0])[0]
        finally:  # it may be kept although the log did not take it at once
            self._standing.pop(programme.id, None)
            if made.id in self.event_book.kept:
                self._of.setdefault(programme.id, {})[made.id] = None
                self._intervals[made.organisation] += len(made.intervals)
        await self._make_room(programme.id, now_us)
        return kept

    async def cancel(self, event: ProgrammeEvent, actor: str, reason: str) -> ProgrammeEvent:
        """Cancel an event that is running or to come."""
        ended = event.cancel(self._clock.now_us(), actor, reason)
        try:
            return await self.event_book.keep("programme-event.cancelled", ended, actor)
        finally:
            self._standing.pop(event.programme, None)

    async def _make_room(self, programme: str, now_us: int) -> None:
        """Let the oldest events go that are over, where too many are kept."""
        over = [
            one for one in self._of[programme] if self.event_book.kept[one].status(now_us) in {"completed", "cancelled"}
        ]
        await self._let_go([self.event_book.kept[one] for one in islice(over, max(0, len(over) - KEPT_EVENTS))])

    async def _make_interval_room(self, organisation: str, wanted: int, now_us: int) -> None:
        """Let the oldest of an organisation's events go that are long over, where there is no room for ``wanted``."""
        missing = self._intervals[organisation] + wanted - MAX_INTERVALS
        monotonic_us = self._clock.monotonic_us()
        if missing <= 0 or monotonic_us < self._full_us.get(organisation, monotonic_us):
            return
        since_us = now_us - KEPT_OVER_US
        own = (one for one in self.event_book.kept.values() if one.organisation == organisation)
        over = sorted((one for one in own if one.ended_us <= since_us), key=lambda one: one.ended_us)
        gone: list[ProgrammeEvent] = []
        for one in over:
            if missing + MAX_INTERVALS // _SPARE <= 0:
                break
            gone.append(one)
            missing -= len(one.intervals)
        if missing > 0:
            self._full_us[organisation] = monotonic_us + _FULL_US
        else:
            self._full_us.pop(organisation, None)
        await self._let_go(gone)

    async def forget(self, programme: Programme) -> None:
        """Let a programme go that is retired, and its events; the ledger keeps what was told of them."""
        await self._let_go(self.events(programme.id))
        await self.book.forget([programme.id])
        self._of.pop(programme.id, None)
        self._standing.pop(programme.id, None)

    async def _let_go(self, events: Sequence[ProgrammeEvent]) -> None:
        for at in range(0, len(events), _AT_ONCE):
            part = events[at : at + _AT_ONCE]
            await self.event_book.forget([one.id for one in part])
            for event in part:  # who published meanwhile may have let the same ones go
                own = self._of.get(event.programme, {})
                if event.id in own:
                    del own[event.id]
                    self._intervals[event.organisation] -= len(event.intervals)

    def _visible(self, one: Programme, organisation: str) -> bool:
        if one.organisation == organisation or self.sees(organisation, one.id):
            return True
        return one.open and not one.retired_us


async def _none(_organisation: str) -> None:
    return
