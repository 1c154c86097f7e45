"""The fast lane of ``POST /commands``: one command, asked for in the usual form, without the framework.

::

    usual head? ─► body, as sent ─► a command, in its strict form? ─► who asks ─► `send_as`
        └──────────────────────────────┴─► the framework, which gets what was read of the body

The framework's route calls the same `send_as`, and errors are answered by the same function. What is not the usual
kind is the framework's: a body with anything wrong is understood, or refused, by it alone. So a body is looked at
before its sender is: it is small, and nothing is done with it.
"""

from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gridspine.apps.api.answer import Answer, failure, json_answer
from gridspine.apps.api.authenticate import by_authorization
from gridspine.apps.api.command import send_as
from gridspine.apps.api.command_ask import NewCommand
from gridspine.apps.api.connection import send_answer
from gridspine.apps.node.node import Node

PATH = "/commands"
MAX_BODY_BYTES = 16 << 10
"""Larger bodies are the framework's."""
_UNUSUAL = frozenset({b"content-encoding", b"transfer-encoding", b"expect"})
_decoder = msgspec.json.Decoder(NewCommand)


class CommandLane:
    """An ASGI application before another: takes single commands of callers with a token, and passes all else on."""

    def __init__(self, node: Node, app: ASGIApp) -> None:
        self._node, self._app = node, app
        self._limit = min(MAX_BODY_BYTES, node.settings.http.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a command, or pass the request on."""
        if scope["type"] != ScopeType.HTTP or scope["path"] != PATH or not _is_usual(scope, self._limit):
            await self._app(scope, receive, send)
            return
        read: list[Any] = []
        wanted = await _wanted(receive, read)
        answer = None if wanted is None else await self._take(scope, wanted)
        if answer is None:
            await self._app(scope, _again(read, receive), send)
        else:
            await send_answer(answer, send)

    async def _take(self, scope: HTTPScope, wanted: NewCommand) -> Answer | None:
        try:
            caller = by_authorization(self._node.identity, scope)
            return None if caller is None else json_answer(await send_as(self._node, caller, wanted), 201)
        except Exception as error:
            return failure(error, PATH)


def _is_usual(scope: HTTPScope, limit: int) -> bool:
    """Whether a request is a POST of JSON of ``limit`` bytes at most, as it is, and no more is said in its address."""
    if scope["method"] != "POST" or scope["query_string"]:
        return False
    headers = dict(scope["headers"])
    size = headers.get(b"content-length", b"")
    return (
        headers.get(b"content-type") == b"application/json"
        and size.isdigit()
        and len(size) < 6
        and 0 < int(size) <= limit
        and _UNUSUAL.isdisjoint(headers)
    )


async def _wanted(receive: Receive, read: list[Any]) -> NewCommand | None:
    """Return the command in a body, None where it is none; what is received of it is added to ``read``."""
    more = True
    while more:
        message: Any = await receive()
        read.append(message)
        if message["type"] != "http.request":
            return None
        more = message["more_body"]
    body = read[0]["body"] if len(read) == 1 else b"".join(message["body"] for message in read)
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def _again(read: list[Any], receive: Receive) -> Receive:
    """Return what gives ``read`` once more, and then what comes."""
    left = iter(read)

    async def given() -> Any:
        for message in left:
            return message
        return await receive()

    return given
