"""One setting into one device: write, read back, adopt, enable, read back; and out again when it did not stay.

::

    values, timer ─► read back ─► (adopt ─► COMPLETED) ─► timer anew ─► enable ─► read back ─► its timer runs
                        │                     │ FAILED                               │            │ it does not
                        ▼ not kept            ▼                                      ▼            ▼
                      refused               refused                               refused      taken back

The timer is written before anything is enabled, so that nothing is ever in force without it; and once more, with less,
when what came in between took more than a second. It counts from when the device is enabled.
"""

from gridspine.adapters.modbus.control import (
    ADOPTED,
    ADOPTION_FAILED,
    Setting,
    adoption_to_write,
    enable_to_write,
    holds_values,
    timed_anew,
    timer_left_s,
    timer_to_write,
    values_to_write,
    without_curve,
)
from gridspine.adapters.modbus.device import Device
from gridspine.adapters.modbus.mapping import Control
from gridspine.adapters.modbus.view import View
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import Order

_TIMER_LOOKS = 4
_ADOPTION_LOOKS = 20
_PAUSE_S = 0.5


async def apply(device: Device, clock: Clock, setting: Setting, view: View, order: Order) -> None:
    """Have ``device`` hold ``setting``, of ``order``; ``view`` is what it holds now.

    Raises `Invalid` when it refuses, or what was written did not stay, and what the session raises when it is away.
    """
    control = setting.control
    if setting.enable == control.enabled:
        setting = await _prepare(device, clock, setting, view, order)
    await device.write(control.model, enable_to_write(setting, view))
    after = await device.read(control.points())
    if after.raw(control.model, control.enable) != setting.enable:
        raise Invalid("the device did not keep the enable flag that was written")
    if setting.timer_s and not await _timer_runs(device, clock, control, after):
        await _take_back(device, clock, setting, after, order)
        raise Invalid("the device's reversion timer does not run: it would not end the lease by itself")


async def _prepare(device: Device, clock: Clock, setting: Setting, view: View, order: Order) -> Setting:
    """Write all but the enable flag, and return what was written at last."""
    control = setting.control
    await device.write(control.model, values_to_write(setting, view))
    after = await device.read(control.points())
    first = without_curve(setting) if control.result else setting
    if after.raw(control.model, control.reversion_time) != setting.timer_s or not holds_values(first, after):
        if not control.result:
            await _take_back(device, clock, setting, after, order)
        raise Invalid("the device did not keep the value and the reversion timer that were written")
    if control.result:
        await _adopt(device, clock, setting, after)
    late = timed_anew(setting, order.until_us, clock.now_us())
    if late.timer_s != setting.timer_s:
        await device.write(control.model, timer_to_write(late, view))
    return late


async def _adopt(device: Device, clock: Clock, setting: Setting, view: View) -> None:
    """Have the device adopt a curve and wait for its word."""
    control = setting.control
    number, said = setting.raw[control.value], 0.0
    await device.write(control.model, adoption_to_write(setting, view))
    for _ in range(_ADOPTION_LOOKS):
        after = await device.read(control.points())
        said = after.raw(control.model, control.result) or 0
        if said == ADOPTED:
            if after.raw(control.model, control.value) != number:
                raise Invalid(f"the device did not keep the number of the curve that was written ({number:g})")
            return
        if said == ADOPTION_FAILED:
            raise Invalid(f"the device did not adopt stored curve {number:g} ({control.result} FAILED): it cannot "
                          "follow its points or settings")  # fmt: skip
        await clock.sleep(_PAUSE_S)
    raise Invalid(f"the device was not done with adopting curve {number:g} ({control.result} {said:g})")


async def _timer_runs(device: Device, clock: Clock, control: Control, view: View) -> bool:
    """Whether the device shows time left, now or within a moment; one that does not tell is believed."""
    for _ in range(_TIMER_LOOKS):
        if timer_left_s(control, view) != 0:
            return True
        await clock.sleep(_PAUSE_S)
        view = await device.read(control.points())
    return timer_left_s(control, view) != 0


async def _take_back(device: Device, clock: Clock, setting: Setting, view: View, order: Order) -> None:
    """Take out of force what a device would not end by itself: the function, or the curve it adopted."""
    control = setting.control
    if control.result:
        fallback = setting.raw.get(control.reversion_value, order.fallback)
        await _adopt(device, clock, Setting(control, {control.value: fallback}, control.enabled), view)
    elif view.raw(control.model, control.enable) == control.enabled:
        await device.write(control.model, enable_to_write(Setting(control, {}, control.disabled), view))
