"""HTTP: the routes of both editions, who asks, and what an error is answered.

::

    /openadr3/3.1.0/…  ┐
    /openadr3/3.0.1/…  ┴─► route ─► token ─► source ─► port ─► `program`, `event`, `report`, `ven`, `subscription`

Lists that many poll are answered from memory while nothing has changed, with an ``ETag``: who knows it gets 304.
Sources: paths, parameters and statuses are those of the OpenAPI documents of 3.1.0 and 3.0.1; ETag: RFC 9110 §8.8.3.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gridspine.adapters.openadr3 import event, program, report, subscription, topic, ven
from gridspine.adapters.openadr3.auth import Auth
from gridspine.adapters.openadr3.call import EDITIONS, Answer, Call, Edition, read_query
from gridspine.adapters.openadr3.follow import NOTIFY
from gridspine.adapters.openadr3.vtn import Vtn
from gridspine.kernel.errors import GridspineError, NotFound, Unauthenticated
from gridspine.things.adapter import AdapterContext, Receive, Scope, Send, Source
from gridspine.things.adapter_body import read_body

BASE = "openadr3"
MAX_BODY_BYTES = 2 << 20
_MAX_REMEMBERED_BYTES = 64 << 20
_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}", re.ASCII)
_REASONS = frozenset({"type", "title", "status", "detail", "errors", "decision"})
Handler = Callable[[Vtn, Call], Awaitable[Answer]]
Notified = Callable[[str, str], bool]
"""Takes the key of a callback and what authorisation came with it; whether it was a VTN's that is followed."""
_LOG = logging.getLogger(__name__)

_ID_PART = "{id}"
_MANY = {
    "programs": program, "events": event, "reports": report, "subscriptions": subscription, "vens": ven
}  # fmt: skip
_POLLED = {("programs",), ("events",)}
_TAKE_FIRST = {report.create, report.update}
"""Handlers of what tells of Things: that is durable before it is their turn."""


def _routes() -> dict[str, dict[tuple[str, ...], dict[str, Handler]]]:
    shared: dict[tuple[str, ...], dict[str, Handler]] = {}
    for name, module in _MANY.items():
        shared[(name,)] = {"GET": module.search, "POST": module.create}
        shared[name, _ID_PART] = {"GET": module.get, "PUT": module.update, "DELETE": module.delete}
    many: dict[str, Handler] = {"GET": ven.search_resources, "POST": ven.create_resource}
    one: dict[str, Handler] = {"GET": ven.get_resource, "PUT": ven.update_resource, "DELETE": ven.delete_resource}
    newer: dict[tuple[str, ...], dict[str, Handler]] = {}
    newer |= {("resources",): many, ("resources", _ID_PART): one, ("notifiers",): {"GET": topic.notifiers}}
    topics = ("notifiers", "mqtt", "topics")
    for name in ("programs", "events", "reports", "subscriptions", "vens", "resources"):
        newer[*topics, name] = {"GET": topic.topics}
    newer[*topics, "programs", _ID_PART] = newer[*topics, "vens", _ID_PART] = {"GET": topic.topics}
    newer[*topics, "programs", _ID_PART, "events"] = {"GET": topic.topics}
    for name in ("events", "programs", "resources"):
        newer[*topics, "vens", _ID_PART, name] = {"GET": topic.topics}
    nested = {("vens", _ID_PART, "resources"): many, ("vens", _ID_PART, "resources", _ID_PART): one}
    return {"3.1.0": {**shared, **newer}, "3.0.1": {**shared, **nested}}


