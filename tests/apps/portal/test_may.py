"""Buttons are shown to those whom the policies allow what they do, and to nobody else."""

from itertools import product

import pytest

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
    thing_entity,
)
from gridspine.apps.portal.may import May
from gridspine.infra.identity.caller import Caller
from gridspine.infra.policy.policy import Policy
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.sharing.grant import Grant, State, Verb

POLICY = Policy(policy_texts(), VirtualClock(), schema=policy_schema())
CALLERS = [
    Caller("urn:x:p", organisation, "user", "p", frozenset({role}), "portal:x", "cookie")
    for organisation, role in product(("own", "other"), ROLES)
]


def allowed(caller: Caller, action: str, resource: object) -> bool:
    return POLICY.decide(caller_entity(caller), action, resource).allowed  # type: ignore[arg-type]


@pytest.mark.parametrize("caller", CALLERS, ids=lambda c: f"{c.organisation}-{next(iter(c.roles))}")
def test_what_is_offered_is_what_is_allowed(caller: Caller) -> None:
    may = May(caller, "own")
    thing = thing_entity("urn:x:t", caller.organisation)
    own = organisation_entity(caller.organisation)
    if not caller.has("device"):  # devices may read themselves; they do not sign in here
        assert may.read_things == allowed(caller, "thing.read", thing) == allowed(caller, "alarm.read", thing)
        assert may.read_things == allowed(caller, "incident.read", own) == allowed(caller, "behaviour.read", own)
    assert may.command == allowed(caller, "thing.command", thing) == allowed(caller, "alarm.handle", thing)
    assert may.command == allowed(caller, "incident.handle", own)
    for action in ("manage", "form", "approve", "tag", "safety"):
        assert may.command == allowed(caller, f"thing.{action}", thing), action
    if not caller.has("device"):  # a device may say that it is in local control
        assert may.command == allowed(caller, "thing.local", thing)
    for action in ("register", "enrol"):
        assert may.register == allowed(caller, f"thing.{action}", thing), action
    assert may.transfer == allowed(caller, "thing.transfer", thing)
    assert may.command == allowed(caller, "behaviour.deploy", own) == allowed(caller, "site.manage", own)
    assert may.attach == allowed(caller, "thing.attach", thing)
    assert may.stop == allowed(caller, "node.stop", node_entity("own"))
    assert may.watch == allowed(caller, "status.read", node_entity("own"))
    if not caller.has("device"):
        assert may.trace == allowed(caller, "adapter.trace", node_entity("own"))
    assert may.ask == allowed(caller, "grant.ask", product_entity("urn:x:pr", "third"))
    sides = [("other", caller.organisation), (caller.organisation, "third")]
    grants = [grant_entity("urn:x:g", product="urn:x:pr", owner=owner, consumer=to) for owner, to in sides]
    assert may.read_grants == any(allowed(caller, "grant.read", grant) for grant in grants)


VERBS: tuple[Verb, ...] = ("approve", "refuse", "revoke", "suspend", "resume")
MOVES: dict[Verb, tuple[State, ...]] = {
    "approve": ("requested",), "refuse": ("requested",), "revoke": ("requested", "active", "suspended"),
    "suspend": ("active",), "resume": ("suspended",),
}  # fmt: skip


@pytest.mark.parametrize("caller", CALLERS, ids=lambda c: f"{c.organisation}-{next(iter(c.roles))}")
@pytest.mark.parametrize("state", ["requested", "active", "refused", "revoked", "suspended"])
def test_the_verbs_of_a_grant(caller: Caller, state: State) -> None:
    for owner, consumer in (("own", "other"), ("other", "own")):
        grant = Grant("urn:x:g", "urn:x:pr", owner, consumer, "p", 0, 100, "urn:x:a", 0, state)
        offered = set(May(caller, "own").verbs(grant, 50))
        for verb in VERBS:
            make = access_request_entity if verb in {"approve", "refuse"} else grant_entity
            entity = make("urn:x:g", product="urn:x:pr", owner=owner, consumer=consumer)
            if verb == "revoke" and state == "requested" and caller.organisation == owner:
                assert verb not in offered  # an owner refuses
                continue
            assert (verb in offered) == (state in MOVES[verb] and allowed(caller, f"grant.{verb}", entity)), verb


def test_nothing_is_approved_or_resumed_after_its_end() -> None:
    owner = Caller("urn:x:p", "own", "user", "p", frozenset({"owner"}), "portal:x", "cookie")
    for state, verbs in (("requested", ["refuse"]), ("suspended", []), ("active", [])):
        grant = Grant("urn:x:g", "urn:x:pr", "own", "other", "p", 0, 100, "urn:x:a", 0, state)  # type: ignore[arg-type]
        assert May(owner, "own").verbs(grant, 100) == verbs
