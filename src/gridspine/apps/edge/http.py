"""HTTP/1.1 to one node, each request signed: a kept connection for requests, another for the stream.

Source: RFC 9112 through httptools (llhttp). Written here because a full client takes a third of the edge's memory.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httptools
import msgspec

from gridspine.apps.edge.proof import ASSERTION_TYPE, EdgeKey
from gridspine.infra.runtime.clock import Clock
from gridspine.kernel.errors import Invalid, Unauthenticated, Unavailable
from gridspine.kernel.time import US

MAX_ANSWER_BYTES = 4 << 20
CONNECT_S, ANSWER_S = 10.0, 30.0
_RENEW_BEFORE_S = 20
_CHUNK = 64 << 10


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int = 60


class Answer(msgspec.Struct, frozen=True):
    """Status and body."""

    status: int
    body: bytes

    @property
    def detail(self) -> str:
        """What the node says about it, in words."""
        with contextlib.suppress(msgspec.MsgspecError):
            problem = msgspec.json.decode(self.body, type=dict[str, Any])
            return str(problem.get("detail") or problem.get("error_description") or self.status)[:300]
        return f"status {self.status}"


class _Reading:
    """Takes a response apart as it comes."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.headers_done = self.ended = False
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        self.headers_done = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended = True

    def done(self) -> bool:
        """Whether the response is whole."""
        return self.ended


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self.writer.wait_closed()


class NodeHttp:
    """Requests to the node at ``url``; ``ca`` is a PEM file of the authority its certificate is checked by."""

    def __init__(self, url: str, key: EdgeKey, clock: Clock, *, ca: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise Invalid(f"node: {url!r} is not the address of a node, such as https://node.example:8643")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if self._secure else 80)
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._netloc = parts.netloc
        self._key, self._clock = key, clock
        self._ssl: ssl.SSLContext | None = None
        if self._secure:
            self._ssl = ssl.create_default_context(cafile=None if ca is None else str(ca))
        self._kept: _Connection | None = None
        self._token, self._renew_us = "", 0
        self._lock = asyncio.Lock()

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send ``body``; return the answer, whatever it is. Raises `Unavailable` when the node is not reached."""
        async with self._lock:
            answer = await self._signed(path, body, headers)
            if answer.status == 401:
                self._renew_us = 0
                answer = await self._signed(path, body, headers)
            return answer

    async def lines(self, path: str, *, silence_s: float, max_bytes: int) -> AsyncIterator[bytes]:
        """Yield the lines of an endless answer; raise `Unavailable` after ``silence_s`` [s] without a byte."""
        async with self._lock:
            await self._renew()
            connection = await self._connect()
            headers = self._headers("GET", path)
        try:
            connection.writer.write(self._request("GET", path, b"", headers))
            async for line in self._stream(connection, silence_s, max_bytes):
                yield line
        except (OSError, httptools.HttpParserError) as error:
            raise Unavailable(f"the node's stream broke: {error}") from error
        finally:
            await connection.close()

    async def close(self) -> None:
        """Close the kept connection."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await kept.close()

    async def _stream(self, connection: _Connection, silence_s: float, max_bytes: int) -> AsyncIterator[bytes]:
        reading = _Reading()
        while not reading.done():
            try:
                async with asyncio.timeout(silence_s):
                    chunk = await connection.reader.read(_CHUNK)
            except TimeoutError:
                raise Unavailable(f"the node said nothing for {silence_s:g} s") from None
            if not chunk:
                break
            reading.parser.feed_data(chunk)
            if reading.headers_done and reading.parser.get_status_code() != 200:
                if reading.done():
                    self._refused(Answer(reading.parser.get_status_code(), bytes(reading.body)))
                continue
            *lines, rest = bytes(reading.body).split(b"\n")
            reading.body[:] = rest
            if len(rest) > max_bytes:
                raise Unavailable(f"the node sent a line of more than {max_bytes} bytes")
            for line in lines:
                yield line

    def _refused(self, answer: Answer) -> None:
        self._renew_us = 0
        kind = Unauthenticated if answer.status == 401 else Unavailable
        raise kind(f"the node refused ({answer.status}): {answer.detail}")

    async def _signed(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        await self._renew()
        return await self._ask(path, body, {**headers, **self._headers("POST", path)})

    def _headers(self, method: str, path: str) -> dict[str, str]:
        url = self._base + path.partition("?")[0]
        return {
            "authorization": f"DPoP {self._token}",
            "dpop": self._key.proof(self._clock, method, url, self._token),
        }

    async def _renew(self) -> None:
        if self._clock.monotonic_us() < self._renew_us:
            return
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._key.assertion(self._clock),
        }
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "dpop": self._key.proof(self._clock, "POST", f"{self._base}/token"),
        }
        answer = await self._ask("/token", urlencode(form).encode(), headers)
        if answer.status != 200:
            raise Unauthenticated(f"the node gave no token ({answer.status}): {answer.detail}")
        try:
            token = msgspec.json.decode(answer.body, type=_Token)
        except msgspec.MsgspecError as error:
            raise Unauthenticated("the node's answer holds no token") from error
        self._token = token.access_token
        self._renew_us = self._clock.monotonic_us() + max(0, token.expires_in - _RENEW_BEFORE_S) * US

    async def _ask(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request on the kept connection; once more on a new one when that was closed meanwhile."""
        kept = self._kept
        if kept is not None:
            try:
                return await self._converse(kept, path, body, headers)
            except _Closed:
                await self.close()
        self._kept = connection = await self._connect()
        try:
            return await self._converse(connection, path, body, headers)
        except _Closed as error:
            await self.close()
            raise Unavailable(f"the node closed the connection: {error}") from error

    async def _converse(self, connection: _Connection, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        reading = _Reading()
        try:
            async with asyncio.timeout(ANSWER_S):
                connection.writer.write(self._request("POST", path, body, headers))
                await connection.writer.drain()
                while not reading.done():
                    chunk = await connection.reader.read(_CHUNK)
                    if not chunk:
                        raise _Closed("before it answered")
                    reading.parser.feed_data(chunk)
                    if len(reading.body) > MAX_ANSWER_BYTES:
                        raise httptools.HttpParserError("the answer is too large")
        except TimeoutError:
            await self.close()
            raise Unavailable(f"the node did not answer within {ANSWER_S:g} s") from None
        except OSError as error:
            raise _Closed(str(error)) from error
        except httptools.HttpParserError as error:
            await self.close()
            raise Unavailable(f"the node's answer cannot be read: {error}") from error
        except BaseException:
            await self.close()  # half an answer may lie in it
            raise
        if not reading.parser.should_keep_alive():
            await self.close()
        return Answer(reading.parser.get_status_code(), bytes(reading.body))

    def _request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if method == "POST":
            lines.append(f"content-length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._ssl, limit=_CHUNK)
        except TimeoutError:
            raise Unavailable(f"the node at {self._base} did not answer within {CONNECT_S:g} s") from None
        except OSError as error:
            raise Unavailable(f"the node at {self._base} is not reached: {error}") from error
        return _Connection(reader, writer)


class _Closed(Exception):
    """The connection ended where an answer was expected."""
