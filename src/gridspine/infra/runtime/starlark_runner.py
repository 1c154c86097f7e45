"""Runs programs of others in a child process that can be ended: no text of theirs stops or fells the parent.

::

    Runner.load ──► child: compile ──► functions          time over ─┐
    Runner.call ──► child: call ─────► Done | Fault       child died ┴─► Fault, a new child, programs loaded again

Source of the division: the Starlark authors advise a process of its own for programs one does not trust, because
neither memory nor the time of a single built-in can be bounded inside (google/starlark-go issue 606).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from gridspine.infra.runtime.child import end_child, start_child
from gridspine.infra.runtime.frame import frame, receive_frame
from gridspine.infra.runtime.starlark_wire import (
    MAX_FRAME_BYTES,
    MAX_STEPS,
    Calls,
    Fault,
    Load,
    Loaded,
    Reply,
    Result,
)
from gridspine.kernel.errors import Invalid

MEMORY_BYTES = 48 << 20
"""What a call may take on top of the child itself."""
WALL_S = 1.0
MAX_PROGRAMS = 1_000
MAX_ARGUMENT_BYTES = 1 << 20
"""What the arguments of one call may take, as MessagePack."""
_BATCH_BYTES = 4 << 20
_START_S = 20.0
_LOAD_TIMES = 4
"""A program is compiled once, and may take so many times as long as a call."""
log = structlog.get_logger(__name__)


class Runner:
    """Programs by name, in one child; calls wait for each other, in the order they came.

    One call takes at most ``wall_s`` [s of real time: it is a real process that is waited for] and ``memory_bytes``.
    The child is started by the first `load` and again whenever it had to be ended.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES, wall_s: float = WALL_S) -> None:
        self._memory_bytes, self._wall_s = memory_bytes, wall_s
        self._child: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._programs: dict[str, str] = {}
        self._in_child: set[str] = set()
        self._decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
        self.ended = 0
        """How often the child had to be ended or had died."""

    async def load(self, name: str, text: str) -> frozenset[str]:
        """Compile ``text``, to be called as ``name`` from now on; return its functions.

        Raises `Invalid`, with the line where it is known, when the text is no program or too much of one; what
        ``name`` was before is forgotten then.
        """
        async with self._lock:
            self._programs.pop(name, None)
            if len(self._programs) >= MAX_PROGRAMS:
                raise Invalid(f"{MAX_PROGRAMS} programs are loaded already")
            functions = await self._load(name, text)
            self._programs[name] = text
            return functions

    async def forget(self, name: str) -> None:
        """Let go of a program."""
        async with self._lock:
            if self._programs.pop(name, None) is not None and name in self._in_child and self._child is not None:
                self._in_child.discard(name)
                await self._ask(Load(name, ""))

    async def call(self, name: str, function: str, *arguments: Any, max_steps: int = MAX_STEPS) -> Result:
        """Return what ``function`` of program ``name`` makes of ``arguments`` (what JSON can say), or the fault."""
        return (await self.call_many(name, function, [arguments], max_steps=max_steps))[0]

    async def call_many(
        self, name: str, function: str, each: Sequence[Sequence[Any]], *, max_steps: int = MAX_STEPS
    ) -> list[Result]:
        """Call ``function`` once with each of ``each``; the results are in their order. A fault ends only its call."""
        results: list[Result] = []
        packed = [_pack(arguments) for arguments in each]
        async with self._lock:
            while len(results) < len(each):
                following = packed[len(results)]
                if isinstance(following, Fault):
                    results.append(following)
                    continue
                missing = await self._ready(name)
                if missing is not None:
                    results.append(missing)
                    continue
                chosen = _next_batch(packed, len(results))
                crowded = len(self._in_child) > 1
                results += await self._calls(Calls(name, function, chosen, max_steps))
                if crowded and self._child is None and _ran_out(results[-1]):
                    results.pop()  # others' programs may have taken the room: once more, by itself
        return results

    async def aclose(self) -> None:
        """End the child."""
        async with self._lock:
            await self._end()

    # -- the child ----------------------------------------------------------------------------------------------

    async def _ready(self, name: str) -> Fault | None:
        """Have the program in the child, or say why not."""
        if name not in self._programs:
            return Fault("missing", f"there is no program {name}")
        if name not in self._in_child or self._child is None:
            try:
                await self._load(name, self._programs[name])
            except Invalid as problem:
                return Fault("text", problem.detail)
        return None

    async def _load(self, name: str, text: str) -> frozenset[str]:
        crowded = bool(self._in_child - {name})
        self._in_child.discard(name)
        reply = await self._ask(Load(name, text))
        if crowded and _ran_out(reply):
            reply = await self._ask(Load(name, text))
        if isinstance(reply, Fault):
            raise Invalid(f"the text cannot be compiled: {reply.detail}", line=None)
        assert isinstance(reply, Loaded)
        if reply.problem:
            raise Invalid(reply.problem, line=reply.line)
        self._in_child.add(name)
        return frozenset(reply.functions)

    async def _calls(self, calls: Calls) -> list[Result]:
        """Return the results up to and including the first that felled the child."""
        refused = await self._send(calls, self._wall_s * len(calls.arguments))
        if refused is not None:
            return [refused]
        results: list[Result] = []
        while len(results) < len(calls.arguments) and self._child is not None:
            reply = await self._receive(self._wall_s)
            assert not isinstance(reply, Loaded)
            results.append(reply)
        return results

    async def _ask(self, request: Load) -> Reply:
        within_s = _LOAD_TIMES * self._wall_s
        return await self._send(request, within_s) or await self._receive(within_s)

    async def _send(self, request: Load | Calls, within_s: float) -> Fault | None:
        """Hand the child a request; return why it cannot be, and the child is ended."""
        try:
            child = await self._started()
            assert child.stdin is not None
            child.stdin.write(frame(request))
            # The child answers only what it has read whole: it never waits for us to read meanwhile.
            async with asyncio.timeout(within_s):
                await child.stdin.drain()
        except (OSError, TimeoutError):
            await self._end()
            return Fault("memory", "the process that runs programs ended")
        except BaseException:
            await self._end()  # half a request may have gone out
            raise
        return None

    async def _receive(self, within_s: float) -> Reply:
        """Return the child's next answer; a fault when there is none, and the child is ended."""
        child = self._child
        assert child is not None and child.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                return self._decoder.decode(await receive_frame(child.stdout, MAX_FRAME_BYTES))
        except TimeoutError:
            await self._end()
            return Fault("time", f"no answer within {within_s:g} s")
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            await self._end()
            return Fault(
                "memory", f"it took more than {self._memory_bytes >> 20} MiB of memory, or was nested too deep"
            )
        except BaseException:
            await self._end()  # whoever asked has gone: the answer would be taken for the next one's
            raise

    async def _started(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        await self._end()
        module, memory = "gridspine.infra.runtime.starlark_child", str(self._memory_bytes)
        self._child = await start_child(module, memory, MALLOC_ARENA_MAX="1")
        return await self._greeted(self._child)

    async def _greeted(self, child: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
        """Wait until the child has its imports: that time is no call's."""
        assert child.stdin is not None
        child.stdin.write(frame(Load("", "")))
        reply = await self._receive(_START_S)
        if isinstance(reply, Fault):
            raise OSError("the process that runs programs does not start")
        return child

    async def _end(self) -> None:
        child, self._child = self._child, None
        self._in_child.clear()
        self.ended += child is not None
        await end_child(child)


def _ran_out(reply: Reply) -> bool:
    return isinstance(reply, Fault) and reply.kind == "memory"


def _pack(arguments: Sequence[Any]) -> list[msgspec.Raw] | Fault:
    try:
        packed = [msgspec.Raw(msgspec.msgpack.encode(one)) for one in arguments]
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return Fault("arguments", f"arguments must be what JSON can say: {error}")
    if sum(map(len, map(bytes, packed))) > MAX_ARGUMENT_BYTES:
        return Fault("arguments", f"arguments of one call have at most {MAX_ARGUMENT_BYTES} bytes")
    return packed


def _next_batch(packed: Sequence[list[msgspec.Raw] | Fault], start: int) -> list[list[msgspec.Raw]]:
    """Return the arguments from ``start`` on that go in one frame: up to the next that cannot be said."""
    chosen: list[list[msgspec.Raw]] = []
    size = 0
    for arguments in packed[start:]:
        if isinstance(arguments, Fault):
            break
        size += sum(map(len, map(bytes, arguments)))
        if chosen and size > _BATCH_BYTES:
            break
        chosen.append(arguments)
    return chosen
