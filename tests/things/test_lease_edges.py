"""Leases at their very edges: equal limits, equal values, the last allowed second. Planted faults found each."""

import msgspec
import pytest

from gridspine.kernel.time import US
from gridspine.things.lease import (
    MAX_LEASES_PER_POINT,
    MAX_STEPS_PER_POINT,
    Authority,
    Bounds,
    Lease,
    intersect,
    next_change_us,
    resolve,
    shifted,
)
from gridspine.things.lease_check import check_lease
from gridspine.things.model import LeaseRule
from gridspine.things.schedule import Step

SETPOINT = LeaseRule(role="setpoint", minimum=-5000, maximum=5000, reversion="device", fallback=0, max_duration_s=3600)
CEILING = LeaseRule(role="limit_max", minimum=0, maximum=6000, reversion="device", fallback=5000, max_duration_s=3600)


def lease(id: str, value: float, start_s: int = 0, end_s: int = 60, **given: object) -> Lease:
    fields = {"role": "setpoint", "authority": Authority.AGGREGATOR, "principal": "org", "issued_us": 0, **given}
    return Lease(
        id=id, command=id, thing="urn:x:battery", point="power", value=value, from_us=start_s * US,
        until_us=end_s * US, **fields,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("value", [lease("a", 1), Bounds(0, 1), resolve([], SETPOINT, 0)])
def test_nobody_changes_a_lease_or_what_came_of_it(value: object) -> None:
    with pytest.raises(AttributeError):
        setattr(value, value.__struct_fields__[0], 7)  # type: ignore[attr-defined]


def test_what_is_not_said() -> None:
    assert (lease("a", 1).priority, lease("a", 1).start_delay_us, lease("a", 1).end_advance_us) == (0, 0, 0)
    assert (MAX_LEASES_PER_POINT, MAX_STEPS_PER_POINT) == (64, 1_000)  # as the reference says
    assert intersect([], SETPOINT, 0) == Bounds(-5000, 5000, "", "", ())
    assert resolve([], CEILING, 0).until_us == 0
    with pytest.raises(TypeError):
        Lease(*msgspec.structs.astuple(lease("a", 1)))  # type: ignore[misc]


@pytest.mark.parametrize(("value", "end_s", "refused"), [
    (5000, 3600, False), (-5000, 3600, False), (5000.5, 60, True), (-5000.5, 60, True), (0, 3601, True),
])  # fmt: skip
def test_the_last_value_and_the_last_second_are_allowed(value: float, end_s: int, refused: bool) -> None:
    assert bool(check_lease(lease("a", value, 0, end_s), SETPOINT, 0)) is refused
    assert check_lease(lease("a", 1), SETPOINT, 0) == ""


def test_a_floor_at_the_height_of_its_ceiling_contradicts_nothing() -> None:
    limits = [lease("low", 100, role="limit_min"), lease("high", 100, role="limit_max")]
    assert intersect(limits, SETPOINT, 0) == Bounds(100, 100, "low", "high", ())


@pytest.mark.parametrize(("stronger", "weaker"), [("limit_max", "limit_min"), ("limit_min", "limit_max")])
def test_a_weaker_limit_that_meets_a_stronger_one_need_not_give_way(stronger: str, weaker: str) -> None:
    limits = [
        lease("strong", 100, role=stronger, authority=Authority.NETWORK),
        lease("weak", 100, role=weaker),
    ]
    assert intersect(limits, SETPOINT, 0).reasons == ()


@pytest.mark.parametrize(("role", "named"), [("limit_min", "low_by"), ("limit_max", "high_by")])
def test_of_equal_limits_the_stronger_is_named(role: str, named: str) -> None:
    limits = [lease("weak", 100, role=role), lease("strong", 100, role=role, authority=Authority.NETWORK)]
    assert getattr(intersect(limits, SETPOINT, 0), named) == "strong"


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"authority": Authority.NETWORK}, {"authority": Authority.AGGREGATOR}),
        ({"priority": 2}, {"priority": 1}),
        ({"issued_us": 2}, {"issued_us": 1}),
    ],
)
def test_of_equal_ceilings_the_higher_standing_wins(more: dict[str, object], less: dict[str, object]) -> None:
    for names in (("a", "b"), ("b", "a")):
        leases = [lease(names[0], 100, role="limit_max", **more), lease(names[1], 100, role="limit_max", **less)]
        assert resolve(leases, CEILING, 0).winner == names[0]


def test_what_lies_at_the_bound_is_clamped_by_nobody() -> None:
    leases = [lease("a", 100), lease("low", 100, role="limit_min"), lease("high", 100, role="limit_max")]
    effective = resolve(leases, SETPOINT, 0)
    assert (effective.value, effective.clamped_by, effective.reasons) == (100, (), ())


def test_a_value_at_the_bound_to_come_is_held_to_its_end() -> None:
    leases = [lease("a", 100, 0, 60), lease("low", 100, 10, 20, role="limit_min")]
    assert resolve(leases, SETPOINT, 0).until_us == 60 * US
    leases = [lease("a", 100, 0, 60), lease("high", 100, 10, 20, role="limit_max")]
    assert resolve(leases, SETPOINT, 0).until_us == 60 * US


def test_a_limit_says_when_the_device_is_tighter() -> None:
    assert resolve([lease("a", 5000, role="limit_max")], CEILING, 0).reasons == ()
    (reason,) = resolve([lease("a", 7000, role="limit_max")], CEILING, 0).reasons
    assert reason == "7000 is looser than the device: 6000"


def test_a_limit_at_the_fallback_is_no_tighter_than_it() -> None:
    leases = [lease("tight", 1000, 0, 60, role="limit_max"), lease("same", 5000, 0, 120, role="limit_max")]
    assert resolve(leases, CEILING, 0).until_us == 60 * US


def test_what_changes_now_is_no_change_to_come() -> None:
    leases = [lease("a", 100, 10, 20)]
    assert next_change_us(leases, SETPOINT, 20 * US) is None


def schedule() -> Lease:
    return lease("a", 1, 0, 60, steps=(Step(0, 1.0), Step(20 * US, 2.0), Step(60 * US, 3.0)))


def test_a_schedule_changes_once_at_its_start_at_its_steps_and_at_its_end() -> None:
    assert schedule().moments == (0, 20 * US, 60 * US)


def test_a_device_keeps_a_step_half_a_minute_beyond_the_next() -> None:
    now = resolve([lease("a", 1, 0, 600, steps=(Step(0, 1.0), Step(100 * US, 2.0)))], SETPOINT, 0)
    assert now.until_us == 130 * US


@pytest.mark.parametrize("by_us", [0, 7 * US, -7 * US])
def test_a_lease_that_waited_is_moved_with_all_its_times(by_us: int) -> None:
    before, after = schedule(), shifted(schedule(), by_us)
    assert (after.from_us, after.until_us) == (before.from_us + by_us, before.until_us + by_us)
    assert [(one.from_us, one.value) for one in after.steps] == [
        (one.from_us + by_us, one.value) for one in before.steps
    ]
