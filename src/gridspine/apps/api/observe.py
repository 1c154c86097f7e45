"""Properties observed: first what is, then each change, for as long as the caller may read the Thing.

::

    GET /things/{id}/properties/{name}/observe    event stream, plain values     unnamed: any EventSource hears them
    GET /things/{id}/properties/{name}/next       long poll: the next value      204 after ``waitS``
    GET /things/{id}/values/observe               event stream of all (``names``), named by property
    WS  /things/{id}/values/socket                {"name": …, "data": value, "observed": …, "quality": …, "unit": …}

A slow client gets the newest value of each point, not every reading: those are had through a data product.
Sources: W3C WoT TD 1.1, class Form (subprotocols longpoll, sse); W3C WoT Profile (Editor's Draft), "HTTP SSE Profile".
"""

from typing import Annotated, Any

import msgspec
from litestar import WebSocket, get, head, websocket
from litestar.params import FromPath, Parameter, QueryParameter
from litestar.types import ASGIApp

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.flow import EventStream, Flow, Poll, run_socket
from gridspine.apps.api.interaction import AnyRequest, Name, as_described, encode_value, told_of, wanted_names
from gridspine.apps.api.news import Message, NewsSource
from gridspine.apps.api.sending import ThingRight, take_place
from gridspine.apps.api.thing import permitted_to
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Invalid
from gridspine.kernel.time import format_rfc3339
from gridspine.things.directory import Thing
from gridspine.things.model import PointModel
from gridspine.things.twin import NEVER_US

MAX_WAIT_S = 3300.0
"""How long a long poll waits at most [s]: clients of the Web of Things give up after an hour."""
SSE = "text/event-stream"
Wait = Annotated[float, QueryParameter(name="waitS")]
"""How long a long poll waits at most, 0 for not at all [s]."""
Names = Annotated[list[str] | None, Parameter(max_items=1_000)]
Last = dict[int, tuple[float, int, int]]
"""What was told last of points: value, observed time, quality."""


@get(
    "/things/{thing_id:str}/properties/{name:str}/observe",
    summary="Observe a point",
    media_type=SSE,
    tags=["things"],
)
async def observe_property(request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name) -> ASGIApp:
    """Follow a point: server-sent events without a name, their data the plain value; `end` says why it is over."""
    flow, _ = _flow(node, request.user, thing_id, [name])
    return EventStream(flow, named=False)


@get("/things/{thing_id:str}/properties/{name:str}/next", summary="Wait for a point's next value", tags=["things"])
async def next_value(
    request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name, wait_s: Wait = MAX_WAIT_S
) -> ASGIApp:
    """Answer with the last value when the caller was not told it yet, else with the next one; 204: none in `waitS`."""
    wait_s = bounded_wait(wait_s)  # before there is anything to give back
    key = (request.user.session, thing_id, name)
    known: Any = node.watchers.told(key) or {}
    flow, values = _flow(node, request.user, thing_id, [name], known)
    return Poll(flow, wait_s, lambda _: node.watchers.tell(key, values.told))


@head("/things/{thing_id:str}/properties/{name:str}/next", include_in_schema=False)
async def can_be_observed(request: AnyRequest, node: TheNode, thing_id: FromPath[str], name: Name) -> None:
    """Say whether a point can be waited for; some clients ask before they do."""
    wanted_names(node, permitted_to(node, request.user, thing_id, "thing.read"), [name])


@get("/things/{thing_id:str}/values/observe", summary="Observe the points of a Thing", media_type=SSE, tags=["things"])
async def observe_values(request: AnyRequest, node: TheNode, thing_id: FromPath[str], names: Names = None) -> ASGIApp:
    """Follow all points (or `names`): server-sent events named by their points, their data the plain value."""
    flow, _ = _flow(node, request.user, thing_id, names)
    return EventStream(flow, named=True)


@websocket("/things/{thing_id:str}/values/socket", name="Observe the points of a Thing by WebSocket")
async def socket_values(socket: WebSocket[Any, Any, Any], node: TheNode, thing_id: FromPath[str]) -> None:
    """Send a text frame for each new value; ``names`` (commas between) is a query parameter."""

    async def tell(message: Message) -> None:
        told = {name.removeprefix("Gridspine-").lower(): value for name, value in message.headers.items()}
        frame = {"name": message.name, "id": message.id, "data": msgspec.Raw(message.data), **told}
        await socket.send_text(msgspec.json.encode(frame).decode())

    flow, _ = _flow(node, socket.user, thing_id, socket.query_params.getall("names", []))
    await run_socket(flow, socket, tell)


class Values:
    """The points of a Thing as news: each that has another value, with its newest one."""

    def __init__(self, node: Node, thing: Thing, names: list[str], known: Last) -> None:
        points = node.things.model(thing).points
        self.over = ""
        self.told: Last = dict(known)
        self._node, self._thing = node, thing
        self._points: dict[int, PointModel] = {
            thing.first + at: point for at, point in enumerate(points) if point.name in set(names)
        }
        self._watcher = node.watchers.watch(self._points)
        self.wake = self._watcher.wake

    def take(self) -> list[Message]:
        """Return a message for each point that has another value, time or quality than was told."""
        return [message for number in self._watcher.take() if (message := self._message(number)) is not None]

    def close(self) -> None:
        """Watch no more."""
        self._node.watchers.leave(self._watcher)

    def _message(self, number: int) -> Message | None:
        point, twin = self._points[number], self._node.twins.get(number)
        now = (twin.value, twin.observed_us, twin.quality)
        if twin.observed_us == NEVER_US or self.told.get(number) == now:
            return None
        value = as_described(self._node, self._thing, point, twin.value)
        if value is None:
            return None
        self.told[number] = now
        data = encode_value(value, "")
        return Message(point.name, data, format_rfc3339(twin.observed_us), told_of(point, twin))


def bounded_wait(wait_s: float) -> float:
    """Return how long a long poll may wait [s]; raise `Invalid`."""
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise Invalid(f"waitS: from 0 to {MAX_WAIT_S:.0f} s")
    return wait_s


def _flow(
    node: Node, caller: Caller, thing_id: str, names: list[str] | None, known: Last | None = None
) -> tuple[Flow, Values]:
    thing = permitted_to(node, caller, thing_id, "thing.read")
    wanted = wanted_names(node, thing, names)
    place = take_place(node, caller)
    values = Values(node, thing, wanted, known or {})
    return Flow(node, ThingRight(node, caller, thing, "thing.read"), NewsSource(values), place), values
