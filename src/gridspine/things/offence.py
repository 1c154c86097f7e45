"""Offences, counted against the authenticated session and never against the Thing it claims to speak for.

A session that keeps sending refused readings has its principal quarantined: its readings are refused (and kept for
inspection) until an operator releases it. The quarantine is an event in the same commit as the batch that caused it,
so it is durable before the answer.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gridspine.infra.log.port import Record
from gridspine.infra.log.topics import EVENTS
from gridspine.infra.registry.port import Event
from gridspine.infra.runtime.clock import Clock, new_id
from gridspine.kernel.time import US
from gridspine.things.adapter import Outcome, Source

QUARANTINED, RELEASED = "source.quarantined", "source.released"
_MAX_SESSIONS = 100_000


@dataclass(frozen=True, slots=True)
class OffenceRule:
    """A principal is quarantined when one of its sessions has ``limit`` refusals, and ``share`` of all it sent, within
    ``window_s`` [s]."""

    limit: int = 1_000
    share: float = 0.5
    window_s: float = 600.0


@dataclass(frozen=True, slots=True)
class _Tally:
    since_us: int
    received: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """A batch that was counted: the event it caused, if any, and what to go back to when it is not kept."""

    records: Sequence[Record]
    session: str
    before: _Tally | None
    tipped: str = ""


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

    def count(self, source: Source, outcome: Outcome, time_us: int) -> Counted:
        """Count a batch, with or without refusals; with it comes the event of a quarantine when it tips the scale."""
        with self._lock:
            before = self._tallies.pop(source.session, None)
            now = before
            if now is None or time_us - now.since_us > self._rule.window_s * US:
                now = _Tally(time_us)
            now = _Tally(now.since_us, now.received + outcome.received, now.refused + outcome.refused)
            self._tallies[source.session] = now
            while len(self._tallies) > _MAX_SESSIONS:
                self._tallies.popitem(last=False)
            over = now.refused >= self._rule.limit and now.refused >= self._rule.share * now.received
            if not (over and outcome.refused) or source.principal in self._quarantined:
                return Counted((), source.session, before)
            self._quarantined[source.principal] = source.organisation
            event = self._event(QUARANTINED, source, time_us, refused=now.refused, received=now.received)
            return Counted((event,), source.session, before, source.principal)

    def undo(self, counted: Counted) -> None:
        """Take back the newest count that was not taken back: its batch was not kept."""
        with self._lock:
            if counted.before is None:
                self._tallies.pop(counted.session, None)
            else:
                self._tallies[counted.session] = counted.before
            if counted.tipped:
                self._quarantined.pop(counted.tipped, None)

    def release(self, principal: str, actor: str) -> Record | None:
        """Take ``principal`` out of quarantine; return the event to append, None when it was not in."""
        with self._lock:
            organisation = self._quarantined.pop(principal, None)
            if organisation is None:
                return None
            self._tallies = OrderedDict((k, t) for k, t in self._tallies.items() if not t.refused)
        source = Source(principal, organisation, "")
        return self._event(RELEASED, source, self._clock.now_us(), actor=actor)

    def restore(self, quarantined: dict[str, str]) -> None:
        """Take up the quarantined principals and their organisations, as a checkpoint has them."""
        with self._lock:
            self._quarantined = dict(quarantined)

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
