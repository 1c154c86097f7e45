"""`Registrar`: takes Thing Descriptions into the directory, and lets those whose time is over leave it.

::

    document ─ check ─► points ─► model (known, or derived) ─┐
                    └─► forms ──► adapter and connection ────┴─► Thing + Description, in one transaction
"""

import heapq
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec
import structlog

from gridspine.infra.registry.port import Registry, Transaction
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import GridspineError, Invalid, NotFound
from gridspine.kernel.ids import check_urn
from gridspine.kernel.time import format_rfc3339
from gridspine.things.change import Changes
from gridspine.things.description import Description, Expiry, expiry_of
from gridspine.things.directory import Directory
from gridspine.things.model import ThingModel
from gridspine.things.td.consume import Consumed, Reachable
from gridspine.things.td.derive import Left
from gridspine.things.td.document import finding, refuse
from gridspine.things.td.merge_patch import difference, patched
from gridspine.things.td.shape import Shapes
from gridspine.things.thing import Location, Thing

PURGE_S = 1.0
MAX_DIFF_BYTES = 32_768
"""Larger changes of a description are events without their difference."""
_TITLE = 200
_NOT_ALLOWED = Left("forms", "your organisation may not say where the node connects to (node.connect)")
log = structlog.get_logger(__name__)


class Caller(NamedTuple):
    """Who registers: organisation and principal; ``connect``: whether it may say where the node connects to.

    That is asked only of a description by which the node would connect somewhere.
    """

    organisation: str
    principal: str
    connect: Callable[[], bool]


class Planned(NamedTuple):
    """A Thing that could be registered, with its description where it has one of its own."""

    thing: Thing
    description: Description | None = None


Retire = Callable[[Thing], Awaitable[object]]


class _Plan(NamedTuple):
    fields: Changes
    description: Description


