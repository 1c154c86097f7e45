"""Control rules at the edge: checked by the node's signature, run by the clock, rolled back when they fault.

::

    Rules ─► signature, key pinned ─► kept ─► a child compiles ─► every ``every_s``: control(inputs, state, now_s)
                                                                     │ set-points of its outputs ─► leases (service)
                                                                     └ fault, three in a row ─► the version before
"""

import asyncio
from typing import Any, Literal

import msgspec
import structlog

from gridspine.apps.edge.book import OrderBook
from gridspine.apps.edge.documents import Documents
from gridspine.apps.edge.host import AdapterHost
from gridspine.apps.edge.merge import LOCAL
from gridspine.apps.edge.proof import thumbprint, verifies
from gridspine.apps.edge.wire import RuleReport, SignedRule
from gridspine.infra.runtime.clock import Clock, new_urn
from gridspine.infra.runtime.starlark_runner import Runner
from gridspine.infra.runtime.starlark_wire import Done, Fault
from gridspine.kernel.errors import GridspineError, Invalid
from gridspine.kernel.quality import VALIDITY_MASK
from gridspine.kernel.time import US
from gridspine.things.control_rule import (
    FUNCTION,
    MAX_FAULTS,
    MAX_STATE_BYTES,
    ControlRule,
    parse_rule,
    split_point,
    to_sign,
)
from gridspine.things.lease import Authority, Lease

RULE, KEY = "rule", "key"
State = Literal["running", "rolled-back", "stopped", "refused"]
_LOOK_S = 0.2
log = structlog.get_logger(__name__)


class _Kept(msgspec.Struct, frozen=True):
    """What is kept of a rule: its signed versions, the present one first, and which ones faulted."""

    versions: list[SignedRule]
    bad: list[int] = []


class _Running:
    """A rule at work."""

    def __init__(self, rule: ControlRule, state: State) -> None:
        self.rule, self.state_is = rule, state
        self.memory: Any = {}
        self.due_us = 0
        self.runs = self.faults = self.in_a_row = 0
        self.detail = ""
        self.loaded = False


