"""Our own adapters are judged as a stranger's is: every rule that they say they keep, and that a machine can see."""

import pytest

from gridspine.testing.candidate import find
from gridspine.testing.judge import judge
from gridspine.testing.rules import rules
from gridspine.things.adapter_package import packages

OURS = sorted(name for name, one in packages().items() if one.distribution == "gridspine")


@pytest.mark.parametrize("name", OURS)
async def test_it_is_what_it_says(name: str) -> None:
    (candidate,) = find(name)
    if candidate.quality.level == "none":
        assert candidate.make_rig is None, f"{name} has a rig, and claims no level"
        return
    verdict = await judge(candidate, patience_s=20.0)
    assert [f"{one.rule}: {one.words}" for one in verdict.problems] == []
    assert verdict.level == candidate.quality.level
    seen = {one.rule for one in verdict.findings if one.state == "passed"}
    assert seen >= {name for name, rule in rules().items() if rule.check and rule.level == "bronze"}


def test_there_are_some() -> None:
    assert {"modbus", "mqtt", "wot_http"} <= set(OURS)
