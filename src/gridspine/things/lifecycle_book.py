"""The lives of all Things, kept: each step a document, an event in the log and an entry of the ledger, in one go.

::

    step ─► registry: whole life, standing ─outbox─► log "events"  ─► history
                                             └─────► log "ledger"  ─► receipt, signed
         ─► standings (one byte a Thing): readings, commands and automatic control ask them

Of a Thing that a person registered, and so commissioned, nothing is kept but what the registry knows of it anyway.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from gridspine.infra.log.topics import EVENTS, LEDGER
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.things.lifecycle import MAX_WHY, Lifecycle, State, Step, advance, check_step, plain
from gridspine.things.standing import Standing, Standings
from gridspine.things.thing import Thing

Commissioning = Literal["on-registration", "required"]
_PAGE = 10_000
_NO_TEST = (0, lambda: False)
_TO_COME = "registered; its commissioning is to come"


class Lifecycles:
    """The book of lives. ``commissioning`` says whether registering a Thing commissions it."""

    def __init__(
        self, registry: Registry, standings: Standings, clock: Clock, commissioning: Commissioning = "on-registration"
    ) -> None:
        self._registry = registry
        self._clock = clock
        self.standings = standings
        self.commissioning = commissioning
        self._begun: dict[str, tuple[Step, ...]] = {}
        self._parting: dict[str, tuple[str, ...]] = {}
        self._tests: dict[str, tuple[int, Callable[[], bool]]] = {}
        self._fresh: dict[str, State] = {}

    def load(self) -> None:
        """Read how the Things stand that are not plainly commissioned; call it once they are bound. Blocks."""
        after = ""
        while page := self._registry.read(lambda tx, at=after: tx.list(Standing, after=at, limit=_PAGE)):  # type: ignore[misc]
            for one in page:
                self.standings.set(one.thing, one.state)
            after = _standing_id(page[-1].thing)

    async def of(self, thing: Thing) -> Lifecycle:
        """Return the life of a Thing."""
        kept = await self._registry.run(lambda tx: tx.get(Lifecycle, thing.id), write=False)
        return kept or plain(thing.id, thing.organisation, thing.created_us)

    async def unusual(
        self, organisation: str, *, states: Sequence[str] = (), after: str = "", limit: int = 1_000
    ) -> list[Standing]:
        """Return how an organisation's Things stand that are not plainly commissioned, in the order of their ids."""

        def work(tx: Transaction) -> list[Standing]:
            found: list[Standing] = []
            place = _standing_id(after) if after else ""
            while len(found) < limit and (page := tx.list(Standing, owner=organisation, after=place, limit=_PAGE)):
                found += [one for one in page if not states or one.state in states]
                place = _standing_id(page[-1].thing)
            return found[:limit]

        return await self._registry.run(work, write=False)

    async def move(
        self,
        thing: Thing,
        to: State,
        *,
        by: str,
        why: str,
        evidence: Sequence[str] = (),
        data: Mapping[str, Any] | None = None,
        type_: str = "",
    ) -> Lifecycle:
        """Take the step to state ``to``; return the life after it, durable and in force.

        ``data`` is told with the event, whose type is ``thing.<state>`` unless ``type_`` names another. Raises
        `Conflict` where that state does not follow, `Invalid` without a reason.
        """

        def work(tx: Transaction) -> Lifecycle:
            life = tx.get(Lifecycle, thing.id) or plain(thing.id, thing.organisation, thing.created_us)
            step = Step(self._clock.now_us(), to, by, why, tuple(evidence), new_id(self._clock))
            return self._keep(tx, life, (step,), data or {}, type_)

        try:
            life = await self._registry.run(work)
        except Exception:
            await self._look_again(thing.id)  # it may be committed although its event is not in the log yet
            raise
        self.standings.set(thing.id, life.state)
        return life

    def part(self, thing: str, why: str, evidence: Sequence[str]) -> None:
        """Let ``evidence`` go with the retirement that is about to be asked of the directory; raise `Invalid`."""
        check_step(Step(0, "retired", "-", why, tuple(evidence)))
        self._parting[thing] = tuple(evidence)

    def handed_over(self, tx: Transaction, before: Thing, after: Thing, *, by: str, why: str, transfer: str) -> None:
        """Keep in the transaction that changes its owner that a Thing is to be provisioned anew, by its new one."""
        life = tx.get(Lifecycle, before.id) or plain(before.id, before.organisation, before.created_us)
        life = msgspec.structs.replace(life, organisation=after.organisation)
        reason = why.strip() or f"taken over from {before.organisation}"
        step = Step(self._clock.now_us(), "described", by, reason[:MAX_WHY], (transfer,), new_id(self._clock))
        if life.state == "described":
            life = msgspec.structs.replace(life, state="announced")
        told = {"organisation": after.organisation, "before": before.organisation}
        self._keep(tx, life, (step,), told, "thing.transferred")

    def test_until(self, thing: str, until_us: int, holds: Callable[[], bool] = lambda: True) -> None:
        """Let a Thing that is being commissioned be commanded until then, while ``holds``: a test, with consent."""
        now_us = self._clock.now_us()
        self._tests = {one: test for one, test in self._tests.items() if test[0] > now_us}
        self._tests[thing] = (until_us, holds)

    def gate(self, thing: str, safety: bool = False) -> str:
        """Return why a Thing takes no command in the state of its life, or none but those of ``safety``; "" if any."""
        if not self.standings.paused:
            return ""
        until_us, holds = self._tests.get(thing, _NO_TEST)
        test = until_us > self._clock.now_us() and holds()
        return self.standings.refuses(thing, safety=safety, test=test)

    async def resume(self, thing: Thing, *, by: str, why: str, evidence: Sequence[str] = ()) -> Lifecycle:
        """End a pause: the Thing goes on as what it was before. Raises `Conflict` when it is not paused."""
        resumed = (await self.of(thing)).resumed
        return await self.move(thing, resumed, by=by, why=why, evidence=evidence, type_="thing.resumed")

    async def tell(self, thing: Thing, type_: str, *, by: str, data: Mapping[str, Any]) -> str:
        """Put what happened to a Thing, and changes no state, into log and ledger; return the event's id."""
        return await self._registry.run(lambda tx: self.emit(tx, thing.id, type_, by, data, thing.organisation))

    def emit(
        self, tx: Transaction, thing: str, type_: str, by: str, data: Mapping[str, Any], organisation: str,
        id: str = "", topics: Sequence[str] = (EVENTS, LEDGER),
    ) -> str:  # fmt: skip
        """Emit an event of a Thing's life to log and ledger within a transaction; return its id."""
        id_ = id or new_id(self._clock)
        event = Event(id_, type_, self._clock.now_us(), thing, by, {"organisation": organisation, **data})
        tx.emit_all((topic, thing, event) for topic in topics)
        return id_

    # -- told by the directory ---------------------------------------------------------------------------------------

    def expect(self, thing: str, steps: Sequence[Step]) -> None:
        """Let the Thing that is about to be registered under this id begin its life with ``steps``."""
        self._begun[thing] = tuple(steps)

    def forget(self, thing: str) -> None:
        """Expect it no more."""
        self._begun.pop(thing, None)

    def born(self, tx: Transaction, things: Sequence[Thing], actor: str) -> None:
        """Keep the beginnings of lives that begin with these registrations; a retired Thing may come again."""
        plainly = self.commissioning == "on-registration"
        fresh = [thing for thing in things if thing.version == 1 and thing.id not in self._begun]
        if not plainly:
            self._describe_all(tx, fresh, actor)
        usual = {thing.id for thing in fresh}  # most of all: nothing is kept of what is plain
        for thing in things:
            if thing.id in usual:
                continue
            steps = self._begun.pop(thing.id, ())
            if not steps:
                to: State = "commissioned" if plainly else "described"
                steps = (Step(self._clock.now_us(), to, actor, "registered" if plainly else _TO_COME),)
            life = tx.get(Lifecycle, thing.id) or Lifecycle(thing.id, thing.organisation, "announced")
            life = msgspec.structs.replace(life, state="announced", before=None, organisation=thing.organisation)
            if steps[0].to == "commissioned":  # by a person's word, without what usually comes before
                life = msgspec.structs.replace(life, state="described")
            named = [msgspec.structs.replace(step, event=new_id(self._clock)) for step in steps]
            self._fresh[thing.id] = self._keep(tx, life, named, {}, "").state

    def gone(self, tx: Transaction, thing: Thing, actor: str, reason: str) -> None:
        """Keep the end of a life: the directory tells the log's events itself, here is the ledger's entry."""
        life = tx.get(Lifecycle, thing.id) or plain(thing.id, thing.organisation, thing.created_us)
        if life.state != "retired":
            why, evidence = reason or "taken out of the directory", self._parting.pop(thing.id, ())
            step = Step(self._clock.now_us(), "retired", actor, why[:MAX_WHY], evidence, new_id(self._clock))
            self._keep(tx, life, (step,), {}, "", (LEDGER,))
        self._fresh[thing.id] = "retired"

    def taken_up(self, things: Sequence[Thing]) -> None:
        """Let the standing of Things whose life began or ended be in force."""
        if self._fresh:
            for thing in things:
                state = self._fresh.pop(thing.id, None)
                # One that was not kept after all (a full disk) says nothing of the Thing that is taken up later.
                if state is not None and (state == "retired") is thing.retired:
                    self.standings.set(thing.id, state)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _describe_all(self, tx: Transaction, things: Sequence[Thing], actor: str) -> None:
        """Keep that many new Things are described and no more, as few statements as there can be."""
        lives, told = [], []
        for thing in things:
            step = Step(self._clock.now_us(), "described", actor, _TO_COME, (), new_id(self._clock))
            lives.append(Lifecycle(thing.id, thing.organisation, "described", (step,)))
            data = {"organisation": thing.organisation, "from": "announced", "to": "described", "why": step.why}
            told.append((thing.id, Event(step.event, "thing.described", step.at_us, thing.id, actor, data)))
            self._fresh[thing.id] = "described"
        tx.put_new((life, life.thing, life.organisation) for life in lives)
        tx.put_new((Standing(one.thing, one.state), _standing_id(one.thing), one.organisation) for one in lives)
        tx.emit_all((topic, thing, event) for thing, event in told for topic in (EVENTS, LEDGER))

    def _keep(
        self, tx: Transaction, life: Lifecycle, steps: Sequence[Step], data: Mapping[str, Any], type_: str,
        topics: Sequence[str] = (EVENTS, LEDGER),
    ) -> Lifecycle:  # fmt: skip
        for step in steps:
            before = life.state
            if step.to == "announced":  # where every life begins that does not begin with a person's word
                life = msgspec.structs.replace(life, steps=(*life.steps, step))
            else:
                life = advance(life, step)
            told = {"from": before, "to": step.to, "why": step.why, "evidence": list(step.evidence), **data}
            name = type_ or f"thing.{step.to}"
            self.emit(tx, life.thing, name, step.by, told, life.organisation, step.event, topics)
        tx.put(life, id=life.thing, owner=life.organisation)
        if life.state == "commissioned":
            tx.delete(Standing, _standing_id(life.thing))
        else:
            tx.put(Standing(life.thing, life.state), id=_standing_id(life.thing), owner=life.organisation)
        return life

    async def _look_again(self, thing: str) -> None:
        kept = await self._registry.run(lambda tx: tx.get(Lifecycle, thing), write=False)
        if kept is not None:
            self.standings.set(thing, kept.state)


def _standing_id(thing: str) -> str:
    # Not the Thing's own id: deleting a document takes the unique keys bound to its id along.
    return f"{thing}/standing"
