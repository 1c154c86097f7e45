"""Grants against a tiny model: which verb leads where, and that epochs only rise."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.time import US
from gridspine.sharing.gate import STALE_US, Gate
from gridspine.sharing.grant import Grant, decide

VERBS = ("approve", "refuse", "revoke", "suspend", "resume")
TABLE = {
    ("requested", "approve"): "active",
    ("requested", "refuse"): "refused",
    ("requested", "revoke"): "revoked",
    ("active", "revoke"): "revoked",
    ("active", "suspend"): "suspended",
    ("suspended", "resume"): "active",
    ("suspended", "revoke"): "revoked",
}


def grant(**more):
    fields = {"from_us": 0, "until_us": 1 << 60} | more
    return Grant("g", "p", "own", "con", "a", asked_by="ann", asked_us=0, **fields)


@given(st.sampled_from(("requested", "active", "refused", "revoked", "suspended")), st.sampled_from(VERBS))
def test_moves(state, verb):
    before = grant(state=state, epoch=7)
    expected = TABLE.get((state, verb))
    if expected is None:
        with pytest.raises(Conflict):
            decide(before, verb, actor="bob", now_us=5)
        return
    after = decide(before, verb, actor="bob", now_us=5, reason="so")
    assert (after.state, after.epoch, after.decided_by, after.decided_us, after.reason) == (expected, 8, "bob", 5, "so")
    same = ("id", "product", "owner", "consumer", "purpose", "from_us", "until_us", "asked_by", "asked_us")
    assert all(getattr(after, name) == getattr(before, name) for name in same)


@pytest.mark.parametrize(("verb", "state"), [("approve", "requested"), ("resume", "suspended")])
def test_what_has_passed_cannot_be_granted(verb, state):
    with pytest.raises(Conflict):
        decide(grant(until_us=10, state=state), verb, actor="bob", now_us=10)
    assert decide(grant(until_us=10, state=state), verb, actor="bob", now_us=9).state == "active"


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 120))
def test_its_interval_is_half_open(from_us, length, now_us):
    one = grant(from_us=from_us, until_us=from_us + length, state="active")
    assert one.active_at(now_us) == (from_us <= now_us < from_us + length)
    assert (one.why_not(now_us) == "") == one.active_at(now_us)


def test_what_could_never_be_granted():
    for bad in (grant(until_us=0), grant(from_us=5, until_us=5), msgspec.structs.replace(grant(), purpose="other")):
        with pytest.raises(Invalid):
            bad.check(("a", "b"))
    grant().check(("a", "b"))


class Sharing(RuleBasedStateMachine):
    """A grant, the gate, and streams under it, against what a person would expect."""

    def __init__(self):
        super().__init__()
        self.clock = VirtualClock()
        self.gate = Gate(self.clock)
        self.start_us = self.clock.now_us()
        self.grant = grant(from_us=self.start_us + 2 * US, until_us=self.start_us + 20 * US)
        self.gate.tell(self.grant)
        self.old = [self.grant]
        self.sure_us = self.clock.monotonic_us()
        self.streams = []

    @rule(verb=st.sampled_from(VERBS))
    def decide(self, verb):
        try:
            self.grant = decide(self.grant, verb, actor="bob", now_us=self.clock.now_us())
        except Conflict:
            return
        self.old.append(self.grant)
        self.gate.tell(self.grant)
        self.check_streams()

    @rule(data=st.data())
    def hear_an_old_epoch(self, data):
        self.gate.tell(data.draw(st.sampled_from(self.old)))

    @rule(milliseconds=st.integers(1, 4000))
    def wait(self, milliseconds):
        self.clock._move_to(self.clock.monotonic_us() + milliseconds * 1000)

    @rule()
    def confirm_and_sweep(self):
        self.gate.confirm()
        self.sure_us = self.clock.monotonic_us()
        self.gate.sweep()
        self.check_streams()

    @rule()
    @precondition(lambda self: self.holds())
    def open_a_stream(self):
        cuts = []
        self.streams.append((cuts, self.gate.watch(self.grant.id, cuts.append)))

    @rule()
    @precondition(lambda self: self.streams)
    def close_a_stream(self):
        _, unwatch = self.streams.pop()
        unwatch()
        unwatch()

    def holds(self):
        now_us = self.clock.now_us()
        return self.grant.state == "active" and self.grant.from_us <= now_us < self.grant.until_us

    def check_streams(self):
        for cuts, _ in self.streams:
            assert bool(cuts) or self.holds()
        self.streams = [one for one in self.streams if not one[0]]

    @invariant()
    def the_gate_knows_the_newest(self):
        assert self.gate.grant("g") == self.grant
        assert [one.epoch for one in self.old] == sorted({one.epoch for one in self.old})

    @invariant()
    def it_is_open_only_when_sure_and_granted(self):
        stale = self.clock.monotonic_us() - self.sure_us > STALE_US
        assert (self.gate.why_shut("g") == "") == (self.holds() and not stale)
        assert (self.gate.why_shut("") == "") == (not stale)
        assert self.gate.why_shut("unheard-of") != ""
        assert (self.gate.active("p", "con") is not None) == self.holds()
        assert self.gate.active("p", "own") is None
        assert self.gate.active("p", "con", "b") is None


TestSharing = Sharing.TestCase
