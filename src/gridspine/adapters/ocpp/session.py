"""One connection of a charge point: calls in either direction, one outstanding in each.

::

    charge point                     session                         desk
      │ CALL 7 ────────────────────►   │ waits its turn ───────────────► answers (durable first)
      │ ◄──────────────────── RESULT 7 │ ◄───────────────────────────────┤
      │ ◄──────────────────────── CALL │ ◄── call() ── one at a time ────┤
      │ RESULT ────────────────────►   │ in time, or it is late: counted and ignored

What cannot be kept is not answered: the connection is closed (1013), and the charge point sends it again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.frames import CloseCode

from gridspine.adapters.ocpp.counters import Counters
from gridspine.adapters.ocpp.schema import Schemas
from gridspine.adapters.ocpp.settings import Settings
from gridspine.adapters.ocpp.websocket import Closed, WebSocket
from gridspine.adapters.ocpp.wire import (
    Call,
    Code,
    Malformed,
    Refusal,
    Result,
    decode,
    encode_call,
    encode_refusal,
    encode_result,
    spelled,
)
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.infra.runtime.waiting import first_to_end, within
from gridspine.kernel.errors import Forbidden, GridspineError, Invalid, Overloaded

log = logging.getLogger(__name__)

_WAITING = 16
"""Calls of a charge point that wait their turn; with more nothing is read of it. It should have one."""
Answer = Callable[[Call], Awaitable[dict[str, Any]]]


class Unanswered(Exception):
    """A call was not answered in time; whether it was heard, nobody knows."""


class CallRefused(Exception):
    """A call was refused with an OCPP error ``code``."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}"[:300])
        self.code = code


