"""Control rules at the node: checked, versioned, signed for their edge; see `gridspine.things.control_rule`."""

import asyncio
import base64
from collections.abc import Callable, Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gridspine.apps.edge.wire import SignedRule
from gridspine.infra.identity.custody import Custody
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.infra.runtime.starlark_runner import Runner
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.things.control_rule import FUNCTION, ControlRule, rule_body, to_sign

MAX_RULES = 50
"""Rules that one edge has at most."""


class PublishedRule(msgspec.Struct, frozen=True):
    """A rule's present version, as the registry keeps it; ``before`` is the text of versions before, newest first."""

    rule: ControlRule
    before: tuple[ControlRule, ...] = ()


class EdgeRules:
    """The rules of all edges."""

    def __init__(self, registry: Registry, custody: Custody, clock: Clock) -> None:
        self._registry, self._clock = registry, clock
        self._key = Ed25519PrivateKey.from_private_bytes(custody.secret("rules"))
        self._rules: dict[str, dict[str, PublishedRule]] = {}
        self._trying = asyncio.Lock()
        self._signed: dict[tuple[str, str, int], SignedRule] = {}
        self.listeners: list[Callable[[str], None]] = []
        """Told of the edge whose rules changed."""

    def load(self) -> None:
        """Read the rules when the node starts; blocks."""
        for kept in self._registry.read(lambda tx: tx.list(PublishedRule)):
            self._rules.setdefault(kept.rule.edge, {})[kept.rule.name] = kept

    def public_key(self) -> dict[str, str]:
        """Return the public key (JWK) by which rules are signed."""
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": _text(raw)}

    def of_edge(self, edge: str) -> Mapping[str, PublishedRule]:
        """Return an edge's rules by name."""
        return self._rules.get(edge, {})

    def signed(self, edge: str, things: set[str]) -> tuple[SignedRule, ...]:
        """Return an edge's rules, signed; none that reads or commands what is not among its ``things`` any more."""
        return tuple(self._sign(one.rule) for _, one in sorted(self.of_edge(edge).items()) if one.rule.things <= things)

    async def publish(self, rule: ControlRule) -> ControlRule:
        """Keep ``rule`` as its name's next version and return it; raise `Invalid` when it is no program."""
        rule.check()
        async with self._trying:  # each takes a process of its own
            await _try(rule)

        def work(tx: Transaction) -> PublishedRule:
            id_ = f"{rule.edge}/{rule.name}"
            known = tx.get(PublishedRule, id_)
            if known is None and len(self.of_edge(rule.edge)) >= MAX_RULES:
                raise Conflict(f"an edge has at most {MAX_RULES} rules")
            version = 1 if known is None else known.rule.version + 1
            following = msgspec.structs.replace(rule, version=version, at_us=self._clock.now_us())
            kept = PublishedRule(following, () if known is None else (known.rule, *known.before)[:5])
            tx.put(kept, id=id_, owner=rule.organisation)
            said = {"rule": rule.name, "version": version, "text": rule.text, "outputs": list(rule.outputs)}
            tx.emit(LEDGER, rule.edge, self._event("rule.published", rule.edge, rule.author, said))
            return kept

        kept = await self._registry.run(work)
        self._rules.setdefault(rule.edge, {})[rule.name] = kept
        self._tell(rule.edge)
        return kept.rule

    async def roll_back(self, edge: str, name: str, actor: str) -> ControlRule:
        """Publish the version before the present one again, as a new one; raise `NotFound` or `Conflict`."""
        known = self._get(edge, name)
        if not known.before:
            raise Conflict(f"rule {name} has no version before this one")
        return await self.publish(msgspec.structs.replace(known.before[0], author=actor))

    async def remove(self, edge: str, name: str, actor: str) -> None:
        """Take a rule away; what it asked for ends at the edge."""
        self._get(edge, name)

        def work(tx: Transaction) -> None:
            tx.delete(PublishedRule, f"{edge}/{name}")
            tx.emit(LEDGER, edge, self._event("rule.removed", edge, actor, {"rule": name}))

        await self._registry.run(work)
        self._rules[edge].pop(name, None)
        self._tell(edge)

    def _get(self, edge: str, name: str) -> PublishedRule:
        known = self.of_edge(edge).get(name)
        if known is None:
            raise NotFound("there is no such rule")
        return known

    def _sign(self, rule: ControlRule) -> SignedRule:
        key = (rule.edge, rule.name, rule.version)
        if key not in self._signed:
            body = rule_body(rule)
            if len(self._signed) > 10_000:
                self._signed.clear()
            self._signed[key] = SignedRule(body, _text(self._key.sign(to_sign(body))))
        return self._signed[key]

    def _event(self, type_: str, subject: str, actor: str, data: dict[str, object]) -> Event:
        return Event(new_id(self._clock), type_, self._clock.now_us(), subject, actor, data)

    def _tell(self, edge: str) -> None:
        for listener in self.listeners:
            listener(edge)


async def _try(rule: ControlRule) -> None:
    """Raise `Invalid` when the rule's text is no program that can be called; it is compiled in a child."""
    runner = Runner()
    try:
        functions = await runner.load(rule.name, rule.text)
    except Invalid as problem:
        raise Invalid(f"text: {problem.detail}", **problem.extra) from None
    finally:
        await runner.aclose()
    if FUNCTION not in functions:
        raise Invalid(f"text: it must define {FUNCTION}(inputs, state, now_s)")


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
