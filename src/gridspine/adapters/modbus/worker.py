"""The life of one device: orders first, then actions, then the poll when it is due; back-off while it is away."""

import asyncio
import logging
from collections import deque
from typing import Any, Protocol

from gridspine.adapters.modbus.address import Address
from gridspine.adapters.modbus.session import Backoff
from gridspine.kernel.errors import GridspineError, Invalid, Overloaded, Unavailable
from gridspine.kernel.readings import NamedReadings
from gridspine.kernel.time import US
from gridspine.things.adapter import ActionRequest, AdapterContext, Binding, Order, ReadRequest, RequestEnd

_LOG = logging.getLogger(__name__)
_MAX_REQUESTS = 16


class Polled(Protocol):
    """A device that is read."""

    binding: Binding
    address: Address

    async def poll(self) -> NamedReadings:
        """Read every point; raise `Unavailable` when it is away."""
        ...

    def forget(self) -> None:
        """Take note that it is away."""
        ...


class Keeping(Protocol):
    """Whoever carries out the orders of one device."""

    def submit(self, order: Order) -> None:
        """Take an order."""
        ...

    def due_us(self) -> int | None:
        """Return when [µs since 1970] something must be done next, or None."""
        ...

    async def attend(self) -> bool:
        """Do what is due; return whether the device is to be read again; raise `Unavailable` when it is away."""
        ...

    async def give_up_expired(self, reason: str) -> None:
        """Fail the orders whose time has passed while the device was away."""
        ...


class Asking(Protocol):
    """Whoever carries out the actions of one device."""

    async def carry_out(self, request: ActionRequest) -> Any:
        """Return the output of an action; raise `Invalid` when it is refused, `Unavailable` when the device is away."""
        ...


class Worker:
    """Polls one device, keeps its leases and carries out its actions, in one task, so that none cross on the wire."""

    def __init__(
        self, context: AdapterContext, device: Polled, keeper: Keeping, asking: Asking, *, max_backoff_s: float
    ) -> None:
        self._context = context
        self._device = device
        self._keeper = keeper
        self._woken = False
        self._pause: asyncio.Task[None] | None = None
        self._interval_us = round(device.address.interval_s * US)
        self._next_poll_us = context.clock.monotonic_us()
        self._backoff = Backoff(context.clock, min(1.0, device.address.interval_s), max_backoff_s)
        self._away = False
        self._asked: list[ReadRequest] = []
        self._asking = asking
        self._requests: deque[ActionRequest] = deque()

    def request(self, request: ActionRequest) -> None:
        """Carry out an action as soon as the wire is free, and tell what came of it."""
        if len(self._requests) >= _MAX_REQUESTS:
            words = f"{_MAX_REQUESTS} requests wait for this device: ask again"
            self._context.request_ended(request.id, "refused", None, words)
            return
        self._requests.append(request)
        self._wake()

    def read(self, request: ReadRequest) -> None:
        """Poll the device as soon as the wire is free, and tell when that is done."""
        self._asked.append(request)
        self._wake()

    def submit(self, order: Order) -> None:
        """Take an order and carry it out as soon as the wire is free."""
        self._keeper.submit(order)
        self._wake()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            self._woken = False
            await self._wait(await self._round_s())

    async def _round_s(self) -> float:
        """Do what is due; return how long to wait [s] for the next round."""
        try:
            if await self._keeper.attend():
                self._next_poll_us = self._context.clock.monotonic_us()
            while self._requests:
                await self._carry_out(self._requests.popleft())
            if self._asked or self._context.clock.monotonic_us() >= self._next_poll_us:
                await self._poll()
        except Unavailable as problem:
            return await self._failed_s(problem)
        if self._away:
            _LOG.info("%s answers again", self._device.binding.thing)
        self._away = False
        self._backoff.succeeded()
        return self._until_due_s()

    async def _carry_out(self, request: ActionRequest) -> None:
        if self._context.clock.now_us() >= request.until_us:
            return  # nobody waits for it any more
        state: RequestEnd = "failed"
        output, reason = None, "the device's connection ends; whether it was done, nobody knows"
        try:
            output = await self._asking.carry_out(request)
            state, reason = "done", ""
            self._next_poll_us = self._context.clock.monotonic_us()
        except Invalid as refusal:
            state, reason = "refused", refusal.detail
        except Unavailable as problem:
            reason = f"{problem.detail}; whether it was done, nobody knows"
            raise
        finally:
            self._context.request_ended(request.id, state, output, reason)
            _LOG.info("asked: thing=%s action=%s %s %s", request.thing, request.action, state, reason)

    async def _failed_s(self, problem: Unavailable) -> float:
        if not self._away:
            _LOG.warning("%s does not answer: %s", self._device.binding.thing, problem.detail)
        self._away = True
        self._device.forget()
        self._answer(self._take_asked(), problem.detail)
        while self._requests:
            waiting = self._requests.popleft()
            self._context.request_ended(waiting.id, "failed", None, f"{problem.detail}; nothing was sent")
        await self._keeper.give_up_expired(problem.detail)
        self._next_poll_us = self._context.clock.monotonic_us()
        return self._backoff.failed_s()

    async def _poll(self) -> None:
        asked = self._take_asked()
        try:
            self._answer(asked, await self._take())
        except Unavailable as problem:
            self._answer(asked, problem.detail)
            raise

    async def _take(self) -> str:
        """Read the device and hand in what it says; return why it was not taken, or ""."""
        now_us = self._context.clock.monotonic_us()
        self._next_poll_us = max(self._next_poll_us + self._interval_us, now_us)
        readings = await self._device.poll()
        if not readings.received:
            return ""
        try:
            await self._context.intake(readings, self._context.source_of(self._device.binding.thing))
        except GridspineError as refusal:
            # The device was acknowledged nothing and still has its values: the next poll brings newer ones.
            _LOG.warning("readings of %s were not taken: %s", self._device.binding.thing, refusal.detail)
            pause_us = (refusal.retry_after_s if isinstance(refusal, Overloaded) else 5) * US
            self._next_poll_us = max(self._next_poll_us, now_us + pause_us)
            return refusal.detail
        return ""

    def _take_asked(self) -> list[ReadRequest]:
        asked, self._asked = self._asked, []
        return asked

    def _answer(self, asked: list[ReadRequest], problem: str) -> None:
        for request in asked:
            self._context.read_ended(request.id, problem)

    def _until_due_s(self) -> float:
        pause_us = self._next_poll_us - self._context.clock.monotonic_us()
        order_us = self._keeper.due_us()
        if order_us is not None:
            pause_us = min(pause_us, order_us - self._context.clock.now_us())
        return max(0, pause_us) / US

    def _wake(self) -> None:
        self._woken = True
        if self._pause is not None:
            self._pause.cancel()

    async def _wait(self, pause_s: float) -> None:
        if self._woken:
            pause_s = 0.0
        self._pause = asyncio.create_task(self._context.clock.sleep(pause_s))
        try:
            await asyncio.wait((self._pause,))
        finally:
            self._pause.cancel()
            self._pause = None
