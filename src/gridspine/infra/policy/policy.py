"""Decisions by Cedar, with policy sets that are parsed once.

Cedar's own semantics (docs.cedarpolicy.com, "Authorization"): a matching ``forbid`` wins over every ``permit``, and
what nothing permits is denied. One thing is made stricter: a policy that fails to evaluate would be skipped, and a
skipped ``forbid`` lets through; here any such failure denies.

Each policy carries ``@id("…")`` and ``@reason("…")``. A permit's reason says who may ("an operator may command the
Things of the own organisation"), a forbid's what stands against it ("the grant is revoked").
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cedarpy

from gridspine.infra.policy.entity import Decision, Entity
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.errors import Invalid

Record = Callable[[Decision], None]


class Policy:
    """Decides by ``texts`` (file name → Cedar policies); checked against ``schema`` (Cedar schema text) when given.

    ``record`` is called with every decision, before it is returned; if it raises, there is no decision.
    """

    def __init__(
        self, texts: Mapping[str, str], clock: Clock, *, schema: str = "", record: Record | None = None
    ) -> None:
        """Parse the policies; raise `Invalid` that names what is wrong with which."""
        self._clock, self._record = clock, record
        self._policies = _read(texts)
        self._reasons = {name: body["annotations"]["reason"] for name, body in self._policies.items()}
        self._set = cedarpy.PolicySet.from_json_str(_document(self._policies))
        self._schema = _validated(texts, schema) if schema else None

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all policies."""
        return tuple(self._policies)

    def decide(
        self,
        principal: Entity,
        action: str,
        resource: Entity,
        context: Mapping[str, Any] | None = None,
        entities: Iterable[Entity] = (),
    ) -> Decision:
        """Decide whether ``principal`` may do ``action`` to ``resource``.

        ``context`` holds facts of this request, ``entities`` others that attributes refer to, when policies look
        into them. The principal and the resource are taken as given: whoever calls has authenticated them.
        """
        decision = self.foresee(principal, action, resource, context, entities)
        if self._record is not None:
            self._record(decision)
        return decision

    def again(self, decision: Decision, resource: str) -> Decision:
        """Return (and record) a decision like ``decision`` on another resource that policies cannot tell from its own.

        ``resource`` reads ``kind id``. What is alike to policies, whoever calls must know.
        """
        made = Decision(
            new_id(self._clock), decision.allowed, decision.reason, decision.policies, decision.principal,
            decision.action, resource, self._clock.now_us(),
        )  # fmt: skip
        if self._record is not None:
            self._record(made)
        return made

    def foresee(
        self,
        principal: Entity,
        action: str,
        resource: Entity,
        context: Mapping[str, Any] | None = None,
        entities: Iterable[Entity] = (),
    ) -> Decision:
        """Return what `decide` would say, for those who only show what may be asked for: nothing is recorded."""
        known = {(entity.kind, entity.id): entity for entity in (*entities, principal, resource)}
        request = {
            "principal": principal.uid,
            "action": {"type": "Action", "id": action},
            "resource": resource.uid,
            "context": dict(context or {}),
        }
        documents = [entity.document() for entity in known.values()]
        result = cedarpy.is_authorized(request, self._set, documents, self._schema)
        return self._decision(result, principal, action, resource)

    def who_may(self, action: str) -> list[str]:
        """Return the reasons of the permits that name ``action``: who could be allowed it."""
        return [
            self._reasons[name]
            for name, body in self._policies.items()
            if body["effect"] == "permit" and action in _actions(body["action"])
        ]

    def _decision(self, result: Any, principal: Entity, action: str, resource: Entity) -> Decision:
        errors = result.diagnostics.errors
        determining = tuple(sorted(result.diagnostics.reasons))
        allowed = bool(result.allowed) and not errors
        if errors:
            reason = "the policies could not be evaluated for this request, so it is denied: " + "; ".join(errors)
        elif determining:
            reason = "; ".join(self._reasons[name] for name in determining)
        else:
            others = "; ".join(self.who_may(action)) or "no policy permits this action to anyone"
            reason = f"nothing permits {principal} to do {action} on {resource}: {others}"
        now_us = self._clock.now_us()
        return Decision(
            new_id(self._clock), allowed, reason, determining, str(principal), action, str(resource), now_us
        )


def _read(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    policies: dict[str, dict[str, Any]] = {}
    for file, text in texts.items():
        try:
            parsed = json.loads(cedarpy.policies_to_json_str(text))
        except ValueError as error:
            raise Invalid(f"{file} cannot be read as Cedar policies: {error}") from error
        if parsed["templates"]:
            raise Invalid(f"{file} has templates; write plain policies")
        for body in parsed["staticPolicies"].values():
            _add(policies, file, body)
    return policies


def _add(policies: dict[str, dict[str, Any]], file: str, body: dict[str, Any]) -> None:
    annotations = body.get("annotations", {})
    missing = [name for name in ("id", "reason") if not annotations.get(name)]
    if missing:
        raise Invalid(f'{file}: policy {annotations.get("id", "")!r} needs @{"(…) and @".join(missing)}("…")')
    if annotations["id"] in policies:
        raise Invalid(f"{file}: there are two policies with @id({annotations['id']!r})")
    policies[annotations["id"]] = body


def _document(policies: Mapping[str, Any]) -> str:
    return json.dumps({"templates": {}, "staticPolicies": dict(policies), "templateLinks": []})


def _validated(texts: Mapping[str, str], schema: str) -> cedarpy.Schema:
    try:
        parsed = cedarpy.Schema.from_str(schema)
    except ValueError as error:
        raise Invalid(f"the schema cannot be read: {error}") from error
    result = cedarpy.validate_policies("\n".join(texts.values()), parsed)
    if not result.validation_passed:
        raise Invalid("the policies do not fit the schema: " + "; ".join(str(error) for error in result.errors))
    return parsed


def _actions(scope: Mapping[str, Any]) -> set[str]:
    named = [scope["entity"]] if "entity" in scope else scope.get("entities", [])
    return {entity["id"] for entity in named}
