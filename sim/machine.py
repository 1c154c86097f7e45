"""The machine the node runs on: its disk, its starts and its ends, whether anyone asked for them or not."""

import functools
import random
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from gridspine.apps.api.app import create_app
from gridspine.apps.node.node import Node, compose
from gridspine.infra.identity import user
from gridspine.infra.log.port import Position, Record
from gridspine.infra.runtime.clock import Steps
from gridspine.infra.runtime.settings import Adapters, Archive, Commands, Http, Log, Settings
from gridspine.kernel.time import US
from sim.clock import SimClock
from sim.device import NAME, Field
from sim.disk import shim
from sim.disk.image import KILL, Cut, Disk
from sim.disk.trace import Trace
from sim.engines import Appended, engines
from sim.loop import SimLoop

ORGANISATION = "northside"
LARGE_W = 3000.0
"""What one person may ask for within ten minutes without a second one [W]."""
SETTINGS = Settings(
    organisation="Northside", demo=True, http=Http(port=8600), archive=Archive(enabled=False),
    log=Log(reserve_bytes=256 << 10, segment_bytes=96 << 10), adapters=Adapters(allow=[NAME]),
    commands=Commands(approval_above_w=LARGE_W),
)  # fmt: skip
START_S = 60.0
"""A start that takes longer [virtual s] has hung."""
LAST_REQUESTS_S = 5.0
"""How long requests may take to end when a node stops [s]."""


