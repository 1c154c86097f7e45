"""The emulated inverter, by itself: what it answers of controls that its server lists, and lists no more."""

import pytest

from gridspine.adapters.ieee2030_5.client.der_control import SeenControl, SeenProgram
from gridspine.adapters.ieee2030_5.client.inverter import Client
from gridspine.energy.control import Control
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US


class Server:
    """Takes what is posted to it: ``told`` are the statuses."""

    host, path = "a.example", "/dcap"

    def __init__(self):
        self.told = []

    async def post(self, href, said):
        self.told.append(int(said.document("1.2").partition(b"<status>")[2].partition(b"<")[0]))
        return ""


class Inverter:
    """An inverter that reads what `lists` says."""

    def __init__(self):
        self.server, self.clock, self.seen = Server(), VirtualClock(), []
        self.client = Client(self.server, self.clock, "AB" * 20, 5_000.0, 1.0)

    async def lists(self, *controls):
        before, self.client._seen = self.client._seen, [SeenProgram("01", "", 1, Control(), controls)]
        await self.client._answer(None, before)


def control(clock, lasts_s=60, **more):
    now_us = clock.now_us()
    given = SeenControl(
        "A1", "", 1, 0, now_us, now_us + lasts_s * US, 0.0, 0.0, Control(export_limit_w=500.0), "/rsp", 3
    )  # fmt: skip
    return given._replace(**more)


@pytest.mark.parametrize(("after_s", "last"), [(30, 6), (90, 3)])
async def test_what_is_listed_no_more_was_cancelled_before_it_was_over(after_s, last) -> None:
    inverter = Inverter()
    await inverter.lists(control(inverter.clock))
    await inverter.clock.advance(after_s)
    await inverter.lists()
    assert inverter.server.told == [1, 2, last]


async def test_a_control_that_chance_moves_lasts_as_long_as_it_was_asked_to() -> None:
    inverter = Inverter()
    one = control(inverter.clock, 3_600, randomise_start_s=300.0)
    spans = [inverter.client._span(one._replace(mrid=f"A{at}")) for at in range(50)]
    assert {end_us - begin_us for begin_us, end_us in spans} == {3_300 * US}
    assert len(set(spans)) > 1
    assert all(one.from_us <= begin_us and end_us <= one.until_us for begin_us, end_us in spans)
