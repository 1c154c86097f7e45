"""Charging in words of no protocol: sessions at charging points, who may charge, and what partners ask of them.

::

    charge points' adapter ── report(session), authorise(token) ─┐
                                                                 ├─► ChargingPort ─► the node
    roaming adapter ── listen · points · ask · limit ────────────┘

Whoever serves charge points tells of sessions and asks for tokens that it does not know; whoever roams hears of them,
answers, and acts on charging points in the name of a partner, which is a Thing: of its own organisation's only.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from gridspine.things.adapter import AdapterContext


class ChargingSession(msgspec.Struct, frozen=True):
    """A session at a charging point, as far as it is known: told again when more is.

    ``id`` is its own at the Thing. Times in µs since 1970, None while they are not known; ``meter_start_wh`` [Wh] is
    the import register when it began, ``meter_stop_wh`` when it ended. ``token`` is what it was authorised by; ``own``
    where that stands in a list of whoever serves the charging point: then it is no partner's. ``again``: it was told of
    before, and is told once more because nobody knows whether it was heard. ``beside`` are the other Things of its
    charge point.
    """

    thing: str
    id: str
    token: str = ""
    started_us: int | None = None
    ended_us: int | None = None
    meter_start_wh: float | None = None
    meter_stop_wh: float | None = None
    reason: str = ""
    own: bool = False
    again: bool = False
    beside: tuple[str, ...] = ()

    @property
    def energy_wh(self) -> float | None:
        """What it took [Wh], None while it runs or is not known: also of a register that ran backwards."""
        if self.meter_start_wh is None or self.meter_stop_wh is None or self.meter_stop_wh < self.meter_start_wh:
            return None
        return self.meter_stop_wh - self.meter_start_wh


class TokenVerdict(msgspec.Struct, frozen=True):
    """Whether a token may charge; ``group`` are those that may stop each other's sessions."""

    status: Literal["Accepted", "Blocked", "Expired", "Invalid"]
    group: str = ""


class ChargingPoint(msgspec.Struct, frozen=True):
    """A charging point now. ``state`` is the code of its model's *connectorState*, None where nothing is known.

    ``values`` are its last readings by point, each in the point's unit, of which the quality is good;
    ``changed_us`` [µs since 1970] is when its state was observed. ``limit`` names the point that limits its current or
    power ("" for none), and ``actions`` what can be asked of it.
    """

    thing: str
    state: int | None
    changed_us: int
    values: Mapping[str, float]
    limit: str
    actions: frozenset[str]


class Limit(msgspec.Struct, frozen=True):
    """A ceiling from ``from_us`` until ``until_us`` [µs since 1970]: ``steps`` of time and value [the point's unit]."""

    from_us: int
    until_us: int
    steps: tuple[tuple[int, float], ...]


class LimitState(msgspec.Struct, frozen=True):
    """How far a ceiling is: whether it holds, ended, or was refused; ``settled`` unless it is still under way."""

    command: str
    holds: bool
    settled: bool
    reason: str = ""


OnSession = Callable[[ChargingSession], Awaitable[None]]


class OnToken(Protocol):
    """Whoever is asked for tokens."""

    async def __call__(
        self, thing: str, uid: str, kind: str, beside: Sequence[str] = (), *, anywhere: bool = False
    ) -> TokenVerdict | None:
        """Return whether a token (uid, type) may charge at a Thing; None: it is not known.

        ``beside`` are the other Things of its charge point; ``anywhere``: at which of them all is not said yet, and it
        is asked for again where it charges.
        """
        ...


class ChargingPort(Protocol):
    """Charging, for adapters."""

    async def report(self, session: ChargingSession) -> None:
        """Tell of a session; returns when whoever listens has kept it. Saying the same again changes nothing."""
        ...

    async def authorise(
        self, thing: str, token: str, kind: str = "", beside: Sequence[str] = (), *, anywhere: bool = False
    ) -> TokenVerdict | None:
        """Ask whoever listens, as `OnToken`, whether a token may charge at a Thing; None where nobody knows it."""
        ...

    def listen(self, on_session: OnSession, on_token: OnToken) -> Callable[[], None]:
        """Hear of sessions, and be asked for tokens; returns what ends it."""
        ...

    def recent(self) -> Sequence[ChargingSession]:
        """Return the sessions that were told of last, since the node started: for who was not there."""
        ...

    def points(self, partner: str, things: Sequence[str]) -> list[ChargingPoint | None]:
        """Return charging points; None for one that is not of the partner's organisation, or no more there."""
        ...

    async def ask(self, partner: str, thing: str, action: str, given: Any) -> Any:
        """Have an action of a charging point carried out; raise `NotFound`, `Conflict`, `Unavailable`, `Overloaded`."""
        ...

    async def limit(self, partner: str, thing: str, limit: Limit, reason: str) -> LimitState:
        """Ask that a charging point draw no more than a ceiling: a lease like any other; raise `NotFound`."""
        ...

    async def release(self, partner: str, command: str, reason: str) -> None:
        """End a ceiling of the partner's, if it still holds."""
        ...

    def limit_state(self, partner: str, command: str) -> LimitState:
        """Return how far a ceiling of the partner's is; raise `NotFound`."""
        ...

    def planned(self, partner: str, thing: str, from_us: int, until_us: int) -> Sequence[tuple[int, float | None]]:
        """Return what limits a charging point in a time: from when on, and to what, None for by nothing."""
        ...


def charging_of(context: AdapterContext) -> ChargingPort:
    """Return the port of an adapter's context; on an edge it raises `Unavailable`."""
    controls: Any = context.controls
    found: ChargingPort = controls.charging
    return found
