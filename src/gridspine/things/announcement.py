"""Announcements: a device says what it is, and waits until a person of its organisation takes it in.

::

    device ─► announcement: make, model, serial, Thing Model or TD ─► checked ─► waiting ─► accepted: a Thing, described
                                                                                    └─────► rejected, and why

The same device (organisation, make, model, serial) has one announcement that waits; saying it again changes nothing.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from gridspine.infra.log.topics import EVENTS
from gridspine.infra.registry.port import Event, Registry, Transaction
from gridspine.infra.runtime.clock import Clock, new_id, new_urn
from gridspine.kernel.errors import Conflict, Invalid, NotFound, Overloaded

MAX_WAITING = 10_000
"""Announcements of one organisation that wait at most."""
MAX_DESCRIPTION_BYTES = 64 << 10
_MAX_TEXT = 200
_MAX_WHY = 2_000
_KEY = "announcement"


class Announcement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a device says of itself; ``by`` is the principal or voucher it said it with.

    ``thing_model`` is the id of a Thing Model it says it is one of, ``description`` its own Thing Description;
    ``problems`` are what kept the node from knowing what it is. ``thing`` is what it became. Where an ``adapter`` said
    it, ``connection`` is how that would serve it, and ``devices`` who would speak for it.
    """

    id: str
    organisation: str
    make: str
    model: str
    serial: str
    by: str
    at_us: int
    firmware: str = ""
    thing_model: str = ""
    description: dict[str, Any] = {}
    problems: tuple[str, ...] = ()
    state: Literal["waiting", "accepted", "rejected"] = "waiting"
    thing: str = ""
    decided_by: str = ""
    decided_us: int | None = None
    why: str = ""
    adapter: str = ""
    connection: dict[str, Any] = {}
    devices: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `Invalid` naming the field that is wrong."""
        for name, text, least in (
            ("make", self.make, 1), ("model", self.model, 1), ("serial", self.serial, 1),
            ("firmware", self.firmware, 0), ("thingModel", self.thing_model, 0),
        ):  # fmt: skip
            if not least <= len(text) <= _MAX_TEXT or not text.isprintable() or text != text.strip():
                raise Invalid(f"{name}: {least} to {_MAX_TEXT} printable characters, without spaces at the ends")
        if len(msgspec.json.encode(self.description)) > MAX_DESCRIPTION_BYTES:
            raise Invalid(f"description: at most {MAX_DESCRIPTION_BYTES} bytes")


class Announcements:
    """The book of announcements."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock

    async def announce(self, said: Announcement) -> Announcement:
        """Keep what a device says; return it, or what it said before and that still waits.

        Raises `Invalid`, `Overloaded` when too many of its organisation wait.
        """
        said = msgspec.structs.replace(said, id=new_urn(self._clock), at_us=self._clock.now_us())
        said.check()

        def work(tx: Transaction) -> Announcement:
            known = tx.find_key(_KEY, _name(said))
            if known is not None:
                return _get(tx, known)
            waiting = tx.get(AnnouncementsWaiting, said.organisation) or AnnouncementsWaiting(0)
            if waiting.count >= MAX_WAITING:
                raise Overloaded(f"{MAX_WAITING} devices of the organisation wait already", retry_after_s=3600)
            tx.put(AnnouncementsWaiting(waiting.count + 1), id=said.organisation, owner=said.organisation)
            tx.bind_key(_KEY, _name(said), said.id)
            return self._put(tx, said, "announcement.made", said.by)

        return await self._registry.run(work)

    async def get(self, id: str) -> Announcement:
        """Return an announcement; raise `NotFound`."""
        return await self._registry.run(lambda tx: _get(tx, id), write=False)

    async def list(self, organisation: str, *, after: str = "", limit: int = 1_000) -> Sequence[Announcement]:
        """Return the announcements of an organisation's devices, in the order of their ids (the oldest first)."""
        work = lambda tx: tx.list(Announcement, owner=organisation, after=after, limit=limit)  # noqa: E731
        found: Sequence[Announcement] = await self._registry.run(work, write=False)
        return found

    async def accept(self, id: str, thing: str, *, by: str, why: str = "") -> Announcement:
        """Note that the device became ``thing``; raise `Conflict` when it was decided already."""
        return await self._decide(id, "accepted", thing, by, why)

    async def reject(self, id: str, *, by: str, why: str) -> Announcement:
        """Turn the device away; raise `Invalid` without a reason, `Conflict` when it was decided already."""
        if not why.strip():
            raise Invalid("why: say why it is turned away")
        return await self._decide(id, "rejected", "", by, why)

    async def _decide(
        self, id: str, state: Literal["accepted", "rejected"], thing: str, by: str, why: str
    ) -> Announcement:
        if len(why) > _MAX_WHY:
            raise Invalid(f"why: at most {_MAX_WHY} characters")
        now_us = self._clock.now_us()

        def work(tx: Transaction) -> Announcement:
            known = waiting_one(_get(tx, id))
            decided = msgspec.structs.replace(
                known, state=state, thing=thing, decided_by=by, decided_us=now_us, why=why
            )
            waiting = tx.get(AnnouncementsWaiting, known.organisation) or AnnouncementsWaiting(1)
            tx.put(AnnouncementsWaiting(max(waiting.count - 1, 0)), id=known.organisation, owner=known.organisation)
            tx.delete(Announcement, id)  # and with it the name it waited under: the device may announce itself again
            return self._put(tx, decided, f"announcement.{state}", by)

        return await self._registry.run(work)

    def _put(self, tx: Transaction, one: Announcement, type_: str, actor: str) -> Announcement:
        tx.put(one, id=one.id, owner=one.organisation)
        told: dict[str, Any] = {
            name: value for name, value in msgspec.to_builtins(one).items() if name != "description"
        }  # an event stays small
        tx.emit(EVENTS, one.organisation, Event(new_id(self._clock), type_, self._clock.now_us(), one.id, actor, told))
        return one


class AnnouncementsWaiting(msgspec.Struct, frozen=True):
    """How many announcements of an organisation wait."""

    count: int


def waiting_one(one: Announcement) -> Announcement:
    """Return an announcement that waits; raise `Conflict` for any other."""
    if one.state != "waiting":
        raise Conflict(f"the announcement was {one.state} by {one.decided_by}")
    return one


def _get(tx: Transaction, id: str) -> Announcement:
    one = tx.get(Announcement, id)
    if one is None:
        raise NotFound("there is no such announcement")
    return one


def _name(one: Announcement) -> str:
    return "\n".join((one.organisation, one.make, one.model, one.serial))
