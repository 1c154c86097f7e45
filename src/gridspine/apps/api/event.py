"""Events of a Thing: its alarms, what becomes of its commands, its life; by event stream or long poll.

::

    GET /things/{id}/events/{name}          event stream, unnamed         alarm · command · lifecycle
    GET /things/{id}/events/{name}/next     long poll: the next event     204 after ``waitS``
    GET /things/{id}/events                 event stream of all that the caller may hear, named

Each event has an id; ``Last-Event-ID`` goes on after it. Sources: as in `gridspine.apps.api.observe`.
"""

from typing import Annotated, Any

import msgspec
from litestar import get, head
from litestar.params import FromPath, HeaderParameter
from litestar.types import ASGIApp

from gridspine.apps.api.alarm import alarm_view
from gridspine.apps.api.command_view import command_view
from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.flow import EventStream, Flow, Poll
from gridspine.apps.api.interaction import AnyRequest, Name
from gridspine.apps.api.news import Message, NewsSource
from gridspine.apps.api.observe import MAX_WAIT_S, SSE, Wait, bounded_wait
from gridspine.apps.api.sending import ThingRight, take_place
from gridspine.apps.api.thing import permitted_to
from gridspine.apps.node.node import Node
from gridspine.apps.node.tidings import Listener, Places, format_places, parse_places
from gridspine.infra.identity.caller import Caller
from gridspine.infra.log.port import Stored
from gridspine.infra.log.topics import EVENTS as REGISTRY_EVENTS
from gridspine.infra.registry.port import Event
from gridspine.kernel.errors import NotFound
from gridspine.kernel.time import format_rfc3339
from gridspine.things.alarm import ALARMS, decode_change
from gridspine.things.command import COMMANDS, CommandChanged, decode_event
from gridspine.things.exposed import EVENTS

TOPIC_OF = {"alarm": ALARMS, "command": COMMANDS, "lifecycle": REGISTRY_EVENTS}
ACTION_OF = {"alarm": "alarm.read", "command": "thing.read", "lifecycle": "thing.read"}
"""What one must be allowed to do to hear of each event."""
_NAME_OF = {topic: name for name, topic in TOPIC_OF.items()}
LastEvent = Annotated[str, HeaderParameter(name="Last-Event-ID", max_length=100)]
_decode = msgspec.json.Decoder(Event).decode


class Happened(msgspec.Struct, frozen=True):
    """Something that happened to a Thing; ``type`` is such as ``thing.registered``."""

    type: str
    at: str
    actor: str
    data: dict[str, Any]


@get("/things/{thing_id:str}/events/{name:str}", summary="Follow an event of a Thing", media_type=SSE, tags=["things"])
async def follow_event(
    request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name, last_event_id: LastEvent = ""
) -> ASGIApp:
    """Follow `alarm`, `command` or `lifecycle`: server-sent events without a name; `end` says why it is over."""
    flow, _ = await _flow(node, request.user, thing_id, [name], last_event_id)
    return EventStream(flow, named=False)


@get("/things/{thing_id:str}/events", summary="Follow all events of a Thing", media_type=SSE, tags=["things"])
async def follow_events(
    request: AnyRequest, node: TheNode, thing_id: FromPath[str], last_event_id: LastEvent = ""
) -> ASGIApp:
    """Follow all events that the caller may hear of: server-sent events by name; `end` says why it is over."""
    thing = permitted_to(node, request.user, thing_id, "thing.read")
    may = [name for name in EVENTS if node.authority.would_allow(request.user, ACTION_OF[name], thing)]
    flow, _ = await _flow(node, request.user, thing_id, may, last_event_id)
    return EventStream(flow, named=True)


@get("/things/{thing_id:str}/events/{name:str}/next", summary="Wait for an event of a Thing", tags=["things"])
async def next_event(
    request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name, wait_s: Wait = MAX_WAIT_S
) -> ASGIApp:
    """Answer with the next event; 204 when there is none in `waitS`. The next poll goes on where this one ended."""
    wait_s = bounded_wait(wait_s)
    key = (request.user.session, thing_id, f"events/{name}")
    since = node.watchers.told(key)
    flow, happenings = await _flow(node, request.user, thing_id, [name], since if isinstance(since, str) else "")
    node.watchers.tell(key, format_places(happenings.listener.places))
    return Poll(flow, wait_s, lambda message: node.watchers.tell(key, message.id))


@head("/things/{thing_id:str}/events/{name:str}/next", include_in_schema=False)
async def can_be_heard(request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name) -> None:
    """Say whether an event can be waited for; some clients ask before they do. From now on none is missed."""
    permitted_to(node, request.user, thing_id, ACTION_OF[_known(name)])
    key = (request.user.session, thing_id, f"events/{name}")
    node.watchers.tell(key, format_places(node.tidings.ends([TOPIC_OF[name]])))


class Happenings:
    """The events of a Thing as news, those since ``since_us`` [µs since 1970]."""

    def __init__(self, node: Node, listener: Listener, since_us: int) -> None:
        self.listener, self.wake = listener, listener.wake
        self._since_us = since_us
        self._node = node

    @property
    def over(self) -> str:
        """Why there will be no more."""
        return self.listener.over

    def take(self) -> list[Message]:
        """Return what happened since the last time."""
        found = []
        while (record := self.listener.take()) is not None:
            data = _told(record, self._since_us)
            if data is not None:
                name = _NAME_OF[record.position.topic]
                found.append(Message(name, msgspec.json.encode(data), format_places(self.listener.places), {}))
        return found

    def close(self) -> None:
        """Listen no more."""
        self._node.tidings.leave(self.listener)


async def _flow(node: Node, caller: Caller, thing_id: str, names: list[str], since: str) -> tuple[Flow, Happenings]:
    action = "alarm.read" if names == ["alarm"] else "thing.read"
    thing = permitted_to(node, caller, thing_id, action)
    places: Places = parse_places(since) if since else {}
    topics = [TOPIC_OF[_known(name)] for name in names]
    place = take_place(node, caller)
    try:
        listener = await node.tidings.listen(thing.id, topics, places)
    except BaseException:
        place()
        raise
    happenings = Happenings(node, listener, thing.owned_since_us)
    return Flow(node, ThingRight(node, caller, thing, action), NewsSource(happenings), place), happenings


def _known(name: str) -> str:
    if name not in TOPIC_OF:
        raise NotFound(f"there is no event {name!r}: there are {', '.join(EVENTS)}")
    return name


def _told(record: Stored, since_us: int) -> Any:
    """Return what a record says to a consumer, or None where that is nothing, or began before ``since_us``.

    What happened under an owner before is not the present one's to know, the end of an alarm of then included.
    """
    if record.position.topic == ALARMS:
        alarm = decode_change(record.body).alarm
        return alarm_view(alarm) if alarm.first_us >= since_us else None
    if record.position.topic == COMMANDS:
        event = decode_event(record.body)
        if not isinstance(event, CommandChanged) or event.command.changes[0].at_us < since_us:
            return None
        return command_view(event.command)
    happened = _decode(record.body)
    if happened.time_us < since_us:
        return None
    return Happened(happened.type, format_rfc3339(happened.time_us), happened.actor, happened.data)
