"""What a VEN is told: its events as they stand now, and whether any of it is news. Pure but for the book's links.

What is told is made anew when documents, bindings or its own answers change, and when an event's status does: until
then a poll costs a look-up.
"""

from dataclasses import dataclass

from gridspine.adapters.openadr2.book import Book, Link, VenRecord
from gridspine.adapters.openadr2.event import Told, next_change_us, tell
from gridspine.adapters.openadr2.ven import Ven
from gridspine.adapters.openadr2.wire_event import MAX_EVENTS
from gridspine.energy.followed import Followed, Part


@dataclass(slots=True)
class View:
    """The events of a VEN by their ids, `MAX_EVENTS` at most, the most urgent.

    It is good until ``next_us`` [µs since 1970] and while ``generation`` is.
    """

    events: dict[str, Told]
    generation: int
    next_us: int

    @property
    def numbers(self) -> dict[str, int]:
        """Their modificationNumbers."""
        return {key: one.number for key, one in self.events.items()}

    def unanswered(self, record: VenRecord) -> bool:
        """Whether the VEN has not answered one of them as it is now."""
        known = record.answered
        return any(key not in known or known[key].number != one.number for key, one in self.events.items())


async def view_of(
    book: Book, ven: Ven, record: VenRecord, followed: Followed, generation: int, ramp_up_us: int, now_us: int
) -> View:
    """Return what a VEN is told now."""
    links = await _links(book, followed, now_us)
    all_told = tell(followed.parts, ven.id, links, ramp_up_us, now_us)
    outs = {part.enrolment.id: part for part in followed.parts if part.enrolment.opt_outs}
    own = [one for one in all_told if _concerns(one, record, outs)]
    kept = {one.id: one for one in own[:MAX_EVENTS]}  # the others when there is room in a message
    ends = [part.enrolment.until_us for part in followed.parts]  # each is later than now: it stands
    return View(kept, generation, min([next_change_us(all_told, ramp_up_us, now_us), *ends]))


def _concerns(one: Told, record: VenRecord, outs: dict[str, Part]) -> bool:
    """Whether a VEN is told of an event: one that was cancelled, if it knew it and has not heard yet.

    One that the node was told not to take part in is none of the VEN's, unless it was the VEN that said so.
    """
    answered = record.answered.get(one.id)
    if one.event.descriptor.status == "cancelled":
        heard = answered is not None and answered.number >= one.number
        return one.id in record.told and not heard
    if answered is not None and answered.out:
        return True
    own = {opt.event_id for opt in record.opts.values()}
    out = any(opt.event == one.noun for part in outs.values() for opt in part.enrolment.opt_outs)
    return not out or one.id in own


async def _links(book: Book, followed: Followed, now_us: int) -> dict[str, Link]:
    """Return by which events the wire knows those that took another's place; what is new of it is kept."""
    found: dict[str, Link] = {}
    for part in followed.parts:
        for event in sorted(part.events, key=lambda one: one.created_us):
            if not event.supersedes:
                continue
            link = book.link(event.id)
            if link is None:
                before = found.get(event.supersedes) or book.link(event.supersedes)
                link = Link(before.root, before.number + 1, event.until_us) if before else None
                link = link or Link(event.supersedes, 1, event.until_us)
                await book.put_link(event.id, link, now_us)
            found[event.id] = link
    return found