class _Of:
    """Stands for what is found anew each time: the node of now, or a part of it."""

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What it stands for, to those who check types."""
        return type(self._find())


class Stage:
    """The HTTP application, made once for all nodes of this process: to make it is the better part of a start."""

    def __init__(self) -> None:
        self.node: Node | None = None
        self._app: Any = None

    def app(self, node: Node) -> Callable[..., Awaitable[None]]:
        """Return the application of ``node``; that of the node before is dead."""
        self.node = node
        if self._app is None:
            standing: Any = _Of(lambda: self.node)
            standing.identity = _Of(lambda: self.node.identity)  # type: ignore[union-attr]
            self._app = create_app(standing)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self._app(scope, receive, send)

        return app


STAGE = Stage()


class Machine:
    """A disk, and at most one node on it. ``trace`` is where this process's writes below ``base`` are noted.

    Every crash leaves another folder ``disk-<n>``: what a dead node still does, it does to the old one.
    """

    def __init__(self, base: Path, trace: Trace, seed: int, field: Field, appended: Appended) -> None:
        self.base, self.trace, self.seed, self.field = base, trace, seed, field
        self.now_s, self.wall_us, self.starts = 0.0, 0, 0
        self.slow = False
        self._unknown_us = 0
        self._looks_back_s: float | None = None
        """Since when a node starts that looks back at a clock that was put back [s]."""
        self._wrote: dict[str, tuple[float, int]] = {}
        """Topic → when its last record was written [s], and how far the wall clock was off [µs]."""
        self.loop: SimLoop | None = None
        self.node: Node | None = None
        self.clock: SimClock | None = None
        self.app: Any = None
        self.failure: Exception | None = None
        """The first thing that a check found."""
        self._appended = appended
        self._dice = random.Random(f"{seed} disk")
        self._cuts = random.Random(f"{seed} cut")
        self._crashes = 0
        self.disk = Disk(self.folder)

    @property
    def folder(self) -> Path:
        """The disk of now."""
        return self.base / f"disk-{self._crashes}"

    @property
    def data(self) -> Path:
        """The data directory of now."""
        return self.folder / "data"

    @property
    def unknown_us(self) -> int:
        """How much later leases may end than the clock says [µs]: what passed from a node's last record, after which
        the clock was put back, until its next has started; and steps too small to be noticed."""
        if self._looks_back_s is None or self.loop is None:
            return self._unknown_us
        return self._unknown_us + round((self.loop.time() - self._looks_back_s) * US)

    def load(self, template: Path | None) -> None:
        """Begin with what ``template`` holds; None: with an empty disk."""
        with shim.paused():
            self.folder.mkdir(parents=True)
            if template is not None:
                shutil.copytree(template, self.data)
        self.disk.adopt(self.folder)
        self.trace.clear()

    def pause(self) -> float:
        """Return how late the next piece of disk work is [s]."""
        dice = self._dice
        return dice.uniform(0.005, 1.5) if self.slow and dice.random() < 0.5 else dice.uniform(0.0001, 0.004)

    def boot(self) -> None:
        """Start a node on what the disk holds; raise what its start raises."""
        assert self.loop is None
        self.starts += 1
        self._look_back()
        loop = self.loop = SimLoop(self.now_s, self.pause)
        self.clock = SimClock(loop, random.Random(f"{self.seed} start {self.starts}"), self.wall_us)
        starting = loop.create_task(self._start(loop, self.clock))
        starting.add_done_callback(lambda _: loop.stop())
        loop.run_to(self.now_s + START_S)
        self.now_s = loop.time()
        self._unknown_us, self._looks_back_s = self.unknown_us, None
        if not starting.done():
            raise TimeoutError("the node does not start")
        if starting.exception() is not None:
            self._break(KILL)  # what it had opened is closed when its process ends
        self.node = starting.result()
        self.app = STAGE.app(self.node)

    async def _start(self, loop: SimLoop, clock: SimClock) -> Node:
        def appended(records: Sequence[Record], positions: Sequence[Position]) -> None:
            if self.loop is not loop:
                return  # what a dead node still does promises nothing
            self._wrote |= {record.topic: (loop.time(), self.wall_us) for record in records}
            try:
                self._appended(records, positions)
            except Exception as error:  # the node must not take it for its own
                self.fail(error)

        parts = engines(loop, appended, {NAME: self.field.adapter})
        # What a password costs is not what is tested here, and half of a start.
        with mock.patch.object(user, "Cost", functools.partial(user.Cost, n=16, p=1)):
            return await compose(SETTINGS, self.data, clock, organisation=ORGANISATION, engines=parts)

    def _look_back(self) -> None:
        when_s, wall_us = self._wrote.get("commands", (0.0, self.wall_us))
        if self.wall_us < wall_us:
            later_s, later_us = self._wrote.get("readings", (0.0, 0))
            if later_s * US + later_us >= when_s * US + wall_us:
                when_s = max(when_s, later_s)
            self._looks_back_s = when_s

    def run_for(self, seconds: float) -> None:
        """Let time pass, whether a node runs or not; raise what a check found meanwhile."""
        if self.loop is not None:
            self.loop.run_for(seconds)
            self.now_s = self.loop.time()
        else:
            self.now_s += seconds
        self.raise_failure()

    def time(self) -> float:
        """Return the true time [s]."""
        return self.now_s if self.loop is None else self.loop.time()

    def fail(self, error: Exception) -> None:
        """Take note of what a check found while the node ran."""
        if self.failure is None:
            self.failure = error

    def raise_failure(self) -> None:
        """Raise what a check found."""
        if self.failure is not None:
            raise self.failure

    def step_wall(self, seconds: float) -> None:
        """Put the wall clock forward or back."""
        self.wall_us += round(seconds * US)
        if -Steps.LEAST_US <= seconds * US < 0:
            self._unknown_us -= round(seconds * US)
        if self.clock is not None:
            self.clock.wall_us = self.wall_us

    def stop(self) -> None:
        """Stop the node as its operator would: streams end, requests may finish, then its parts close."""
        assert self.loop is not None and self.node is not None
        node, loop = self.node, self.loop
        node.gate.end_all_streams("node-stopping")
        loop.run_for(LAST_REQUESTS_S)
        self.app = None
        loop.run_until_complete(node.stop())
        self.now_s = loop.time()
        self.node, self.clock, self.loop = None, None, None
        loop.end()
        self.take_notes()

    def kill(self) -> None:
        """End the process at once; the operating system goes on."""
        self._break(KILL)

    def cut_power(self) -> int:
        """End everything at once; return how many changes were not synced."""
        self.take_notes()
        unsynced = self.disk.unsynced
        self._break(Cut(self._cuts, self._cuts.choice((0.0, 0.1, 0.5, 0.9))))
        return unsynced

    def close(self) -> None:
        """End without looking at anything: the run is over."""
        shim.set_room(-1)
        with shim.paused():
            self._bury()
            shim.forget()
            shutil.rmtree(self.base, ignore_errors=True)

    def take_notes(self) -> None:
        """Take up what was written since."""
        for note in self.trace.read():
            self.disk.take(note)
        self.trace.clear()

    def _break(self, cut: Cut) -> None:
        self.take_notes()
        room = shim.room_left()
        shim.set_room(-1)
        with shim.paused():
            old, disk = self.folder, self.disk
            self._crashes += 1
            disk.write(self.folder, cut)
            self._bury()
            shutil.rmtree(old, ignore_errors=True)
            shim.forget()
            self.disk = Disk(self.folder)
            self.disk.adopt(self.folder)
        shim.set_room(room)

    def _bury(self) -> None:
        """Close what a dead node left open."""
        loop, node = self.loop, self.node
        self.loop, self.node, self.clock, self.app = None, None, None, None
        if node is not None:
            for close in (node.ledger.close, node.registry.close, node.log.close, node.directory_lock.close):
                close()
        if loop is not None:
            self.now_s = loop.time()
            loop.end()
