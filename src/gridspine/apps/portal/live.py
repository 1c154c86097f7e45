"""One event stream a page: what it shows is told as it changes, four times a second at most, until the session ends.

::

    POST /portal/ticket ─► ticket ─► GET /portal/live?ticket=…&thing=…&part=…    event: values, changed, readings, …
                                                                                 event: end   {"reason": …}

Source: WHATWG HTML, server-sent events. A ticket opens one stream once, so another site cannot open any. A stream is
no sign of life: a page that is only looked at ends with its session's idle time. Loading a changed part is one.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from litestar import Response, get, post
from litestar.datastructures import MultiDict
from litestar.di import NamedDependency
from litestar.types import ASGIApp, Receive, Scope, Send

from gridspine.apps.api.dependency import TheNode
from gridspine.apps.api.ensemble import numbers_of
from gridspine.apps.api.grant import permitted as permitted_grant
from gridspine.apps.api.thing import permitted, readable
from gridspine.apps.node.node import Node
from gridspine.apps.portal.emulated_feed import EmulatedFeed
from gridspine.apps.portal.ensemble import EnsembleFeed
from gridspine.apps.portal.errors import LIVE
from gridspine.apps.portal.feed import ChangesFeed, ChartFeed, Feed, FiguresFeed, PreviewFeed, ValuesFeed
from gridspine.apps.portal.headers import SECURITY_HEADERS
from gridspine.apps.portal.look import Look, looks
from gridspine.apps.portal.order import commands_of_order
from gridspine.apps.portal.page import PortalRequest, json_answer
from gridspine.apps.portal.thing import PAGE_SIZE, is_emulated
from gridspine.energy.ensemble import Ensemble
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import Forbidden, Invalid, Overloaded
from gridspine.things.directory import Thing

PERIOD_S = 0.25
"""Seconds [s] between two looks at what changed."""

HEARTBEAT_TURNS = 60
STALLED_S = 30.0
"""Seconds [s] a browser may leave unread what it was sent; then it is let go."""

MAX_STREAMS_EACH = 12
"""Streams of one session at most: a browser opens six to a host anyway."""

log = structlog.get_logger(__name__)
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    *((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
]


class Streams:
    """The open streams of the portal, by session."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many are open."""
        return sum(self._open.values())

    def check(self, session: str, others: int) -> None:
        """Raise `Overloaded` when there is no room for one more; ``others`` streams are open besides these."""
        if self.count + others >= self._most:
            raise Overloaded(f"{self._most} streams are open: try again later", retry_after_s=5)
        if self._open.get(session, 0) >= MAX_STREAMS_EACH:
            raise Overloaded(f"{MAX_STREAMS_EACH} pages of yours are live: close some", retry_after_s=5)

    @contextlib.contextmanager
    def counted(self, session: str) -> Any:
        """Count a stream for as long as it is open."""
        self._open[session] = self._open.get(session, 0) + 1
        try:
            yield
        finally:
            self._open[session] -= 1
            if not self._open[session]:
                del self._open[session]


@post("/portal/ticket", status_code=200)
async def issue_ticket(request: PortalRequest, node: TheNode) -> Response[bytes]:
    """Hand out a ticket that opens one live stream within half a minute."""
    return json_answer({"ticket": node.identity.tickets.issue(request.user, LIVE)})


@get(LIVE)
async def live(request: PortalRequest, node: TheNode, streams: NamedDependency[Streams]) -> ASGIApp:
    """Open the stream of a page: ``thing`` and ``part`` (several), ``chart``, ``of``, ``grant`` (with ``preview``).

    ``of`` is the Thing that parts are about where there is no chart; ``subject`` the behaviour or order they are about.
    """
    query = request.query_params
    if "ticket" not in query:
        raise Forbidden("a live stream is opened with a ticket", reason="no-ticket")
    streams.check(request.user.session, node.hub.subscriptions)
    ids = query.getall("thing", [])
    if len(ids) > PAGE_SIZE:
        raise Invalid(f"thing: at most {PAGE_SIZE} at once")
    ensemble = await _ensemble(node, request.user, query["ensemble"]) if "ensemble" in query else None
    things = [permitted(node, request, id_, "thing.read") for id_ in ids]
    chart = permitted(node, request, query["chart"], "thing.read") if "chart" in query else None
    about = permitted(node, request, query["of"], "thing.read") if "of" in query else chart
    grant = permitted_grant(node, request, query["grant"], "grant.read").id if "grant" in query else ""
    about_parts = _About(about, grant, *await _subject(node, request.user, query))
    parts = _parts(node, request.user, query.getall("part", []), about_parts)
    preview = grant if "preview" in query else ""
    emulated = [one for one in things if is_emulated(node, one)]
    if about is not None and "channels" in parts:
        emulated = [about]
    followed = _Followed(things, chart, emulated, ensemble, preview, parts)
    return LiveStream(node, request.user, streams, followed)


