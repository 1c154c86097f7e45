"""Incidents: a breach that someone owns until a named person closes it, with a reason.

::

    offences ─► flag ─► quarantine ─► incident: owner, deadline, work order, evidence, notes ─► closed by … because …

An organisation has one open incident per subject at most: what comes later is evidence for it. Every change is a
document and an event in one transaction.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from gridspine.infra.log.topics import EVENTS
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound

MAX_EVIDENCE = 200
"""Pieces of evidence, and notes, one incident keeps; the first and the latest stay, ``omitted`` counts the rest."""
MAX_TEXT = 10_000
"""Characters of one text at most."""


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    """A piece of evidence or a note: when [µs since 1970], by whom, what, and where it can be seen ("" nowhere)."""

    at_us: int
    by: str
    text: str
    link: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A breach.

    ``subject`` is what it is about (a source, a Thing), ``organisation`` whose it is. ``owner`` is the person who must
    see to it until ``deadline_us`` [µs since 1970]; ``work_order`` says what is to be done. ``closed_by`` and
    ``closed_because`` are empty while it is open.
    """

    id: str
    subject: str
    organisation: str
    title: str
    owner: str
    opened_us: int
    deadline_us: int
    state: Literal["open", "closed"] = "open"
    work_order: str = ""
    evidence: tuple[Entry, ...] = ()
    notes: tuple[Entry, ...] = ()
    omitted: int = 0
    closed_by: str = ""
    closed_because: str = ""
    closed_us: int | None = None

    def overdue(self, now_us: int) -> bool:
        """Whether it is open past its deadline."""
        return self.state == "open" and now_us >= self.deadline_us


class OpenIncident(msgspec.Struct, frozen=True):
    """That ``incident`` is the open one of a subject; kept under the organisation's and the subject's name."""

    incident: str


