"""A lease ends when it should where each answer takes its time: what writing takes is taken off the device's timer."""

import asyncio
from typing import Any

import pytest
from one_command import bench
from one_modbus import ModbusSide, SetPoint, VoltVar

from gridspine.kernel.time import US

ANSWER_S = 0.7


class Slow(ModbusSide):
    """A device at the end of a slow line."""

    def _answer(self, pdu: bytes) -> bytes:
        answer = super()._answer(pdu)
        self.clock._move_to(self.clock.monotonic_us() + round(ANSWER_S * US))
        return answer


class SlowBattery(SetPoint, Slow):
    pass


class SlowCurve(VoltVar, Slow):
    pass


@pytest.mark.parametrize("kind", [SlowBattery, SlowCurve])
def test_the_device_ends_it_when_the_lease_does(kind: Any) -> None:
    async def live() -> None:
        async with bench(kind) as run:
            order, side = run.order(kind.value), run.side
            run.node.order(order)
            await run.node.until(lambda: "acknowledged" in run.states())
            assert side.told_end_us is not None
            # Writing the timer anew and enabling are two requests more: it counts from when the device has both.
            late_s = (side.told_end_us - order.until_us) / US
            assert 0.0 <= late_s <= 1.0 + 2 * ANSWER_S, late_s

    asyncio.run(live())