@dataclass(frozen=True, slots=True)
class _Followed:
    """What a page follows, all of it permitted."""

    things: Sequence[Thing]
    chart: Thing | None
    emulated: Sequence[Thing]
    ensemble: Ensemble | None
    preview: str
    parts: dict[str, Look]

    def feeds(self, node: Node, caller: Caller) -> list[Feed]:
        """Return the feeds, at work."""
        feeds: list[Feed] = [ChangesFeed(self.parts), ValuesFeed(node, self.things)]
        if self.ensemble is not None:
            feeds.append(EnsembleFeed(node, self.ensemble))
        if self.emulated:
            feeds.append(EmulatedFeed(node, self.emulated))
        if self.chart is not None:
            feeds.append(ChartFeed(node, caller, self.chart))
        if "status" in self.parts:
            feeds.append(FiguresFeed(node))
        if self.preview:
            feeds.append(PreviewFeed(node, caller, self.preview))
        return feeds


@dataclass(frozen=True, slots=True)
class _About:
    """What the parts of a page are about."""

    thing: Thing | None
    grant: str
    behaviour: str = ""
    commands: Sequence[str] = ()


async def _subject(node: Node, caller: Caller, query: MultiDict[str]) -> tuple[str, Sequence[str]]:
    """Return the behaviour or the commands that a page's ``subject`` names."""
    parts, subject = query.getall("part", []), query.get("subject", "")[:300]
    if "behaviour" in parts:
        node.authority.on_organisation(caller, "behaviour.read", caller.organisation)
        return subject, ()
    if "order" in parts:
        readable(node, caller, "thing.read")
        return "", [one.id for one in await asyncio.to_thread(commands_of_order, node, caller, subject)]
    return "", ()


def _parts(node: Node, caller: Caller, names: Sequence[str], about: _About) -> dict[str, Look]:
    """Return how to look at the parts of a page that are called ``names``, all of them permitted."""
    known = looks(node, caller, about.thing, about.grant, about.behaviour, about.commands)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Invalid(f"part: {unknown[0][:40]!r} is not one of {', '.join(known)}")
    if {"waiting", "edges", "connections"} & set(names):
        node.authority.on_thing(caller, "thing.read", Thing("", caller.organisation, "any", ""))
    if "alarms" in names:
        _may_read_alarms(node, caller)
    if "status" in names:
        node.authority.on_node(caller, "status.read")
    return {name: known[name] for name in names}


def _may_read_alarms(node: Node, caller: Caller) -> None:
    things = node.things.list(caller.organisation)
    if things:
        node.authority.on_thing(caller, "alarm.read", things[0])


class LiveStream:
    """An ASGI application that is one page's event stream."""

    def __init__(self, node: Node, caller: Caller, streams: Streams, followed: _Followed) -> None:
        self._node = node
        self._caller = caller
        self._streams = streams
        self._followed = followed
        self._ended = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the stream until the client leaves, the session ends or the node stops."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        unwatch = self._node.gate.watch("", self._end)
        with self._streams.counted(self._caller.session):
            feeds = self._followed.feeds(self._node, self._caller)
            pumping = asyncio.ensure_future(self._run(feeds, send))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                unwatch()
                for task in (pumping, leaving):
                    task.cancel()
                for feed in feeds:
                    feed.close()
                await asyncio.gather(pumping, leaving, return_exceptions=True)

    def _end(self, reason: str) -> None:
        self._ended = self._ended or reason

    async def _run(self, feeds: Sequence[Feed], send: Send) -> None:
        await _event(send, "open", {"now": self._node.clock.now_us() / 1e6})
        turn = 0
        try:
            while not self._ended:
                for feed in feeds:
                    for name, body in feed.poll():
                        await _event(send, name, body)
                turn += 1
                if turn % HEARTBEAT_TURNS == 0:
                    await _chunk(send, b": still here\n\n")
                await self._node.clock.sleep(PERIOD_S)
                if not self._node.identity.holds(self._caller):
                    self._end("signed-out")
            await _event(send, "end", {"reason": self._ended})
        except OSError:
            return  # the browser is gone, or does not read
        except Exception:
            log.exception("a live page failed", principal=self._caller.principal)
        with contextlib.suppress(OSError):
            await _chunk(send, b"", more=False)


async def _ensemble(node: Node, caller: Caller, id: str) -> Ensemble:
    numbers_of(node, caller)  # asks whether the caller may read Things
    return await node.ensembles.get(id, caller.organisation)


async def _event(send: Send, name: str, body: Any) -> None:
    await _chunk(send, f"event: {name}\ndata: ".encode() + msgspec.json.encode(body) + b"\n\n")


async def _chunk(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(STALLED_S):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