class Incidents:
    """The book of incidents."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock

    async def open(
        self,
        subject: str,
        *,
        organisation: str,
        title: str,
        owner: str,
        deadline_us: int,
        evidence: str,
        actor: str,
        work_order: str = "",
        link: str = "",
    ) -> Incident:
        """Open an incident, or add ``evidence`` to the one ``organisation`` has open for ``subject``; return it.

        Raises `Invalid` without subject, title, owner or a deadline to come.
        """
        now_us = self._clock.now_us()
        for name, text in (("subject", subject), ("title", title), ("owner", owner)):
            _check_text(name, text)
        entry = Entry(now_us, actor, _check_text("evidence", evidence), link)

        def work(tx: Transaction) -> Incident:
            known = tx.get(OpenIncident, _open_id(organisation, subject))
            if known is not None:
                return self._put(tx, _with_evidence(_get(tx, known.incident), entry), "incident.evidence", actor)
            if deadline_us <= now_us:
                raise Invalid("deadline: lies in the past")
            incident = Incident(
                id=new_urn(self._clock),
                subject=subject,
                organisation=organisation,
                title=title,
                owner=owner,
                opened_us=now_us,
                deadline_us=deadline_us,
                work_order=work_order[:MAX_TEXT],
                evidence=(entry,),
            )
            tx.put(OpenIncident(incident.id), id=_open_id(organisation, subject), owner=organisation)
            return self._put(tx, incident, "incident.opened", actor)

        return await self._registry.run(work)

    async def add_evidence(self, id: str, text: str, *, actor: str, link: str = "") -> Incident:
        """Add a piece of evidence to an open incident."""
        entry = Entry(self._clock.now_us(), actor, _check_text("evidence", text), link)
        return await self._change(id, "incident.evidence", actor, lambda one: _with_evidence(one, entry))

    async def note(self, id: str, text: str, *, actor: str) -> Incident:
        """Add a note to an open incident."""
        entry = Entry(self._clock.now_us(), actor, _check_text("note", text))

        def change(incident: Incident) -> Incident:
            notes, omitted = _append(incident.notes, entry)
            return msgspec.structs.replace(incident, notes=notes, omitted=incident.omitted + omitted)

        return await self._change(id, "incident.noted", actor, change)

    async def assign(
        self, id: str, *, owner: str, deadline_us: int, actor: str, work_order: str | None = None
    ) -> Incident:
        """Give an open incident another owner, deadline and, when given, work order."""
        _check_text("owner", owner)
        if deadline_us <= self._clock.now_us():
            raise Invalid("deadline: lies in the past")

        def change(incident: Incident) -> Incident:
            order = incident.work_order if work_order is None else work_order[:MAX_TEXT]
            return msgspec.structs.replace(incident, owner=owner, deadline_us=deadline_us, work_order=order)

        return await self._change(id, "incident.assigned", actor, change)

    async def close(self, id: str, *, person: str, because: str) -> Incident:
        """Close an incident for good; raise `Invalid` without a named person and a reason, `Conflict` when closed."""
        _check_text("person", person)
        _check_text("because", because)
        now_us = self._clock.now_us()

        def change(incident: Incident) -> Incident:
            return msgspec.structs.replace(
                incident, state="closed", closed_by=person, closed_because=because, closed_us=now_us
            )

        return await self._change(id, "incident.closed", person, change)

    async def get(self, id: str) -> Incident:
        """Return an incident; raise `NotFound`."""
        return await self._registry.run(lambda tx: _get(tx, id), write=False)

    async def list(self, *, organisation: str | None = None, after: str = "", limit: int = 1000) -> list[Incident]:
        """Return incidents, of one organisation when it is given, in the order of their ids (the oldest first)."""

        def work(tx: Transaction) -> list[Incident]:
            return [*tx.list(Incident, owner=organisation, after=after, limit=limit)]

        return await self._registry.run(work, write=False)

    async def _change(self, id: str, type_: str, actor: str, change: Callable[[Incident], Incident]) -> Incident:
        def work(tx: Transaction) -> Incident:
            incident = _get(tx, id)
            if incident.state == "closed":
                raise Conflict(f"incident {id} was closed by {incident.closed_by}")
            changed = change(incident)
            if changed.state == "closed":
                tx.delete(OpenIncident, _open_id(incident.organisation, incident.subject))
            return self._put(tx, changed, type_, actor)

        return await self._registry.run(work)

    def _put(self, tx: Transaction, incident: Incident, type_: str, actor: str) -> Incident:
        tx.put(incident, id=incident.id, owner=incident.organisation)
        data: dict[str, Any] = msgspec.to_builtins(incident)
        latest = {"evidence": data["evidence"][-1:], "notes": data["notes"][-1:]}  # an event stays small
        event = Event(new_id(self._clock), type_, self._clock.now_us(), incident.id, actor, data | latest)
        tx.emit(EVENTS, incident.organisation, event)
        return incident


def _open_id(organisation: str, subject: str) -> str:
    """Return where the open incident of a subject is noted: what others say of the same subject is not its affair."""
    return f"{organisation}/{subject}"  # no organisation's id has a slash


def _get(tx: Transaction, id: str) -> Incident:
    incident = tx.get(Incident, id)
    if incident is None:
        raise NotFound(f"there is no incident {id}")
    return incident


def _with_evidence(incident: Incident, entry: Entry) -> Incident:
    evidence, omitted = _append(incident.evidence, entry)
    return msgspec.structs.replace(incident, evidence=evidence, omitted=incident.omitted + omitted)


def _append(entries: tuple[Entry, ...], entry: Entry) -> tuple[tuple[Entry, ...], int]:
    """Append, keeping the first half for good and the latest of the rest; return how many were left out."""
    if len(entries) < MAX_EVIDENCE:
        return (*entries, entry), 0
    first = MAX_EVIDENCE // 2
    return (*entries[:first], *entries[first + 1 :], entry), 1


def _check_text(name: str, text: str) -> str:
    if not text.strip():
        raise Invalid(f"{name}: a text is needed")
    if len(text) > MAX_TEXT:
        raise Invalid(f"{name}: at most {MAX_TEXT} characters")
    return text