class TurnedAway(Exception):
    """What the charge point sent cannot be kept now: it is to come again after ``wait_s`` [s]."""

    def __init__(self, reason: str, wait_s: float) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Session:
    """A connection from its handshake to its end."""

    def __init__(
        self, socket: WebSocket, schemas: Schemas, answer: Answer, settings: Settings, clock: Clock, counters: Counters
    ) -> None:
        self.schemas = schemas
        self.counters = counters
        self._socket = socket
        self._answer = answer
        self._settings = settings
        self._clock = clock
        self._calls: asyncio.Queue[Call] = asyncio.Queue(_WAITING)
        self._turn = asyncio.Lock()
        self._pending: tuple[str, str, asyncio.Future[dict[str, Any]]] | None = None

    async def run(self) -> None:
        """Serve until the connection ends, by `Closed`; raises `TurnedAway` for what could not be kept."""
        try:
            await first_to_end(self._read(), self._work(), self._watch())
        finally:
            if self._pending is not None and not self._pending[2].done():
                self._pending[2].set_exception(Closed("the connection ended before the answer came"))
                self._pending[2].exception()  # asked for: nobody may be waiting any more

    async def end(self, code: CloseCode, reason: str) -> None:
        """Close the connection; `run` returns soon after."""
        await self._socket.close(code, reason)
        self._socket.abort()

    async def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Call the charge point when its turn has come, and return the payload of its answer.

        Raises `Unanswered`, `CallRefused` (also for an answer that its schema does not allow), `Closed`.
        """
        self.schemas.check(action, "request", payload)
        async with self._turn:
            id_ = new_id(self._clock)
            future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._pending = id_, action, future
            try:
                await self._send(encode_call(Call(id_, action, payload)))
                self.counters.add("calls_out")
                return await within(self._clock, self._settings.call_timeout_s, future)
            except TimeoutError as error:
                self.counters.add("unanswered")
                raise Unanswered(f"{action}: no answer within {self._settings.call_timeout_s:g} s") from error
            finally:
                self._pending = None

    # -- charge point → node -----------------------------------------------------------------------------------

    async def _read(self) -> None:
        version = self.schemas.version
        while True:
            data = await self._socket.receive()
            try:
                frame = decode(data, version)
            except Malformed as fault:
                await self._refuse(fault)
                continue
            if isinstance(frame, Call):
                await self._calls.put(frame)
            else:
                await self._settle(frame)

    async def _settle(self, frame: Result | Refusal) -> None:
        """Hand an answer to whoever called; one that nobody waits for is late, or never was asked for."""
        if self._pending is None or self._pending[0] != frame.id or self._pending[2].done():
            self.counters.add("late_or_unknown_answers")
            return
        _, action, future = self._pending
        if isinstance(frame, Refusal):
            future.set_exception(CallRefused(frame.code, frame.description))
            return
        try:
            self.schemas.check(action, "response", frame.payload, frame.id)
        except Malformed as fault:
            self.counters.add("bad_answers")
            future.set_exception(CallRefused(spelled(fault.code, self.schemas.version), fault.description))
            if self.schemas.version == "2.1":
                code = spelled(fault.code, "2.1")
                await self._send(encode_refusal(Refusal(frame.id, code, fault.description, {}, of_result=True)))
            return
        future.set_result(frame.payload)

    async def _work(self) -> None:
        while True:
            call = await self._calls.get()
            try:
                await self._send(encode_result(Result(call.id, await self._answered(call))), call)
            except Malformed as fault:
                await self._refuse(Malformed(fault.code, fault.description, "" if call.send else call.id))

    async def _answered(self, call: Call) -> dict[str, Any]:
        """Return the answer to a call, which its schema allows; raise `Malformed` or `TurnedAway`."""
        self.counters.add("calls_in")
        if call.action not in self.schemas.actions:
            raise Malformed(Code.NOT_IMPLEMENTED, f"{call.action[:50]} is no action of OCPP {self.schemas.version}")
        self.schemas.check(call.action, "request", call.payload, call.id)
        try:
            answer = await self._answer(call)
        except (Malformed, Closed):
            raise
        except Forbidden as error:
            raise Malformed(Code.SECURITY, error.detail) from error
        except Invalid as error:
            raise Malformed(Code.PROPERTY, error.detail) from error
        except GridspineError as error:  # no fault of the charge point's: a refusal would have it give up what it sent
            wait_s = float(error.retry_after_s) if isinstance(error, Overloaded) else 0.0
            raise TurnedAway(error.detail, max(wait_s, self._settings.hold_off_s)) from error
        except OverflowError as error:  # JSON has longer integers than anything is kept in
            raise Malformed(Code.PROPERTY, "a number is beyond what one can be") from error
        except Exception as error:
            log.exception("%s could not be answered", call.action)
            raise Malformed(Code.INTERNAL, "the node could not process it; its log says why") from error
        try:
            if not call.send:
                self.schemas.check(call.action, "response", answer)
        except Malformed as fault:
            log.error("%s: our own answer breaks its schema: %s", call.action, fault.description)
            raise Malformed(Code.INTERNAL, "the node's own answer is no good; its log says why") from fault
        return answer

    async def _refuse(self, fault: Malformed) -> None:
        self.counters.add("refused" if fault.id else "ignored")
        if fault.id:
            code = spelled(fault.code, self.schemas.version)
            await self._send(encode_refusal(Refusal(fault.id, code, fault.description, {})))

    async def _send(self, data: bytes, to: Call | None = None) -> None:
        if to is None or not to.send:
            await self._socket.send(data)

    async def _watch(self) -> None:
        """Ask for signs of life, for ever; end a connection that gives none, or that reads nothing."""
        patience = max(1, round(self._settings.idle_timeout_s / self._settings.ping_s))
        heard, silent = -1, 0
        while True:
            heard, silent = (self._socket.heard, 0) if heard != self._socket.heard else (heard, silent + 1)
            if silent >= patience:
                self._socket.abort()
                raise Closed(f"silent for {self._settings.idle_timeout_s:g} s")
            try:
                await within(self._clock, self._settings.ping_s, self._socket.ping())
            except TimeoutError:
                self._socket.abort()
                raise Closed("the charge point does not read") from None
            await self._clock.sleep(self._settings.ping_s)
