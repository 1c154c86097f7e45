"""Grants and the gate at their very edges, in the very words consumers get. Each was found by a planted fault."""

import pytest

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.time import US
from gridspine.sharing.gate import Gate
from gridspine.sharing.grant import Grant, decide


def grant(**more: object) -> Grant:
    fields = {"from_us": 0, "until_us": 1 << 60} | more
    return Grant("g", "p", "own", "con", "a", asked_by="ann", asked_us=0, **fields)  # type: ignore[arg-type]


def test_what_is_not_said() -> None:
    asked = grant()
    assert (asked.state, asked.epoch, asked.decided_by, asked.decided_us, asked.reason) == ("requested", 1, "", 0, "")
    assert decide(asked, "approve", actor="bob", now_us=5).reason == ""
    with pytest.raises(AttributeError):
        asked.state = "active"  # type: ignore[misc]


def test_the_words_of_a_grant_that_does_not_hold() -> None:
    active = grant(state="active", from_us=10, until_us=20)
    assert [active.why_not(at) for at in (9, 10, 19, 20)] == ["not-yet", "", "", "expired"]


async def test_the_words_of_a_gate_that_is_shut() -> None:
    clock = VirtualClock()
    gate = Gate(clock)
    known = grant(state="active", epoch=2, until_us=clock.now_us() + US)
    gate.tell(known)
    assert gate.grants() == [known]
    assert gate.why_shut("nobody") == "unknown"
    cuts: list[str] = []
    end = gate.watch("nobody", cuts.append)
    gate.sweep()
    assert cuts == ["unknown"]
    end()
    await clock.advance(0.6)
    assert gate.why_shut("g") == gate.why_shut("") == "stale"