class Registrar:
    """Descriptions of the Things in ``directory``. Lives on the event loop."""

    def __init__(
        self, directory: Directory, registry: Registry, clock: Clock, reach: Reachable, retire: Retire
    ) -> None:
        """Make a registrar; ``retire`` is what takes a Thing whose time is over out of the directory."""
        self.reach = reach
        self._retire = retire
        self._directory = directory
        self._registry = registry
        self._clock = clock
        self._expiries: list[tuple[int, str]] = []
        self._shapes = Shapes()

    async def create(self, document: Mapping[str, Any], caller: Caller, id: str = "") -> tuple[Thing, Description]:
        """Take a Thing Description into the directory under ``id``, "" for an anonymous one.

        Raises `Invalid` with the fields that are wrong, and `Conflict` for an id that is taken.
        """
        thing, description = await self._planned(document, caller, id)
        kept = await self._directory.register(thing, actor=caller.principal, beside=_beside(thing.id, description))
        self._remember(kept.id, description)
        return kept, description

    async def planned(self, document: Mapping[str, Any], caller: Caller) -> Planned:
        """Return what `keep_all` takes into the directory, under the description's id if it has one.

        Raises `Invalid` with the fields that are wrong.
        """
        id_ = document.get("id", "")
        if not isinstance(id_, str):
            refuse([finding(("id",), "a text is needed, a URI")])
        thing, description = await self._planned(document, caller, id_)
        return Planned(thing, description)

    async def keep_all(self, planned: Sequence[Planned], caller: Caller) -> Sequence[Thing | GridspineError]:
        """Take many into the directory; return what became of each. See `Directory.register_all`."""
        kept = await self._directory.register_all(
            [one.thing for one in planned],
            actor=caller.principal,
            beside=[_beside(one.thing.id, one.description) if one.description else [] for one in planned],
        )
        for one, thing in zip(planned, kept, strict=True):
            if one.description and isinstance(thing, Thing):
                self._remember(thing.id, one.description)
        return kept

    async def is_same(self, known: Thing, planned: Planned) -> bool:
        """Whether a Thing of the directory is what is asked for: then it need not be registered again.

        One whose registration expires is never the same: it may be meant to be renewed.
        """
        if planned.description is None:
            wanted = planned.thing
            names = ("title", "model", "adapter", "connection", "devices", "organisation", "described")
            return all(getattr(known, name) == getattr(wanted, name) for name in names)
        if known.organisation != planned.thing.organisation or planned.description.expires_us:
            return False
        before = await self.of(known)
        return before is not None and not before.expires_us and before.document == planned.description.document

    async def replace(
        self, thing: Thing, document: Mapping[str, Any], caller: Caller, expected: int | None = None,
        more: Changes | None = None,
    ) -> tuple[Thing, Description]:  # fmt: skip
        """Give a Thing another description, and what ``more`` says beside it."""
        before = await self.of(thing)
        plan = await self._plan(document, caller, thing.id, thing)
        plan.fields.update(more or {})
        note = _difference(before, plan.description)
        kept = await self._directory.change(
            thing.id, actor=caller.principal, expected=expected, also=self._keeping(plan.description), note=note,
            **plan.fields,
        )  # fmt: skip
        self._remember(kept.id, plan.description)
        return kept, plan.description

    async def patch(
        self, thing: Thing, patch: Mapping[str, Any], caller: Caller, expected: int | None = None,
        more: Changes | None = None,
    ) -> tuple[Thing, Description]:  # fmt: skip
        """Merge ``patch`` (RFC 7396) into a Thing's own description; an empty one only renews its time to live."""
        before = await self.of(thing)
        if before is None:
            raise NotFound("the Thing has no description of its own")
        registration: dict[str, Any] = {}
        if before.ttl_s:
            registration["ttl"] = before.ttl_s
        elif before.expires_us:
            registration["expires"] = format_rfc3339(before.expires_us)
        document = patched({**before.document, "id": thing.id, "registration": registration}, patch)
        return await self.replace(thing, document, caller, expected, more)

    async def of(self, thing: Thing) -> Description | None:
        """Return what a Thing's own description says; None when it has none."""
        if not thing.described:
            return None
        return await self._registry.run(lambda tx: tx.get(Description, thing.id), write=False)

    async def of_all(self, things: Sequence[Thing]) -> list[Description | None]:
        """Return the descriptions of several Things."""
        ids = [thing.id if thing.described else "" for thing in things]
        if not any(ids):
            return [None] * len(ids)
        return await self._registry.run(
            lambda tx: [tx.get(Description, id_) if id_ else None for id_ in ids], write=False
        )

    async def work(self) -> None:
        """Let those leave whose time is over, until cancelled."""
        expiries = await self._registry.run(lambda tx: tx.list(Expiry), write=False)
        self._expiries = [(one.expires_us, one.id) for one in expiries]
        heapq.heapify(self._expiries)
        while True:
            await self.purge()
            await self._clock.sleep(PURGE_S)

    async def purge(self) -> None:
        """Take the Things out of the directory whose registration has expired."""
        while self._expiries and self._expiries[0][0] <= self._clock.now_us():
            _, id_ = heapq.heappop(self._expiries)
            kept = await self._registry.run(lambda tx, id_=id_: tx.get(Expiry, id_), write=False)  # type: ignore[misc]
            if kept is None or kept.expires_us > self._clock.now_us():
                continue
            try:
                thing = self._directory.get(id_)
                if not thing.retired:
                    await self._retire(thing)
            except NotFound:
                continue
            except GridspineError as error:
                log.warning("a Thing whose time is over is still in the directory", thing=id_, why=error.detail)
                heapq.heappush(self._expiries, (self._clock.now_us() + 60_000_000, id_))
                return

    async def _planned(self, document: Mapping[str, Any], caller: Caller, id: str) -> tuple[Thing, Description]:
        plan = await self._plan(document, caller, id, None)
        blank = Thing(id or self._random_urn(), caller.organisation, "", "")
        return msgspec.structs.replace(blank, **plan.fields), plan.description

    async def _plan(self, document: Mapping[str, Any], caller: Caller, id: str, before: Thing | None) -> _Plan:
        """Return what a document makes of a Thing; raise `Invalid` with what is wrong with it."""
        expires_us, ttl_s = expiry_of(document.get("registration"), self._clock.now_us())
        document = {name: value for name, value in document.items() if name != "registration"}
        _check_id(document, id)
        shape = self._shapes.of(document)
        derived = shape.derived
        model, property_of, left = self._known_model(document, caller.organisation), derived.property_of, derived.left
        if model is None:
            if shape.model is None:
                shape.model = await self._directory.models.derived(
                    derived.points, organisation=caller.organisation, actor=caller.principal
                )
            model = shape.model
        else:
            names = {point.name for point in model.points}
            property_of = {point: name for point, name in property_of.items() if point in names}
            property_of |= {name: name for name in names if name in document.get("properties", {})}
        found = self._shapes.consumed(shape, document, property_of, model.id, self.reach)
        allowed = not found.adapter or caller.connect()
        if not allowed:
            found = Consumed("", {}, (), (_NOT_ALLOWED,))
        adapter, connection, left = found.adapter, found.connection, (*left, *found.left)
        if before is not None and not adapter and (not before.described or not allowed):
            adapter, connection = before.adapter, before.connection
        fields: Changes = {
            "title": str(document["title"])[:_TITLE].strip() or "untitled",
            "model": model.id, "adapter": adapter, "connection": connection, "location": _place(document),
            "described": True,
        }  # fmt: skip
        return _Plan(fields, Description(dict(document), found.reads, left, expires_us, ttl_s))

    def _known_model(self, document: Mapping[str, Any], organisation: str) -> ThingModel | None:
        """Return the model that a description says its Thing is of, by its id or by where a node has it."""
        href = next((link.get("href") for link in document.get("links", []) if link.get("rel") == "type"), None)
        if not isinstance(href, str):
            return None
        address, _, query = href.partition("?")
        named = parse_qs(query).get("id", [href])[0] if address.endswith("/models") else href
        return self._directory.models.get(named, organisation)

    def _keeping(self, description: Description) -> Any:
        def keep(tx: Transaction, thing: Thing) -> None:
            tx.put(description, id=thing.id, owner=thing.organisation)
            if description.expires_us:
                tx.put(Expiry(thing.id, description.expires_us), id=thing.id, owner=thing.organisation)
            else:
                tx.delete(Expiry, thing.id)

        return keep

    def _remember(self, id: str, description: Description) -> None:
        if description.expires_us:
            heapq.heappush(self._expiries, (description.expires_us, id))

    def _random_urn(self) -> str:
        """Return a URN of a random UUID (assertion tdd-anonymous-td-local-uuid: version 4)."""
        return uuid.UUID(bytes=self._clock.randbytes(16), version=4).urn


def _beside(id: str, description: Description) -> list[msgspec.Struct]:
    return [description, *([Expiry(id, description.expires_us)] if description.expires_us else [])]


def _check_id(document: Mapping[str, Any], id: str) -> None:
    given = document.get("id")
    if not id and given is not None:
        refuse([finding(("id",), f"a description with an id is sent by PUT to /things/{str(given)[:100]}")])
    if id and given != id:
        refuse([finding(("id",), "it must be the id in the address, word for word")])
    if id:
        try:
            check_urn(id)
        except Invalid as error:
            refuse([finding(("id",), f"{error.detail}; without an id the node gives it one")])


def _place(document: Mapping[str, Any]) -> Location | None:
    """Return the position a description gives (WGS84 vocabulary), or None; what is none is no position."""
    try:
        latitude, longitude = float(document["geo:lat"]), float(document["geo:long"])
    except (KeyError, TypeError, ValueError):
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _difference(before: Description | None, after: Description) -> dict[str, Any]:
    if before is None:
        return {}
    diff = difference(before.document, after.document)
    return {"diff": diff} if len(msgspec.json.encode(diff)) <= MAX_DIFF_BYTES else {}
