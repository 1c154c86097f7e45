"""All servers that are followed: one follower for each Thing that says so, as Things come, change and go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from gridspine.infra.runtime.tasks import heed_cancellation
from gridspine.infra.runtime.workers import Workers
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import AdapterContext, Binding
from gridspine.things.share import TIMES

MOST = 100
"""Servers that are followed at once; an organisation may have `gridspine.things.share.TIMES` times what is left."""
_AGAIN_S = 10.0
_LOG = logging.getLogger(__name__)


class Follower(Protocol):
    """Follows one server for one Thing."""

    async def run(self) -> None:
        """Follow it until cancelled."""
        ...

    def read_soon(self) -> None:
        """Ask it at once."""
        ...

    async def close(self) -> None:
        """Let go of what it holds; it is run no more."""
        ...


F = TypeVar("F", bound=Follower)


class Followers(Generic[F]):
    """The followers of an adapter. Lives on the event loop; `run` does the work."""

    def __init__(
        self, context: AdapterContext, follows: Callable[[Binding], bool], make: Callable[[Binding], Awaitable[F]]
    ) -> None:
        """Have ``make`` make the follower of each binding that ``follows``; it raises `Invalid` where there is none."""
        self._context, self._follows, self._make = context, follows, make
        self._workers = Workers[Binding, F]()

    async def run(self) -> None:
        """Follow what Things say, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._sync(group)
                    await self._context.bindings_changed()
        finally:
            self._workers.clear()

    def read_soon(self, thing: str) -> bool:
        """Whether a Thing follows a server; that is asked at once then."""
        one = self._workers.get(thing)
        if one is not None:
            one.read_soon()
        return one is not None

    def __iter__(self) -> Iterator[F]:
        return iter(self._workers)

    async def _sync(self, group: asyncio.TaskGroup) -> None:
        wanted = {one.thing: one for one in self._context.bindings() if self._follows(one)}
        await self._workers.keep(wanted)  # two of one Thing would publish twice
        for thing, binding in wanted.items():
            if thing in self._workers:
                continue
            if not self._is_room(binding, wanted):
                _LOG.warning("%s follows no server: %d are followed of at most %d", thing, len(self._workers), MOST)
                continue
            try:
                follower = await self._make(binding)
            except Invalid as error:
                _LOG.warning("%s follows no server: connection: %s", thing, error.detail)
                continue
            self._workers.begin(group, thing, binding, follower, self._follow(thing, follower), f"follower {thing}")

    def _is_room(self, binding: Binding, wanted: Mapping[str, Binding]) -> bool:
        held = sum(one.organisation == binding.organisation for key, one in wanted.items() if key in self._workers)
        return held < min(MOST, TIMES * (MOST - len(self._workers)))

    async def _follow(self, thing: str, follower: F) -> None:
        try:
            while True:
                try:
                    await follower.run()
                except Exception as error:  # what one server says never ends the others
                    heed_cancellation(error)
                    _LOG.exception("%s could not follow its server; it begins anew", thing)
                    await self._context.clock.sleep(_AGAIN_S)
        finally:
            await follower.close()
