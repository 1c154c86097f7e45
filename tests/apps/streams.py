"""Consumers of streams: by WebSocket, and raw connections that stop reading."""

import asyncio
import base64
import json
import socket

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def values(records):
    return [record["v"] for record in records]


def ws_url(world, product, query=""):
    return f"{world.url.replace('http', 'ws')}/products/{product}/socket{query}"


def bearer(http):
    return {"Authorization": http.headers["authorization"]}


async def follow_socket(world, product, query="", enough=1 << 60, size=1 << 24):
    records, words = [], []
    async with connect(ws_url(world, product, query), additional_headers=bearer(world.co), max_size=size) as ws:
        try:
            async for frame in ws:
                said = json.loads(frame)
                if isinstance(said, dict):
                    words.append(said)
                    if len(records) >= enough:
                        break
                else:
                    records += said
        except ConnectionClosed:
            pass
        return records, words, ws.close_reason


async def stalled_stream(world, path, *, upgrade=False):
    """Open a stream and never read it; a busy node may ask to try again first."""
    while True:
        raw = stalled_connection(world, handshake(world, path, upgrade=upgrade))
        raw.settimeout(60)
        said = await asyncio.to_thread(raw.recv, 16, socket.MSG_PEEK)
        if b" 503 " not in said:
            return raw
        raw.close()
        await asyncio.sleep(0.2)


def stalled_connection(world, request):
    """Open a connection with a tiny receive buffer, send ``request``, and never read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", world.running.port))
    raw.sendall(request)
    return raw


def handshake(world, path, *, upgrade):
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{world.running.port}"]
    lines.append(f"Authorization: {world.co.headers['authorization']}")
    if upgrade:
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines.append(f"Sec-WebSocket-Key: {base64.b64encode(b'0' * 16).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_rest(raw):
    raw.settimeout(60)
    got = b""
    try:
        while piece := raw.recv(1 << 16):
            got += piece
    except ConnectionResetError:
        pass
    raw.close()
    return got


def read_until_end(raw):
    raw.settimeout(60)
    got = b""
    try:
        while b"event: end" not in got or not got.endswith(b"\r\n0\r\n\r\n"):
            piece = raw.recv(1 << 16)
            if not piece:
                break
            got += piece
    except (ConnectionResetError, TimeoutError):
        pass
    raw.close()
    return dechunked(got)


def dechunked(got):
    _, _, rest = got.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body
