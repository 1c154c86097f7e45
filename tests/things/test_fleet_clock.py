"""Commands to fleets when the clock is set: least times, ramps and what lingers go on as if it had not been."""

import pytest
from things_fleet import BATTERY, CHARGER, ask, keep, lease, make, run, tick

from gridspine.kernel.time import US
from gridspine.things.approval import ApprovalRule
from gridspine.things.commander import Commander


def set_clock(commander: Commander, step_s: float, before_s: float) -> None:
    keep(commander, commander.on_step(round(step_s * US), round(before_s * US)))


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_least_times_and_ramps_go_on_when_the_clock_is_set(step_s: float) -> None:
    commander = make()
    ask(commander, lease("c1", 1000, 0, 10, CHARGER))
    ask(commander, lease("b1", 2000, 8, 60, BATTERY), 8)
    tick(commander, 0)
    run(commander, 8, 10)  # the charger goes off at 10, the battery is on its way
    set_clock(commander, step_s, 10.5)
    begin_s = 10.5 + step_s
    ask(commander, lease("c2", 1500, begin_s, begin_s + 60, CHARGER, principal="bob"), begin_s)
    found = run(commander, begin_s, begin_s + 10)
    charger = [commander.issued(CHARGER, "power"), next((at for at, value in found if value == 1500), None)]
    assert charger[1] == begin_s + 2.5, "three seconds after it went off, no sooner and no later"
    battery = [(at, value) for at, value in found if value not in {None, 1500}]
    rises = [value for _, value in battery]
    assert rises == sorted(rises) and rises[-1] == 2000, "it goes on rising"
    assert battery[-1][0] <= begin_s + 4


def test_what_lingers_does_not_outlast_its_order_when_the_clock_is_put_back() -> None:
    commander = make()
    ask(commander, lease("c", 1000, 0, 60, CHARGER))
    tick(commander, 0)
    keep(commander, commander.cancel("c", 2 * US, "no"))
    tick(commander, 2)  # it must stay on for three more seconds: the order stands
    set_clock(commander, -3600, 2.5)
    run(commander, -3597.5, -3590)
    issued = commander.issued(CHARGER, "power")
    assert issued is not None
    assert issued.order.value is None
    assert issued.order.until_us <= (60 - 3600) * US


@pytest.mark.parametrize("step_s", [-10.0, 10.0])
def test_what_waits_for_a_second_person_lasts_no_longer_for_the_clock_being_set(step_s: float) -> None:
    commander = make(approval=ApprovalRule(2000, 600, 600))
    assert ask(commander, lease("a", 2500, 0, 30, BATTERY)).state == "awaiting-approval"
    set_clock(commander, step_s, 1)
    keep(commander, commander.approve("a", "bob", round((2 + step_s) * US)))
    found = commander.command("a").lease
    assert (found.from_us, found.until_us) == (round(step_s * US), round((30 + step_s) * US))
