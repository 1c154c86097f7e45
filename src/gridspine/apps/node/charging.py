"""Charging across adapters: `gridspine.energy.charging.ChargingPort`, over Things, twins, requests and commands.

::

    session told ─► kept in memory (the last ones) ─► each listener, before the teller goes on
    partner asks ─► its Thing stands? same organisation? ─► request, or lease ─► ledger, like anybody's

A partner is a Thing that somebody of its organisation registered: what it asks stands in its name (``partner:…``), and
reaches charging points of that organisation only, while it is there.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gridspine.apps.node.commands import Commands
from gridspine.apps.node.requests import Requests
from gridspine.energy.charging import (
    ChargingPoint,
    ChargingSession,
    Limit,
    LimitState,
    OnSession,
    OnToken,
    TokenVerdict,
)
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import GridspineError, NotFound
from gridspine.kernel.quality import VALIDITY_MASK, Quality
from gridspine.kernel.time import US
from gridspine.things.action import actions_of
from gridspine.things.asking import Ask
from gridspine.things.command import Command
from gridspine.things.directory import Directory, Thing
from gridspine.things.lease import Authority, Lease, moments_after
from gridspine.things.model import PointModel
from gridspine.things.schedule import Step
from gridspine.things.twin import NEVER_US, TwinState

MAX_RECENT = 10_000
"""Sessions that are remembered for listeners that come later."""
WAIT_S = 5.0
"""How long a token's asker waits for whoever may know it [s]: a driver stands there."""
LIMITS = ("currentLimit", "activePowerLimit")
_STATE = "connectorState"
_SERVICES = frozenset({"request"})
_HELD = frozenset({"acknowledged", "applied"})
_SETTLED = frozenset({"refused", "rejected", "failed", "expired", "superseded", "ended", "cancelled"})


