"""Offences, counted against the authenticated session and never against the Thing it claims to speak for.

A session that keeps sending refused readings has its principal quarantined: its readings are refused (and kept for
inspection) until an operator releases it. The quarantine is an event in the same commit as the batch that caused it,
so it is durable before the answer.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from gridspine.infra.log.port import Record
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.time import US
from gridspine.things.adapter import Outcome, Source

EVENTS = "events"
QUARANTINED, RELEASED = "source.quarantined", "source.released"
_MAX_SESSIONS = 100_000


@dataclass(frozen=True, slots=True)
class OffenceRule:
    """A principal is quarantined when one of its sessions has ``limit`` refusals, and ``share`` of all it sent, within
    ``window_s`` [s]."""

    limit: int = 1_000
    share: float = 0.5
    window_s: float = 600.0


@dataclass(slots=True)
class _Tally:
    since_us: int
    received: int = 0
    refused: int = 0
    last: tuple[int, int, bool] = (0, 0, False)


class Offences:
    """Tallies per session, bounded (the longest quiet session is forgotten), and the principals quarantined."""

    def __init__(self, clock: Clock, rule: OffenceRule | None = None) -> None:
        self._clock = clock
        self._rule = rule or OffenceRule()
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()
        self._quarantined: dict[str, str] = {}
        self._lock = threading.Lock()

    def quarantined(self, principal: str) -> bool:
        """Whether readings of ``principal`` are refused now."""
        return principal in self._quarantined

    def quarantined_principals(self) -> dict[str, str]:
        """Return the quarantined principals and the organisation each belongs to."""
        with self._lock:
            return dict(self._quarantined)

    def count(self, source: Source, outcome: Outcome, time_us: int) -> list[Record]:
        """Count a batch with refusals; return the event of a quarantine when this one tips the scale."""
        with self._lock:
            tally = self._tallies.pop(source.session, None)
            if tally is None or time_us - tally.since_us > self._rule.window_s * US:
                tally = _Tally(time_us)
            self._tallies[source.session] = tally
            while len(self._tallies) > _MAX_SESSIONS:
                self._tallies.popitem(last=False)
            tally.received += outcome.received
            tally.refused += outcome.refused
            over = tally.refused >= self._rule.limit and tally.refused >= self._rule.share * tally.received
            tips = over and source.principal not in self._quarantined
            tally.last = (outcome.received, outcome.refused, tips)
            if not tips:
                return []
            self._quarantined[source.principal] = source.organisation
            return [self._event(QUARANTINED, source, time_us, refused=tally.refused, received=tally.received)]

    def undo(self, source: Source) -> None:
        """Take back the last count of a session: its batch was not kept."""
        with self._lock:
            tally = self._tallies.get(source.session)
            if tally is None:
                return
            received, refused, tipped = tally.last
            tally.received -= received
            tally.refused -= refused
            tally.last = (0, 0, False)
            if tipped:
                self._quarantined.pop(source.principal, None)

    def release(self, principal: str, actor: str) -> Record | None:
        """Take ``principal`` out of quarantine; return the event to append, None when it was not in."""
        with self._lock:
            organisation = self._quarantined.pop(principal, None)
            if organisation is None:
                return None
            self._tallies = OrderedDict((k, t) for k, t in self._tallies.items() if not t.refused)
        source = Source(principal, organisation, "")
        return self._event(RELEASED, source, self._clock.now_us(), actor=actor)

    def replay(self, event: Event) -> None:
        """Take up an event of the log: who is quarantined survives a restart."""
        with self._lock:
            if event.type == QUARANTINED:
                self._quarantined[event.subject] = str(event.data.get("organisation", ""))
            elif event.type == RELEASED:
                self._quarantined.pop(event.subject, None)

    def _event(self, type_: str, source: Source, time_us: int, actor: str = "node", **data: object) -> Record:
        event = Event(
            id=new_id(self._clock),
            type=type_,
            time_us=time_us,
            subject=source.principal,
            actor=actor,
            data={"organisation": source.organisation, "session": source.session, **data},
        )
        return Record(EVENTS, source.organisation.encode(), msgspec.json.encode(event), time_us)
