"""Ensembles at work: gathered on a worker thread, saved, and followed while somebody listens.

::

    commit ─► points that moved ─┐  every second: those Things ─┐
    time, models, places ────────┴► every half minute: all ─────┴► in or out? ─ held long enough ─► joined, left

While nobody follows an ensemble it costs nothing.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from gridspine.apps.node.commands import Commands
from gridspine.apps.node.saved_ensembles import SavedEnsembles
from gridspine.energy.criteria import Capability, Criteria
from gridspine.energy.ensemble import Ensemble, Gathered, Gatherer
from gridspine.energy.plant import places
from gridspine.energy.spread import batch_of
from gridspine.infra.registry.port import Registry
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.tasks import Supervisor
from gridspine.kernel.errors import Overloaded
from gridspine.kernel.readings import BoolArray, Channel, Int32Array, Int64Array
from gridspine.kernel.time import US
from gridspine.things.books import Committed
from gridspine.things.column import Column
from gridspine.things.directory import Directory
from gridspine.things.point import PointTable
from gridspine.things.share import Shares
from gridspine.things.standing import Standings
from gridspine.things.twin import TwinState

LOOK_S, FULL_S = 1.0, 30.0
MAX_FOLLOWED = 100
MAX_AT_ONCE = 2
"""Ensembles gathered at the same time."""
MAX_WAITING = 200
"""Changes that wait for one follower; a slower one is let go."""
TOLD = 1_000
"""Things named in one change."""
_MOVED = 500_000
_NOBODY: Int64Array = np.zeros(0, np.int64)


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """Who joined and who left a followed ensemble; ``count`` members are in it when all changes are told.

    ``sums`` come with the first change and whenever everything was looked at again.
    """

    joined: list[str]
    left: list[str]
    count: int
    sums: dict[str, float] | None = None


class Follower:
    """Somebody who listens to the changes of one ensemble."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.over = ""
        self._waiting: deque[Change] = deque()

    def put(self, change: Change) -> None:
        """Let a change wait; with too many of them the follower is let go."""
        if len(self._waiting) >= MAX_WAITING:
            self.end("behind")
        elif not self.over:
            self._waiting.append(change)
            self.wake.set()

    def end(self, reason: str) -> None:
        """Let no more come."""
        self.over = self.over or reason
        self.wake.set()

    def changes(self) -> list[Change]:
        """Return what waits."""
        found = list(self._waiting)
        self._waiting.clear()
        return found