class Charging:
    """Charging points, sessions and tokens. Lives on the event loop."""

    def __init__(
        self, directory: Directory, twins: TwinState, requests: Requests, commands: Commands, clock: Clock
    ) -> None:
        self._directory, self._twins, self._requests = directory, twins, requests
        self._commands, self._clock = commands, clock
        self._listeners: list[tuple[OnSession, OnToken]] = []
        self._recent: OrderedDict[tuple[str, str], ChargingSession] = OrderedDict()

    # -- told and asked by who serves charging points ----------------------------------------------------------

    async def report(self, session: ChargingSession) -> None:
        """Tell of a session; returns when whoever listens has kept it."""
        key = session.thing, session.id
        before = self._recent.get(key)
        if before is not None and msgspec.structs.replace(before, again=session.again) == session:
            return
        self._recent[key] = session
        self._recent.move_to_end(key)
        while len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)
        try:
            for on_session, _ in list(self._listeners):
                await on_session(session)
        except BaseException:
            if self._recent.get(key) is session:
                del self._recent[key]  # it was not kept: said again it is told again
            raise

    async def authorise(
        self, thing: str, token: str, kind: str = "", beside: Sequence[str] = (), *, anywhere: bool = False
    ) -> TokenVerdict | None:
        """Ask whoever listens whether a token may charge at a Thing."""
        for _, on_token in list(self._listeners):
            try:
                async with asyncio.timeout(WAIT_S):
                    verdict = await on_token(thing, token, kind, beside, anywhere=anywhere)
            except (TimeoutError, GridspineError):
                continue
            if verdict is not None:
                return verdict
        return None

    # -- heard and asked by who roams --------------------------------------------------------------------------

    def listen(self, on_session: OnSession, on_token: OnToken) -> Callable[[], None]:
        """Hear of sessions, and be asked for tokens; returns what ends it."""
        listener = on_session, on_token
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def recent(self) -> Sequence[ChargingSession]:
        """Return the sessions that were told of last, since the node started."""
        return list(self._recent.values())

    def points(self, partner: str, things: Sequence[str]) -> list[ChargingPoint | None]:
        """Return charging points; None for one that the partner cannot know."""
        organisation = self._organisation(partner)
        return [self._point(found) if (found := self._own(organisation, one)) else None for one in things]

    async def ask(self, partner: str, thing: str, action: str, given: Any) -> Any:
        """Have an action of a charging point carried out."""
        found = self._reach(partner, thing)
        offered = {one.name: one for one in actions_of(self._directory.model(found), _SERVICES)}
        if action not in offered:
            raise NotFound(f"the charging point has no action {action}")
        return await self._requests.ask(thing, offered[action], given, _name(partner))

    async def limit(self, partner: str, thing: str, limit: Limit, reason: str) -> LimitState:
        """Ask that a charging point draw no more than a ceiling."""
        point = self._limited(self._reach(partner, thing))
        if point is None or point.lease is None:
            raise NotFound("the charging point cannot be limited")
        steps = tuple(Step(at_us, value) for at_us, value in limit.steps)
        lease = self._commands.new_lease(
            thing=thing, point=point.name, value=steps[0].value, role=point.lease.role, authority=Authority.AGGREGATOR,
            principal=_name(partner), from_us=limit.from_us,
            until_us=min(limit.until_us, limit.from_us + round(point.lease.max_duration_s * US)),
            steps=steps if len(steps) > 1 else (),
        )  # fmt: skip
        (command,) = await self._commands.request_all([Ask(lease, "", reason)])
        return self._state(command)

    async def release(self, partner: str, command: str, reason: str) -> None:
        """End a ceiling of the partner's, if it still holds."""
        found = self._command(partner, command)
        if self._commands.commander.counts(found):
            await self._commands.end(command, reason)

    def limit_state(self, partner: str, command: str) -> LimitState:
        """Return how far a ceiling of the partner's is."""
        return self._state(self._command(partner, command))

    def planned(self, partner: str, thing: str, from_us: int, until_us: int) -> Sequence[tuple[int, float | None]]:
        """Return what limits a charging point in a time."""
        point = self._limited(self._reach(partner, thing))
        if point is None:
            return []
        leases = self._commands.commander.leases(thing, point.name)
        found: list[tuple[int, float | None]] = []
        for at_us in [from_us, *(one for one in moments_after(leases, from_us) if one < until_us)]:
            value = _ceiling(leases, at_us)
            if not found or found[-1][1] != value:
                found.append((at_us, value))
        return found

    # -- who may what ------------------------------------------------------------------------------------------

    def _organisation(self, partner: str) -> str:
        found = self._directory.roll.get(partner)
        if found is None or found.retired:
            raise NotFound("there is no such partner")
        return found.organisation

    def _own(self, organisation: str, thing: str) -> Thing | None:
        try:
            found = self._directory.get(thing)
        except GridspineError:
            return None
        return found if found.organisation == organisation and not found.retired else None

    def _reach(self, partner: str, thing: str) -> Thing:
        found = self._own(self._organisation(partner), thing)
        if found is None:
            raise NotFound("there is no such charging point")
        return found

    def _command(self, partner: str, command: str) -> Command:
        found = self._commands.commander.command(command)
        if found.lease.principal != _name(partner):
            raise NotFound("there is no such limit")
        return found

    def _state(self, command: Command) -> LimitState:
        """Return how far a ceiling is: beneath a tighter one it holds, though no order of its own goes out."""
        holds = command.state in _HELD or (command.state == "accepted" and self._beneath(command.lease))
        return LimitState(command.id, holds, holds or command.state in _SETTLED, command.reason)

    def _beneath(self, lease: Lease) -> bool:
        at_us = max(lease.from_us, self._clock.now_us())
        others = [one for one in self._commands.commander.leases(lease.thing, lease.point) if one.id != lease.id]
        tightest = _ceiling(others, at_us)
        return tightest is not None and tightest <= lease.at(at_us).value

    # -- what is there -----------------------------------------------------------------------------------------

    def _point(self, thing: Thing) -> ChargingPoint:
        model = self._directory.model(thing)
        state: int | None = None
        changed_us, values = 0, dict[str, float]()
        for at, point in enumerate(model.points):
            twin = self._twins.get(thing.first + at)
            if twin.observed_us == NEVER_US:
                continue
            good = twin.quality & VALIDITY_MASK == Quality.GOOD
            if point.name == _STATE:
                changed_us, state = twin.observed_us, int(twin.value) if good else None
            elif good:
                values[point.name] = twin.value
        limit = self._limited(thing)
        actions = frozenset(one.name for one in actions_of(model, _SERVICES))
        served = self._requests.served(thing.adapter)
        return ChargingPoint(
            thing.id, state, changed_us, values, "" if limit is None else limit.name, actions if served else frozenset()
        )

    def _limited(self, thing: Thing) -> PointModel | None:
        points = {point.name: point for point in self._directory.model(thing).points if point.lease is not None}
        return next((points[name] for name in LIMITS if name in points), None)


def _name(partner: str) -> str:
    return f"partner:{partner}"


def _ceiling(leases: Sequence[Lease], at_us: int) -> float | None:
    held = [one.at(at_us).value for one in leases if one.in_force(at_us) and one.role == "limit_max"]
    return min(held, default=None)