class Rules:
    """The rules of this edge."""

    def __init__(self, edge: str, node_key: str, documents: Documents, host: AdapterHost, book: OrderBook,
                 clock: Clock) -> None:  # fmt: skip
        self._edge, self._pinned = edge, node_key
        self._documents, self._host, self._book, self._clock = documents, host, book, clock
        self._key: dict[str, str] = {}
        self._kept: dict[str, _Kept] = {}
        self._rules: dict[str, _Running] = {}
        self._refused: dict[str, RuleReport] = {}
        self._runner = Runner()
        self.news = asyncio.Event()
        """Set when there is something about a rule that the node should know."""

    async def load(self) -> None:
        """Take up what was kept."""
        stored = await self._documents.get(KEY, KEY)
        if stored:
            self._key = msgspec.json.decode(stored, type=dict[str, str])
        for name, body in (await self._documents.all(RULE)).items():
            self._kept[name] = msgspec.json.decode(body, type=_Kept)
            self._choose(name)

    async def trust(self, key: dict[str, str]) -> None:
        """Take the key by which the node says it signs: the pinned one, or the first ever shown."""
        try:
            shown = thumbprint(key)
        except KeyError:
            return
        expected = self._pinned or (thumbprint(self._key) if self._key else "")
        if expected and shown != expected:
            log.error("the node signs rules by another key than before: its rules are refused", thumbprint=shown)
            return
        if key != self._key:
            self._key = key
            await self._documents.put((KEY, KEY, msgspec.json.encode(key)))
            for name in self._kept:
                self._choose(name)

    async def take(self, signed: tuple[SignedRule, ...]) -> None:
        """Run these rules from now on, and no others; those whose signature does not hold are refused."""
        named: set[str] = set()
        self._refused.clear()
        for one in signed:
            try:
                rule = self._read(one)
            except Invalid as error:
                name = str(_field(one.body, "name"))[:64]
                log.error("a rule is refused", rule=name, why=error.detail)
                self._refused[name] = RuleReport(name, 0, "refused", error.detail)
                named.add(name)
                continue
            named.add(rule.name)
            await self._keep(rule.name, one)
        for name in [name for name in self._kept if name not in named]:
            await self._forget(name)
        self.news.set()

    def reports(self) -> tuple[RuleReport, ...]:
        """Return how the rules do."""
        running = [
            RuleReport(one.rule.name, one.rule.version if one.state_is != "stopped" else 0, one.state_is,
                       one.detail, one.runs, one.faults)
            for one in self._rules.values()
        ]  # fmt: skip
        return (*running, *self._refused.values())

    async def run(self) -> None:
        """Run each rule when it is due; until cancelled."""
        while True:
            for name in list(self._rules):
                one = self._rules.get(name)
                if one is not None and one.state_is != "stopped" and self._clock.monotonic_us() >= one.due_us:
                    one.due_us = self._clock.monotonic_us() + round(one.rule.every_s * US)
                    await self._once(one)
            await self._clock.sleep(_LOOK_S)

    async def close(self) -> None:
        """End the child."""
        await self._runner.aclose()

    # -- one run ------------------------------------------------------------------------------------------------

    async def _once(self, one: _Running) -> None:
        rule = one.rule
        one.runs += 1
        try:
            wanted, memory = await self._call(one)
            for point, value in wanted.items():
                await self._ask(rule, point, value)
        except GridspineError as error:
            await self._faulted(one, error.detail)
            return
        one.in_a_row, one.memory = 0, memory

    async def _call(self, one: _Running) -> tuple[dict[str, float], Any]:
        rule = one.rule
        if not one.loaded:  # in the place of its version before
            if FUNCTION not in await self._runner.load(rule.name, rule.text):
                raise Invalid(f"the program defines no function {FUNCTION}(inputs, state, now_s)")
            one.loaded = True
        inputs = {point: self._input(point) for point in rule.inputs}
        now_s = self._clock.now_us() / US
        result = await self._runner.call(rule.name, FUNCTION, inputs, one.memory, now_s, max_steps=rule.max_steps)
        if isinstance(result, Fault):
            where = f"line {result.line}: " if result.line else ""
            raise Invalid(f"{where}{result.detail}")
        return _wanted(result, rule)

    def _input(self, point: str) -> dict[str, Any] | None:
        found = self._host.latest.values.get(point)
        if found is None:
            return None
        observed_us, value, quality = found
        age_s = (self._clock.now_us() - observed_us) / US
        return {"value": value, "age_s": age_s, "good": not quality & VALIDITY_MASK}

    async def _ask(self, rule: ControlRule, point: str, value: float) -> None:
        thing, name = split_point(point)
        principal, now_us = LOCAL + rule.name, self._clock.now_us()
        lease = Lease(
            id=new_urn(self._clock), command=new_urn(self._clock), thing=thing, point=name, value=value,
            role="setpoint", authority=Authority.SERVICE, principal=principal, from_us=now_us,
            until_us=now_us + round(rule.lease_s * US), issued_us=now_us,
        )  # fmt: skip
        command = await self._book.request(lease)
        if command.state == "refused":
            raise Invalid(f"{point}: {command.reason}")

    async def _faulted(self, one: _Running, detail: str) -> None:
        one.faults += 1
        one.in_a_row += 1
        one.detail = detail[:500]
        self.news.set()
        log.warning("a rule faulted", rule=one.rule.name, version=one.rule.version, why=one.detail)
        if one.in_a_row < MAX_FAULTS:
            return
        name, version = one.rule.name, one.rule.version
        kept = self._kept.get(name)
        if kept is None:
            return  # it was taken away meanwhile
        self._kept[name] = msgspec.structs.replace(kept, bad=[*kept.bad, version][-10:])
        await self._documents.put((RULE, name, msgspec.json.encode(self._kept[name])))
        await self._book.cancel_all(LOCAL + name, f"the rule's version {version} faulted {MAX_FAULTS} times in a row")
        await self._runner.forget(name)
        self._choose(name, detail=f"version {version} faulted: {one.detail}", faults=one.faults)

    # -- versions -----------------------------------------------------------------------------------------------

    def _read(self, signed: SignedRule) -> ControlRule:
        if not self._key:
            raise Invalid("the node has not said by which key it signs rules")
        if not verifies(self._key, to_sign(signed.body), signed.signature):
            raise Invalid("the rule is not signed by the node")
        rule = parse_rule(signed.body)
        if rule.edge != self._edge:
            raise Invalid("the rule is for another edge")
        return rule

    async def _keep(self, name: str, signed: SignedRule) -> None:
        kept = self._kept.get(name)
        if kept is not None and kept.versions[0] == signed:
            return
        versions = [signed, *(kept.versions if kept else [])][:3]
        self._kept[name] = _Kept(versions, [] if kept is None else kept.bad)
        await self._documents.put((RULE, name, msgspec.json.encode(self._kept[name])))
        self._choose(name)

    async def _forget(self, name: str) -> None:
        del self._kept[name]
        self._rules.pop(name, None)
        await self._runner.forget(name)
        await self._documents.put((RULE, name, None))
        await self._book.cancel_all(LOCAL + name, "the rule was taken away")

    def _choose(self, name: str, *, detail: str = "", faults: int = 0) -> None:
        """Run the newest version that did not fault; none: the rule is stopped, and the first one tells why."""
        kept = self._kept[name]
        readable = [rule for signed in kept.versions if (rule := self._try(signed)) is not None]
        good = [rule for rule in readable if rule.version not in kept.bad]
        if not readable:
            self._rules.pop(name, None)
            return
        present = self._rules.get(name)
        chosen = good[0] if good else readable[0]
        if present is not None and good and present.rule == chosen:
            return
        state: State = "stopped" if not good else "running" if chosen == readable[0] else "rolled-back"
        self._rules[name] = following = _Running(chosen, state)
        following.detail, following.faults = detail, faults
        self.news.set()

    def _try(self, signed: SignedRule) -> ControlRule | None:
        try:
            return self._read(signed)
        except Invalid:
            return None


def _wanted(result: Done, rule: ControlRule) -> tuple[dict[str, float], Any]:
    """Return the set-points and the new state that ``control`` returned; raise `Invalid` for anything else."""
    answer = {} if result.value is None else result.value
    if not isinstance(answer, dict) or not answer.keys() <= {"setpoints", "state"}:
        raise Invalid(f'{FUNCTION} returns a dict with "setpoints" and "state", or None')
    wanted, state = answer.get("setpoints") or {}, answer.get("state")
    if not isinstance(wanted, dict) or not wanted.keys() <= set(rule.outputs):
        raise Invalid("it sets a point that is none of its outputs")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in wanted.values()):
        raise Invalid("a set-point is a number")
    if len(msgspec.json.encode(state)) > MAX_STATE_BYTES:
        raise Invalid(f"its state has more than {MAX_STATE_BYTES} bytes")
    return {point: float(value) for point, value in wanted.items()}, {} if state is None else state


def _field(body: str, name: str) -> Any:
    try:
        return msgspec.json.decode(body, type=dict[str, Any]).get(name, "")
    except msgspec.MsgspecError:
        return ""
