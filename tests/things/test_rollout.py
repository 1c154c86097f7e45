"""Roll-out: canaries are the same Things each time, health decides, and there is always a way back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gridspine.kernel.errors import Conflict, Invalid
from gridspine.kernel.time import US
from gridspine.things.rollout import Deployment, Health, Plan, deploy, judge, promote, roll_back, share_of, stop

NEW = Deployment("org", "soft-limit", "urn:x:model")
THINGS = [f"urn:x:t{at}" for at in range(2_000)]


def test_a_canary_share_is_about_that_share_and_grows_by_adding() -> None:
    first = deploy(deploy(NEW, "1.0.0", Plan(share=1), 0, "me"), "1.1.0", Plan(share=0.1), 1, "me")
    more = msgspec.structs.replace(first, plan=Plan(share=0.3))
    few = {thing for thing in THINGS if first.of(thing) == "1.1.0"}
    many = {thing for thing in THINGS if more.of(thing) == "1.1.0"}
    assert 140 < len(few) < 260
    assert 500 < len(many) < 700
    assert few < many
    assert {first.of(thing) for thing in THINGS} == {"1.0.0", "1.1.0"}


@given(st.text(max_size=20), st.text(max_size=60))
def test_where_a_thing_stands_is_always_the_same(name: str, thing: str) -> None:
    assert 0 <= share_of(name, thing) < 1
    assert share_of(name, thing) == share_of(name, thing)


def test_a_healthy_canary_goes_to_all_and_an_unhealthy_one_goes_back() -> None:
    stable = deploy(NEW, "1.0.0", Plan(share=1), 0, "me")
    plan = Plan(share=0.1, observe_s=60, min_calls=100, max_fault_rate=0.01, max_step_use=0.5)
    canary = deploy(stable, "1.1.0", plan, 0, "me")
    assert judge(canary, Health(), 1_000, 10**12) == ("", "")
    assert judge(canary, Health(99, 0, 0), 1_000, 61 * US)[0] == "", "too few calls"
    assert judge(canary, Health(200, 0, 0), 1_000, 59 * US)[0] == "", "too soon"
    assert judge(canary, Health(200, 2, 0), 1_000, 61 * US)[0] == "promote"
    assert judge(canary, Health(200, 3, 0), 1_000, 61 * US)[0] == "back"
    assert judge(canary, Health(20, 1, 0), 1_000, 1)[0] == "back", "a bad one need not be watched for long"
    assert judge(canary, Health(19, 19, 0), 1_000, 1)[0] == ""
    assert judge(canary, Health(20, 0, 10_001), 1_000, 1)[0] == "back", "it takes too many steps"
    everywhere = promote(canary, 70 * US, "node", "healthy")
    assert (everywhere.state, everywhere.version, everywhere.before) == ("running", "1.1.0", "1.0.0")
    assert judge(everywhere, Health(500, 0, 0), 1_000, 10**12)[0] == ""
    assert judge(everywhere, Health(500, 6, 0), 1_000, 10**12)[0] == "back"
    back = roll_back(everywhere, 80 * US, "node", "faults")
    assert (back.state, back.version, back.bad) == ("running", "1.0.0", ("1.1.0",))
    assert [change.what for change in back.changes] == ["deployed", "deployed", "promoted", "rolled-back"]


def test_without_a_version_before_the_way_back_is_none_at_all() -> None:
    gone = roll_back(deploy(NEW, "1.0.0", Plan(share=0.5), 0, "me"), 1, "node", "faults")
    assert gone.state == "stopped"
    assert {gone.of(thing) for thing in THINGS} == {""}
    with pytest.raises(Conflict, match="rolled back"):
        deploy(gone, "1.0.0", Plan(), 2, "me")
    with pytest.raises(Conflict, match="nothing"):
        roll_back(gone, 2, "me", "")


@pytest.mark.parametrize(
    "field",
    [{"share": 0}, {"share": 1.1}, {"observe_s": -1}, {"min_calls": 0}, {"max_fault_rate": 2}, {"max_step_use": 0}],
)
def test_plans_without_sense_are_refused(field: dict) -> None:
    with pytest.raises(Invalid):
        deploy(NEW, "1.0.0", Plan(**field), 0, "me")


class Story(RuleBasedStateMachine):
    """Any order of doings: a bad version never runs again, and what runs was deployed."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.released = NEW, set()

    @rule(version=st.sampled_from(["1.0.0", "1.1.0", "2.0.0"]), share=st.sampled_from([0.2, 1.0]))
    def deploy(self, version: str, share: float) -> None:
        try:
            self.now = deploy(self.now, version, Plan(share=share), 0, "me")
            self.released.add(version)
        except Conflict:
            assert version in {*self.now.bad, self.now.version, self.now.canary}

    @rule(what=st.sampled_from([promote, roll_back, stop]))
    def change(self, what) -> None:
        try:
            self.now = what(self.now, 0, "me", "")
        except Conflict:
            assert self.now.state != "canary"

    @invariant()
    def what_runs_was_released_and_is_not_bad(self) -> None:
        running = {self.now.of(thing) for thing in THINGS[:50]} - {""}
        assert running <= self.released - set(self.now.bad)
        assert (self.now.state == "canary") == bool(self.now.canary)
        assert not running or self.now.state != "stopped"


TestStory = Story.TestCase
