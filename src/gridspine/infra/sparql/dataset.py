"""`Dataset`: triples in a child process of their own, and queries over them with hard limits."""

import asyncio
from collections.abc import Sequence

import msgspec

from gridspine.infra.runtime.child import end_child, start_child
from gridspine.infra.runtime.frame import frame, receive_frame
from gridspine.infra.sparql.guard import check
from gridspine.infra.sparql.wire import MAX_FRAME_BYTES, Answer, Ask, Put, Refused, Reply, Request, Taken
from gridspine.kernel.errors import GridspineError, Invalid, NotAcceptable, TooLarge, Unavailable

MEMORY_BYTES = 2 << 30
WALL_S, PUT_S = 2.0, 30.0
MAX_ANSWER_BYTES = 16 << 20
_KINDS: dict[str, type[GridspineError]] = {
    "invalid": Invalid, "not-acceptable": NotAcceptable, "too-large": TooLarge, "unavailable": Unavailable,
}  # fmt: skip


class Lost(Exception):
    """The child is gone, and the triples with it."""


class Dataset:
    """One child, for one life: once it is ended every call raises `Lost`. Calls wait for each other."""

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES, wall_s: float = WALL_S) -> None:
        self._memory_bytes, self._wall_s = memory_bytes, wall_s
        self._child: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self.over = False
        """Whether the child was ended: what it held is gone."""
        self._decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

    async def put(self, subjects: Sequence[str], triples: str) -> None:
        """Replace all that is said of ``subjects`` by N-Triples. Raises `Lost`."""
        reply = await self._send(Put(list(subjects), triples.encode()), PUT_S)
        if not isinstance(reply, Taken):
            raise Lost

    async def ask(self, query: str, accept: Sequence[str], prefixes: dict[str, str]) -> Answer:
        """Answer one query; raise `Invalid`, `NotAcceptable`, `TooLarge`, and `Lost` when it cost the child."""
        check(query)
        reply = await self._send(Ask(query, list(accept), prefixes, MAX_ANSWER_BYTES), self._wall_s)
        if isinstance(reply, Refused):
            raise _KINDS[reply.kind](reply.detail)
        assert isinstance(reply, Answer)
        return reply

    async def close(self) -> None:
        """End the child."""
        async with self._lock:
            await self._end()

    async def _send(self, request: Request, within_s: float) -> Reply:
        async with self._lock:
            child = await self._started()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                async with asyncio.timeout(within_s):  # a real process is waited for
                    child.stdin.write(frame(request))
                    await child.stdin.drain()
                    return self._decoder.decode(await receive_frame(child.stdout, MAX_FRAME_BYTES))
            except (TimeoutError, asyncio.IncompleteReadError, OSError, msgspec.MsgspecError) as error:
                await self._end()
                raise Lost from error
            except BaseException:
                await self._end()  # whoever asked has gone: the answer would be taken for the next one's
                raise

    async def _started(self) -> asyncio.subprocess.Process:
        if self.over:
            raise Lost
        if self._child is None:
            self._child = await start_child("gridspine.infra.sparql.child", str(self._memory_bytes))
        return self._child

    async def _end(self) -> None:
        child, self._child, self.over = self._child, None, True
        await end_child(child)
