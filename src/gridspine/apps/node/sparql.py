"""SPARQL over the Things of each organisation: a dataset of its own in a child process, brought up to date as asked.

::

    asked ─► own Things ─┬─ new or changed: few ──► put, then answered: nothing is behind
                         └─ many (the first time) ─► put in turns meanwhile; answered from what is there, saying so

A dataset holds what its callers may see and nothing else. It is forgotten when nobody asks for a while.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from gridspine.infra.runtime.clock import Clock
from gridspine.infra.sparql.dataset import Dataset, Lost
from gridspine.infra.sparql.wire import Answer
from gridspine.kernel.errors import Overloaded, TooLarge, Unavailable
from gridspine.kernel.readings import Int32Array, Int64Array
from gridspine.kernel.time import US
from gridspine.things.description import trimmed
from gridspine.things.directory import Directory
from gridspine.things.point import PointTable
from gridspine.things.registrar import Registrar
from gridspine.things.td.rdf import PREFIXES, described_triples, iri_of, model_triples, thing_triples

MAX_DATASETS, MAX_THINGS = 4, 250_000
AT_ONCE, BEFORE_ANSWER = 500, 2_000
"""Things put in one go; and how many are put before an answer, rather than after it."""
IDLE_S, LOOK_S = 300.0, 15.0


class Answered(NamedTuple):
    """An answer; ``behind`` Things were new or changed since what it was made of."""

    answer: Answer
    behind: int


class _Made(NamedTuple):
    """What is to be put of some Things: subjects that were there before, and N-Triples, those of ``models`` too."""

    numbers: Int64Array
    versions: list[int]
    before: list[str]
    triples: str
    models: frozenset[str]


class _Held:
    """A dataset: the version of each Thing it holds, 0 for none, and the models."""

    def __init__(self) -> None:
        self.dataset = Dataset()
        self.versions: Int32Array = np.zeros(0, np.int32)
        self.models: set[str] = set()
        self.used_us = 0
        self.filling: asyncio.Task[None] | None = None
        self.lock = asyncio.Lock()


class Sparql:
    """All datasets of a node. Lives on the event loop."""

    def __init__(self, things: Directory, points: PointTable, registrar: Registrar, clock: Clock) -> None:
        self._things, self._points, self._registrar, self._clock = things, points, registrar, clock
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._asking: set[asyncio.Task[Answered]] = set()

    async def ask(
        self, key: Hashable, numbers: Int64Array, query: str, accept: Sequence[str], *, command: bool
    ) -> Answered:
        """Answer a query over the Things ``numbers``; who asks with one ``key`` may see the same of them.

        ``command`` says whether that is all of their descriptions, or only what reads. Raises `Invalid`, `TooLarge`,
        `Overloaded`, `Unavailable` while the dataset is made for the first time.
        """
        if len(numbers) > MAX_THINGS:
            raise TooLarge(f"SPARQL is over {MAX_THINGS:,} Things at most: search by JSONPath", reason="things")
        # Whoever asked may leave; what was begun is finished, or the dataset would be half of one.
        task = asyncio.ensure_future(self._ask(key, numbers, query, accept, command))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return await asyncio.shield(task)

    async def _ask(
        self, key: Hashable, numbers: Int64Array, query: str, accept: Sequence[str], command: bool
    ) -> Answered:
        held = await self._take(key)
        try:
            behind = await self._refresh(held, numbers, command)
            return Answered(await held.dataset.ask(query, accept, PREFIXES), behind)
        except Lost as error:
            if self._held.get(key) is not held:
                raise Overloaded("the dataset was let go for others: ask again", retry_after_s=1) from error
            await self._drop(key, held)
            raise TooLarge("the query took too much time or memory, and was ended", reason="time") from error

    async def work(self) -> None:
        """Forget what nobody asks for, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_S)
            late_us = self._clock.monotonic_us() - round(IDLE_S * US)
            for key, held in list(self._held.items()):
                if held.used_us < late_us:
                    await self._drop(key, held)

    async def close(self) -> None:
        """Forget everything."""
        for task in list(self._asking):
            task.cancel()
        for key, held in list(self._held.items()):
            await self._drop(key, held)

    async def _take(self, key: Hashable) -> _Held:
        held = self._held.get(key)
        if held is None:
            while len(self._held) >= MAX_DATASETS:
                oldest, other = next(iter(self._held.items()))
                if other.lock.locked():
                    raise Overloaded("other datasets are being made: try again", retry_after_s=5)
                await self._drop(oldest, other)
            held = self._held[key] = _Held()
        self._held.move_to_end(key)
        held.used_us = self._clock.monotonic_us()
        return held

    async def _drop(self, key: Hashable, held: _Held) -> None:
        if self._held.get(key) is held:
            del self._held[key]
        if held.filling is not None:
            held.filling.cancel()
        await held.dataset.close()

    async def _refresh(self, held: _Held, numbers: Int64Array, command: bool) -> int:
        """Bring a dataset up to date as far as that is quick; return how many Things it is behind."""
        if held.filling is not None and held.filling.done():
            held.filling.result()
            held.filling = None
        if held.filling is None:
            async with held.lock:
                stale, gone = self._differences(held, numbers)
                if len(stale) + len(gone) <= BEFORE_ANSWER:
                    await self._fill(held, stale, gone, command)
                    return 0
            held.filling = held.filling or asyncio.ensure_future(self._fill_all(held, stale, gone, command))
            await asyncio.wait({held.filling}, timeout=1.0)
            if held.filling.done():
                return await self._refresh(held, numbers, command)
        stale, gone = self._differences(held, numbers)
        if len(stale) >= len(numbers) // 2:
            raise Unavailable(
                f"the dataset is being made: {len(numbers) - len(stale)} of {len(numbers)} Things are in it",
                headers={"Retry-After": "5", "Gridspine-Behind": str(len(stale))},
            )
        return len(stale) + len(gone)

    def _differences(self, held: _Held, numbers: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the Things that are new or changed, and those that are not the caller's any more."""
        versions = self._things.roll.versions()
        if len(held.versions) < len(versions):
            held.versions = np.append(held.versions, np.zeros(len(versions) - len(held.versions), np.int32))
        stale = numbers[held.versions[numbers] != versions[numbers]]
        gone = np.setdiff1d(np.flatnonzero(held.versions), numbers, assume_unique=True)
        return stale, gone

    async def _fill_all(self, held: _Held, stale: Int64Array, gone: Int64Array, command: bool) -> None:
        async with held.lock:
            await self._fill(held, stale, gone, command)

    async def _fill(self, held: _Held, stale: Int64Array, gone: Int64Array, command: bool) -> None:
        """Bring a dataset up to date; with its lock."""
        names = self._points.things()
        for start in range(0, len(gone), AT_ONCE):
            part = gone[start : start + AT_ONCE]
            await held.dataset.put([iri_of(names[at]) for at in part.tolist()], "")
            held.versions[part] = 0
        # Once at least: then the child is there. While it takes some, the next are made.
        parts = [stale[start : start + AT_ONCE] for start in range(0, max(1, len(stale)), AT_ONCE)]
        making = asyncio.ensure_future(self._make(held, parts[0], command))
        try:
            for at in range(len(parts)):
                made = await making
                if at + 1 < len(parts):
                    making = asyncio.ensure_future(self._make(held, parts[at + 1], command))
                await held.dataset.put(made.before, made.triples)
                held.versions[made.numbers] = made.versions
                held.models |= made.models
        finally:
            making.cancel()

    async def _make(self, held: _Held, numbers: Int64Array, command: bool) -> _Made:
        """Return what is to be put of some Things, and of models that are not there yet."""
        things = [self._things.roll.at(number) for number in numbers.tolist()]
        descriptions = await self._registrar.of_all(things)
        models = {thing.model: self._things.model(thing) for thing in things}
        new = [model for id_, model in models.items() if id_ not in held.models]

        def made() -> str:
            parts = [model_triples(model) for model in new]
            for thing, own in zip(things, descriptions, strict=True):
                if own is None:
                    parts.append(thing_triples(thing, models[thing.model]))
                else:
                    document = {"title": thing.title, **trimmed(own.document, command=command)}
                    parts.append(described_triples(thing, document))
            return "".join(parts)

        known = held.versions[numbers] > 0
        before = [iri_of(thing.id) for thing, was in zip(things, known.tolist(), strict=True) if was]
        triples = await asyncio.to_thread(made)
        return _Made(numbers, [thing.version for thing in things], before, triples, frozenset(models))
