"""Carries out the orders of a device of no standard: write, read back, and see to it that a lease ends.

::

    order ─► noted ─► (timer) ─► value ─► read back ─► acknowledged ─► lease over ─► fallback, where it is not yet
                           │ refused, or another value comes back
                           ▼
                        rejected: what was written is taken back, and it is never written again

Who ends a lease: the device by its own ``timer`` register where the description names one; else whoever runs this
adapter, node or edge, because the model calls its states safe to keep. With neither nothing is written at all. What was
begun is noted before the first write: whoever starts again knows what may be in force.
"""

import logging
import math
from typing import Literal

import msgspec

from gridspine.adapters.modbus.plain_device import PlainDevice
from gridspine.adapters.modbus.register import Served, bounds, decode, encode
from gridspine.adapters.modbus.waiting import Waiting
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Order

_LOG = logging.getLogger(__name__)
State = Literal["begun", "acknowledged", "rejected", "done"]


class Note(msgspec.Struct, frozen=True):
    """What the private store keeps of the last order for a point; ``holding``: what was ordered may be in force."""

    sequence: int
    state: State
    until_us: int
    reason: str = ""
    holding: bool = False


class PlainKeeper:
    """The leases of one device."""

    def __init__(self, context: AdapterContext, device: PlainDevice) -> None:
        self._context = context
        self._device = device
        self._waiting = Waiting(context.clock)
        self._notes: dict[str, Note] = {}
        self._failed: dict[str, int] = {}

    def submit(self, order: Order) -> None:
        """Take an order; one with a lower sequence than the last for its point is ignored."""
        self._waiting.submit(order)

    def due_us(self) -> int | None:
        """Return when [µs since 1970] something must be done next, or None."""
        return self._waiting.due_us(self._device.epoch)

    async def attend(self) -> bool:
        """Do what is due and return whether the device was written to; raise what the session raises."""
        acted = False
        for order in self._waiting:
            if self._waiting.is_due(order, self._device.epoch):
                acted |= await self._attend(order)
        return acted

    async def give_up_expired(self, reason: str) -> None:
        """Fail the orders whose time passed while the device was away, unless they may be in force there."""
        for order in self._waiting:
            note = await self._note(order.point)
            untouched = note is None or note.sequence < order.sequence
            if untouched and order.value is not None and self._context.clock.now_us() >= order.until_us:
                detail = f"the device was away until the end of the lease: {reason}"
                await self._fail(order, detail)
                if note is None or not note.holding:
                    await self._keep(order, "done", detail)
                    self._waiting.drop(order)

    async def _attend(self, order: Order) -> bool:
        note = await self._note(order.point)
        if note and (note.sequence > order.sequence or (note.sequence == order.sequence and note.state == "done")):
            self._waiting.drop(order)
            return False
        if note and note.sequence == order.sequence and note.state == "rejected":
            await self._context.progress(order.command, "rejected", note.reason, sequence=order.sequence)
            self._waiting.drop(order)
            return False
        served = self._device.served(order.point)
        try:
            if served is None or served.write is None:
                raise Invalid(f"{order.point} cannot be commanded: its description names no register to write")
            if served.timer is None and not served.held:
                raise Invalid("nobody would end the lease: its model leaves that to the device, and its description "
                              "names no timer (gs:timer)")  # fmt: skip
            if order.value is None or order.until_us <= self._context.clock.now_us():
                return await self._end(order, served, note)
            return await self._carry_out(order, served, note)
        except Invalid as refusal:
            if order.value is None:
                _LOG.warning("%s could not be brought to its fallback: %s", order.thing, refusal.detail)
            note = await self._note(order.point)
            await self._keep(order, "rejected", refusal.detail, holding=note is not None and note.holding)
            await self._context.progress(order.command, "rejected", refusal.detail, sequence=order.sequence)
            self._waiting.drop(order)
            return True

    async def _carry_out(self, order: Order, served: Served, note: Note | None) -> bool:
        assert served.write is not None and order.value is not None
        epoch, known = self._device.epoch, note is not None and note.sequence == order.sequence
        encode(served.write, order.value)  # what cannot be held is refused before anything is noted or written
        acknowledged = known and note is not None and note.state == "acknowledged"
        renewing = self._waiting.renews(order)
        # A timer that cannot be read is set anew: to set one that runs only gives it the same end again.
        holds = served.timer is None and await self._shows(served, order.value)
        if not acknowledged or renewing or not holds:
            if not known:
                await self._keep(order, "begun", holding=True)
            if not acknowledged:
                await self._context.progress(order.command, "sent", sequence=order.sequence)
            await self._apply(order, served, write_value=not holds)
        if not acknowledged:
            await self._keep(order, "acknowledged", holding=True)
            await self._context.progress(order.command, "acknowledged", sequence=order.sequence)
        self._waiting.settle(order, epoch, self._renew_us(order, served))
        return True

    def _renew_us(self, order: Order, served: Served) -> int | None:
        """Return when [µs since 1970] a timer that is too short for the lease is set anew, or None."""
        now_us = self._context.clock.now_us()
        if served.timer is None or (order.until_us - now_us) / US <= _most_s(served):
            return None
        return now_us + round(_most_s(served) * US / 2)

    async def _apply(self, order: Order, served: Served, *, write_value: bool) -> None:
        """Write the timer, then the value, and look. Raises `Invalid` when the device did not keep it."""
        assert served.write is not None and order.value is not None
        if served.timer is not None:
            left_s = max(1, math.ceil((order.until_us - self._context.clock.now_us()) / US))
            await self._device.write(served.timer, float(min(left_s, _most_s(served))))
        if not write_value:
            return
        await self._device.write(served.write, order.value)
        if not await self._shows(served, order.value, unread=True):
            await self._device.write(served.write, order.fallback)
            await self._keep(order, "begun")
            raise Invalid("the device did not keep the value that was written")

    async def _shows(self, served: Served, value: float, *, unread: bool = False) -> bool:
        """Whether the register holds ``value`` as nearly as it can; ``unread`` where it cannot be read."""
        assert served.write is not None
        found = await self._device.holds(served.write)
        return unread if found is None else found == decode(served.write, encode(served.write, value))

    async def _end(self, order: Order, served: Served, note: Note | None) -> bool:
        """Bring the device to the fallback where it is not there; one that never got the order is left alone."""
        assert served.write is not None
        if order.value is not None and (note is None or note.sequence < order.sequence):
            await self._fail(order, "its time had passed before the device was reached")
        written = False
        if note is not None and note.holding and not await self._shows(served, order.fallback):
            if order.value is not None and served.timer is not None:
                _LOG.warning("%s did not fall back at the end of a lease and is told to", order.thing)
            if order.value is None:
                await self._context.progress(order.command, "sent", sequence=order.sequence)
            await self._device.write(served.write, order.fallback)
            written = True
        if order.value is None:
            await self._context.progress(order.command, "acknowledged", sequence=order.sequence)
        await self._keep(order, "done")
        self._waiting.drop(order)
        return written

    async def _fail(self, order: Order, detail: str) -> None:
        if self._failed.get(order.point) != order.sequence:
            self._failed[order.point] = order.sequence
            await self._context.progress(order.command, "failed", detail, sequence=order.sequence)

    def _key(self, point: str) -> str:
        return f"order/{self._device.binding.thing}/{point}"

    async def _note(self, point: str) -> Note | None:
        if point not in self._notes:
            stored = await self._context.store.get(self._key(point))
            if stored is None:
                return None
            try:
                self._notes[point] = msgspec.json.decode(stored, type=Note)
            except msgspec.MsgspecError:
                return None  # it served another kind of device before
        return self._notes[point]

    async def _keep(self, order: Order, state: State, reason: str = "", *, holding: bool = False) -> None:
        note = Note(order.sequence, state, order.until_us, reason, holding)
        await self._context.store.put(self._key(order.point), msgspec.json.encode(note))
        self._notes[order.point] = note


def _most_s(served: Served) -> int:
    """Return the longest time [s] the device's timer can be set to."""
    assert served.timer is not None
    return max(1, math.floor(bounds(served.timer)[1] * abs(served.timer.factor)))
