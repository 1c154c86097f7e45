"""Before every request: an id for its log lines, and a span around it where traces are on.

The id is the trace id of the sender's ``traceparent`` (W3C Trace Context), or a new one. The answer carries it as
``traceparent``, so that whoever asks for help can name it.
"""

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gridspine.infra.runtime.trace import REQUEST, Request, Trace, parse_traceparent

_MAX_PATH = 200


class Traced:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, trace: Trace) -> None:
        self._app, self._trace = app, trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket."""
        given = ""
        for name, value in scope["headers"]:
            if name == b"traceparent":
                given = value.decode("latin-1")
        if not self._trace.on:
            REQUEST.set(Request(given))
            known = given and parse_traceparent(given)
            await self._app(scope, receive, _naming(send, given) if known else send)
            return
        method, path = scope.get("method", "WEBSOCKET"), scope["path"][:_MAX_PATH]
        with self._trace.span(f"http {method}", traceparent=given, **{"url.path": path}):
            named = self._trace.traceparent()
            REQUEST.set(Request(named))
            await self._app(scope, receive, _naming(send, named))


def _naming(send: Send, traceparent: str) -> Send:
    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"traceparent", traceparent.encode())]
        await send(message)

    return named
