"""Search by JSONPath: an index narrows, then each candidate is asked, in turns that leave others theirs.

::

    query ─► conditions ─┬─ of parts that models say ──► asked once a model ─┐
                         └─ title, id, own descriptions ─► index ────────────┴─► candidates ─► documents ─► thread: ask
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import TooLarge
from gridspine.kernel.readings import BoolArray, Int64Array
from gridspine.things.directory import Directory, Thing
from gridspine.things.point import PointTable
from gridspine.things.registrar import Registrar
from gridspine.things.search_index import SearchIndex
from gridspine.things.share import Shares

BUDGET_US = 120_000
"""How long one page is searched for before it is handed out [µs]."""
AT_WORK, MAX_WAITING = 2, 32
"""Searches that are at work together, and how many may wait for their turn or be at work."""
AT_ONCE = 100
MAX_BYTES = 8 << 20
"""What a page may hold."""
MAX_MODELS = 2_000
_READ_AT_ONCE, _READ_AHEAD = 2_000, 20_000
OF_THINGS = frozenset(
    {"id", "title", "base", "version", "created", "modified", "registration", "gs:organisation", "geo:lat", "geo:long",
     "links", "forms", "security", "securityDefinitions", "actions"}
)  # fmt: skip
"""Members in which the descriptions of Things of one model differ; all others follow from the model."""
Documents = Callable[[Sequence[Thing]], Awaitable[list[dict[str, Any]]]]


class Page(NamedTuple):
    """What was found; ``after`` is the Thing to go on after, "" when all were asked; ``asked`` is how many were."""

    found: list[msgspec.Raw]
    after: str
    asked: int
    candidates: int


class Search:
    """Searches the Things of callers. Lives on the event loop."""

    def __init__(self, things: Directory, points: PointTable, registrar: Registrar, clock: Clock) -> None:
        self._things, self._points, self._registrar, self._clock = things, points, registrar, clock
        self._index = SearchIndex()
        self._reading = asyncio.Lock()
        self._places = asyncio.Semaphore(AT_WORK)
        self._asking = Shares(MAX_WAITING, lambda organisation: organisation)

    async def by_jsonpath(
        self, text: str, numbers: Int64Array, documents: Documents, after: str, limit: int, *, organisation: str = ""
    ) -> Page:
        """Ask the Things ``numbers``, ascending, after ``after`` until ``limit`` [results] or the time is reached.

        ``documents`` makes their descriptions; ``organisation`` is whose search it is. Raises `Invalid` for a bad
        query, `TooLarge` for one too costly, `Overloaded`.
        """
        from gridspine.things.jsonpath import Asked  # heavy, and most nodes are never asked

        self._asking.check(organisation, "searches at a time")
        place = self._asking.place(organisation)
        try:
            async with self._places:
                return await self._page(await asyncio.to_thread(Asked, text), numbers, documents, after, limit)
        finally:
            self._asking.leave(place)

    async def _page(self, asked: Any, numbers: Int64Array, documents: Documents, after: str, limit: int) -> Page:
        until_us = self._clock.monotonic_us() + BUDGET_US
        if asked.conjuncts and len(numbers):
            numbers = await self._narrowed(asked, numbers, documents)
        candidates = len(numbers)
        if after:
            numbers = numbers[numbers > self._points.thing_number(after)]
        found: list[msgspec.Raw] = []
        done, last, size, room = 0, "", 8, MAX_BYTES
        while done < len(numbers) and len(found) < limit:
            things = [self._things.roll.at(number) for number in numbers[done : done + size].tolist()]
            results = await asyncio.to_thread(self._ask, asked, await documents(things), until_us)
            for thing, some in zip(things, results, strict=False):
                room -= sum(map(len, map(bytes, some)))
                if room < 0 and not found:
                    raise TooLarge(f"one description alone gives more than {MAX_BYTES >> 20} MiB", reason="bytes")
                if room < 0 or len(found) >= limit:
                    return Page(found, last, done, candidates)
                found += some
                done, last = done + 1, thing.id
            if self._clock.monotonic_us() >= until_us:
                break
            size = AT_ONCE
        return Page(found, last if done < len(numbers) else "", done, candidates)

    async def _narrowed(self, asked: Any, numbers: Int64Array, documents: Documents) -> Int64Array:
        await self.read(_READ_AHEAD)
        index, size = self._index, int(numbers[-1]) + 1
        by_model, sure = index.by_model(numbers), index.sure(numbers)
        keep: BoolArray = np.ones(len(numbers), np.bool_)
        for conjunct in asked.conjuncts:
            term = conjunct.term
            if term is not None and term.path == ("id",) and not term.exists:
                keep &= numbers == (self._points.thing_number(term.value) if isinstance(term.value, str) else -1)
                continue
            known = term is not None and index.knows(term.path)
            having = index.having(term.path, term.value, term.exists, size)[numbers] if known else None
            if having is not None:
                keep &= having | ~sure | by_model
                if term.path == ("title",) and not term.exists:
                    keep &= having | ~by_model
            if conjunct.heads and not conjunct.heads & OF_THINGS:
                keep &= ~by_model | await self._models_that(asked, conjunct, numbers, by_model, documents)
        return numbers[keep]

    async def _models_that(
        self, asked: Any, conjunct: Any, numbers: Int64Array, by_model: BoolArray, documents: Documents
    ) -> BoolArray:
        """Return of which Things a condition holds that only looks at what models say: one Thing stands for a model."""
        row = self._points.block().model[numbers]
        first = np.full(int(row.max()) + 1, -1, np.int64)
        at = np.flatnonzero(by_model)[::-1]
        first[row[at]] = numbers[at]
        rows = np.flatnonzero(first >= 0)
        if len(rows) > MAX_MODELS:
            return np.ones(len(numbers), np.bool_)
        made = await documents([self._things.roll.at(number) for number in first[rows].tolist()])
        holds = await asyncio.to_thread(lambda: [asked.holds(conjunct, document) for document in made])
        fits = np.zeros(len(first), np.bool_)
        fits[rows[np.array(holds, np.bool_)]] = True
        found: BoolArray = fits[row]
        return found

    def _ask(self, asked: Any, documents: Sequence[dict[str, Any]], until_us: int) -> list[list[msgspec.Raw]]:
        """Ask descriptions one by one, one at least, until the time is over; results are JSON already."""
        results: list[list[msgspec.Raw]] = []
        for document in documents:
            results.append([msgspec.Raw(msgspec.json.encode(one)) for one in asked.ask(document)])
            if self._clock.monotonic_us() >= until_us:
                break
        return results

    async def read(self, most: int) -> int:
        """Read Things that are new or changed into the index, ``most`` at most; return how many are left."""
        async with self._reading:
            stale = self._index.stale(self._things.roll.versions())
            for start in range(0, min(len(stale), most), _READ_AT_ONCE):
                part = stale[start : min(start + _READ_AT_ONCE, most)].tolist()
                versions = self._things.roll.versions()[part].tolist()
                titles = self._things.roll.titles(part)
                described = [self._things.roll.at(number) for number, (_, own) in zip(part, titles, strict=True) if own]
                own = iter(await self._registrar.of_all(described))
                heads = []
                for title, has in titles:
                    description = next(own) if has else None
                    heads.append((title, None if description is None else description.document))
                await asyncio.to_thread(self._index.put, part, versions, heads)
            return max(0, len(stale) - most)
