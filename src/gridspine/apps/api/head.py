"""HEAD wherever GET is: the same headers, and nothing else.

Sources: RFC 9110 §9.3.2; W3C WoT Discovery, assertion tdd-http-head.
"""

import asyncio
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

ASKED = "asked_method"
"""Where a scope says by which method it was asked: a proof of possession is for that one."""
_OWN = ("/next",)
"""Ends of paths that have a HEAD of their own: their GET would wait."""


class HeadAsGet:
    """Lets ``app`` answer a HEAD as it would a GET, and keeps the body back; a stream ends with its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope.get("method") != "HEAD" or scope["path"].endswith(_OWN):
            await self._app(scope, receive, send)
            return
        begun, asked = asyncio.Event(), False

        async def given() -> Any:
            nonlocal asked
            if not asked:
                asked = True
                return await receive()
            await begun.wait()
            return {"type": "http.disconnect"}

        async def heads(message: Any) -> None:
            if message["type"] == "http.response.start" and not begun.is_set():
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                begun.set()

        inner: Any = {**scope, "method": "GET", ASKED: "HEAD"}
        await self._app(inner, given, heads)
