"""What happens in the directory, as server-sent events.

::

    GET /events                    thing_created · thing_updated · thing_deleted, of the caller's own Things
    GET /events/thing_updated      only those
        ?diff=true                 what was created whole, and of what was updated the difference (RFC 7396)

An event's id is its place in the log: ``Last-Event-ID`` goes on after it, with all that was missed.

Source: W3C WoT Discovery (Recommendation of 5 December 2023), "Events API".
"""

import asyncio
from collections import deque
from typing import Annotated, Any

import msgspec
import structlog
from litestar import get
from litestar.params import FromPath, FromQuery, HeaderParameter
from litestar.types import ASGIApp

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.description import AnyRequest, documents
from gridspine.apps.api.flow import EventStream, Flow
from gridspine.apps.api.news import Message, NewsSource
from gridspine.apps.api.sending import SignedIn, take_place
from gridspine.apps.node.node import Node
from gridspine.apps.node.tidings import LOOK_S, MAX_REPLAY, format_places, parse_places
from gridspine.infra.log.topics import EVENTS
from gridspine.infra.registry.port import Event
from gridspine.kernel.errors import Gone, NotFound
from gridspine.things.directory import Thing

TYPES = {"thing.registered": "thing_created", "thing.changed": "thing_updated", "thing.retired": "thing_deleted"}
MAX_WAITING = 1_000
_AT_ONCE = 200
_SSE = "text/event-stream"
LastEvent = Annotated[str, HeaderParameter(name="Last-Event-ID", max_length=100)]
_decode = msgspec.json.Decoder(Event).decode
log = structlog.get_logger(__name__)


@get("/events", summary="Follow the directory", media_type=_SSE, tags=["things"])
async def follow_directory(
    request: AnyRequest, node: TheNode, diff: FromQuery[bool] = False, last_event_id: LastEvent = ""
) -> ASGIApp:
    """Follow what is registered, changed and removed; `end` says why it is over."""
    return _stream(request, node, "", diff, last_event_id)


@get("/events/{kind:str}", summary="Follow one kind of the directory's events", media_type=_SSE, tags=["things"])
async def follow_directory_kind(
    request: AnyRequest,
    node: TheNode,
    kind: FromPath[str],
    diff: FromQuery[bool] = False,
    last_event_id: LastEvent = "",
) -> ASGIApp:
    """Follow `thing_created`, `thing_updated` or `thing_deleted`; `end` says why it is over."""
    if kind not in TYPES.values():
        raise NotFound(f"there is no event {kind[:40]!r}: there are {', '.join(TYPES.values())}")
    return _stream(request, node, kind, diff, last_event_id)


class DirectoryEvents:
    """The directory's events as news, from ``start`` in the log on."""

    def __init__(self, node: Node, request: AnyRequest, kind: str, diff: bool, start: int) -> None:
        self.wake = asyncio.Event()
        self.over = ""
        self._node, self._request, self._kind, self._diff, self._at = node, request, kind, diff, start
        self._waiting: deque[Message] = deque()
        self._room = asyncio.Event()
        self._task = asyncio.ensure_future(self._follow())

    def take(self) -> list[Message]:
        """Return what happened since the last time."""
        found = list(self._waiting)
        self._waiting.clear()
        self._room.set()
        return found

    def close(self) -> None:
        """Read no more."""
        self._task.cancel()

    async def _follow(self) -> None:
        try:
            while True:
                first, end = self._node.log.bounds(EVENTS)[0]
                if self._at < first:
                    self.over = "gone"
                    break
                if self._at >= end:
                    await self._node.clock.sleep(LOOK_S)
                    continue
                records = await asyncio.to_thread(self._node.log.read, EVENTS, 0, self._at, max_records=_AT_ONCE)
                for record in records:
                    self._at = record.position.offset + 1
                    await self._tell(_decode(record.body))
                self._at = max(self._at, end) if not records else self._at
        except Exception as error:
            log.exception("the directory's events cannot be read from the log", error=str(error))
            self.over = "failed"
        self.wake.set()

    async def _tell(self, event: Event) -> None:
        name = self._name_of(event)
        if not name or self._kind not in {"", name}:
            return
        data = await self._data(event, name)
        while len(self._waiting) >= MAX_WAITING:
            self._room.clear()
            await self._room.wait()
        self._waiting.append(Message(name, msgspec.json.encode(data), format_places({EVENTS: self._at}), {}))
        self.wake.set()

    def _name_of(self, event: Event) -> str:
        """Return what an event is to this caller; "" for nothing of its business."""
        name, caller = TYPES.get(event.type, ""), self._request.user
        if not name:
            return ""
        try:
            thing = self._node.things.get(event.subject)
        except NotFound:
            return ""
        if "organisation" in event.data.get("patch", {}):  # it was handed over: it came, or it left
            name = "thing_created" if event.data["organisation"] == caller.organisation else "thing_deleted"
        owners = {
            event.data.get("organisation"),
            *(one.organisation for one in thing.former if name == "thing_deleted"),
        }
        if caller.organisation not in owners:
            return ""
        if caller.kind == "device" and caller.principal not in thing.devices:
            return ""
        return name if self._node.authority.would_allow(caller, "thing.read", self._as_own(thing)) else ""

    def _as_own(self, thing: Thing) -> Thing:
        return msgspec.structs.replace(thing, organisation=self._request.user.organisation)

    async def _data(self, event: Event, name: str) -> dict[str, Any]:
        if not self._diff or name == "thing_deleted":
            return {"id": event.subject}
        if name == "thing_updated":
            patch = event.data.get("patch", {})
            shown = {"title": patch["title"]} if "title" in patch else {}
            return {**shown, **event.data.get("diff", {}), "id": event.subject}
        thing = self._node.things.get(event.subject)
        if thing.retired or thing.organisation != self._request.user.organisation:
            return {"id": event.subject}
        (document,) = await documents(self._node, self._request, [thing])
        return document


def _stream(request: AnyRequest, node: Node, kind: str, diff: bool, last_event_id: str) -> EventStream:
    caller = request.user
    first, end = node.log.bounds(EVENTS)[0]
    start = parse_places(last_event_id).get(EVENTS, end) if last_event_id else end
    if start < first or end - start > MAX_REPLAY:
        raise Gone("too much happened since that event: read the list anew, and follow from here")
    place = take_place(node, caller)
    news = DirectoryEvents(node, request, kind, diff, min(start, end))
    return EventStream(Flow(node, SignedIn(node, caller, "the directory"), NewsSource(news), place), named=True)
