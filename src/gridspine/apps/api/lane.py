"""The fast lane: the few requests that come by the thousand, answered without the framework.

::

    GET /things/{id}/properties[/{name}[/value]]    at once, by the connection itself    `ReadLane`
    POST /readings, a small body                    by the connection, when it is whole  `SmallReadings`
    POST /readings, a large one                     before the framework's routes        `ReadingsLane`
    POST /commands                                  before the framework's routes        `command_lane`
    all else, and whatever is unusual               the framework                        `gridspine.apps.api.app`

Nothing is decided here: host, caller, authority, reading and answers are the very functions that the framework's routes
call, and what they raise is answered by the function that answers for those routes. A request that is not the usual
kind, say one with a query, with a cookie instead of a token, to be traced, or for another form than JSON, is left to
the framework.
"""

import asyncio
import re
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import unquote

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gridspine.apps.api.answer import Answer, failure, json_answer
from gridspine.apps.api.authenticate import by_authorization
from gridspine.apps.api.connection import Taking, send_answer
from gridspine.apps.api.hosts import AllowedHosts
from gridspine.apps.api.interaction import value_answer
from gridspine.apps.api.readings import AT_ONCE_BYTES, Sending, sending_of, take_readings
from gridspine.apps.api.thing import MAX_NAME_CHARS, permitted_to, point_of, properties
from gridspine.apps.node.node import Node
from gridspine.infra.runtime.trace import REQUEST, Request
from gridspine.kernel.codecs.arrow_frame import Frames
from gridspine.kernel.errors import Unavailable
from gridspine.things.adapter import Outcome

_THING = re.compile(rf"/things/([^/]+)/properties(?:/([^/]{{1,{MAX_NAME_CHARS}}})(/value)?)?")
_MAX_TARGET_BYTES = 512
_UNUSUAL = frozenset({b"content-length", b"transfer-encoding", b"expect", b"traceparent"})
_UNUSUAL_BODY = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"traceparent"})
_READINGS = "/readings"
_ANY = frozenset({b"*/*", b"application/json"})


class ReadLane:
    """Answers reads of properties; see `gridspine.apps.api.connection.Lane`."""

    def __init__(self, node: Node, hosts: AllowedHosts) -> None:
        self._node, self._hosts = node, hosts

    def __call__(self, target: bytes, scope: Any) -> Answer | None:
        """Answer a GET of ``target``, or return None: then nothing has happened."""
        wanted = _wanted(target) if len(target) <= _MAX_TARGET_BYTES else None
        if wanted is None or self._node.trace.on:
            return None
        headers = dict(scope["headers"])
        if not _UNUSUAL.isdisjoint(headers) or headers.get(b"accept", b"*/*") not in _ANY:
            return None
        if not self._hosts.answer_for(scope):
            return None
        REQUEST.set(Request(""))
        path, thing_id, name, plain = wanted
        scope["method"], scope["path"], scope["raw_path"] = "GET", path, target
        try:
            caller = by_authorization(self._node.identity, scope)
            if caller is None:
                return None
            thing = permitted_to(self._node, caller, thing_id, "thing.read")
            if plain:
                return value_answer(self._node, thing, name)
            return json_answer(point_of(self._node, thing, name) if name else properties(self._node, thing))
        except Exception as error:
            return failure(error, path)


class SmallReadings:
    """Lets in posts of readings whose bodies are decoded at once; see `gridspine.apps.api.connection.PostLane`."""

    def __init__(self, node: Node, hosts: AllowedHosts) -> None:
        self._node, self._hosts = node, hosts
        self._limit = min(AT_ONCE_BYTES, node.settings.http.max_body_bytes)
        self._frames = Frames()

    def __call__(self, target: bytes, scope: Any) -> Taking | Answer | None:
        """Let a POST to ``target`` in or refuse it, or return None: then nothing has happened."""
        if target != b"/readings" or self._node.trace.on:
            return None
        headers = dict(scope["headers"])
        size = headers.get(b"content-length", b"")
        if not size.isdigit() or len(size) > 5 or int(size) > self._limit or not _UNUSUAL_BODY.isdisjoint(headers):
            return None
        if not self._hosts.answer_for(scope):
            return None
        REQUEST.set(Request(""))
        scope["method"], scope["path"], scope["raw_path"] = "POST", _READINGS, target
        try:
            caller = by_authorization(self._node.identity, scope)
            return None if caller is None else _Post(sending_of(self._node, caller, scope), self._frames)
        except Exception as error:
            return failure(error, _READINGS)


class _Post:
    """A post of readings that was let in; see `gridspine.apps.api.connection.Taking`."""

    __slots__ = ("_began_s", "_frames", "_sending")

    def __init__(self, sending: Sending, frames: Frames) -> None:
        self._sending, self._frames = sending, frames
        self._began_s = 0.0

    def take(self, body: bytes) -> asyncio.Future[Outcome]:
        """Read the body, and hand its readings in."""
        REQUEST.set(Request(""))
        readings = self._sending.read(body, self._frames)
        self._began_s = perf_counter()
        return self._sending.hand_in(readings)

    def answer(self, done: asyncio.Future[Outcome]) -> Answer:
        """Return what became of the readings."""
        try:
            outcome = done.result()
            self._sending.node.meter.submitted("http", perf_counter() - self._began_s)
            return json_answer(outcome)
        except asyncio.CancelledError:
            return failure(Unavailable("the node is shutting down"), _READINGS)
        except Exception as error:
            return self.failed(error)

    def failed(self, error: Exception) -> Answer:
        """Return why nothing was taken."""
        return failure(error, _READINGS)


class ReadingsLane:
    """An ASGI application before another: takes readings of callers with a token, and passes all else on."""

    def __init__(self, node: Node, app: ASGIApp) -> None:
        self._node, self._app = node, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take readings, or pass the request on."""
        answer = None
        if scope["type"] == ScopeType.HTTP and scope["path"] == _READINGS and scope["method"] == "POST":
            answer = await self._take(scope, receive)
        if answer is None:
            await self._app(scope, receive, send)
        else:
            await send_answer(answer, send)

    async def _take(self, scope: HTTPScope, receive: Receive) -> Answer | None:
        try:
            caller = by_authorization(self._node.identity, scope)
            return None if caller is None else await take_readings(self._node, caller, scope, receive)
        except Exception as error:
            return failure(error, scope["path"])


@lru_cache(maxsize=4096)
def _wanted(target: bytes) -> tuple[str, str, str, bool] | None:
    """Return path, Thing and point of a request for properties, and whether its plain value is wanted.

    None for any other request; without a point all are wanted.
    """
    if not target.isascii() or b"?" in target or b"#" in target:
        return None
    found = _THING.fullmatch(unquote(target.decode()))
    return (found[0], found[1], found[2] or "", bool(found[3])) if found else None
