"""Control rules at the node: checked, versioned, signed for their edge; see `gridspine.things.control_rule`.

An edge runs its rules without asking, so a cap on power moved in a minute cannot hold them back one by one: the most
that each may move in a minute is set aside from the cap as long as the rule is there, a quarter of the cap for all.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gridspine.apps.edge.wire import SignedRule
from gridspine.infra.identity.custody import Custody
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.infra.runtime.starlark_runner import Runner
from gridspine.kernel.errors import Conflict, Invalid, NotFound
from gridspine.things.control_rule import FUNCTION, ControlRule, PublishedRule, rule_body, split_point, to_sign

MAX_RULES = 50
"""Rules that one edge has at most."""
RULES_SHARE = 0.25
"""Share of the cap on power moved in a minute that all rules of all edges may have together."""
log = structlog.get_logger(__name__)


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
        self._cap_w = 0.0
        self._most_w: Callable[[ControlRule], float] = lambda _rule: 0.0
        self._set_aside: Callable[[float], None] = lambda _w: None
        self._over: set[tuple[str, str]] = set()
        """Rules that have no room beneath the cap, such as since it was lowered: no edge is given them."""

    def beneath(self, cap_w: float, most_w: Callable[[ControlRule], float], set_aside: Callable[[float], None]) -> None:
        """Keep to a cap of ``cap_w`` [W] moved in a minute (0: none): ``most_w(rule)`` is what a rule may move at most.

        ``set_aside`` is told what the rules have together [W].
        """
        self._cap_w, self._most_w, self._set_aside = cap_w, most_w, set_aside

    def load(self) -> None:
        """Read the rules when the node starts; blocks."""
        for kept in self._registry.read(lambda tx: tx.list(PublishedRule)):
            self._rules.setdefault(kept.rule.edge, {})[kept.rule.name] = kept
        self._share_out()

    def public_key(self) -> dict[str, str]:
        """Return the public key (JWK) by which rules are signed."""
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": _text(raw)}

    def of_edge(self, edge: str) -> Mapping[str, PublishedRule]:
        """Return an edge's rules by name."""
        return self._rules.get(edge, {})

    def signed(
        self, edge: str, things: set[str], open_: Callable[[str, str], bool] = lambda _thing, _point: True
    ) -> tuple[SignedRule, ...]:
        """Return an edge's rules, signed; none that reads or commands what is not among its ``things`` any more.

        None either that would command a point which is not ``open_(thing, point)``: a rule that nobody may follow would
        only fault, and be taken for a bad one.
        """
        rules = (one.rule for name, one in sorted(self.of_edge(edge).items()) if (edge, name) not in self._over)
        return tuple(
            self._sign(rule)
            for rule in rules
            if rule.things <= things and all(open_(*split_point(point)) for point in rule.outputs)
        )

    async def publish(self, rule: ControlRule) -> ControlRule:
        """Keep ``rule`` as its name's next version and return it; raise `Invalid` when it is no program."""
        rule.check()
        self._check_room(rule)
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
        self._share_out()
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
        self._share_out()
        self._tell(edge)

    def _check_room(self, rule: ControlRule) -> None:
        """Raise `Conflict` where ``rule`` has no room beneath the cap."""
        most_w = self._most_w(rule) if self._cap_w else 0.0
        others = (one.rule for edge in self._rules.values() for one in edge.values())
        taken_w = sum(self._most_w(one) for one in others if (one.edge, one.name) != (rule.edge, rule.name))
        share_w = RULES_SHARE * self._cap_w
        if most_w and taken_w + most_w > share_w:
            raise Conflict(
                f"the rule may move {most_w / 1e3:g} kW in a minute: all rules together may move {share_w / 1e3:g} kW, "
                f"a quarter of the cap, and have {taken_w / 1e3:g} kW. Let it run less often, or set fewer points"
            )

    def _share_out(self) -> None:
        """Give the rules their room beneath the cap, the oldest first; what has none is not handed out."""
        if not self._cap_w:
            return
        taken_w, self._over = 0.0, set()
        kept = (one.rule for edge in self._rules.values() for one in edge.values())
        for rule in sorted(kept, key=lambda one: (one.at_us, one.edge, one.name)):
            most_w = self._most_w(rule)
            if most_w and taken_w + most_w > RULES_SHARE * self._cap_w:
                self._over.add((rule.edge, rule.name))
                log.warning("a rule has no room beneath the cap: no edge is given it", edge=rule.edge, rule=rule.name)
            else:
                taken_w += most_w
        self._set_aside(taken_w)

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
