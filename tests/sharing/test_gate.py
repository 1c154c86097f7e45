"""The gate: stale after half a second, swept when grants expire, and no watcher left behind."""

import msgspec

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US
from gridspine.sharing.gate import STALE, STALE_US, Gate
from gridspine.sharing.grant import Grant


def active(clock, **more):
    now_us = clock.now_us()
    fields = {"state": "active", "epoch": 2} | more
    return Grant("g", "p", "own", "con", "a", now_us, now_us + 10 * US, "ann", now_us, **fields)


async def test_it_shuts_when_nobody_confirmed_for_half_a_second():
    clock = VirtualClock()
    gate = Gate(clock)
    gate.tell(active(clock))
    assert STALE_US == 500_000
    await clock.advance(0.5)
    assert gate.why_shut("g") == ""
    await clock.advance(0.001)
    assert gate.why_shut("g") == gate.why_shut("") == STALE
    gate.confirm()
    assert gate.why_shut("g") == ""


async def test_a_clock_set_back_opens_nothing_that_was_stale():
    clock = VirtualClock()
    gate = Gate(clock)
    gate.tell(active(clock))
    await clock.advance(0.6)
    clock.step_wall(-1.0)
    assert gate.why_shut("g") == STALE


async def test_expiry_is_swept_and_refused_before_it_is_swept():
    clock = VirtualClock()
    gate = Gate(clock)
    gate.tell(active(clock))
    cuts = []
    gate.watch("g", cuts.append)
    await clock.advance(9.999)
    gate.confirm()
    gate.sweep()
    assert not cuts
    await clock.advance(0.001)
    gate.confirm()
    assert gate.why_shut("g") == "expired"
    gate.sweep()
    assert cuts == ["expired"]


def test_epochs_never_go_back():
    clock = VirtualClock()
    gate = Gate(clock)
    new = active(clock, epoch=5, state="revoked")
    gate.tell(new)
    for epoch in (1, 4, 5):
        gate.tell(active(clock, epoch=epoch))
        assert gate.grant("g") is new
    newer = msgspec.structs.replace(new, epoch=6, state="active")
    gate.tell(newer)
    assert gate.grant("g") is newer


def test_a_change_that_still_holds_cuts_nobody():
    clock = VirtualClock()
    gate = Gate(clock)
    gate.tell(active(clock))
    cuts = []
    gate.watch("g", cuts.append)
    gate.tell(active(clock, epoch=3, reason="another word"))
    assert not cuts


def test_watchers_may_leave_while_they_are_told():
    clock = VirtualClock()
    gate = Gate(clock)
    gate.tell(active(clock))
    cuts = []

    def cut(reason):
        cuts.append(reason)
        for leave in leaving:
            leave()

    leaving = [gate.watch("g", cut), gate.watch("g", cuts.append), gate.watch("", cuts.append)]
    gate.tell(active(clock, epoch=3, state="suspended"))
    assert set(cuts) == {"suspended"}
    assert gate._watchers == {}


def test_all_streams_end_with_the_node_also_those_without_a_grant():
    gate = Gate(VirtualClock())
    cuts = []
    gate.watch("", cuts.append)
    gate.watch("g", cuts.append)
    gate.end_all_streams("node-stopping")
    assert cuts == ["node-stopping"] * 2


def test_the_longest_lasting_grant_stands():
    clock = VirtualClock()
    gate = Gate(clock)
    now_us = clock.now_us()
    for id_, hours, purpose in (("g1", 1, "a"), ("g3", 3, "a"), ("g2", 2, "b")):
        gate.tell(msgspec.structs.replace(active(clock), id=id_, until_us=now_us + hours * 3600 * US, purpose=purpose))
    assert gate.active("p", "con").id == "g3"
    assert gate.active("p", "con", "b").id == "g2"
    assert gate.active("p", "other") is None
