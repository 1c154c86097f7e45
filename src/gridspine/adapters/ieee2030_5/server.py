"""The application that the node serves: requests of IEEE 2030.5 clients, over mutual TLS.

::

    request ─► certificate ─► rendered already? ──────────────────────────────► body
                                  └ no ─► what the client is shown ─► GET: rendered, kept
                                                                      PUT, POST, DELETE: one of a client at a time
"""

import logging
from collections.abc import Sequence

from gridspine.adapters.ieee2030_5 import resources
from gridspine.adapters.ieee2030_5.commands import LeasedControls
from gridspine.adapters.ieee2030_5.done import Done
from gridspine.adapters.ieee2030_5.identity import lfdi_of
from gridspine.adapters.ieee2030_5.session import Sessions, Shown
from gridspine.adapters.ieee2030_5.settings import Settings
from gridspine.adapters.ieee2030_5.tree import page_of, resource
from gridspine.adapters.ieee2030_5.wire import MEDIA, decode
from gridspine.adapters.ieee2030_5.writes import Writes
from gridspine.kernel.errors import Conflict, Forbidden, GridspineError, Invalid, NotFound, Overloaded, TooLarge
from gridspine.things.adapter import AdapterContext, Receive, Scope, Send, certificate_of
from gridspine.things.adapter_body import read_body

log = logging.getLogger(__name__)
_TYPE = (b"content-type", MEDIA.encode())
_METHODS = "GET, HEAD, PUT, POST, DELETE"
_TAKEN = frozenset({MEDIA, "application/xml", "text/xml", ""})


class Server:
    """The application; see `gridspine.things.adapter.Application`."""

    def __init__(
        self, context: AdapterContext, settings: Settings, sessions: Sessions, writes: Writes, commands: LeasedControls
    ) -> None:
        self._context, self._settings, self._sessions = context, settings, sessions
        self._writes, self._commands = writes, commands

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        certificate, method = certificate_of(scope), scope["method"]
        if method == "GET" and certificate is not None:
            query = scope["query_string"]
            target = f"{scope['path']}?{query.decode('latin-1')}" if query else scope["path"]
            known = self._sessions.quick(certificate, target, self._context.clock.now_us())
            if known is not None and known[0] is not None:
                await _answer(send, 200, known[0])
                return
        try:
            await self._asked(scope, receive, send, certificate)
        except GridspineError as error:
            await self._refuse(send, error, scope)

    async def _asked(self, scope: Scope, receive: Receive, send: Send, certificate: bytes | None) -> None:
        method, path = scope["method"], scope["path"]
        if method in {"GET", "HEAD"}:
            shown = await self._sessions.client(certificate)
            body = await self._read(shown, path, scope["query_string"].decode("latin-1"))
            if body is None:
                raise NotFound("there is no such resource")
            await _answer(send, 200, body, head=method == "HEAD")
        elif method in {"PUT", "POST", "DELETE"}:
            done = await self._write(scope, receive, certificate)
            more = [(b"location", done.location.encode())] if done.location else []
            await _answer(send, done.status, b"", more)
        else:
            await _answer(send, 405, b"", [(b"allow", _METHODS.encode())])

    async def _read(self, shown: Shown, path: str, query: str) -> bytes | None:
        segments = self._segments(path)
        if segments == ["tm"]:  # the one that is never the same twice
            return resources.time(shown.view, self._context.clock.now_us()).document(self._settings.csip_aus)
        found = resource(shown.view, segments, page_of(query))
        body = None if found is None else found.document(self._settings.csip_aus)
        if found is not None:
            if found.tag != "Reading":  # a new one is no reason to render all else anew
                shown.keep(f"{path}?{query}" if query else path, body)
            if segments[-1] in {"derc", "actderc"} and (one := shown.view.device(segments[1])) is not None:
                await self._commands.read(one.device, one.followed)
        self._trace("out", path, body)
        return body

    async def _write(self, scope: Scope, receive: Receive, certificate: bytes | None) -> Done:
        method, segments = scope["method"], self._segments(scope["path"])
        await self._sessions.client(certificate)  # who is not known sends no body
        body = await self._body(scope, receive)
        self._trace("in", f"{method} {scope['path']}", body)
        assert certificate is not None
        async with self._sessions.turn(lfdi_of(certificate)):
            shown = await self._sessions.client(certificate)
            if method == "DELETE":
                return await self._writes.delete(shown, segments)
            given = decode(body)
            take = self._writes.put if method == "PUT" else self._writes.post
            return await take(shown, segments, given)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        media = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        if media.partition(b";")[0].strip().lower().decode("latin-1") not in _TAKEN:
            raise Invalid(f"Content-Type: {MEDIA} is taken")
        return await read_body(receive, self._settings.max_body_bytes)

    def _segments(self, path: str) -> Sequence[str]:
        if not path.startswith(f"{self._settings.path}/") or len(path) > 1_000:
            raise NotFound("there is no such resource")
        return path[len(self._settings.path) + 1 :].split("/")

    def _trace(self, direction: str, what: str, body: bytes | None) -> None:
        if self._context.trace.on and body:
            words = f"{what}\n".encode() + body
            if direction == "in":
                self._context.trace("in", words)
            else:
                self._context.trace("out", words)

    async def _refuse(self, send: Send, error: GridspineError, scope: Scope) -> None:
        reason = {Invalid: 1, Conflict: 1, Overloaded: 2, TooLarge: 2}.get(type(error), 0)
        if not isinstance(error, (NotFound, Forbidden)):
            log.info("refused: %s %s: %s", scope["method"], scope["path"][:200], error.detail)
        body = resources.error(reason).document(self._settings.csip_aus)
        more = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
        await _answer(send, error.status, body, more)


async def _answer(
    send: Send, status: int, body: bytes, more: Sequence[tuple[bytes, bytes]] = (), *, head: bool = False
) -> None:
    headers = [_TYPE, (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
