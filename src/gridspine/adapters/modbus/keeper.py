"""Carries the orders of one device out: write, read back, renew, end. The device's own timer is the guarantee.

::

    order ──► read ──► held already? ──yes──► acknowledged
                          │ no
                          ▼
              values + timer ──► read back ──► enable ──► read back ──► acknowledged
                          │ exception or another value comes back
                          ▼
                       rejected, and never written again

A device that is away keeps its order waiting until the lease's end. After a device came back, what it holds is
compared with the lease; it is written to only when they differ.
"""

import logging
from typing import Literal

import msgspec

from gridspine.adapters.modbus.applying import apply
from gridspine.adapters.modbus.control import Setting, choose_control, holds, in_force, to_setting
from gridspine.adapters.modbus.device import Device
from gridspine.adapters.modbus.mapping import Control
from gridspine.adapters.modbus.view import View
from gridspine.adapters.modbus.waiting import Waiting
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.things.adapter import AdapterContext, Order

_LOG = logging.getLogger(__name__)


class Record(msgspec.Struct, frozen=True):
    """What the private store keeps of the last order for a point: enough never to repeat a refused write."""

    sequence: int
    state: Literal["acknowledged", "rejected", "done"]
    until_us: int
    reason: str = ""


class Keeper:
    """The leases of one device."""

    def __init__(self, context: AdapterContext, device: Device) -> None:
        self._context = context
        self._device = device
        self._waiting = Waiting(context.clock)
        self._records: dict[str, Record] = {}

    def submit(self, order: Order) -> None:
        """Take an order; one with a lower sequence than the last for its point is ignored."""
        self._waiting.submit(order)

    def due_us(self) -> int | None:
        """Return when [µs since 1970] something must be done next, or None."""
        return self._waiting.due_us(self._device.epoch)

    async def attend(self) -> bool:
        """Do what is due and return whether the device was written to or an order came to its end.

        Raises what the session raises when the device is away; the order then waits.
        """
        acted = False
        for order in self._waiting:
            if self._waiting.is_due(order, self._device.epoch):
                acted |= await self._attend(order)
        return acted

    async def give_up_expired(self, reason: str) -> None:
        """Fail the orders whose time has passed while the device was away; ``reason`` says why it is."""
        for order in self._waiting:
            record = await self._record(order.point)
            deadline_us = max(order.until_us, record.until_us if record and order.value is None else 0)
            waits = record is None or record.sequence < order.sequence
            if waits and self._context.clock.now_us() >= deadline_us:
                detail = f"the device was away until the end of the lease: {reason}"
                await self._context.progress(order.command, "failed", detail, sequence=order.sequence)
                await self._keep(order, "done", detail)
                self._waiting.drop(order)

    async def _attend(self, order: Order) -> bool:
        record = await self._record(order.point)
        if record and record.sequence > order.sequence:
            self._waiting.drop(order)
            return False
        if record and record.sequence == order.sequence and record.state in {"rejected", "done"}:
            if record.state == "rejected":
                await self._context.progress(order.command, "rejected", record.reason, sequence=order.sequence)
            self._waiting.drop(order)
            return False
        try:
            return await self._carry_out(order, record)
        except Invalid as refusal:
            await self._keep(order, "rejected", refusal.detail)
            await self._context.progress(order.command, "rejected", refusal.detail, sequence=order.sequence)
            self._waiting.drop(order)
            return True

    async def _carry_out(self, order: Order, record: Record | None) -> bool:
        controls = self._controls(order.point)
        refs = [ref for control in controls for ref in control.points()]
        local = self._device.mapping.local
        view = await self._device.read((*refs, *local))
        self._device.check_remote(view)
        # Taken after the read, which may have identified the device anew.
        epoch, now_us = self._device.epoch, self._context.clock.now_us()
        control = choose_control(controls, view)
        setting = to_setting(control, view, order, self._device.mapping.device_class, now_us)
        known = record is not None and record.sequence == order.sequence
        if order.value is not None and order.until_us <= now_us:
            return await self._end(order, setting, view, known=known)
        written = self._waiting.renews(order) or not holds(setting, view, timer_known=known)
        if written:
            await self._context.progress(order.command, "sent", sequence=order.sequence)
            await self._apply(setting, view, order)
        if not known:
            await self._context.progress(order.command, "acknowledged", sequence=order.sequence)
            await self._keep(order, "acknowledged")
        self._settle(order, setting, epoch, now_us)
        return written or not known

    def _controls(self, point: str) -> tuple[Control, ...]:
        wanted = self._device.mapping.properties.get(point)
        if wanted is None or not wanted.controls:
            raise Invalid(f"{point} cannot be commanded on this device")
        return wanted.controls

    def _settle(self, order: Order, setting: Setting, epoch: int, now_us: int) -> None:
        if order.value is None:
            self._waiting.drop(order)
        else:
            self._waiting.settle(order, epoch, now_us + setting.timer_s * US // 2 if setting.capped else None)

    async def _apply(self, setting: Setting, view: View, order: Order) -> None:
        await apply(self._device, self._context.clock, setting, view, order)

    async def _end(self, order: Order, setting: Setting, view: View, *, known: bool) -> bool:
        """After the lease's end: the device has fallen back by itself; where it still holds on, it is told to."""
        if not known:
            detail = "its time had passed before the device was reached"
            await self._context.progress(order.command, "failed", detail, sequence=order.sequence)
        control = setting.control
        leased = to_setting(control, view, order, self._device.mapping.device_class, order.until_us - 1)
        value = leased.raw[control.value]
        held_on = (
            view.raw(control.model, control.enable) == control.enabled
            and view.raw(control.model, control.value) == value
            and setting.raw.get(control.value) != value
        )
        if control.result:  # what was asked for last may still stand there; what counts is what is in force
            shown = in_force(control, view, self._device.mapping.device_class)
            held_on = held_on and shown is not None and shown.value == value
        if held_on:
            _LOG.warning("%s did not fall back at the end of a lease and is told to", order.thing)
            await self._apply(setting, view, order)
        await self._keep(order, "done")
        self._waiting.drop(order)
        return True

    def _key(self, point: str) -> str:
        return f"order/{self._device.binding.thing}/{point}"

    async def _record(self, point: str) -> Record | None:
        if point not in self._records:
            stored = await self._context.store.get(self._key(point))
            if stored is None:
                return None
            self._records[point] = msgspec.json.decode(stored, type=Record)
        return self._records[point]

    async def _keep(self, order: Order, state: Literal["acknowledged", "rejected", "done"], reason: str = "") -> None:
        record = Record(order.sequence, state, order.until_us, reason)
        await self._context.store.put(self._key(order.point), msgspec.json.encode(record))
        self._records[order.point] = record
