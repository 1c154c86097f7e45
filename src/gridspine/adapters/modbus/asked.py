"""What a SunSpec device is asked besides orders: to show, store and adopt curves, to start and stop, to reset alarms.

None of it ends by itself; who may command a Thing for a time may not ask it, but who manages it may (`maintain`).
Source: SunSpec model definitions 705 to 712, 715 and 802 as ``pysunspec2`` carries them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gridspine.adapters.modbus.control import ADOPTED, ADOPTION_FAILED
from gridspine.adapters.modbus.curve import Curve, Function, Sets, function_of, head_points, read_input, result_words
from gridspine.adapters.modbus.device import Device
from gridspine.adapters.modbus.mapping import PointRef
from gridspine.adapters.modbus.plan import Span, plan_reads
from gridspine.adapters.modbus.wire import Words, encode_number, unscaled
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import ActionRequest

_DER_CONTROL, _BATTERY = 715, 802
_OPERATIONS = {"stop": 0, "start": 1, "enterStandby": 2, "exitStandby": 3}
_BATTERY_OPERATIONS = {"connect": 1, "disconnect": 2}
_LOOKS, _PAUSE_S = 20, 0.5


class NoActions:
    """A device of no standard: it is asked nothing."""

    async def carry_out(self, request: ActionRequest) -> Any:
        """Raise `Invalid`."""
        raise Invalid(f"{request.action[:60]}: a device of no standard has registers, and no actions")


class Asked:
    """Carries out the actions of one device."""

    def __init__(self, device: Device, clock: Clock) -> None:
        self._device, self._clock = device, clock
        self._actions: Mapping[str, Callable[[Any], Awaitable[Any]]] = {
            "readCurve": self._read_curve, "writeCurve": self._write_curve, "adoptCurve": self._adopt_curve,
            "resetAlarms": self._reset_alarms, "operate": self._operate, "operateBattery": self._operate_battery,
            "setReserve": self._set_reserve,
        }  # fmt: skip

    async def carry_out(self, request: ActionRequest) -> Any:
        """Return the output of an action. Raises `Invalid` for what is refused, and what the session raises."""
        action = self._actions.get(request.action)
        if action is None:
            raise Invalid(f"the Modbus adapter has no action {request.action[:60]}")
        return await action(request.input or {})

    async def _read_curve(self, given: Any) -> Any:
        curve = read_input(given)
        sets, words = await self._sets(function_of(curve), curve)
        return _shown(sets.decode(curve, words))

    async def _write_curve(self, given: Any) -> Any:
        curve = read_input(given)
        if not curve.points and not curve.settings:
            raise Invalid("points, settings: one of them is needed")
        function = function_of(curve)
        sets, words = await self._sets(function, curve)
        wanted = sets.encode(curve, words)
        await self._device.write_offsets(function.model, wanted)
        sets, after = await self._sets(function, curve)
        kept = all(after.get(at + n) == word for at, value in wanted.items() for n, word in enumerate(value))
        if not kept:
            raise Invalid("the device did not keep all of the curve that was written")
        return _shown(sets.decode(curve, after))

    async def _adopt_curve(self, given: Any) -> Any:
        name, number = str(given.get("function")), given.get("curve")
        if not name.endswith("Trip"):
            raise Invalid(f"{name[:40]} is adopted for a time, by a command to its property")
        curve = Curve(name, number, "MustTrip")
        function = function_of(curve)
        request, result = PointRef(function.model, function.request), PointRef(function.model, function.result)
        view = await self._device.read((request, result, PointRef(function.model, function.count)))
        count = view.raw(function.model, function.count) or 0
        if not isinstance(number, int) or not 2 <= number <= count:
            raise Invalid(f"curve: the device stores {count:g} of {name}; 2 and more can be adopted")
        await self._put(function.model, {function.request: number})
        said: float | None = None
        for _ in range(_LOOKS):
            said = (await self._device.read((request, result))).raw(function.model, function.result)
            if said in {ADOPTED, ADOPTION_FAILED}:
                break
            await self._clock.sleep(_PAUSE_S)
        if said != ADOPTED:
            raise Invalid(f"the device did not adopt {name} {number}: {function.result} says {result_words(said)}")
        await self._put(function.model, {"Ena": 1})
        return {"adopted": number}

    async def _reset_alarms(self, _given: Any) -> Any:
        chain = await self._device.chain()
        there = [
            (model, point) for model, point in ((_DER_CONTROL, "AlarmReset"), (_BATTERY, "AlmRst")) if chain.find(model)
        ]
        if not there:
            raise Invalid("the device has neither SunSpec 715 nor 802: no alarm can be reset")
        for model, point in there:
            await self._put(model, {point: 1})
        return {"reset": [f"{model}.{point}" for model, point in there]}

    async def _operate(self, given: Any) -> Any:
        return await self._one_of(_DER_CONTROL, "OpCtl", _OPERATIONS, given)

    async def _operate_battery(self, given: Any) -> Any:
        return await self._one_of(_BATTERY, "SetOp", _BATTERY_OPERATIONS, given)

    async def _one_of(self, model: int, point: str, codes: Mapping[str, int], given: Any) -> Any:
        operation = str(given.get("operation"))
        if operation not in codes:
            raise Invalid(f"operation: one of {', '.join(codes)}")
        await self._put(model, {point: codes[operation]})
        return {"operation": operation}

    async def _set_reserve(self, given: Any) -> Any:
        wanted = {"SoCRsvMin": given.get("minimum"), "SocRsvMax": given.get("maximum")}
        values = {name: float(value) for name, value in wanted.items() if value is not None}
        low, high = values.get("SoCRsvMin", 0.0), values.get("SocRsvMax", 100.0)
        if not values or not 0.0 <= low < high <= 100.0:
            raise Invalid("minimum, maximum: one of them at least, in per cent, the minimum below the maximum")
        await self._put(_BATTERY, values)
        refs = [PointRef(_BATTERY, name) for name in values]
        view = await self._device.read(refs)
        found = {name: view.value(_BATTERY, name) for name in values}
        names = {"SoCRsvMin": "minimum", "SocRsvMax": "maximum"}
        return {names[name]: one.value for name, one in found.items() if one is not None}

    async def _put(self, model: int, values: Mapping[str, float]) -> None:
        """Write points by value. Raises `Invalid` for a device in local control, or without such points."""
        refs = [PointRef(model, name) for name in values]
        view = await self._device.read((*refs, *self._device.mapping.local))
        self._device.check_remote(view)
        words: dict[str, Words] = {}
        for name, value in values.items():
            found, scale = view.locate(model, name), view.scale(model, name)
            if found is None or scale is None:
                raise Invalid(f"the device has no SunSpec {model} {name}")
            words[name] = encode_number(found[1].type, unscaled(value, scale))
        await self._device.write(model, words)

    async def _sets(self, function: Function, curve: Curve) -> tuple[Sets, dict[int, int]]:
        """Return how a function's curves lie in this device, and the registers of one of them, by offset."""
        names = head_points(function)
        view = await self._device.read([PointRef(function.model, name) for name in names])
        sets = Sets(function, {name: view.raw(function.model, name) for name in names})
        if not sets.count:
            raise Invalid(f"the device has no SunSpec {function.model}, or stores no curves of it")
        places = [sets.place(name) for name in sets.names(curve)]
        places += [sets.place(place.scale) for place in places if isinstance(place.scale, str)]
        blocks = plan_reads(Span(place.offset, place.offset + place.size) for place in places)
        return sets, await self._device.read_offsets(function.model, blocks)


def _shown(curve: Curve) -> Any:
    return msgspec.json.decode(msgspec.json.encode(curve))
