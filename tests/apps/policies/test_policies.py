"""The node's policies: who may do what, and above all who may not."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridspine.apps.policies.entities import (
    ROLES,
    access_request_entity,
    caller_entity,
    grant_entity,
    node_entity,
    organisation_entity,
    policy_schema,
    policy_texts,
    product_entity,
    receive_context,
    thing_entity,
)
from gridspine.infra.identity.caller import Caller
from gridspine.infra.policy.entity import Decision, Entity
from gridspine.infra.policy.policy import Policy
from gridspine.infra.runtime.clock import VirtualClock

POLICY = Policy(policy_texts(), VirtualClock(), schema=policy_schema())
NOW = 1_000_000
METER = "urn:x:meter"


def caller(*roles: str, organisation: str = "acme", kind: Any = "application", id: str = "urn:x:app") -> Caller:
    return Caller(id, organisation, kind, "Name", frozenset(roles), "key:k", "dpop")


def decide(who: Caller, action: str, what: Entity, context: dict[str, Any] | None = None) -> Decision:
    decision = POLICY.decide(caller_entity(who), action, what, context)
    assert "could not be evaluated" not in decision.reason, decision.reason
    return decision


OWN = {
    "thing.read": thing_entity(METER, "acme"),
    "thing.command": thing_entity(METER, "acme"),
    "thing.approve": thing_entity(METER, "acme"),
    "thing.local": thing_entity(METER, "acme"),
    "thing.tag": thing_entity(METER, "acme"),
    "thing.safety": thing_entity(METER, "acme"),
    "thing.register": thing_entity(METER, "acme"),
    "thing.change": thing_entity(METER, "acme"),
    "thing.manage": thing_entity(METER, "acme"),
    "thing.enrol": thing_entity(METER, "acme"),
    "thing.transfer": thing_entity(METER, "acme"),
    "thing.attach": thing_entity(METER, "acme"),
    "readings.submit": thing_entity(METER, "acme"),
    "readings.plan": thing_entity(METER, "acme"),
    "readings.emulate": thing_entity(METER, "acme"),
    "thing.form": thing_entity(METER, "acme"),
    "alarm.read": thing_entity(METER, "acme"),
    "alarm.handle": thing_entity(METER, "acme"),
    "product.create": organisation_entity("acme"),
    "product.receive": product_entity("p", "acme"),
    "product.query": product_entity("p", "acme"),
    "grant.ask": product_entity("p", "acme"),
    "grant.approve": access_request_entity("r", product="p", owner="acme", consumer="shop"),
    "grant.refuse": access_request_entity("r", product="p", owner="acme", consumer="shop"),
    "grant.read": grant_entity("g", product="p", owner="acme", consumer="shop"),
    "grant.revoke": grant_entity("g", product="p", owner="acme", consumer="shop"),
    "grant.suspend": grant_entity("g", product="p", owner="acme", consumer="shop"),
    "grant.resume": grant_entity("g", product="p", owner="acme", consumer="shop"),
    "audit.read": node_entity("acme"),
    "metrics.read": node_entity("acme"),
    "status.read": node_entity("acme"),
    "sql.run": node_entity("acme"),
    "node.stop": node_entity("acme"),
    "quarantine.handle": node_entity("acme"),
    "node.connect": node_entity("acme"),
    "keys.rotate": node_entity("acme"),
    "adapter.trace": node_entity("acme"),
    "identity.manage": organisation_entity("acme"),
    "behaviour.read": organisation_entity("acme"),
    "behaviour.publish": organisation_entity("acme"),
    "behaviour.deploy": organisation_entity("acme"),
    "site.read": organisation_entity("acme"),
    "site.manage": organisation_entity("acme"),
    "programme.read": organisation_entity("acme"),
    "programme.manage": organisation_entity("acme"),
    "programme.enrol": organisation_entity("acme"),
    "programme.opt": organisation_entity("acme"),
    "programme.report": organisation_entity("acme"),
    "bid.read": organisation_entity("acme"),
    "bid.offer": organisation_entity("acme"),
    "bid.decide": organisation_entity("acme"),
    "programme.respond": thing_entity(METER, "acme"),
    "incident.read": organisation_entity("acme"),
    "incident.handle": organisation_entity("acme"),
}
MAY = {
    "administrator": {
        "behaviour.read", "behaviour.publish",
        "thing.read", "alarm.read", "thing.register", "audit.read", "metrics.read", "status.read", "identity.manage",
        "node.connect", "keys.rotate", "incident.read", "thing.enrol", "thing.attach", "thing.change",
        "site.read", "programme.read", "bid.read",
    },
    "operator": {
        "behaviour.read", "behaviour.publish", "behaviour.deploy",
        "thing.read", "alarm.read", "thing.command", "alarm.handle", "thing.register", "readings.submit",
        "thing.approve", "thing.local", "thing.tag", "thing.safety", "thing.change",
        "readings.plan", "readings.emulate", "thing.form", "thing.manage", "thing.enrol", "thing.attach",
        "product.receive", "product.query", "grant.read", "grant.suspend", "grant.resume", "metrics.read",
        "status.read", "sql.run", "node.stop", "quarantine.handle", "node.connect", "incident.read", "incident.handle",
        "adapter.trace",
        "site.read", "site.manage", "programme.read", "programme.manage", "programme.opt", "programme.report",
        "bid.read", "bid.offer", "bid.decide",
    },
    "owner": {
        "behaviour.read",
        "thing.read", "alarm.read", "product.create", "product.receive", "product.query", "grant.approve",
        "grant.refuse", "grant.read", "grant.revoke", "grant.suspend", "grant.resume", "incident.read",
        "thing.transfer", "thing.attach",
        "site.read", "programme.read", "programme.enrol", "programme.opt", "programme.report",
        "bid.read", "bid.offer", "bid.decide",
    },
    "consumer": {"grant.ask"},
    "device": set(),
    "auditor": {
        "behaviour.read",
        "thing.read", "alarm.read", "grant.read", "audit.read", "metrics.read", "status.read", "incident.read",
        "site.read", "programme.read", "bid.read",
    },
}  # fmt: skip


def context_of(action: str) -> dict[str, Any]:
    return receive_context(NOW, "billing") if action in {"product.receive", "product.query"} else {}


def test_the_policies_fit_their_schema_and_name_every_action() -> None:
    assert len(POLICY.ids) >= 20
    assert set(re.findall(r'"([a-z]+\.[a-zA-Z]+)"', policy_schema())) == set(OWN), "each action is tried below"
    for action in OWN:
        assert POLICY.who_may(action), f"nobody may {action}"
    assert set(MAY) == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_exactly_this_in_its_own_organisation(role: str) -> None:
    allowed = {action for action, what in OWN.items() if decide(caller(role), action, what, context_of(action)).allowed}
    assert allowed == MAY[role]


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reaches_into_another_organisation(role: str) -> None:
    stranger = caller(role, organisation="rival")
    allowed = {action for action, what in OWN.items() if decide(stranger, action, what, context_of(action)).allowed}
    assert allowed == ({"grant.ask"} if role == "consumer" else set())


@given(
    roles=st.sets(st.sampled_from(ROLES)),
    action=st.sampled_from(sorted(OWN)),
    kind=st.sampled_from(["user", "application", "device"]),
)
def test_no_mixture_of_roles_reaches_into_another_organisation(roles, action, kind) -> None:
    stranger = caller(*roles, organisation="rival", kind=kind)
    decision = decide(stranger, action, OWN[action], context_of(action))
    assert not decision.allowed or action == "grant.ask"
    assert decision.reason


@given(roles=st.sets(st.sampled_from(ROLES)), action=st.sampled_from(sorted(OWN)))
def test_the_inactive_may_nothing(roles, action) -> None:
    someone = caller_entity(caller(*roles))
    gone = Entity(someone.kind, someone.id, {**someone.attributes, "active": False}, someone.parents)
    decision = POLICY.decide(gone, action, OWN[action], context_of(action))
    assert not decision.allowed
    assert "deactivated" in decision.reason


def test_a_device_speaks_for_its_own_things_only() -> None:
    device = caller("device", kind="device", id=METER)
    own = thing_entity(METER, "acme", [METER])
    assert decide(device, "readings.submit", own).allowed
    assert decide(device, "readings.plan", own).allowed
    assert not decide(device, "readings.emulate", own).allowed
    assert decide(device, "thing.read", own).allowed
    assert not decide(device, "thing.command", own).allowed
    other = thing_entity("urn:x:other", "acme", ["urn:x:other"])
    for action in ("readings.submit", "readings.plan", "thing.read"):
        decision = decide(device, action, other)
        assert not decision.allowed
        assert decision.reason == "the device does not speak for this Thing"
    abroad = thing_entity(METER, "rival", [METER])
    assert not decide(device, "readings.submit", abroad).allowed


def test_a_device_with_too_many_roles_is_still_a_device() -> None:
    device = caller(*ROLES, kind="device", id=METER)
    for action in ("readings.submit", "thing.read", "thing.command", "thing.register"):
        assert not decide(device, action, thing_entity("urn:x:other", "acme")).allowed


def granted(**changes: Any) -> dict[str, Any]:
    facts = {
        "product": "p",
        "consumer": "shop",
        "state": "active",
        "from_us": NOW,
        "until_us": NOW + 1,
        "purposes": ["billing"],
    }
    now_us, purpose = changes.pop("now_us", NOW), changes.pop("purpose", "billing")
    return receive_context(now_us, purpose, **{**facts, **changes})


CONSUMER = caller("consumer", organisation="shop")
PRODUCT = product_entity("p", "acme")


def test_a_product_is_received_under_a_grant_that_holds() -> None:
    decision = decide(CONSUMER, "product.receive", PRODUCT, granted())
    assert decision.allowed
    assert decision.policies == ("product-receive-granted",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": ""}, "nothing permits"),
        ({"state": "revoked"}, "the grant is not active: it was revoked, or never approved"),
        ({"now_us": NOW - 1}, "the grant has not begun yet"),
        ({"now_us": NOW + 1}, "the grant has expired"),
        ({"purpose": "marketing"}, "the grant is not for this purpose"),
        ({"product": "q"}, "the grant is for another product or another organisation"),
        ({"consumer": "rival"}, "the grant is for another product or another organisation"),
    ],
)
def test_each_failing_fact_is_the_reason(changes: dict[str, Any], reason: str) -> None:
    decision = decide(CONSUMER, "product.receive", PRODUCT, granted(**changes))
    assert not decision.allowed
    assert decision.reason.startswith(reason)


def test_a_grant_gives_nothing_but_the_product() -> None:
    for action, what in OWN.items():
        if action not in ("product.receive", "product.query", "grant.ask", "grant.read", "grant.revoke"):
            assert not decide(CONSUMER, action, what).allowed, action
    assert decide(CONSUMER, "grant.revoke", OWN["grant.revoke"]).allowed, "a consumer may give a grant up"
    assert not decide(caller("operator", organisation="shop"), "product.receive", PRODUCT, granted()).allowed


@given(
    action=st.sampled_from([action for action, what in OWN.items() if what.kind == "Thing"]),
    roles=st.sets(st.sampled_from(ROLES)),
    kind=st.sampled_from(["user", "application", "device"]),
    owner=st.sampled_from(["acme", "shop"]),
    speaks=st.booleans(),
    others=st.lists(st.sampled_from(["urn:x:one", "urn:x:two"]), max_size=2),
)
def test_things_of_one_owner_that_the_caller_speaks_for_or_not_are_decided_on_alike(
    action: str, roles: set[str], kind: str, owner: str, speaks: bool, others: list[str]
) -> None:
    """What `Authority` permitted for one it permits for another without asking again: by these facts alone."""
    who = caller(*roles, kind=kind)
    own = [who.principal] if speaks else []
    first = decide(who, action, thing_entity(METER, owner, own))
    second = decide(who, action, thing_entity("urn:x:another", owner, [*others, *own]))
    assert (first.allowed, first.policies) == (second.allowed, second.policies)
