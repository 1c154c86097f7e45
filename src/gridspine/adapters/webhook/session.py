"""HTTP/1.1 with whoever posts: one request after another, bounded in size, time and number. The codec is h11's."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import h11

MAX_BODY_BYTES, MAX_HEAD_BYTES = 65_536, 16_384
TIMEOUT_S = 10.0
"""How long a whole request may take to come."""
MAX_REQUESTS = 1_000
"""Requests on one connection; then it is closed, and whoever goes on opens another."""
_CHUNK = 16_384


class Post(NamedTuple):
    """A request: ``headers`` by their names in small letters; of several alike the first."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What a request is answered; ``retry_s`` [s] says when to come again, ``close`` ends the connection."""

    status: int
    body: bytes = b""
    media: str = "application/json"
    retry_s: int = 0
    close: bool = False


Answer = Callable[[Post, str], Awaitable[Reply]]
_TOO_LARGE = Reply(413, b'{"title":"Too large","status":413}', "application/problem+json", close=True)
_WRONG = Reply(400, b'{"title":"This is not HTTP","status":400}', "application/problem+json", close=True)
_SLOW = Reply(408, b'{"title":"It took too long to arrive","status":408}', "application/problem+json", close=True)


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Take requests until the other side, an error or a bound ends it; ``answer`` is given each with who sent it."""
    wire = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    peer = str((writer.get_extra_info("peername") or ("unknown",))[0])
    with contextlib.suppress(OSError, h11.LocalProtocolError):  # the latter: a HEAD, which is answered without words
        for _ in range(MAX_REQUESTS):
            reply = await _next(wire, reader, writer, answer, peer)
            if reply is None or writer.is_closing():  # the node ends, or whoever posted is gone
                return
            await _send(wire, writer, reply)
            if reply.close or wire.our_state is not h11.DONE or wire.their_state is not h11.DONE:
                return
            wire.start_next_cycle()


async def _next(
    wire: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer, peer: str
) -> Reply | None:
    """Return what the next request is answered; None when there is none any more."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            post = await _read(wire, reader, writer)
    except TimeoutError:
        return _SLOW if wire.their_state is not h11.IDLE else None
    except h11.RemoteProtocolError:
        return _WRONG if wire.our_state in {h11.IDLE, h11.SEND_RESPONSE} else None
    return post if post is None or isinstance(post, Reply) else await answer(post, peer)


async def _read(
    wire: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Post | Reply | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            if wire.they_are_waiting_for_100_continue:
                writer.write(wire.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                await writer.drain()
            wire.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                return _TOO_LARGE
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers: dict[str, str] = {}
            for name, value in head.headers:
                headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
            return Post(head.method.decode("latin-1"), head.target.decode("latin-1"), headers, bytes(body))
        else:
            return None


async def _send(wire: h11.Connection, writer: asyncio.StreamWriter, reply: Reply) -> None:
    headers = [("content-type", reply.media), ("content-length", str(len(reply.body))), ("cache-control", "no-store")]
    if reply.retry_s:
        headers.append(("retry-after", str(reply.retry_s)))
    if reply.close:
        headers.append(("connection", "close"))
    out = wire.send(h11.Response(status_code=reply.status, headers=headers)) or b""
    out += wire.send(h11.Data(data=reply.body)) or b""
    out += wire.send(h11.EndOfMessage()) or b""
    async with asyncio.timeout(TIMEOUT_S):
        writer.write(out)
        await writer.drain()
