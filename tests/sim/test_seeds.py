"""The simulation itself: seeds hold, repeat themselves, and find what is planted."""

import pytest

from sim.command import results
from sim.plant import PLANTS

QUICK = ("gate-stays-open", "log-not-synced")


def test_invariants_hold_in_some_seeds():
    broken = [f"seed {one.seed}: {one.broken}: {one.seen}" for one in results(0, 40, jobs=2) if one.broken]
    assert not broken, "\n".join(broken)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_invariants_hold_in_many_seeds():
    broken = [f"seed {one.seed}: {one.broken}: {one.seen}" for one in results(1000, 1400, jobs=2) if one.broken]
    assert not broken, "\n".join(broken)


def test_a_seed_tells_the_same_story_in_every_process():
    alone, second = ({one.seed: one.digest for one in results(7, 9, jobs=jobs)} for jobs in (1, 2))
    assert alone == second
    assert len(set(alone.values())) == 2


def found(plant: str, seeds: int) -> list[str]:
    return [one.broken for one in results(0, seeds, plant=plant) if one.broken]


@pytest.mark.parametrize("plant", QUICK)
def test_planted_violations_are_found(plant):
    assert found(plant, 15)


@pytest.mark.slow
@pytest.mark.parametrize("plant", sorted(set(PLANTS) - set(QUICK)))
def test_every_planted_violation_is_found(plant):
    assert found(plant, 40)
