"""Leases: arbitration, clamping, ends; then the same as properties over any mixture of leases."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import US
from gridspine.things.lease import (
    Authority,
    Lease,
    intersect,
    next_change_us,
    replaces,
    resolve,
)
from gridspine.things.lease_check import check_lease
from gridspine.things.model import LeaseRule

SETPOINT = LeaseRule(role="setpoint", minimum=-5000, maximum=5000, reversion="device", fallback=0, max_duration_s=3600)
CEILING = LeaseRule(role="limit_max", minimum=0, maximum=6000, reversion="device", fallback=6000, max_duration_s=3600)
FLOOR = LeaseRule(role="limit_min", minimum=-6000, maximum=0, reversion="device", fallback=-6000)


def lease(id: str, value: float, start_s: int = 0, end_s: int = 60, **given: Any) -> Lease:
    fields: dict[str, Any] = {
        "role": "setpoint",
        "authority": Authority.AGGREGATOR,
        "principal": "org",
        "issued_us": 0,
        **given,
    }
    return Lease(
        id=id,
        command=id,
        thing="urn:x:battery",
        point="power",
        value=value,
        from_us=start_s * US,
        until_us=end_s * US,
        **fields,
    )


def test_no_lease_is_the_fallback() -> None:
    effective = resolve([], SETPOINT, 0)
    assert (effective.value, effective.until_us, effective.at_fallback) == (0, 0, True)


def test_half_open() -> None:
    leases = [lease("a", 1000, 10, 20)]
    values = [resolve(leases, SETPOINT, t).value for t in (10 * US - 1, 10 * US, 20 * US - 1, 20 * US)]
    assert values == [0, 1000, 1000, 0]
    assert next_change_us(leases, SETPOINT, 0) == 10 * US
    assert next_change_us(leases, SETPOINT, 10 * US) == 20 * US
    assert next_change_us(leases, SETPOINT, 20 * US) is None


def test_authority_then_priority_then_newest() -> None:
    low = lease("low", 1, authority=Authority.SERVICE, priority=9, issued_us=9)
    owner = lease("owner", 2, authority=Authority.OWNER)
    urgent = lease("urgent", 3, authority=Authority.OWNER, priority=1)
    newest = lease("newest", 4, authority=Authority.OWNER, priority=1, issued_us=5)
    assert resolve([low, owner], SETPOINT, 0).winner == "owner"
    assert resolve([owner, urgent, low], SETPOINT, 0).winner == "urgent"
    assert resolve([newest, owner, urgent, low], SETPOINT, 0).winner == "newest"
    assert [a.value for a in sorted(Authority, key=lambda a: a.rank)] == [
        "service",
        "aggregator",
        "owner",
        "network",
        "safety",
    ]


def test_when_the_winner_ends_the_next_one_goes_on() -> None:
    leases = [lease("a", 4000, 0, 60), lease("b", 100, 20, 40, authority=Authority.OWNER)]
    assert [resolve(leases, SETPOINT, t * US).value for t in (0, 20, 40, 60)] == [4000, 100, 4000, 0]


def test_a_tighter_limit_reclamps_what_is_running() -> None:
    running = lease("a", 4000, 0, 60)
    limit = lease("l", 1000, 20, 40, role="limit_max", authority=Authority.NETWORK)
    tighter = lease("m", 500, 20, 40, role="limit_max", authority=Authority.SERVICE)
    assert resolve([running, limit], SETPOINT, 0).value == 4000
    clamped = resolve([running, limit], SETPOINT, 20 * US)
    assert (clamped.value, clamped.winner, clamped.clamped_by) == (1000, "a", ("l",))
    assert "clamped to 1000 by l" in clamped.reasons[0]
    assert resolve([running, limit, tighter], SETPOINT, 20 * US).value == 500, "the tightest wins, whoever asked"
    assert resolve([running, limit], SETPOINT, 40 * US).value == 4000


def test_a_limit_clamps_the_fallback_too() -> None:
    floor = lease("l", 700, role="limit_min")
    effective = resolve([floor], SETPOINT, 0)
    assert (effective.value, effective.clamped_by, effective.until_us) == (700, ("l",), 60 * US)
    assert resolve([lease("l", 700, role="limit_max")], SETPOINT, 0).at_fallback


def test_an_unattended_device_lets_go_before_it_breaks_a_limit_to_come() -> None:
    running = lease("a", 4000, 0, 60)
    coming = lease("l", 1000, 20, 40, role="limit_max")
    assert resolve([running, coming], SETPOINT, 0).until_us == 20 * US
    assert resolve([running, coming], SETPOINT, 20 * US).until_us == 60 * US, "the tight value may stay"
    outranked = lease("b", 4000, 30, 50, authority=Authority.SAFETY)
    assert resolve([running, outranked], SETPOINT, 0).until_us == 30 * US


def test_a_limit_point_takes_the_tightest_and_holds_it_while_a_looser_one_lasts() -> None:
    tight, loose = (lease("t", 1000, 0, 20, role="limit_max"), lease("l", 2000, 0, 60, role="limit_max"))
    effective = resolve([loose, tight], CEILING, 0)
    assert (effective.value, effective.winner, effective.until_us) == (1000, "t", 60 * US)
    assert resolve([loose, tight], CEILING, 20 * US).value == 2000
    assert resolve([loose, tight], CEILING, 60 * US).value == 6000
    floors = [lease("a", -100, role="limit_min"), lease("b", -900, role="limit_min")]
    assert resolve(floors, FLOOR, 0).value == -100


def test_a_limit_looser_than_the_fallback_ends_with_itself() -> None:
    rule = msgspec.structs.replace(CEILING, fallback=1500)
    raised = [lease("t", 3000, 0, 20, role="limit_max"), lease("l", 4000, 0, 60, role="limit_max")]
    effective = resolve(raised, rule, 0)
    assert (effective.value, effective.until_us) == (3000, 20 * US)


AMPERES = LeaseRule(role="limit_max", minimum=6, maximum=32, reversion="device", fallback=10, max_duration_s=3600)


def test_a_limit_below_what_the_device_can_hold_is_a_pause_and_never_loosened() -> None:
    low = lease("t", 3, role="limit_max")
    assert check_lease(low, AMPERES, 0) == ""
    effective = resolve([low, lease("l", 16, role="limit_max")], AMPERES, 0)
    assert (effective.value, effective.winner) == (0.0, "t")
    without_off = msgspec.structs.replace(AMPERES, off=4.0)
    assert "beyond what the device can do" in check_lease(low, without_off, 0)
    setpoint = msgspec.structs.replace(SETPOINT, minimum=1000)
    assert "beyond what the device can do" in check_lease(lease("t", 500, role="limit_max"), setpoint, 0)


def test_a_bounding_limit_clamps_others_and_lets_the_device_do_no_more_by_itself() -> None:
    bound = lease("b", 16, role="limit_max", bounding=True)
    assert resolve([bound], AMPERES, 0).at_fallback, "by itself it takes 10 A"
    more = lease("m", 32, 0, 20, role="limit_max")
    effective = resolve([bound, more], AMPERES, 0)
    assert (effective.value, effective.winner, effective.until_us) == (16, "b", 20 * US), "with whoever asks for more"
    assert resolve([bound, more], AMPERES, 20 * US).at_fallback
    tight = lease("b", 8, role="limit_max", bounding=True)
    assert (resolve([tight], AMPERES, 0).value, resolve([tight], AMPERES, 0).until_us) == (8, 60 * US)


def test_contradicting_limits_of_equals_go_to_the_safe_side() -> None:
    floor, ceiling = lease("f", 3000, role="limit_min"), lease("c", 1000, role="limit_max")
    bounds = intersect([floor, ceiling], SETPOINT, 0)
    assert (bounds.low, bounds.high) == (1000, 1000), "nearest the fallback of 0"
    assert "contradict" in bounds.reasons[0]
    around = [lease("f", 500, role="limit_min"), lease("c", -500, role="limit_max")]
    assert resolve(around, SETPOINT, 0).value == 0


def test_a_limit_at_the_edge_of_the_model_binds_like_any_other() -> None:
    effective = resolve([lease("l", -5000, role="limit_max")], SETPOINT, 0)
    assert (effective.value, effective.clamped_by, effective.at_fallback) == (-5000, ("l",), False)


def test_a_weaker_contradicting_limit_gives_way() -> None:
    ceiling = lease("c", 1000, role="limit_max", authority=Authority.SAFETY)
    floor = lease("f", 3000, role="limit_min", authority=Authority.SERVICE)
    bounds = intersect([floor, ceiling], SETPOINT, 0)
    assert (bounds.low, bounds.high, bounds.low_by) == (1000, 1000, "f")
    assert "f gives way" in bounds.reasons[0]


@pytest.mark.parametrize(
    ("changed", "rule", "words"),
    [
        ({}, None, "cannot be commanded"),
        ({}, msgspec.structs.replace(SETPOINT, reversion="none"), "no guaranteed reversion"),
        ({"until_us": 3601 * US}, SETPOINT, "longer than the 3600 s"),
        ({"from_us": -9 * US, "until_us": 0}, SETPOINT, "end before now"),
        ({"value": 5001.0}, SETPOINT, "beyond what the device can do"),
        ({"value": -5001.0, "role": "limit_max"}, SETPOINT, "beyond what the device can do"),
        ({"value": 5001.0, "role": "limit_min"}, SETPOINT, "beyond what the device can do"),
        ({"role": "limit_min"}, CEILING, "takes limit_max leases only"),
        ({"role": "setpoint"}, CEILING, "takes limit_max leases only"),
    ],
)
def test_refusals_say_why(changed: dict[str, Any], rule: LeaseRule | None, words: str) -> None:
    asked = msgspec.structs.replace(lease("a", 100), **changed)
    assert words in check_lease(asked, rule, 0)


def test_what_may_be_accepted() -> None:
    assert check_lease(lease("a", 100), SETPOINT, 0) == ""
    assert check_lease(lease("a", 100), msgspec.structs.replace(SETPOINT, reversion="safe-to-persist"), 0) == ""
    assert check_lease(lease("a", 99_999, role="limit_max"), SETPOINT, 0) == "", "a loose limit does no harm"
    assert check_lease(lease("a", 100, 90_000, 90_060), SETPOINT, 0) == "", "delivered ahead"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_meaning_is_invalid(value: float) -> None:
    with pytest.raises(Invalid, match="finite"):
        check_lease(lease("a", value), SETPOINT, 0)
    with pytest.raises(Invalid, match="after it starts"):
        check_lease(lease("a", 1, 60, 60), SETPOINT, 0)


def test_a_principal_replaces_its_own_lease_and_nobody_elses() -> None:
    old = lease("old", 1000, 0, 60, role="limit_max")
    assert replaces(lease("new", 2000, 0, 60, role="limit_max"), old, 0)
    assert not replaces(lease("new", 2000, 0, 60, role="limit_max", principal="other"), old, 0)
    assert not replaces(lease("new", 2000, 0, 59, role="limit_max"), old, 0), "it must cover what is left"
    assert not replaces(lease("new", 2000, 10, 60, role="limit_max"), old, 0)
    assert replaces(lease("new", 2000, 10, 60, role="limit_max"), old, 10 * US)
    assert not replaces(lease("new", 2000, 0, 60, role="limit_max", priority=-1), old, 0)


# -- properties ---------------------------------------------------------------------------------------------------

rules = st.sampled_from([
    SETPOINT, CEILING, FLOOR, msgspec.structs.replace(CEILING, fallback=2000.0),
    msgspec.structs.replace(SETPOINT, fallback=-2000.0),
])  # fmt: skip


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[LeaseRule, list[Lease], int]:
    rule = draw(rules)
    roles = ["setpoint", "limit_max", "limit_min"] if rule.role == "setpoint" else [rule.role]
    leases = []
    for at in range(draw(st.integers(0, 7))):
        start = draw(st.integers(0, 10))
        leases.append(
            lease(
                f"l{at}",
                float(draw(st.integers(-7, 7)) * 1000),
                start,
                start + draw(st.integers(1, 10)),
                role=draw(st.sampled_from(roles)),
                authority=draw(st.sampled_from(Authority)),
                priority=draw(st.integers(0, 1)),
                issued_us=draw(st.integers(0, 2)),
                bounding=draw(st.booleans()),
            )
        )
    return rule, leases, draw(st.integers(0, 21)) * US


@given(mixtures(), st.randoms())
def test_the_order_of_arrival_does_not_matter(mixture: Any, random: Any) -> None:
    rule, leases, now_us = mixture
    shuffled = list(leases)
    random.shuffle(shuffled)
    assert resolve(leases, rule, now_us) == resolve(shuffled, rule, now_us)


@given(mixtures())
def test_the_value_is_always_within_the_limits_and_the_model(mixture: Any) -> None:
    rule, leases, now_us = mixture
    value = resolve(leases, rule, now_us).value
    assert rule.minimum <= value <= rule.maximum
    running = [one for one in leases if one.in_force(now_us)]
    low = max([rule.minimum, *(one.value for one in running if one.role == "limit_min")])
    high = min([rule.maximum, *(one.value for one in running if one.role == "limit_max")])
    if rule.role == "setpoint" and low <= high:
        assert low <= value <= high
        bounds = intersect(leases, rule, now_us)
        assert (bounds.low, bounds.high) == (low, high), "the plain intersection, wherever there is one"


@given(mixtures())
def test_stronger_limits_are_never_broken_for_weaker_ones(mixture: Any) -> None:
    rule, leases, now_us = mixture
    bounds = intersect(leases, rule, now_us)
    assert bounds.low <= bounds.high
    for floor in Authority:
        stronger = [one for one in leases if one.authority.rank >= floor.rank]
        outer = intersect(stronger, rule, now_us)
        assert outer.low <= bounds.low <= bounds.high <= outer.high


@given(mixtures())
def test_expired_leases_change_nothing_and_every_lease_ends(mixture: Any) -> None:
    rule, leases, now_us = mixture
    alive = [one for one in leases if one.until_us > now_us]
    assert resolve(leases, rule, now_us) == resolve(alive, rule, now_us)
    assert resolve(leases, rule, 100 * US).at_fallback
    assert next_change_us(leases, rule, 100 * US) is None


@given(mixtures())
def test_nothing_changes_before_the_next_change(mixture: Any) -> None:
    rule, leases, now_us = mixture
    change = next_change_us(leases, rule, now_us)
    present = resolve(leases, rule, now_us)
    end = 100 * US if change is None else change
    for moment in (now_us, (now_us + end) // 2, end - 1):
        then = resolve(leases, rule, moment)
        assert (then.value, then.winner) == (present.value, present.winner)


@given(mixtures())
def test_held_unattended_a_setpoint_breaks_no_limit_that_was_known(mixture: Any) -> None:
    rule, leases, now_us = mixture
    effective = resolve(leases, rule, now_us)
    if not effective.winner or rule.role != "setpoint":
        return
    assert now_us < effective.until_us <= max(one.until_us for one in leases if one.id == effective.winner)
    for moment in range(now_us, effective.until_us, US // 2):
        bounds = intersect(leases, rule, moment)
        assert bounds.low <= effective.value <= bounds.high


@given(mixtures())
def test_leases_survive_their_encoding(mixture: Any) -> None:
    for one in mixture[1]:
        assert msgspec.json.decode(msgspec.json.encode(one), type=Lease) == one
