"""Decisions: default deny, reasons, and failures that deny."""

import uuid
from typing import Any

import pytest

from gridspine.infra.policy.entity import Decision, Entity, ref
from gridspine.infra.policy.policy import Policy
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Forbidden, Invalid

TEXT = """
@id("open") @reason("a keeper may open the doors of the own house")
permit (principal is Person, action == Action::"open", resource is Door)
when { principal.house == resource.house && principal.keeper };

@id("night") @reason("the house is closed at night")
forbid (principal, action in [Action::"open", Action::"paint"], resource)
when { context.hour >= 22 };
"""
KEEPER = Entity("Person", "ann", {"house": ref("House", "a"), "keeper": True})
DOOR = Entity("Door", "front", {"house": ref("House", "a")})


def policy(text: str = TEXT, **more: Any) -> Policy:
    return Policy({"doors.cedar": text}, VirtualClock(), **more)


def test_a_permit_says_by_which_policy_and_why() -> None:
    decision = policy().decide(KEEPER, "open", DOOR, {"hour": 12})
    assert decision.allowed
    assert decision.check(explain=False) is decision
    assert (decision.policies, decision.reason) == (("open",), "a keeper may open the doors of the own house")
    assert (decision.principal, decision.action, decision.resource) == ("Person ann", "open", "Door front")
    assert uuid.UUID(decision.id).version == 7
    assert decision.time_us == VirtualClock().now_us()


def test_what_nothing_permits_is_denied_and_says_who_may() -> None:
    guest = Entity("Person", "bob", {"house": ref("House", "a"), "keeper": False})
    decision = policy().decide(guest, "open", DOOR, {"hour": 12})
    assert (decision.allowed, decision.policies) == (False, ())
    assert decision.reason == (
        "nothing permits Person bob to do open on Door front: a keeper may open the doors of the own house"
    )
    unknown = policy().decide(guest, "eat", DOOR, {"hour": 12})
    assert not unknown.allowed
    assert unknown.reason.endswith("no policy permits this action to anyone")


def test_a_forbid_wins_and_says_why() -> None:
    decision = policy().decide(KEEPER, "open", DOOR, {"hour": 23})
    assert (decision.allowed, decision.policies) == (False, ("night",))
    assert decision.reason == "the house is closed at night"


def test_a_policy_that_fails_denies_even_beside_a_permit() -> None:
    decision = policy().decide(KEEPER, "open", DOOR, {})
    assert not decision.allowed, "the forbid could not be evaluated"
    assert decision.reason.startswith("the policies could not be evaluated")
    assert "night" in decision.reason


def test_reasons_go_only_to_those_who_may_know() -> None:
    decision = policy().decide(KEEPER, "open", DOOR, {"hour": 23})
    for explain, told in [(True, True), (False, False)]:
        with pytest.raises(Forbidden) as caught:
            decision.check(explain=explain)
        assert ("closed at night" in caught.value.detail) is told
        assert caught.value.extra == {"decision": decision.id}


def test_every_decision_is_recorded_before_it_is_known() -> None:
    kept: list[Decision] = []
    deciding = policy(record=kept.append)
    made = [deciding.decide(KEEPER, "open", DOOR, {"hour": hour}) for hour in (1, 23)]
    assert kept == made
    assert len({decision.id for decision in made}) == 2

    def fail(_: Decision) -> None:
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError):
        policy(record=fail).decide(KEEPER, "open", DOOR, {"hour": 1})


def test_strange_ids_stay_what_they_are() -> None:
    for name in ('"', 'x"; permit(principal,action,resource);//', "a\nb", "\\", "ö", ""):
        person = Entity("Person", name, KEEPER.attributes)
        assert policy().decide(person, "open", DOOR, {"hour": 1}).allowed
        assert not policy().decide(person, name, DOOR, {"hour": 1}).allowed


def test_parents_and_other_entities_are_seen() -> None:
    text = '@id("in") @reason("members may") permit (principal in Group::"g", action, resource);'
    groups = [Entity("Group", "g"), Entity("Group", "sub", {}, (("Group", "g"),))]
    member = Entity("Person", "ann", {}, (("Group", "sub"),))
    assert policy(text).decide(member, "open", DOOR, {}, groups).allowed
    assert not policy(text).decide(member, "open", DOOR, {}).allowed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permit (principal", "cannot be read"),
        ('@reason("r") permit (principal, action, resource);', "needs @id"),
        ('@id("a") permit (principal, action, resource);', "needs @reason"),
        ("permit (principal, action, resource);", "needs @id"),
        ('@id("a") @reason("r") permit (principal, action, resource);' * 2, "two policies"),
        ('@id("a") @reason("r") permit (principal == ?principal, action, resource);', "templates"),
    ],
)
def test_policies_that_cannot_explain_themselves_are_refused(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        policy(text)
    assert "doors.cedar" in caught.value.detail


def test_policies_are_checked_against_a_schema() -> None:
    schema = """
    entity House; entity Person = { house: House, keeper: Bool }; entity Door = { house: House };
    action open, paint appliesTo { principal: Person, resource: Door, context: { hour: Long } };
    """
    checked = policy(schema=schema)
    assert checked.decide(KEEPER, "open", DOOR, {"hour": 1}).allowed
    assert not checked.decide(KEEPER, "open", DOOR, {"hour": "one"}).allowed
    assert not checked.decide(KEEPER, "fly", DOOR, {"hour": 1}).allowed
    assert not checked.decide(Entity("Person", "ann", {"keeper": True}), "open", DOOR, {"hour": 1}).allowed
    with pytest.raises(Invalid, match="do not fit the schema"):
        policy(TEXT.replace("principal.keeper", "principal.owner"), schema=schema)
    with pytest.raises(Invalid, match="schema cannot be read"):
        policy(schema="entity")
