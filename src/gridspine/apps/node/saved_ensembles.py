"""Saved ensembles: a document each, and a Thing of the same id by which others find, read and command it.

::

    save ─► Thing (model *ensemble*, adapter *ensemble*) + Ensemble, in one transaction
    the Thing is retired, or goes to another organisation ─► the ensemble is forgotten
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import numpy as np

from gridspine.energy.criteria import Criteria
from gridspine.energy.ensemble import Ensemble
from gridspine.energy.plant import ADAPTER, MODEL
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.kernel.errors import Invalid, NotFound, Overloaded
from gridspine.kernel.readings import Int64Array
from gridspine.things.directory import Directory
from gridspine.things.point import PointTable
from gridspine.things.thing import Thing

MAX_SAVED = 1_000
"""Ensembles an organisation saves at most."""
MAX_HOLD_S = 3_600.0


class SavedEnsembles:
    """Keeps them. Lives on the event loop; ``retire(thing, by)`` takes a Thing out of the directory."""

    def __init__(self, registry: Registry, things: Directory, points: PointTable, clock: Clock) -> None:
        self._registry, self._things, self._points, self._clock = registry, things, points, clock
        self._kept: dict[str, Ensemble] = {}
        self._saving = asyncio.Lock()
        self.retire: Callable[[Thing, str], Awaitable[object]] | None = None

    def load(self) -> None:
        """Read them when the node starts; blocks."""
        self._kept = {one.id: one for one in self._registry.read(lambda tx: tx.list(Ensemble))}

    def numbers(self) -> Int64Array:
        """Return the numbers of the Things that are ensembles, ascending: none is a member of another."""
        numbers = (self._points.thing_number(id_) for id_ in self._kept)
        return np.array(sorted(number for number in numbers if number >= 0), np.int64)

    def spreads(self, thing: str) -> bool:
        """Whether the orders of a Thing go to members of a saved ensemble."""
        return thing in self._kept and self._things.get(thing).adapter == ADAPTER

    def list(self, organisation: str | None = None) -> Sequence[Ensemble]:
        """Return those of an organisation (of all of them), the oldest first."""
        kept = (one for one in self._kept.values() if organisation in {None, one.organisation})
        return [self._titled(one) for one in kept if self._stands(one)]

    def get(self, id: str, organisation: str = "") -> Ensemble:
        """Return one (of an organisation); raise `NotFound`."""
        found = self._kept.get(id)
        if found is None or organisation not in {"", found.organisation} or not self._stands(found):
            raise NotFound("there is no such ensemble")
        return self._titled(found)

    async def save(self, organisation: str, title: str, criteria: Criteria, hold_s: float, by: str) -> Ensemble:
        """Keep an ensemble and describe it as a Thing; raise `Invalid`, `Overloaded`."""
        criteria.check()
        if not 0 < len(title.strip()) <= 200:
            raise Invalid("title: 1 to 200 characters are needed")
        if not 0 <= hold_s <= MAX_HOLD_S:
            raise Invalid(f"holdS: 0 to {MAX_HOLD_S:.0f} s")
        async with self._saving:
            if len(self.list(organisation)) >= MAX_SAVED:
                raise Overloaded(f"your organisation has saved {MAX_SAVED} ensembles, and no more")
            made = Ensemble(
                new_urn(self._clock), organisation, title, criteria, hold_s, self._clock.now_us(), by
            )  # fmt: skip
            await self._describe(made, beside=[made])
            self._kept[made.id] = made
            return made

    async def remove(self, ensemble: Ensemble, by: str) -> None:
        """Forget an ensemble, and retire its Thing: set-points end, its history stays."""
        thing = self._things.roll.get(ensemble.id)
        if thing is not None and not thing.retired and self.retire is not None:
            await self.retire(thing, by)
        await self._forget(ensemble)

    async def tidy(self) -> Sequence[Ensemble]:
        """Forget those whose Things have gone, and return them; describe those saved before they were Things."""
        gone = [one for one in self._kept.values() if not self._stands(one)]
        for one in gone:
            await self._forget(one)
        for one in [one for one in self._kept.values() if self._things.roll.get(one.id) is None]:
            await self._describe(one)
        return gone

    def _stands(self, one: Ensemble) -> bool:
        thing = self._things.roll.get(one.id)
        return thing is None or (not thing.retired and thing.organisation == one.organisation)

    def _titled(self, one: Ensemble) -> Ensemble:
        """Return an ensemble by the title its Thing has now."""
        thing = self._things.roll.get(one.id)
        return one if thing is None else msgspec.structs.replace(one, title=thing.title)

    async def _describe(self, one: Ensemble, beside: Sequence[Ensemble] = ()) -> None:
        thing = Thing(one.id, one.organisation, one.title, MODEL, adapter=ADAPTER)
        await self._things.register(thing, actor=one.by, beside=beside)

    async def _forget(self, ensemble: Ensemble) -> None:
        await self._registry.run(lambda tx: tx.delete(Ensemble, ensemble.id))
        self._kept.pop(ensemble.id, None)
