"""What a server's programs become, as it lists them, no more, and again; and as clocks are set."""

import asyncio
import time

import msgspec
import pytest
from csip_utility import METER
from hosted_node import hosting

from gridspine.adapters.ieee2030_5.client.answer import due
from gridspine.adapters.ieee2030_5.client.carried import Carrier
from gridspine.adapters.ieee2030_5.client.der_control import SeenControl, SeenProgram
from gridspine.adapters.ieee2030_5.client.end_device import Upstream
from gridspine.adapters.ieee2030_5.client.record import Record
from gridspine.energy.control import Control
from gridspine.energy.control_port import controls_of
from gridspine.energy.site import Site
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US

DAY_S = 86_400
LIMIT = Control(export_limit_w=500.0)


class Followed:
    """One EndDevice that is followed, without a wire; ``told`` is what was answered, by mRID."""

    def __init__(self, port, site):
        self.port, self.clock, self.record, self.told = port, VirtualClock(time.time_ns() // 1000), Record(), {}
        self.carrier = Carrier(port, self.clock, "urn:example:link", Upstream("grid", site=site.id))
        self.start_us = self.clock.now_us()

    def control(self, mrid="A1", *, begin_s=-5, lasts_s=600, **more):
        begin_us = self.start_us + begin_s * US
        return SeenControl(mrid, "", 1, 0, begin_us, begin_us + lasts_s * US, 0.0, 0.0, LIMIT, **more)

    async def look(self, *controls, programs=("01",), offset_us=0):
        """Carry programs that list ``controls``, and answer."""
        seen = [SeenProgram(mrid, "", 3, Control(), controls) for mrid in programs]
        self.record = await self.carrier.carry(self.record, seen, offset_us)
        listed = {mrid: {} for mrid in self.record.programs}
        listed |= {one.mrid: {control.mrid: control for control in one.controls} for one in seen}
        for program, mrid, control, stands in list(self.carrier.standings(self.record, listed)):
            said = tuple(due(control.told, stands, self.clock.now_us()))
            self.told[mrid] = (*self.told.get(mrid, ()), *said)
            one = self.record.programs[program]
            after = msgspec.structs.replace(control, told=(*control.told, *said))
            one = msgspec.structs.replace(one, controls={**one.controls, mrid: after})
            self.record = msgspec.structs.replace(self.record, programs={**self.record.programs, program: one})

    @property
    def enrolled(self):
        """The programme and the enrolment of the one program that is followed."""
        (one,) = self.record.programs.values()
        return one.programme, one.enrolment

    def events(self):
        """Return the programme's events that stand, the newest first."""
        return [one for one in self.port.programmes.events(self.enrolled[0]) if not one.cancelled_us]


@pytest.fixture
async def followed(tmp_path):
    async with hosting(tmp_path / "data") as (world, context):
        id_, _ = world.client("northside-networks", "operator", "owner")
        password = await asyncio.to_thread(world.node.identity.new_device_password, id_)
        port = controls_of(context).of(await context.authorise(id_, password))
        await world.thing("urn:example:meter", METER)
        site = await port.sites.register(Site(id="", organisation="", title="S", things=("urn:example:meter",)))
        yield Followed(port, site)


async def test_a_control_that_is_listed_again_is_carried_out_again_and_not_told_of_twice(followed) -> None:
    await followed.look(followed.control())
    (before,) = followed.events()
    await followed.look()
    assert followed.events() == []
    await followed.look(followed.control())
    (again,) = followed.events()
    assert again.id != before.id
    assert again.intervals == before.intervals
    await followed.look(followed.control())
    assert followed.events() == [again], "once"
    assert followed.told == {"A1": (1, 2, 6)}


async def test_a_program_that_is_listed_again_is_followed_again(followed) -> None:
    await followed.look(followed.control())
    first, _ = followed.enrolled
    await followed.look(programs=())
    assert followed.port.programmes.get(first).retired_us
    await followed.look(followed.control())
    second, enrolment = followed.enrolled
    assert (second != first, followed.port.programmes.get(second).retired_us) == (True, 0)
    assert followed.port.enrolments.get(second, enrolment).state == "active"
    assert len(followed.events()) == 1
    await followed.look(followed.control())
    assert (followed.enrolled, len(followed.events())) == ((second, enrolment), 1)
    assert followed.told == {"A1": (1, 2, 6)}


async def test_what_its_owner_decided_holds_for_what_is_listed_again(followed) -> None:
    await followed.look(followed.control())
    programme, enrolment = followed.enrolled
    await followed.port.enrolments.opt_out(programme, enrolment, event=followed.events()[0].id)
    await followed.look(followed.control())
    await followed.look()
    await followed.look(followed.control())
    (again,) = followed.events()
    assert [one.event for one in followed.port.enrolments.get(programme, enrolment).opt_outs if one.event == again.id]
    assert followed.told == {"A1": (1, 2, 4, 6)}
    await followed.port.enrolments.decide(programme, enrolment, "withdraw")
    await followed.look(programs=())
    await followed.look(followed.control())
    assert followed.enrolled[0] != programme
    assert followed.port.enrolments.get(*followed.enrolled).state == "withdrawn"


async def test_an_event_that_was_cancelled_here_stays_cancelled(followed) -> None:
    await followed.look(followed.control())
    programme, _ = followed.enrolled
    await followed.port.programmes.cancel(programme, followed.events()[0].id, "not now")
    for controls in ((followed.control(),), (), (followed.control(),)):
        await followed.look(*controls)
        assert followed.events() == []


@pytest.mark.parametrize("programs", [("01",), ()])
async def test_what_is_listed_no_more_is_forgotten_however_late_it_would_have_ended(followed, programs) -> None:
    await followed.look(followed.control(lasts_s=20 * 365 * DAY_S), followed.control("A2"))
    followed.clock.step_wall(60)
    await followed.look(programs=programs)
    assert followed.told == {"A1": (1, 7, 6), "A2": (1, 2, 6)}
    followed.clock.step_wall(2 * DAY_S)
    await followed.look(programs=programs)
    assert [list(one.controls) for one in followed.record.programs.values()] == [["A1"]]
    followed.clock.step_wall(6 * DAY_S)
    await followed.look(programs=programs)
    assert [list(one.controls) for one in followed.record.programs.values()] == [[] for _ in programs]


async def test_events_are_at_the_right_time_though_the_clock_was_set(followed) -> None:
    """The node's clock was an hour late, which the server's made up for; then it is set, and there is nothing to."""
    ahead = followed.control(begin_s=7_200)
    await followed.look(ahead, offset_us=3_600 * US)
    assert [one.from_us for one in followed.events()] == [ahead.from_us - 3_600 * US]
    (before,) = followed.events()
    await followed.look(ahead, offset_us=3_590 * US)
    assert followed.events() == [before], "seconds are what a slow answer is wrong by"
    await followed.look(ahead)
    assert [one.from_us for one in followed.events()] == [ahead.from_us]
    await followed.look(ahead)
    assert len(followed.events()) == 1
    assert followed.told == {"A1": (1,)}
