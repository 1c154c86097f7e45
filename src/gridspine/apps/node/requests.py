"""Requests: actions of a Thing that its adapter carries out, once, and answers; no leases.

::

    invoked ─► policy (at the API) ─► may it be asked now? ─► ledger: asked ─► adapter ─► device
                                          │ no: 409                                       │ done, refused, failed
                                          ▼                                 ledger: how it ended ◄┘ or its time is over

Who asked, for what, and how it ended is in the ledger, unless it is safe (it changes nothing of the Thing); inputs
and outputs are not: they may hold secrets. A request that the node does not live to see the end of was asked in the
ledger, and never ended: it is not made a second time.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from gridspine.apps.node.commands import Commands
from gridspine.infra.log.port import Record
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.log.writer import LogWriter, append
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.infra.runtime.takers import Takers
from gridspine.infra.runtime.trace import Trace
from gridspine.kernel.errors import Conflict, GridspineError, Overloaded, Unavailable
from gridspine.kernel.time import US
from gridspine.things.action import ActionModel
from gridspine.things.action_input import check_input
from gridspine.things.adapter import ActionRequest, RequestEnd
from gridspine.things.directory import Directory

MAX_WAITING = 1_000
"""Requests under way at most, over all adapters."""
MAX_WAITING_EACH = 16
"""Requests under way at most for one Thing."""
MAX_OUTPUT_BYTES = 32_768
_MAX_WORDS = 500
_End = tuple[RequestEnd, Any, str]


class Requests:
    """Requests to adapters, from whoever may make them; lives on the event loop."""

    def __init__(self, directory: Directory, commands: Commands, writer: LogWriter, clock: Clock, trace: Trace) -> None:
        self._directory, self._commands, self._writer = directory, commands, writer
        self._clock, self._trace = clock, trace
        self._takers: Takers[ActionRequest] = Takers(MAX_WAITING)
        self._ends: dict[str, tuple[str, asyncio.Future[_End]]] = {}
        """By request, the adapter that was asked, and the end that is waited for."""
        self._each: Counter[str] = Counter()

    def served(self, adapter: str) -> bool:
        """Whether ``adapter`` runs and carries out actions."""
        return self._takers.runs(adapter)

    def waits(self, id: str) -> bool:
        """Whether somebody still waits for the end of request ``id``."""
        return id in self._ends

    async def requests(self, adapter: str) -> AsyncIterator[ActionRequest]:
        """Yield requests for Things of ``adapter``; what nobody waits for any more is left out."""
        async for request in self._takers.taken(adapter):
            if request.id in self._ends:
                yield request

    def ended(self, id: str, state: RequestEnd = "done", output: Any = None, reason: str = "", *, by: str = "") -> None:
        """Note how request ``id`` ended; the first word counts. Only the adapter that was asked may say it (``by``)."""
        asked, end = self._ends.get(id, ("", None))
        if end is None or end.done() or by not in {"", asked}:
            return
        try:
            if len(msgspec.json.encode(output)) > MAX_OUTPUT_BYTES:
                state, output, reason = "failed", None, f"what it answered has more than {MAX_OUTPUT_BYTES} bytes"
        except (TypeError, ValueError, msgspec.MsgspecError):
            state, output, reason = "failed", None, "what it answered is no JSON"
        end.set_result((state, output, reason[:_MAX_WORDS]))

    async def ask(self, thing: str, action: ActionModel, given: Any, principal: str) -> Any:
        """Have ``action`` carried out and return its output.

        Raises `Invalid` for an input that does not fit the model's schema; `Conflict` when it may not be asked now, or
        was refused, with the reason; `Unavailable` when it failed or nobody answered in time; `Overloaded` when too
        many wait.
        """
        check_input(action, given)
        self._check(thing, action)
        id_ = new_id(self._clock)
        self._each[thing] += 1
        end: asyncio.Future[_End] = asyncio.get_running_loop().create_future()
        self._ends[id_] = self._directory.get(thing).adapter, end
        try:
            state, output, reason = await self._noted(id_, thing, action, given, principal, end)
        finally:
            del self._ends[id_]
            self._each[thing] -= 1
            if not self._each[thing]:
                del self._each[thing]
        if state == "refused":
            raise Conflict(reason or "it was refused")
        if state == "failed":
            raise Unavailable(reason or "it failed")
        return output

    async def _noted(
        self, id_: str, thing: str, action: ActionModel, given: Any, principal: str, end: "asyncio.Future[_End]"
    ) -> _End:
        """Have it carried out, and note in the ledger that it was asked and how it ended; not of what is safe."""
        if action.safe:
            return await self._answer(id_, thing, action, given, end)

        async def note(state: str, reason: str = "") -> None:
            await self._note(id_, state, thing, action.name, principal, reason)

        await note("requested")
        try:
            found = await self._answer(id_, thing, action, given, end)
        except asyncio.CancelledError:
            await asyncio.shield(note("failed", "it was given up before it was answered"))
            raise
        except GridspineError as error:
            await note("failed", error.detail)
            raise
        await note(found[0], found[2])
        return found

    def _check(self, thing: str, action: ActionModel) -> None:
        """Raise where nothing may be asked of a Thing now; what is safe may always be."""
        refused = "" if action.safe else self._refuses(thing)
        if self._commands.forms.of(thing) == "emulator":
            refused = "its twin is emulated: no wire is told anything"
        if refused:
            raise Conflict(refused)
        adapter = self._directory.get(thing).adapter
        if not self._takers.runs(adapter):
            raise Conflict(f"its adapter ({adapter or 'none'}) carries out no actions, or does not run")
        if len(self._ends) >= MAX_WAITING or self._each[thing] >= MAX_WAITING_EACH:
            raise Overloaded("too many actions are under way: wait for some to end")

    def _refuses(self, thing: str) -> str:
        """Return why nothing may be asked of ``thing``, as for a set-point; a tag on one point of it is enough."""
        commander = self._commands.commander
        stopped, local = commander.stopped, commander.local(thing)
        if stopped is not None:
            return f"all-stop by {stopped.principal}: {stopped.reason}"
        if local is not None:
            return f"in local control since {local.principal} took it: {local.reason}"
        for tag in commander.tags(thing, self._clock.now_us()):
            return f"blocked by a tag of {tag.principal}: {tag.reason}"
        return self._commands.gate(thing, False)

    async def _answer(self, id_: str, thing: str, action: ActionModel, given: Any, end: "asyncio.Future[_End]") -> _End:
        until_us = self._clock.now_us() + round(action.limit_s * US)
        request = ActionRequest(id_, thing, action.name, given, until_us, self._trace.traceparent())
        if not self._takers.put(self._directory.get(thing).adapter, request):
            raise Overloaded("its adapter takes nothing more now: ask again later")
        timer = asyncio.ensure_future(self._clock.sleep(action.limit_s))
        timer.add_done_callback(
            lambda done: None if done.cancelled() else self.ended(
                id_, "failed", None, f"not answered within {action.limit_s:g} s: whether it was done, nobody knows"
            )
        )  # fmt: skip
        try:
            return await end
        finally:
            timer.cancel()

    async def _note(self, id_: str, state: str, thing: str, action: str, principal: str, reason: str) -> None:
        """Put a step into the ledger; it counts once it is durable."""
        now_us = self._clock.now_us()
        event = Event(f"{id_}:{state}", f"action.{state}", now_us, thing, principal, {"action": action, "id": id_,
                      "reason": reason})  # fmt: skip
        await append(self._writer, [Record(LEDGER, thing.encode(), msgspec.json.encode(event), now_us)], "actions")