class App:
    """The ASGI application of one VTN."""

    def __init__(self, vtn: Vtn, context: AdapterContext, auth: Auth, notified: Notified) -> None:
        self._vtn, self._context, self._auth, self._notified = vtn, context, auth, notified
        self._routes = _routes()
        self._known: dict[tuple[Any, ...], tuple[bytes, str]] = {}
        self._known_at: tuple[int, int] = (-1, -1)
        self._known_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        peer = str((scope.get("client") or ("unknown",))[0])
        try:
            answer = await self._answer(scope, receive, peer)
        except GridspineError as error:
            answer = _problem(error)
        except asyncio.CancelledError:
            raise
        except Exception:
            _LOG.exception("a request failed unexpectedly: %s", str(scope["path"])[:100])
            answer = _problem(GridspineError("this was logged; an operator of this node can find out more"))
        if self._context.trace.on:
            self._context.trace("out", b"%d " % answer.status + answer.body, peer=peer)
        headers = [(b"content-length", b"%d" % len(answer.body)), (b"cache-control", b"no-store")]
        if answer.body:
            headers.append((b"content-type", b"application/json"))
        if any(name == "etag" for name, _ in answer.headers):
            headers[1] = (b"cache-control", b"private, no-cache")
        headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive, peer: str) -> Answer:
        method = str(scope["method"])
        parts = tuple(str(scope["path"]).strip("/").split("/"))
        if parts[:2] == (BASE, NOTIFY) and len(parts) == 3:
            return await self._taken(parts[2], method, scope, receive)
        edition = next((one for one in EDITIONS if (one,) == parts[1:2]), None)
        if len(parts) < 3 or parts[0] != BASE or edition is None:
            raise NotFound(f"a VTN is here: /{BASE}/{EDITIONS[0]}/… and /{BASE}/{EDITIONS[1]}/…")
        path = parts[2:]
        if path[0] == "auth":
            return await self._auth.answer(edition, path, method, scope, await read_body(receive, MAX_BODY_BYTES))
        handler, allowed = self._find(edition, path, method)
        source = self._auth.source(scope)
        if handler is None:
            return _not_allowed(allowed)
        body = await read_body(receive, MAX_BODY_BYTES)
        if self._context.trace.on:
            self._context.trace("in", f"{method} {scope['path']}\n".encode() + body, peer=peer)
        query = bytes(scope["query_string"]).decode("latin-1")
        if method != "GET":
            if handler in _TAKE_FIRST:  # what may take long holds nobody up
                await report.take(self._vtn, self._writes(method, edition, path, query, body, source))
            async with self._vtn.writing:  # who may, and upon what, is asked when it is its turn
                return await handler(self._vtn, self._writes(method, edition, path, query, body, source))
        call = self._call(method, edition, path, query, body, source, _host(scope))
        if path in _POLLED and "active" not in call.query:
            return await self._polled(handler, call, query, scope)
        return await handler(self._vtn, call)

    async def _taken(self, key: str, method: str, scope: Scope, receive: Receive) -> Answer:
        """Answer a notification of a VTN that is followed; to all others there is nothing here."""
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        if method != "POST" or len(given) != 1 or not self._notified(key, given[0]):
            raise NotFound("there is nothing at this path")
        await read_body(receive, MAX_BODY_BYTES)
        return Answer(204, b"")

    def _call(
        self, method: str, edition: Edition, path: tuple[str, ...], query: str, body: bytes, source: Source,
        host: str = "",
    ) -> Call:  # fmt: skip
        port = self._vtn.controls.of(source)
        return Call(method, edition, path, read_query(query), body, port, self._vtn.clock.now_us(), host)

    def _writes(
        self, method: str, edition: Edition, path: tuple[str, ...], query: str, body: bytes, source: Source
    ) -> Call:  # fmt: skip
        """Return the call of a request that writes; raise `Overloaded` where its body is too much."""
        call = self._call(method, edition, path, query, body, source)
        if method != "DELETE":
            self._vtn.book.check_bytes(call.organisation, "" if call.bl else call.client, len(body))
        return call

    async def _polled(self, handler: Handler, call: Call, query: str, scope: Scope) -> Answer:
        """Answer from memory what was answered to one who may see as much, while nothing has changed."""
        call.port.check("programme.read")
        revision = self._vtn.revision
        if revision != self._known_at or self._known_bytes > _MAX_REMEMBERED_BYTES:
            self._known, self._known_at, self._known_bytes = {}, revision, 0
        words = None if call.bl else self._vtn.book.words(call.organisation, call.client)
        key = (call.edition, call.path, query, call.organisation, words)
        known = self._known.get(key)
        if known is None:
            body = (await handler(self._vtn, call)).body
            known = body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
            if self._vtn.revision == revision:
                self._known[key] = known
                self._known_bytes += len(body) + len(query) + 500
        headers = [("etag", known[1])]
        if any(name == b"if-none-match" and known[1].encode() in value for name, value in scope["headers"]):
            return Answer(304, b"", headers)
        return Answer(200, known[0], headers)

    def _find(self, edition: str, path: tuple[str, ...], method: str) -> tuple[Handler | None, tuple[str, ...]]:
        """Return what answers, None with the methods there are where this one is none; raise `NotFound`."""
        table = self._routes[edition]
        shapes = [(*path[:at], _ID_PART, *path[at + 1 :]) for at in (1, 3, 4) if at < len(path)]
        shapes += [(path[0], _ID_PART, path[2], _ID_PART)] if len(path) == 4 else []
        for shape in (path, *shapes):
            if shape in table and all(
                given == one or _ID.fullmatch(given) for given, one in zip(path, shape, strict=True)
            ):
                return table[shape].get(method), tuple(sorted(table[shape]))
        raise NotFound("there is nothing at this path")


def _host(scope: Scope) -> str:
    """Return the name by which this host was asked, without its port; "" where it was not said."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return re.sub(r":\d*\Z", "", given[0]) if len(given) == 1 else ""


def _problem(error: GridspineError) -> Answer:
    document = {name: value for name, value in error.problem().items() if name in _REASONS}
    headers = list(error.headers.items())
    if isinstance(error, Unauthenticated):
        headers = [("www-authenticate", 'Bearer realm="openadr3"')]
    return Answer(error.status, msgspec.json.encode(document), headers)


def _not_allowed(allowed: tuple[str, ...]) -> Answer:
    document = {"title": "Method not allowed", "status": 405, "detail": f"here: {', '.join(allowed)}"}
    return Answer(405, msgspec.json.encode(document), [("allow", ", ".join(allowed))])
