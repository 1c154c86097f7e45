"""Authority: Cedar asked on behalf of a caller, every decision in the audit topic.

A caller without standing learns the decision's id only, and gets the same answer whether or not the thing exists.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import structlog

from gridspine.apps.policies.entities import (
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
from gridspine.infra.log.port import Record
from gridspine.infra.log.writer import AppendJob, LogWriter
from gridspine.infra.policy.entity import Decision, Entity
from gridspine.infra.policy.policy import Policy
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import GridspineError
from gridspine.sharing.grant import Grant
from gridspine.sharing.product import Product
from gridspine.things.directory import Thing

AUDIT = "audit"
_ANY_OWN = "urn:any:own"
"""What a decision is recorded on that is about all Things of an organisation."""
_REMEMBERED = 20_000
_REMEMBER_US = 5_000_000
_NAME_CHARS, _REASON_CHARS = 300, 2000
_OFTEN = frozenset(
    {
        "thing.read",
        "thing.register",
        "readings.submit",
        "readings.plan",
        "readings.emulate",
        "programme.read",
        "site.read",
    }
)
"""Actions asked so often that the audit topic would fill with the same answer."""
log = structlog.get_logger(__name__)


class Authority:
    """Decides, and records what it decided. ``organisation`` runs the node."""

    def __init__(self, clock: Clock, writer: LogWriter, organisation: str) -> None:
        self._clock = clock
        self._writer = writer
        self._organisation = organisation
        self._policy = Policy(policy_texts(), clock, schema=policy_schema(), record=self._record)
        self._fresh: dict[tuple[Any, ...], tuple[int, Decision]] = {}
        self._foreseen: dict[tuple[Any, ...], bool] = {}
        self._permits: dict[tuple[Any, ...], Decision] = {}

    def on_node(self, caller: Caller, action: str) -> Decision:
        """Decide on ``action`` at the node itself; raise `Forbidden`."""
        return self._check(caller, action, node_entity(self._organisation))

    def on_organisation(self, caller: Caller, action: str, organisation: str) -> Decision:
        """Decide on ``action`` at an organisation; raise `Forbidden`. Reading again soon is not decided anew."""
        if action not in _OFTEN:
            return self._check(caller, action, organisation_entity(organisation))
        key = (action, caller.principal, caller.roles, caller.epoch, (organisation,))
        decision = self._again(key, lambda: self._decide(caller, action, organisation_entity(organisation)))
        return decision.check(explain=caller.organisation == organisation)

    def would_allow_in(self, caller: Caller, action: str, organisation: str) -> bool:
        """Whether ``caller`` would be let do ``action`` at an organisation: to show what may be asked for."""
        key = (action, caller.principal, caller.organisation, caller.kind, caller.roles, organisation)
        known = self._foreseen.get(key)
        if known is None:
            if len(self._foreseen) >= _REMEMBERED:
                self._foreseen.clear()
            entity = organisation_entity(organisation)
            known = self._foreseen[key] = self._policy.foresee(caller_entity(caller), action, entity).allowed
        return known

    def on_thing(self, caller: Caller, action: str, thing: Thing | None, id: str = "") -> Decision:
        """Decide on ``action`` at a Thing; one that does not exist (None) is decided as somebody else's.

        Reading, registering or sending readings again within a few seconds is not decided (nor recorded) anew. All
        else has a decision and a record of its own.
        """
        if action not in _OFTEN:
            return self._alike(caller, action, thing) or self._check(caller, action, _thing_entity(thing, id))
        # What is decided on is part of the key: a Thing registered since was decided as somebody else's before.
        standing = (thing.id, thing.organisation, thing.devices) if thing else (id,)
        key = (action, caller.principal, caller.roles, caller.epoch, standing)
        decision = self._again(key, lambda: self._decide(caller, action, _thing_entity(thing, id)))
        return decision.check(explain=thing is not None and caller.organisation == thing.organisation)

    def on_own(self, caller: Caller, action: str) -> Decision:
        """Decide on ``action`` at the Things of the caller's organisation, whichever they are; raise `Forbidden`.

        Policies look at a Thing's organisation and devices only: one that there is not stands for all.
        """
        return self.on_thing(caller, action, Thing(_ANY_OWN, caller.organisation, "any", ""))

    def would_allow(self, caller: Caller, action: str, thing: Thing) -> bool:
        """Whether ``caller`` would be let do ``action`` to ``thing``: to show what may be asked for, and not recorded.

        Policies look at a Thing's organisation and devices only: it is asked once for all Things that are alike there.
        """
        key = _likeness(caller, action, thing)
        known = self._foreseen.get(key)
        if known is None:
            if len(self._foreseen) >= _REMEMBERED:
                self._foreseen.clear()
            entity = _thing_entity(thing)
            known = self._foreseen[key] = self._policy.foresee(caller_entity(caller), action, entity).allowed
        return known

    def on_product(self, caller: Caller, action: str, product: Product) -> Decision:
        """Decide on ``action`` at a product, other than receiving it; raise `Forbidden`."""
        return self._check(caller, action, product_entity(product.id, product.owner))

    def on_grant(self, caller: Caller, action: str, grant: Grant) -> Decision:
        """Decide on ``action`` at a grant or request; raise `Forbidden`."""
        make = access_request_entity if action in {"grant.approve", "grant.refuse"} else grant_entity
        entity = make(grant.id, product=grant.product, owner=grant.owner, consumer=grant.consumer)
        return self._check(caller, action, entity)

    def receive(
        self, caller: Caller, product: Product, purpose: str, grant: Grant | None, action: str = "product.receive"
    ) -> Decision:
        """Decide on receiving (or querying) ``product`` for ``purpose`` under ``grant``; raise `Forbidden`."""
        context = receive_context(self._clock.now_us(), purpose)
        if grant is not None:
            context = receive_context(
                self._clock.now_us(),
                purpose,
                product=grant.product,
                consumer=grant.consumer,
                state=grant.state,
                from_us=grant.from_us,
                until_us=grant.until_us,
                purposes=[grant.purpose],
            )
        entity = product_entity(product.id, product.owner)
        decision = self._decide(caller, action, entity, context)
        return decision.check(explain=grant is not None or caller.organisation == product.owner)

    def allows_submission(self, caller: Caller, thing: Thing, action: str = "readings.submit") -> bool:
        """Whether ``caller`` may send readings of ``thing``; another ``action`` for those of another channel."""
        return self._decide(caller, action, _thing_entity(thing)).allowed

    def _again(self, key: tuple[Any, ...], decide: Callable[[], Decision]) -> Decision:
        """Return what was decided within the last seconds, else decide."""
        now_us = self._clock.monotonic_us()
        known = self._fresh.get(key)
        if known is None or known[0] < now_us:
            if len(self._fresh) >= _REMEMBERED:
                self._fresh.clear()
            known = self._fresh[key] = (now_us + _REMEMBER_US, decide())
        return known[1]

    def _alike(self, caller: Caller, action: str, thing: Thing | None) -> Decision | None:
        """Permit what was permitted for a Thing that policies cannot tell from this one; None where they must be asked.

        It is recorded as any decision: only Cedar, which takes longer than all else of a command, is not asked again.
        """
        if thing is None:
            return None
        key = _likeness(caller, action, thing)
        known = self._permits.get(key)
        if known is not None:
            return self._policy.again(known, str(_thing_entity(thing)))
        decision = self._check(caller, action, _thing_entity(thing))
        if len(self._permits) >= _REMEMBERED:
            self._permits.clear()
        self._permits[key] = decision
        return decision

    def _check(self, caller: Caller, action: str, resource: Entity) -> Decision:
        decision = self._decide(caller, action, resource)
        owner = resource.attributes.get("organisation", {}).get("__entity", {}).get("id", resource.id)
        return decision.check(explain=caller.organisation == owner or resource.kind in {"Grant", "AccessRequest"})

    def _decide(
        self,
        caller: Caller,
        action: str,
        resource: Entity,
        context: Mapping[str, Any] | None = None,
        entities: Iterable[Entity] = (),
    ) -> Decision:
        return self._policy.decide(caller_entity(caller), action, resource, context, entities)

    def _record(self, decision: Decision) -> None:
        """Append to the audit topic, with the group that is under way; a permit does not wait for it."""
        # What was asked for is named by whoever asks: a name may be as long as an address can be.
        kept = msgspec.structs.replace(
            decision, resource=decision.resource[:_NAME_CHARS], reason=decision.reason[:_REASON_CHARS]
        )
        record = Record(AUDIT, decision.principal.encode(), msgspec.json.encode(kept), decision.time_us)
        job = AppendJob([record], source="audit")
        job.done.add_done_callback(_say_failure)
        self._writer.submit(job)


def _likeness(caller: Caller, action: str, thing: Thing) -> tuple[Any, ...]:
    """Return all that the policies look at where ``caller`` asks to do ``action`` to ``thing``."""
    speaks = caller.principal in thing.devices
    return action, caller.principal, caller.organisation, caller.kind, caller.roles, thing.organisation, speaks


def _thing_entity(thing: Thing | None, id: str = "") -> Entity:
    return thing_entity(thing.id, thing.organisation, thing.devices) if thing else thing_entity(id, "nobody")


def _say_failure(done: "asyncio.Future[Any]") -> None:
    error = None if done.cancelled() else done.exception()
    if isinstance(error, GridspineError):
        log.error("a decision could not be kept in the audit topic", error=error.detail)
    elif error is not None:
        log.error("a decision could not be kept in the audit topic", error=str(error))
