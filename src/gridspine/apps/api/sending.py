"""What all streams have in common: until when they run, what they cost, and how they end.

A stream asks again and again whether its caller is still let in, and whether the Thing is still one it may hear of. A
client that does not read is not waited for: at the end its connection is reset, with what lies in its buffers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import structlog
from litestar.types import Receive, Scope, Send

from gridspine.apps.api.connection import reset_connection, waiting_bytes
from gridspine.apps.api.thing import permitted_to
from gridspine.apps.node.node import Node
from gridspine.infra.identity.caller import Caller
from gridspine.kernel.errors import GridspineError, NotFound, Overloaded
from gridspine.things.directory import Thing

LAST_WORD_S = 0.5
"""How long a client may take to receive the end of its stream."""
MAX_WAITING_BYTES = 64 << 10
"""What may lie in the node's buffers for a client whose right has ended [bytes]; with more it gets no last word."""
PRINCIPAL_SHARE = 0.5
"""Part of all streams that one principal may have open."""
SSE_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
log = structlog.get_logger(__name__)


class Right(Protocol):
    """The right to hear a stream; ``about`` is what the stream is about, for the node's own logs."""

    about: str

    def why_over(self) -> str:
        """Return why it has ended, "" while it holds; asked before each message, so it looks at memory only."""
        ...


class SignedIn:
    """The right of a principal who is let in; what else must hold is asked of each message where it is made."""

    def __init__(self, node: Node, caller: Caller, about: str) -> None:
        self.about = about
        self._node, self._caller = node, caller

    def why_over(self) -> str:
        """Return why it has ended, "" while it holds."""
        return "" if self._node.identity.holds(self._caller) else "signed-out"


class ThingRight:
    """The right to hear of a Thing: that of ``caller`` to do ``action`` to it, as long as it holds."""

    def __init__(self, node: Node, caller: Caller, thing: Thing, action: str) -> None:
        self.caller, self.thing, self.about = caller, thing, thing.id
        self._node, self._action = node, action
        self._seen = node.things.changes

    def why_over(self) -> str:
        """Return why it has ended, "" while it holds. Memory only, but where something about the Thing has changed."""
        if not self._node.identity.holds(self.caller):
            return "signed-out"
        if self._seen == self._node.things.changes:
            return ""
        self._seen = self._node.things.changes
        try:
            now = self._node.things.get(self.thing.id)
            if now != self.thing:
                before, self.thing = self.thing, permitted_to(self._node, self.caller, self.thing.id, self._action)
                if before.first != self.thing.first:  # its points have other numbers: whoever follows begins anew
                    return "changed"
        except NotFound:
            return "gone"
        except GridspineError:
            return "forbidden"
        return ""


def take_place(node: Node, caller: Caller) -> Callable[[], None]:
    """Count a stream of ``caller`` until what is returned is called; raise `Overloaded` when there is no room."""
    check_room(node, caller)
    return node.hub.opened(caller.principal)


def check_room(node: Node, caller: Caller) -> None:
    """Raise `Overloaded` when too many streams are open: of all, or of this caller."""
    most = node.settings.http.max_streams
    if node.hub.subscriptions >= most:
        raise Overloaded(f"{most} streams are open: try again later", retry_after_s=5)
    if node.hub.subscriptions_of(caller.principal) >= max(1, int(most * PRINCIPAL_SHARE)):
        raise Overloaded("you have too many streams open: close some of them", retry_after_s=5)


async def run_until_left(work: Awaitable[None], left: Awaitable[None]) -> bool:
    """Run until ``work`` ends or the client leaves; return whether it ended by itself."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left)
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.done() and not leaving.done()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def last_word(saying: Coroutine[Any, Any, None], scope: Scope, *, harmless: bool) -> None:
    """Say the end; reset the connection of a client that does not read it, or has too much to read before it.

    After a ``harmless`` end the client may read on whatever waits for it.
    """
    if not harmless and waiting_bytes(scope) > MAX_WAITING_BYTES:
        saying.close()
        reset_connection(scope)
        return
    try:
        await asyncio.wait_for(saying, LAST_WORD_S)
    except TimeoutError:
        reset_connection(scope)
    except Exception as error:  # the client may be gone already
        log.debug("the end of a stream was not heard", error=str(error))


async def chunk(send: Send, body: bytes, *, more: bool = True) -> None:
    """Send a part of an answer."""
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
