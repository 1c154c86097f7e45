"""The end of a node that was told to stop.

::

    signal ─► not ready ─► streams told why ─► no new connections ─► requests answered ─► adapters
           ─► checkpoints ─► writer's queue ─► twins' snapshot ─► outbox ─► files closed
    second signal, or `PATIENCE_S` ─► connections cut, the rest as above ─► `LAST_S` ─► the process ends as it is

Whenever it ends, what was acknowledged is durable: the order only spares the next start, and those who ask, some work.
"""

import asyncio
import os
import sys
from typing import Protocol

import structlog

PATIENCE_S, LAST_S = 30.0, 10.0
"""How long a stop may take, and how long what is left of it may take once it is hurried [s]."""
EXIT_LATE = 1
log = structlog.get_logger(__name__)


class Stoppable(Protocol):
    """A node with its servers."""

    async def stop(self) -> None:
        """Stop in good order."""
        ...

    def hurry(self) -> None:
        """Cut what keeps `stop` waiting."""
        ...


async def drain(running: Stoppable, hurry: asyncio.Event) -> None:
    """Stop ``running``; sooner once ``hurry`` is set, and in any case by the end of the times above."""
    stopping = asyncio.ensure_future(running.stop())
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({stopping, hurried}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        log.warning("stopping takes long, or was asked for again: open connections are cut")
        running.hurry()
        await asyncio.wait({stopping}, timeout=LAST_S)
    hurried.cancel()
    if not stopping.done():
        log.error("the node does not come to an end by itself: it ends as it is; what was acknowledged is kept")
        sys.stderr.flush()
        os._exit(EXIT_LATE)
    await stopping