class _Live:
    """A followed ensemble: who is in it (a flag for each Thing), and since when somebody is to come or go."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.inside: BoolArray = np.zeros(0, np.bool_)
        self.pending: dict[int, int] = {}
        self.sums: dict[str, float] | None = None
        self.followers: list[Follower] = []
        self.seen = -1
        self.full_us = -(1 << 62)


class Ensembles:
    """All ensembles of a node. Lives on the event loop; gathering is done on worker threads."""

    def __init__(
        self, registry: Registry, clock: Clock, things: Directory, points: PointTable, twins: TwinState,
        standings: Standings, seen_us: Column, commands: Commands,
    ) -> None:  # fmt: skip
        self._clock, self._things, self._points = clock, things, points
        self._commands = commands
        self.saved = SavedEnsembles(registry, things, points, clock)
        self._gatherer = Gatherer(points, things.roll, twins, standings, seen_us)
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._live: dict[str, _Live] = {}
        self._shares = Shares(MAX_FOLLOWED, lambda organisation: organisation)
        self._moved: list[Int32Array] = []
        self._moved_count = 0

    def start(self, supervisor: Supervisor) -> None:
        """Let what is followed be looked at."""
        supervisor.start("ensembles", self.work)

    async def gather(
        self, criteria: Criteria, numbers: Int64Array, relaxed: BoolArray | None = None, *, ensemble: str = ""
    ) -> Gathered:
        """Return which of the Things ``numbers`` belong to an ensemble; raise `Invalid`, `Overloaded`.

        Ensembles are no members of any. What a saved ``ensemble`` itself has told its members does not count as
        commanded already.
        """
        criteria.check()
        now_us = self._clock.now_us()
        committed, emulated = _NOBODY, _NOBODY
        if criteria.can is not None:
            committed, emulated = self._committed(criteria.can, now_us, ensemble), self._emulated()
        if self._places.locked() and relaxed is None:
            raise Overloaded("other ensembles are being gathered: try again")
        ensembles = self.saved.numbers()

        def work() -> Gathered:
            others = np.ones(len(numbers), np.bool_)
            others[places(numbers, ensembles)] = False
            easy = None if relaxed is None else relaxed[others]
            return self._gatherer.gather(
                criteria, numbers[others], now_us, relaxed=easy, committed=committed, emulated=emulated
            )

        async with self._places:
            return await asyncio.to_thread(work)

    async def list(self, organisation: str) -> Sequence[Ensemble]:
        """Return the saved ensembles of an organisation."""
        return self.saved.list(organisation)

    async def get(self, id: str, organisation: str) -> Ensemble:
        """Return a saved ensemble of an organisation; raise `NotFound`."""
        return self.saved.get(id, organisation)

    async def remove(self, ensemble: Ensemble, by: str) -> None:
        """Forget a saved ensemble; who follows it is told so."""
        await self.saved.remove(ensemble, by)
        self.end(ensemble.id)

    def end(self, ensemble: str) -> None:
        """Let go who follows an ensemble that is no more."""
        live = self._live.pop(ensemble, None)
        self._shares.leave(ensemble)
        for follower in live.followers if live is not None else ():
            follower.end("removed")

    def follow(self, ensemble: Ensemble) -> Follower:
        """Return a follower, to be let go by `leave`; raise `Overloaded`. The first change names all members."""
        live = self._live.get(ensemble.id)
        if live is None:
            self._shares.check(ensemble.organisation, "ensembles that may be followed")
            self._shares.enter(ensemble.id, ensemble.organisation)
            live = self._live[ensemble.id] = _Live(ensemble)
        follower = Follower()
        if live.sums is not None:
            self._tell([follower], live, np.flatnonzero(live.inside), _NOBODY)
        live.followers.append(follower)
        return follower

    def leave(self, ensemble: Ensemble, follower: Follower) -> None:
        """Let a follower go."""
        live = self._live.get(ensemble.id)
        if live is not None and follower in live.followers:
            live.followers.remove(follower)
            if not live.followers:
                del self._live[ensemble.id]
                self._shares.leave(ensemble.id)

    def on_committed(self, committed: Committed) -> None:
        """Note which points moved: live reported ones, and only while somebody follows an ensemble."""
        accepted = committed.screened.accepted
        if self._live and len(accepted) and not accepted.backfill and accepted.channel == Channel.REPORTED:
            if self._moved_count < _MOVED:
                self._moved.append(accepted.point)
            self._moved_count += len(accepted)

    async def work(self) -> None:
        """Look at what is followed, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Look once at everything that is followed."""
        moved, many, self._moved, self._moved_count = self._moved, self._moved_count >= _MOVED, [], 0
        if not self._live:
            return
        things = np.unique(self._points.things_of(np.unique(np.concatenate(moved)))) if moved else _NOBODY
        for live in list(self._live.values()):
            await self._look_at(live, things, many)

    async def _look_at(self, live: _Live, moved: Int64Array, many: bool) -> None:
        now_us, changes = self._clock.monotonic_us(), self._things.changes
        own = self._points.owned(live.ensemble.organisation)
        whole = many or live.seen != changes or now_us - live.full_us >= FULL_S * US or live.sums is None
        first = live.sums is None
        if len(live.inside) < self._points.thing_count:
            live.inside = np.append(live.inside, np.zeros(self._points.thing_count - len(live.inside), np.bool_))
        due = np.array(sorted(live.pending), np.int64)
        numbers = own if whole else np.intersect1d(np.union1d(moved, due), own, assume_unique=True)
        if not len(numbers) and not whole:
            return
        found = await self.gather(live.ensemble.criteria, numbers, live.inside[numbers], ensemble=live.ensemble.id)
        is_in = np.zeros(len(live.inside), np.bool_)
        is_in[found.members] = True
        looked = np.union1d(numbers, np.flatnonzero(live.inside)) if whole else numbers
        joined, left = self._decided(live, looked, is_in[looked], now_us, first)
        live.inside[joined], live.inside[left] = True, False
        if whole:
            live.seen, live.full_us = changes, now_us
            live.sums = {**found.sums(), "count": int(live.inside.sum())}
        if len(joined) or len(left) or whole:
            self._tell(live.followers, live, joined, left, sums=whole)

    def _decided(
        self, live: _Live, looked: Int64Array, is_in: BoolArray, now_us: int, first: bool
    ) -> tuple[Int64Array, Int64Array]:
        """Return who joins and who leaves now: it held for long enough."""
        turned = looked[is_in != live.inside[looked]]
        if not first and live.ensemble.hold_s > 0:
            for number in looked[is_in == live.inside[looked]].tolist() if live.pending else ():
                live.pending.pop(number, None)
            hold_us, ready = round(live.ensemble.hold_s * US), []
            for number in turned.tolist():
                if now_us - live.pending.setdefault(number, now_us) >= hold_us:
                    ready.append(number)
                    del live.pending[number]
            turned = np.array(ready, np.int64)
        was = live.inside[turned]
        return turned[~was], turned[was]

    def _tell(
        self, followers: Sequence[Follower], live: _Live, joined: Int64Array, left: Int64Array, *, sums: bool = True
    ) -> None:
        names, count = self._points.things(), int(live.inside.sum())
        come, gone = joined.tolist(), left.tolist()
        told = live.sums if sums else None
        while True:
            some, come = come[:TOLD], come[TOLD:]
            others, gone = gone[: TOLD - len(some)], gone[TOLD - len(some) :]
            change = Change([names[at] for at in some], [names[at] for at in others], count, told)
            for follower in followers:
                follower.put(change)
            if not come and not gone:
                return
            told = None

    def _committed(self, can: Capability, now_us: int, ensemble: str) -> Int64Array:
        """Return the Things that have a command in force, or to come, while they would be needed.

        Those of an order that ``ensemble`` spread are not among them.
        """
        start_us, end_us = can.interval_us(now_us)
        own = batch_of(ensemble) if ensemble else "\0"
        names = {
            one.lease.thing for one in self._commands.commander.commands()
            if not one.final and one.lease.from_us < end_us and one.lease.until_us > start_us
            and not one.batch.startswith(own)
        }  # fmt: skip
        return self._numbers(names)

    def _emulated(self) -> Int64Array:
        return self._numbers({one.thing for one in self._commands.forms if one.form == "emulator"})

    def _numbers(self, names: set[str]) -> Int64Array:
        return np.array(sorted(self._points.thing_number(name) for name in names), np.int64)
